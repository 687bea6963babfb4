//! `repartition`, and the repartition topics that operators need by themselves.

use std::{collections::BTreeSet, sync::Arc};

use streams_core::{
    Record, StreamPartitioner,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, SharedSerde, default_serde},
    topology::{Sink, Source, Topology},
};

use super::{Field, KStream};
use crate::{
    graph::{
        Generated, Graph, GraphNode, NodeId, Place, Step,
        lower::Wiring,
        naming::{self, Given, REPARTITION_SUFFIX, is_generated_stream_name},
        node::{Rename, Repartition},
    },
    options::Repartitioned,
};

const REPARTITION: &str = "KSTREAM-REPARTITION-";

impl<K: Data, V: Data> KStream<K, V> {
    /// Sends all records through a topic of the application's own, so that each lies in the partition of its key.
    ///
    /// Other operators do this by themselves where the key may have changed. Records with a null key stop here, unless
    /// a left or outer join follows.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// let spread = orders.repartition_with(
    ///     Repartitioned::new().with_name("spread-orders").with_number_of_partitions(32),
    /// );
    /// spread.to("orders-in-32-partitions");
    /// ```
    #[must_use]
    pub fn repartition(&self) -> KStream<K, V> {
        self.repartition_with(Repartitioned::new())
    }

    /// As [`KStream::repartition`], with a name, a number of partitions, serdes or a partitioner.
    #[must_use]
    pub fn repartition_with(&self, repartitioned: Repartitioned<K, V>) -> KStream<K, V> {
        let key_serde = repartitioned.key_serde.or_else(|| self.key_serde.clone());
        let value_serde = repartitioned.value_serde.or_else(|| self.value_serde.clone());
        let mut graph = self.place.graph.lock();
        let (prefix, is_named) = match repartitioned.name {
            Some(name) => {
                graph.check_name(&name);
                (name, true)
            }
            None => (graph.new_name(REPARTITION), false),
        };
        let channel = Channel {
            key_serde: key_serde.clone(),
            value_serde: value_serde.clone(),
            partitioner: repartitioned.partitioner,
            partitions: repartitioned.partitions,
        };
        let node = explicit_node(&mut graph, channel, &prefix, is_named);
        let source = node.name.clone();
        let id = graph.add(node, &[self.place.node]);
        drop(graph);
        KStream {
            place: self.place.next(id, &source).fed_by(BTreeSet::from([source.clone()])),
            key_serde,
            value_serde,
            repartition_required: false,
        }
    }

    /// This stream with each record in the partition of its key, for a join that calls the topic `prefix`. Joins of one
    /// stream share the topic, but the counter advances for each of them.
    pub(crate) fn repartition_for_join(&self, prefix: &str, is_named: bool, serdes: Serdes<K, V>) -> KStream<K, V> {
        let serdes = serdes.or(self);
        let mut graph = self.place.graph.lock();
        let node = optimizable_node(&mut graph, serdes.clone(), prefix, is_named);
        let source = node.name.clone();
        let known = graph.join_repartitions.get(&self.place.node).copied();
        let id = match known {
            Some(known) if *self.place.name == *prefix => known,
            _ => {
                let id = graph.add(node, &[self.place.node]);
                graph.join_repartitions.insert(self.place.node, id);
                id
            }
        };
        drop(graph);
        KStream {
            place: self.place.next(id, &source).fed_by(BTreeSet::from([source.clone()])),
            key_serde: serdes.key,
            value_serde: serdes.value,
            repartition_required: false,
        }
    }
}

/// Serdes that may have been given.
pub(crate) struct Serdes<K, V> {
    pub(crate) key: Option<SharedSerde<K>>,
    pub(crate) value: Option<SharedSerde<V>>,
}

impl<K, V> Clone for Serdes<K, V> {
    fn clone(&self) -> Self {
        Serdes { key: self.key.clone(), value: self.value.clone() }
    }
}

impl<K, V> Serdes<K, V> {
    /// These, else the stream's.
    pub(crate) fn or(self, stream: &KStream<K, V>) -> Self {
        Serdes {
            key: self.key.or_else(|| stream.key_serde.clone()),
            value: self.value.or_else(|| stream.value_serde.clone()),
        }
    }
}

/// Below `parent`, a repartition topic that Kafka Streams makes by itself, and that may be merged with others.
pub(crate) fn add_repartition<K: Data, V: Data>(
    graph: &mut Graph,
    parent: NodeId,
    serdes: Serdes<K, V>,
    prefix: &str,
    is_named: bool,
) -> NodeId {
    let node = optimizable_node(graph, serdes, prefix, is_named);
    graph.add(node, &[parent])
}

