//! `to_stream`: a table's updates as a stream.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, SharedSerde},
    topology::Topology,
};

use super::{KTable, materialize::serde_or_default, source::Nullable};
use crate::{
    graph::{GraphNode, Step, lower::Wiring, naming::Given},
    options::Named,
    stream::{Field, KStream},
};

const TO_STREAM: &str = "KTABLE-TOSTREAM-";

impl<K: Data, V: Data> KTable<K, V> {
    /// The updates of this table as a stream; `None` is a deletion.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let counts: KTable<String, i64> = builder.stream::<String, String>("words").group_by_key().count();
    /// counts.to_stream().to("counts");
    /// ```
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        self.to_stream_node(None, |value| value, Some(self.nullable_serde()))
    }

    /// As [`KTable::to_stream`], with a name.
    pub fn to_stream_with(&self, named: Named) -> KStream<K, Option<V>> {
        self.to_stream_node(Some(named), |value| value, Some(self.nullable_serde()))
    }

    /// The updates of this table as a stream of `value(new_value)`, which says what a deletion (`None`) becomes.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let counts: KTable<String, i64> = builder.stream::<String, String>("words").group_by_key().count();
    /// let numbers: KStream<String, i64> = counts.to_stream_as(|count| count.unwrap_or(0));
    /// numbers.to("counts");
    /// ```
    pub fn to_stream_as<W: Field, F>(&self, value: F) -> KStream<K, W>
    where
        F: Fn(Option<V>) -> W + Send + Sync + 'static,
    {
        self.to_stream_node(None, value, None)
    }

    /// As [`KTable::to_stream_as`], with a name.
    pub fn to_stream_as_with<W: Field, F>(&self, value: F, named: Named) -> KStream<K, W>
    where
        F: Fn(Option<V>) -> W + Send + Sync + 'static,
    {
        self.to_stream_node(Some(named), value, None)
    }

    fn nullable_serde(&self) -> SharedSerde<Option<V>> {
        Arc::new(Nullable(serde_or_default(self.value_serde.as_ref())))
    }

    fn to_stream_node<W: Field, F>(
        &self,
        named: Option<Named>,
        value: F,
        value_serde: Option<SharedSerde<W>>,
    ) -> KStream<K, W>
    where
        F: Fn(Option<V>) -> W + Send + Sync + 'static,
    {
        let value = Arc::new(value);
        let mut graph = self.place.graph.lock();
        let name = named.map_or(Given(None), Named::given).or_generate(&mut graph, TO_STREAM);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let value = Arc::clone(&value);
            topology.add_processor::<_, K, Change<V>, K, W>(wiring.name(), wiring.parents(), move || {
                ToStream(Arc::clone(&value))
            });
        });
        let node = GraphNode::new(name.clone(), Step::Other, write).giving::<K, W>();
        let id = graph.add(node, &[self.node()]);
        drop(graph);
        KStream {
            place: self.place.next(id, &name),
            key_serde: self.key_serde.clone(),
            value_serde,
            repartition_required: false,
        }
    }
}

struct ToStream<F>(Arc<F>);

impl<K, V, W, F> Processor<K, Change<V>, K, W> for ToStream<F>
where
    K: Data,
    V: Data,
    W: Field,
    F: Fn(Option<V>) -> W + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, Change<V>>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        ctx.forward(Record { key, value: (self.0)(value.new), timestamp, headers })
    }
}
