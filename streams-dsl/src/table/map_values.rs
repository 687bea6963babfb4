//! `map_values` on tables: a table of new values.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
    state::ValueAndTimestamp,
    topology::Topology,
};

use super::{
    KTable, View,
    materialize::{Kept, StoreSpec},
    not_null,
};
use crate::{
    graph::{GraphNode, Step, TableKind, lower::Wiring},
    options::Materialized,
};

const MAP_VALUES: &str = "KTABLE-MAPVALUES-";

impl<K: Data, V: Data> KTable<K, V> {
    /// The table of `mapper(&key, value)`. The mapper is not asked about deletions.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let balances = builder.table::<String, i64>("balances");
    /// let euros = balances.map_values(|_account, cents| cents as f64 / 100.0);
    /// euros.to_stream().to("balances-in-euros");
    /// ```
    pub fn map_values<W: Data, F>(&self, mapper: F) -> KTable<K, W>
    where
        F: Fn(&K, V) -> W + Send + Sync + 'static,
    {
        self.map_values_node(Materialized::absent(), mapper)
    }

    /// As [`KTable::map_values`], with a name, or with a store for the result.
    pub fn map_values_with<W: Data, F>(&self, mapper: F, options: impl Into<Materialized<K, W>>) -> KTable<K, W>
    where
        F: Fn(&K, V) -> W + Send + Sync + 'static,
    {
        self.map_values_node(options.into(), mapper)
    }

    fn map_values_node<W: Data, F>(&self, materialized: Materialized<K, W>, mapper: F) -> KTable<K, W>
    where
        F: Fn(&K, V) -> W + Send + Sync + 'static,
    {
        let materialized = materialized.or_serdes(self.key_serde.as_ref(), None);
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let mapper = Arc::new(mapper);
        let parent = self.node();
        let history = materialized.history();
        let mut graph = self.place.graph.lock();
        let (store, name, output_versioned) = materialized.of_derived(&mut graph, MAP_VALUES);
        let spec = store.clone().map(|name| StoreSpec::new(name, materialized));
        let view = match &store {
            Some(store) => View::of_store(store, history),
            None => {
                let mapper = Arc::clone(&mapper);
                View::computed(self.view(), move |_, key, row: Option<ValueAndTimestamp<V>>| {
                    let ValueAndTimestamp { value, timestamp, headers } = row?;
                    not_null(mapper(key, value)).map(|value| ValueAndTimestamp { value, timestamp, headers })
                })
            }
        };
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let sends_old_values = wiring.sends_old_values();
            let (mapper, store) = (Arc::clone(&mapper), spec.as_ref().map(|spec| spec.name.clone()));
            topology.add_processor(wiring.name(), wiring.parents(), move || TableMapValues {
                mapper: Arc::clone(&mapper),
                sends_old_values,
                kept: store.as_deref().map(|name| Kept::new(name, sends_old_values)),
            });
            if let Some(spec) = &spec {
                topology.add_state_store(spec.build(wiring, None), &[wiring.name()]);
            }
        });
        let node = GraphNode::new(name.clone(), Step::Other, write)
            .table(TableKind::Derived { parent, is_stored: store.is_some() })
            .versioned(output_versioned);
        let id = graph.add(node, &[parent]);
        drop(graph);
        KTable::new(self.place.next(id, &name), key_serde, value_serde, store, view)
    }
}

struct TableMapValues<K, W, F> {
    mapper: Arc<F>,
    sends_old_values: bool,
    kept: Option<Kept<K, W>>,
}

impl<K, V, W, F> Processor<K, Change<V>, K, Change<W>> for TableMapValues<K, W, F>
where
    K: Data,
    V: Data,
    W: Data,
    F: Fn(&K, V) -> W + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.init(ctx))
    }

    fn process(&mut self, record: Record<K, Change<V>>, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        let map = |value: Option<V>| value.and_then(|value| not_null((self.mapper)(&key, value)));
        let new = map(change.new);
        let old = match &self.kept {
            _ if !self.sends_old_values => None,
            Some(kept) => kept.store().get(ctx, &key)?.map(|row| row.value),
            None => map(change.old),
        };
        let value = Change { new, old, is_latest: change.is_latest };
        let record = Record { key, value, timestamp, headers };
        match &self.kept {
            Some(kept) => kept.put(ctx, record),
            None => ctx.forward(record),
        }
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.flush(ctx))
    }
}
