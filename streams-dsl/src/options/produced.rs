//! `Produced`: how a sink writes.

use std::sync::Arc;

use streams_core::{
    StreamPartitioner,
    serde::{Serde, SharedSerde},
};

/// How a sink writes its records.
#[derive(Clone)]
pub struct Produced<K, V> {
    pub(crate) name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    pub(crate) extractor_name: Option<String>,
}

impl<K, V> Produced<K, V> {
    /// The defaults: generated name, the stream's serdes, partition by the hash of the key as Kafka's producers do.
    #[must_use]
    pub fn new() -> Self {
        Produced { name: None, key_serde: None, value_serde: None, partitioner: None, extractor_name: None }
    }

    /// Names the sink node.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Writes keys with this serde. Default: the stream's.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Writes values with this serde. Default: the stream's.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Chooses the partitions of each record. Default: the hash of the serialised key; windowed keys go where their key
    /// goes.
    #[must_use]
    pub fn with_stream_partitioner(mut self, partitioner: impl StreamPartitioner<K, V> + 'static) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// How `describe()` calls the function that chooses the topic of each record. Default: the name of its type.
    #[must_use]
    pub fn with_extractor_name(mut self, name: impl Into<String>) -> Self {
        self.extractor_name = Some(name.into());
        self
    }
}

impl<K, V> Default for Produced<K, V> {
    fn default() -> Self {
        Produced::new()
    }
}
