//! `Joined`: a join of a stream with a table.

use std::{sync::Arc, time::Duration};

use streams_core::serde::{Serde, SharedSerde};

/// How a stream is joined with a table.
#[derive(Clone)]
pub struct Joined<K, V> {
    pub(crate) name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) grace: Option<Duration>,
}

impl<K, V> Joined<K, V> {
    /// The defaults: generated name, the stream's serdes, no grace period.
    #[must_use]
    pub fn new() -> Self {
        Joined { name: None, key_serde: None, value_serde: None, grace: None }
    }

    /// Names the node, and the repartition topic if one is needed.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Writes keys with this serde if the stream must be repartitioned or buffered.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Writes the stream's values with this serde if it must be repartitioned or buffered.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Holds stream records back until stream time has passed their own by this much, so that table updates may come
    /// late. The table must be versioned, with at least as long a history.
    #[must_use]
    pub fn with_grace_period(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }
}

impl<K, V> Default for Joined<K, V> {
    fn default() -> Self {
        Joined::new()
    }
}
