//! Aggregations without windows: one aggregate for each key, in a key-value store.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
    topology::Topology,
};

use super::{KGroupedStream, fold::Fold};
use crate::{
    graph::{Graph, GraphNode, Step, TableKind, Write, lower::Wiring},
    options::Materialized,
    table::{
        KTable, View,
        materialize::{Computed, Kept, StoreSpec},
        not_null,
    },
};

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// The table of the aggregates that `fold` makes. `prefix` is what generated names begin with.
    pub(super) fn stored<A: Data>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        fold: impl Fold<K, V, A>,
    ) -> KTable<K, A> {
        let materialized = materialized.or_serdes(self.serdes.key.as_ref(), None);
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let mut graph = self.place.graph.lock();
        let is_named = materialized.store_name.is_some();
        let history = materialized.history();
        let store = materialized.store_name(&mut graph, prefix);
        let name = materialized.processor.or_generate(&mut graph, prefix);
        drop(graph);
        let parent = self.partitioned_by_key(&store, is_named);
        let spec = StoreSpec::new(store.clone(), materialized);
        let node = GraphNode::new(name.clone(), Step::Other, write_aggregate(spec, Arc::new(fold)))
            .table(TableKind::Aggregate)
            .versioned(Some(history.is_some()));
        let id = self.place.graph.lock().add(node, &[parent.node]);
        let view = View::of_store(&store, history);
        KTable::new(parent.next(id, &name), key_serde, value_serde, is_named.then_some(store), view)
    }
}

/// Takes the name of a store that Kafka Streams generates for nothing before a count with settings but no name.
pub(super) fn burn_store_name<K, A>(graph: &mut Graph, materialized: &Materialized<K, A>) {
    if materialized.is_given() && materialized.store_name.is_none() {
        graph.new_store_name(super::AGGREGATE);
    }
}

/// Writes the processor of an aggregation, and its store.
pub(super) fn write_aggregate<K, V, A, F>(spec: Arc<StoreSpec<K, A>>, fold: Arc<F>) -> Write
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A>,
{
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let (spec, fold, sends_old_values) = (Arc::clone(&spec), Arc::clone(&fold), wiring.sends_old_values());
        let store = spec.build(wiring, None);
        topology
            .add_processor::<_, K, V, K, Change<A>>(wiring.name(), wiring.parents(), move || StreamAggregate {
                fold: Arc::clone(&fold),
                kept: Kept::new(&spec.name, sends_old_values),
            })
            .add_state_store(store, &[wiring.name()]);
    })
}

struct StreamAggregate<K, A, F> {
    fold: Arc<F>,
    kept: Kept<K, A>,
}

impl<K, V, A, F> Processor<K, V, K, Change<A>> for StreamAggregate<K, A, F>
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A>,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<A>>) -> ProcessResult {
        self.kept.init(ctx)
    }

    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, Change<A>>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        if key.is_null() || value.is_null() {
            ctx.drop_record("null key or value");
            return Ok(());
        }
        let (fold, sends_old_values) = (&self.fold, self.kept.sends_old_values());
        let mut told = None;
        self.kept.compute(ctx, &key, &mut told, |row| {
            let (base, timestamp) = match row {
                Some(row) => (Some(row.value.clone()), timestamp.max(row.timestamp)),
                None => (fold.start(), timestamp),
            };
            // Kafka Streams reports what a key begins with as the value before its first update.
            let old = if sends_old_values { base.clone().and_then(not_null) } else { None };
            let new = not_null(fold.fold(&key, value, base));
            Computed { new, old, timestamp }
        })?;
        match told {
            Some((change, timestamp, written)) => {
                self.kept.forward(ctx, Record { key, value: change, timestamp, headers }, written)
            }
            None => Ok(()),
        }
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<A>>) -> ProcessResult {
        self.kept.flush(ctx)
    }
}
