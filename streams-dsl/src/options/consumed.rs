//! `Consumed`: how a source reads its topics.

use std::sync::Arc;

use log_store::client::OffsetReset;
use streams_core::{
    serde::{Serde, SharedSerde},
    time::TimestampExtractor,
};

/// How a source reads its topics.
#[derive(Clone)]
pub struct Consumed<K, V> {
    pub(crate) name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) extractor: TimestampExtractor<K, V>,
    pub(crate) reset: Option<OffsetReset>,
}

impl<K, V> Consumed<K, V> {
    /// The defaults: generated name, the types' serdes, the record's own timestamp, the application's reset policy.
    #[must_use]
    pub fn new() -> Self {
        Consumed {
            name: None,
            key_serde: None,
            value_serde: None,
            extractor: TimestampExtractor::FailOnInvalidTimestamp,
            reset: None,
        }
    }

    /// Names the source node. A table's source is called `{name}-source`, its processor `name`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Reads keys with this serde, here and in the operators after it that keep the key.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Reads values with this serde, here and in the operators after it that keep the value.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Decides the event time of each record. Default: the record's timestamp; a negative one stops the application.
    #[must_use]
    pub fn with_timestamp_extractor(mut self, extractor: TimestampExtractor<K, V>) -> Self {
        self.extractor = extractor;
        self
    }

    /// Where to begin without a committed offset. Default: as the application is configured.
    #[must_use]
    pub fn with_offset_reset_policy(mut self, reset: OffsetReset) -> Self {
        self.reset = Some(reset);
        self
    }
}

impl<K, V> Default for Consumed<K, V> {
    fn default() -> Self {
        Consumed::new()
    }
}
