//! `Repartitioned`: an explicit repartition topic.

use std::sync::Arc;

use streams_core::{
    StreamPartitioner,
    serde::{Serde, SharedSerde},
};

/// How a stream is repartitioned.
#[derive(Clone)]
pub struct Repartitioned<K, V> {
    pub(crate) name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    pub(crate) partitions: Option<u32>,
}

impl<K, V> Repartitioned<K, V> {
    /// The defaults: generated name, the stream's serdes, as many partitions as the topics above have.
    #[must_use]
    pub fn new() -> Self {
        Repartitioned { name: None, key_serde: None, value_serde: None, partitioner: None, partitions: None }
    }

    /// Names the topic: `{application.id}-{name}-repartition`.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Writes keys with this serde.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Writes values with this serde.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Chooses the partition of each record.
    #[must_use]
    pub fn with_stream_partitioner(mut self, partitioner: impl StreamPartitioner<K, V> + 'static) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Number of partitions of the topic, at least 1.
    #[must_use]
    pub fn with_number_of_partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }
}

impl<K, V> Default for Repartitioned<K, V> {
    fn default() -> Self {
        Repartitioned::new()
    }
}
