//! `Grouped`: how records reach the partition of their group.

use std::sync::Arc;

use streams_core::serde::{Serde, SharedSerde};

/// How records are grouped.
#[derive(Clone)]
pub struct Grouped<K, V> {
    pub(crate) name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
}

impl<K, V> Grouped<K, V> {
    /// The defaults: names after the store, the stream's serdes.
    #[must_use]
    pub fn new() -> Self {
        Grouped { name: None, key_serde: None, value_serde: None }
    }

    /// Names the node that selects the key, and the repartition topic if one is needed: `{application.id}-{name}-
    /// repartition`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Writes keys to the repartition topic and the store with this serde.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Writes values to the repartition topic with this serde.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }
}

impl<K, V> Default for Grouped<K, V> {
    fn default() -> Self {
        Grouped::new()
    }
}
