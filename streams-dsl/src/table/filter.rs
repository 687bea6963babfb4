//! `filter`, `filter_not` on tables: a table of the values that pass.

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
};
use crate::{
    graph::{GraphNode, Step, TableKind, demand::Demand, lower::Wiring},
    options::Materialized,
};

const FILTER: &str = "KTABLE-FILTER-";

impl<K: Data, V: Data> KTable<K, V> {
    /// The table of the values for which `predicate(&key, &value)` is true.
    ///
    /// A value that does not pass deletes its key. The predicate is not asked about deletions; where old values are at
    /// hand, a deletion of what was not there is not passed on.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let balances = builder.table::<String, i64>("balances");
    /// let overdrawn = balances.filter(|_account, cents| *cents < 0);
    /// overdrawn.to_stream().to("overdrawn-accounts");
    /// ```
    pub fn filter<F>(&self, predicate: F) -> KTable<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(Materialized::absent(), true, predicate)
    }

    /// As [`KTable::filter`], with a name, or with a store for the result.
    pub fn filter_with<F>(&self, predicate: F, options: impl Into<Materialized<K, V>>) -> KTable<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(options.into(), true, predicate)
    }

    /// The table of the values for which `predicate(&key, &value)` is false.
    pub fn filter_not<F>(&self, predicate: F) -> KTable<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(Materialized::absent(), false, predicate)
    }

    /// As [`KTable::filter_not`], with a name, or with a store for the result.
    pub fn filter_not_with<F>(&self, predicate: F, options: impl Into<Materialized<K, V>>) -> KTable<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(options.into(), false, predicate)
    }

    fn filter_node<F>(&self, materialized: Materialized<K, V>, keep: bool, predicate: F) -> KTable<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        let materialized = materialized.or_serdes(self.key_serde.as_ref(), self.value_serde.as_ref());
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let predicate = Arc::new(predicate);
        let parent = self.node();
        let history = materialized.history();
        let mut graph = self.place.graph.lock();
        let (store, name, output_versioned) = materialized.of_derived(&mut graph, FILTER);
        let spec = store.clone().map(|name| StoreSpec::new(name, materialized));
        let view = match &store {
            Some(store) => View::of_store(store, history),
            None => {
                let predicate = Arc::clone(&predicate);
                View::computed(self.view(), move |_, key, row: Option<ValueAndTimestamp<V>>| {
                    row.filter(|row| predicate(key, &row.value) == keep)
                })
            }
        };
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let sends_old_values = wiring.sends_old_values();
            let versioned = wiring.is_versioned(parent);
            let (predicate, store) = (Arc::clone(&predicate), spec.as_ref().map(|spec| spec.name.clone()));
            topology.add_processor(wiring.name(), wiring.parents(), move || TableFilter {
                predicate: Arc::clone(&predicate),
                keep,
                sends_old_values,
                versioned,
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
        graph.demands.push(Demand::FilterOldValues { filter: id, parent });
        drop(graph);
        KTable::new(self.place.next(id, &name), key_serde, value_serde, store, view)
    }
}

struct TableFilter<K, V, F> {
    predicate: Arc<F>,
    /// The answer that lets a value pass.
    keep: bool,
    sends_old_values: bool,
    /// Below a versioned table every deletion is passed on.
    versioned: bool,
    kept: Option<Kept<K, V>>,
}

impl<K, V, F> TableFilter<K, V, F>
where
    F: Fn(&K, &V) -> bool,
{
    #[inline]
    fn pass(&self, key: &K, value: Option<V>) -> Option<V> {
        value.filter(|value| (self.predicate)(key, value) == self.keep)
    }
}

impl<K, V, F> Processor<K, Change<V>, K, Change<V>> for TableFilter<K, V, F>
where
    K: Data,
    V: Data,
    F: Fn(&K, &V) -> bool + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.kept.as_mut().map_or(Ok(()), |kept| kept.init(ctx))
    }

    fn process(&mut self, record: Record<K, Change<V>>, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        let new = self.pass(&key, change.new);
        let old = match &self.kept {
            _ if !self.sends_old_values => None,
            Some(kept) => kept.store().get(ctx, &key)?.map(|row| row.value),
            None => self.pass(&key, change.old),
        };
        if self.sends_old_values && !self.versioned && old.is_none() && new.is_none() {
            return Ok(());
        }
        let value = Change { new, old, is_latest: change.is_latest };
        let record = Record { key, value, timestamp, headers };
        match &self.kept {
            Some(kept) => kept.put(ctx, record),
            None => ctx.forward(record),
        }
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        self.kept.as_ref().map_or(Ok(()), |kept| kept.flush(ctx))
    }
}
