//! Sinks: where a topology writes, and how.

use std::sync::Arc;

use crate::{
    Record,
    partitioner::StreamPartitioner,
    processor::RecordMetadata,
    serde::{Data, SharedSerde, default_serde},
};

/// A sink: writes records of `K` and `V` to a topic, or to a topic chosen for each record.
pub struct Sink<K, V> {
    pub(crate) name: String,
    pub(crate) topic: SinkTopic<K, V>,
    pub(crate) key: SharedSerde<K>,
    pub(crate) value: SharedSerde<V>,
    pub(crate) partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
}

impl<K, V> Sink<K, V> {
    /// A sink called `name` that writes to `topic` with the default serdes of its types.
    ///
    /// ```
    /// use streams_core::topology::{Sink, TopicNameExtractor};
    ///
    /// let counts: Sink<String, i64> = Sink::new("counts-sink", "counts");
    /// let by_country: Sink<String, String> = Sink::new(
    ///     "by-country",
    ///     TopicNameExtractor::new(|record, _metadata| format!("orders-{}", record.key)),
    /// );
    /// ```
    pub fn new(name: impl Into<String>, topic: impl Into<SinkTopic<K, V>>) -> Self
    where
        K: Data,
        V: Data,
    {
        Sink::with_serdes(name, topic, default_serde(), default_serde())
    }

    /// A sink that writes with these serdes.
    pub fn with_serdes(
        name: impl Into<String>,
        topic: impl Into<SinkTopic<K, V>>,
        key: SharedSerde<K>,
        value: SharedSerde<V>,
    ) -> Self {
        Sink { name: name.into(), topic: topic.into(), key, value, partitioner: None }
    }

    /// Chooses partitions with `partitioner` instead of by the hash of the serialised key.
    #[must_use]
    pub fn with_partitioner(mut self, partitioner: Arc<dyn StreamPartitioner<K, V>>) -> Self {
        self.partitioner = Some(partitioner);
        self
    }
}

/// Where a sink writes.
pub enum SinkTopic<K, V> {
    /// To one topic.
    Named(String),
    /// To a topic chosen for each record. The topics must exist.
    Dynamic(TopicNameExtractor<K, V>),
}

impl<K, V> From<&str> for SinkTopic<K, V> {
    fn from(topic: &str) -> Self {
        SinkTopic::Named(topic.to_owned())
    }
}

impl<K, V> From<String> for SinkTopic<K, V> {
    fn from(topic: String) -> Self {
        SinkTopic::Named(topic)
    }
}

impl<K, V> From<&String> for SinkTopic<K, V> {
    fn from(topic: &String) -> Self {
        SinkTopic::Named(topic.clone())
    }
}

impl<K, V> From<TopicNameExtractor<K, V>> for SinkTopic<K, V> {
    fn from(extractor: TopicNameExtractor<K, V>) -> Self {
        SinkTopic::Dynamic(extractor)
    }
}

/// Chooses the topic of each record.
pub struct TopicNameExtractor<K, V> {
    pub(crate) choose: ChooseTopic<K, V>,
    pub(crate) description: String,
}

pub(crate) type ChooseTopic<K, V> = Arc<dyn Fn(&Record<K, V>, Option<&RecordMetadata>) -> String + Send + Sync>;

impl<K, V> TopicNameExtractor<K, V> {
    /// An extractor that answers with the name of an existing topic. It sees the record and where the record that
    /// entered the topology came from (`None` in a punctuation).
    pub fn new(choose: impl Fn(&Record<K, V>, Option<&RecordMetadata>) -> String + Send + Sync + 'static) -> Self {
        TopicNameExtractor { description: "TopicNameExtractor".to_owned(), choose: Arc::new(choose) }
    }

    /// How it appears in a description of the topology. Default: `TopicNameExtractor`.
    #[must_use]
    pub fn described_as(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }
}

impl<K, V> Clone for TopicNameExtractor<K, V> {
    fn clone(&self) -> Self {
        TopicNameExtractor { choose: Arc::clone(&self.choose), description: self.description.clone() }
    }
}
