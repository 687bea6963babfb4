//! `to`: the end of a stream, in a topic.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::RecordMetadata,
    serde::{Data, default_serde},
    topology::{Sink, SinkTopic, TopicNameExtractor, Topology},
};

use super::KStream;
use crate::{
    graph::{
        GraphNode, Step,
        lower::Wiring,
        naming::{self, Given},
    },
    options::Produced,
};

impl<K: Data, V: Data> KStream<K, V> {
    /// Writes the records to `topic`, which must exist.
    ///
    /// Partitions are chosen by the hash of the serialised key, as Kafka's producers do.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("orders").to("copy-of-orders");
    /// ```
    pub fn to(&self, topic: impl Into<String>) {
        self.to_with(topic, Produced::new());
    }

    /// As [`KStream::to`], with a name, serdes or a partitioner.
    pub fn to_with(&self, topic: impl Into<String>, produced: Produced<K, V>) {
        let topic = topic.into();
        self.sink(produced, move |_| SinkTopic::Named(topic.clone()));
    }

    /// Writes each record to the topic that `extractor` names. The topics must exist.
    ///
    /// The extractor sees the record, and where the record that entered the topology came from (`None` in a
    /// punctuation).
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// orders.to_extracted(|record, _metadata| format!("orders-of-{}", record.value));
    /// ```
    pub fn to_extracted<F>(&self, extractor: F)
    where
        F: Fn(&Record<K, V>, Option<&RecordMetadata>) -> String + Send + Sync + 'static,
    {
        self.to_extracted_with(extractor, Produced::new());
    }

    /// As [`KStream::to_extracted`], with a name, serdes or a partitioner.
    pub fn to_extracted_with<F>(&self, extractor: F, produced: Produced<K, V>)
    where
        F: Fn(&Record<K, V>, Option<&RecordMetadata>) -> String + Send + Sync + 'static,
    {
        let extractor = TopicNameExtractor::new(extractor);
        self.sink(produced, move |name| match name {
            Some(name) => SinkTopic::Dynamic(extractor.clone().described_as(name)),
            None => SinkTopic::Dynamic(extractor.clone()),
        });
    }

    fn sink(&self, produced: Produced<K, V>, topic: impl Fn(Option<&str>) -> SinkTopic<K, V> + Send + Sync + 'static) {
        let key = produced.key_serde.or_else(|| self.key_serde.clone()).unwrap_or_else(default_serde::<K>);
        let value = produced.value_serde.or_else(|| self.value_serde.clone()).unwrap_or_else(default_serde::<V>);
        let partitioner = produced.partitioner;
        let described_as = produced.extractor_name;
        let mut graph = self.place.graph.lock();
        let name = Given(produced.name).or_generate(&mut graph, naming::SINK);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let topic = topic(described_as.as_deref());
            let mut sink = Sink::with_serdes(wiring.name(), topic, key.clone(), value.clone());
            if let Some(partitioner) = &partitioner {
                sink = sink.with_partitioner(Arc::clone(partitioner));
            }
            topology.add_sink(sink, wiring.parents());
        });
        graph.add(GraphNode::new(name, Step::Other, write), &[self.place.node]);
    }
}
