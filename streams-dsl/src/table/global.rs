//! [`GlobalKTable`]: a table that every instance holds completely.

use std::sync::Arc;

use log_store::Headers;
use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
    topology::Topology,
};

use super::{
    View,
    materialize::{StoreSpec, TableStore},
    not_null,
    source::{nullable_source, source_names},
};
use crate::{
    graph::{Graph, GraphNode, SharedGraph, Step, lower::Wiring},
    options::{Consumed, Materialized},
};

/// A table of which every instance of the application holds all partitions. Streams join it on any key, without being
/// repartitioned; see [`KStream::join_global`](crate::KStream::join_global).
///
/// It is filled before any record is processed, and kept up to date on its own: its updates wait for nobody.
pub struct GlobalKTable<K, V> {
    view: View<K, V>,
    queryable_store_name: Option<String>,
}

impl<K, V> Clone for GlobalKTable<K, V> {
    fn clone(&self) -> Self {
        GlobalKTable { view: self.view.clone(), queryable_store_name: self.queryable_store_name.clone() }
    }
}

impl<K: Data, V: Data> GlobalKTable<K, V> {
    /// The name under which the table can be queried.
    #[must_use]
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable_store_name.as_deref()
    }

    pub(crate) fn view(&self) -> &View<K, V> {
        &self.view
    }

    pub(crate) fn of_topic(
        graph: &SharedGraph,
        topic: String,
        consumed: Consumed<K, V>,
        mut materialized: Materialized<K, V>,
    ) -> Self {
        materialized.key_serde = consumed.key_serde.clone().or(materialized.key_serde);
        materialized.value_serde = consumed.value_serde.clone().or(materialized.value_serde);
        // The topic itself is what the store is restored from.
        materialized.logging = None;
        let consumed = Consumed {
            key_serde: materialized.key_serde.clone(),
            value_serde: materialized.value_serde.clone(),
            ..consumed
        };
        let mut graph = graph.lock();
        if materialized.versioned.is_some() {
            graph.refuse(format!("the global table of {topic} cannot be versioned"));
        }
        if materialized.is_given() && materialized.store_name.is_none() {
            graph.refuse(format!("the store of the global table of {topic} needs a name, or no settings at all"));
        }
        let store = materialized.store_name(&mut graph, &format!("{topic}-"));
        let (source, name) = source_names(&mut graph, consumed.name.clone());
        let spec = StoreSpec::new(store.clone(), materialized);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let name: Arc<str> = spec.name.as_str().into();
            topology.add_global_store(
                spec.build(wiring, None),
                nullable_source(&source, &topic, &consumed),
                wiring.name(),
                move || GlobalUpdate { name: Arc::clone(&name), store: None },
            );
        });
        graph.add(GraphNode::new(name, Step::TableSource, write), &[Graph::ROOT]);
        // Global stores need not be connected to their readers.
        let view = View { stores: Vec::new(), ..View::of_store(&store, None) };
        GlobalKTable { view, queryable_store_name: Some(store) }
    }
}

/// Keeps a global store up to date.
struct GlobalUpdate<K, V> {
    name: Arc<str>,
    store: Option<TableStore<K, V>>,
}

impl<K: Data, V: Data> Processor<K, Option<V>, (), ()> for GlobalUpdate<K, V> {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        self.store = Some(TableStore::find(ctx, &self.name)?);
        Ok(())
    }

    fn process(&mut self, record: Record<K, Option<V>>, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        if record.key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        let store = self.store.expect("found when the processor was initialised");
        let Record { key, value, timestamp, .. } = record;
        // As every table read from a topic, it keeps no headers.
        store.put(ctx, &key, value.and_then(not_null), timestamp, &Headers::new())?;
        Ok(())
    }
}