/// The node alone: the names are taken from the counter, but nothing is added to the graph.
pub(crate) fn optimizable_node<K: Data, V: Data>(
    graph: &mut Graph,
    serdes: Serdes<K, V>,
    prefix: &str,
    is_named: bool,
) -> GraphNode {
    let channel = Channel { key_serde: serdes.key, value_serde: serdes.value, partitioner: None, partitions: None };
    let mut node = explicit_node(graph, channel.clone(), prefix, is_named);
    let rename: Rename = Arc::new(move |graph, prefix| explicit_node(graph, channel.clone(), prefix, true));
    if let Step::Repartition(step) = &mut node.step {
        step.rename = Some(rename);
    }
    node
}

/// What a repartition topic carries, and how.
struct Channel<K, V> {
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V>>,
    partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    partitions: Option<u32>,
}

impl<K, V> Clone for Channel<K, V> {
    fn clone(&self) -> Self {
        Channel {
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            partitioner: self.partitioner.clone(),
            partitions: self.partitions,
        }
    }
}

/// Names of the nodes around a repartition topic.
struct Names {
    topic: String,
    filter: String,
    sink: String,
    source: String,
}

impl Names {
    /// The names after `prefix`. Three indices of the counter go by, whatever they are.
    fn new(graph: &mut Graph, prefix: &str, is_named: bool) -> Self {
        let topic = match prefix.ends_with(REPARTITION_SUFFIX) {
            true => prefix.to_owned(),
            false => format!("{prefix}{REPARTITION_SUFFIX}"),
        };
        if !is_named {
            graph.generated.push(Generated::Repartition(topic.clone()));
        }
        let sink = graph.new_name(naming::SINK);
        let filter = graph.new_name(naming::FILTER);
        let source = graph.new_name(naming::SOURCE);
        if is_generated_stream_name(prefix) {
            return Names { topic, filter, sink, source };
        }
        Names {
            filter: format!("{topic}-filter"),
            sink: format!("{topic}-sink"),
            source: format!("{topic}-source"),
            topic,
        }
    }
}

fn explicit_node<K: Data, V: Data>(
    graph: &mut Graph,
    channel: Channel<K, V>,
    prefix: &str,
    is_named: bool,
) -> GraphNode {
    let names = Names::new(graph, prefix, is_named);
    let step = Step::Repartition(Repartition { topic: names.topic.clone(), rename: None });
    let name = names.source.clone();
    let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let keeps_null_keys = wiring.keeps_null_keys();
        let key = channel.key_serde.clone().unwrap_or_else(default_serde::<K>);
        let value = channel.value_serde.clone().unwrap_or_else(default_serde::<V>);
        let mut sink = Sink::with_serdes(&*names.sink, &*names.topic, key.clone(), value.clone());
        if let Some(partitioner) = &channel.partitioner {
            sink = sink.with_partitioner(Arc::clone(partitioner));
        }
        topology
            .add_internal_topic(&*names.topic, channel.partitions)
            .add_processor::<_, K, V, K, V>(&*names.filter, wiring.parents(), move || NullKeyFilter { keeps_null_keys })
            .add_sink::<K, V>(sink, &[&names.filter])
            .add_source(internal_source::<K, V>(&names.source, &names.topic, key, value));
    });
    GraphNode::new(name, step, write).giving::<K, V>()
}

/// A source that reads a topic of the application's own.
pub(crate) fn internal_source<K, V>(
    name: &str,
    topic: &str,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
) -> Source<K, V> {
    Source::with_serdes(name, topic, key, value)
        .with_timestamp_extractor(streams_core::time::TimestampExtractor::FailOnInvalidTimestamp)
}

/// Drops records without a key before a repartition topic: no partition is theirs.
struct NullKeyFilter {
    keeps_null_keys: bool,
}

impl<K: Data, V: Field> Processor<K, V, K, V> for NullKeyFilter {
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        if self.keeps_null_keys || !record.key.is_null() { ctx.forward(record) } else { Ok(()) }
    }
}

/// The place behind a repartition step, fed by the step's source.
pub(crate) fn place_behind(place: &Place, repartition: NodeId) -> Place {
    let name = place.graph.lock()[repartition].name.clone();
    place.next(repartition, &name).fed_by(BTreeSet::from([name]))
}

/// The name that a repartition topic gets, and whether the user gave it.
pub(crate) fn topic_prefix<'a>(given: &'a Given, other: &'a str) -> (&'a str, bool) {
    match &given.0 {
        Some(name) => (name, true),
        None => (other, false),
    }
}
