//! `transform_values`: a table of values that need more than the old value: stores, time, headers.

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
    value_getter::{Lookup, ValueGetter},
};
use crate::{
    graph::{GraphNode, Step, TableKind, lower::Wiring},
    options::TransformedValues,
};

const TRANSFORM_VALUES: &str = "KTABLE-TRANSFORMVALUES-";

/// The task as a [`ValueTransformer`] sees it: stores and time, but nobody to forward to.
pub type TransformerContext<'a> = Lookup<'a>;

/// Computes the values of a table, with stores of its own.
pub trait ValueTransformer<K, V, W>: Send {
    /// Called once before the first value: look up stores.
    ///
    /// # Errors
    ///
    /// Any error stops the task.
    fn init(&mut self, _ctx: &mut TransformerContext<'_>) -> ProcessResult {
        Ok(())
    }

    /// The new value for `value`; `None` is a deletion, also as the answer. Must depend on nothing but its arguments and
    /// stores: it is called again when the table is looked up.
    ///
    /// # Errors
    ///
    /// Any error goes to the processing exception handler.
    fn transform(&mut self, key: &K, value: Option<V>, ctx: &mut TransformerContext<'_>) -> ProcessResult<Option<W>>;
}

impl<K: Data, V: Data> KTable<K, V> {
    /// The table of what a transformer makes of each update. `supplier` makes the transformer of each task.
    ///
    /// Unlike [`KTable::map_values`] the transformer sees deletions and may use stores. If the result is in no store, the
    /// transformer is asked again when a value is looked up.
    pub fn transform_values<W: Data, T>(&self, supplier: impl Fn() -> T + Send + Sync + 'static) -> KTable<K, W>
    where
        T: ValueTransformer<K, V, W> + 'static,
    {
        self.transform_values_with(supplier, TransformedValues::new())
    }

    /// As [`KTable::transform_values`], with a name, a store for the result, or stores for the transformer.
    pub fn transform_values_with<W: Data, T>(
        &self,
        supplier: impl Fn() -> T + Send + Sync + 'static,
        options: impl Into<TransformedValues<K, W>>,
    ) -> KTable<K, W>
    where
        T: ValueTransformer<K, V, W> + 'static,
    {
        let options = options.into();
        let materialized = options.materialized.or_serdes(self.key_serde.as_ref(), None);
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let stores = options.stores;
        let supplier = Arc::new(supplier);
        let parent = self.node();
        let history = materialized.history();
        let mut graph = self.place.graph.lock();
        let output_versioned = materialized.output_versioned();
        let store = materialized.store_name.clone();
        if let Some(name) = &store {
            graph.check_name(name);
        }
        let name = materialized.processor.or_generate(&mut graph, TRANSFORM_VALUES);
        let spec = store.clone().map(|name| StoreSpec::new(name, materialized));
        let view = match &store {
            Some(store) => View::of_store(store, history),
            None => {
                let (supplier, parent) = (Arc::clone(&supplier), Arc::clone(&self.view().getter));
                View {
                    getter: Arc::new(move || Box::new(Transformed { transformer: supplier(), parent: parent() })),
                    stores: self.view().stores.clone(),
                    history: self.view().history,
                }
            }
        };
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let sends_old_values = wiring.sends_old_values();
            let (supplier, store) = (Arc::clone(&supplier), spec.as_ref().map(|spec| spec.name.clone()));
            topology.add_processor::<_, K, Change<V>, K, Change<W>>(wiring.name(), wiring.parents(), move || {
                TransformValues {
                    transformer: supplier(),
                    sends_old_values,
                    kept: store.as_deref().map(|name| Kept::new(name, sends_old_values)),
                }
            });
            if let Some(spec) = &spec {
                topology.add_state_store(spec.build(wiring, None), &[wiring.name()]);
            }
            let stores: Vec<&str> = stores.iter().map(String::as_str).collect();
            topology.connect_processor_and_state_stores(wiring.name(), &stores);
        });
        let node = GraphNode::new(name.clone(), Step::Other, write)
            .table(TableKind::Derived { parent, is_stored: store.is_some() })
            .versioned(output_versioned);
        let id = graph.add(node, &[parent]);
        drop(graph);
        KTable::new(self.place.next(id, &name), key_serde, value_serde, store, view)
    }
}

struct TransformValues<K, W, T> {
    transformer: T,
    sends_old_values: bool,
    kept: Option<Kept<K, W>>,
}

impl<K, V, W, T> Processor<K, Change<V>, K, Change<W>> for TransformValues<K, W, T>
where
    K: Data,
    V: Data,
    W: Data,
    T: ValueTransformer<K, V, W>,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        self.transformer.init(&mut ctx.lookup())?;
        self.kept.as_mut().map_or(Ok(()), |kept| kept.init(ctx))
    }

    fn process(&mut self, record: Record<K, Change<V>>, ctx: &mut ProcessorContext<'_, K, Change<W>>) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        let new = self.transformer.transform(&key, change.new, &mut ctx.lookup())?.and_then(not_null);
        let old = match &self.kept {
            _ if !self.sends_old_values => None,
            Some(kept) => kept.store().get(ctx, &key)?.map(|row| row.value),
            None => self.transformer.transform(&key, change.old, &mut ctx.lookup())?.and_then(not_null),
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

/// Time of a value that comes from nowhere.
const UNKNOWN: i64 = -1;

/// Values of a transformed table that is in no store.
struct Transformed<K, V, T> {
    transformer: T,
    parent: Box<dyn ValueGetter<K, V>>,
}

impl<K: Data, V: Data, T> Transformed<K, V, T> {
    fn transform<W: Data>(
        &mut self,
        ctx: &mut Lookup<'_>,
        key: &K,
        row: Option<ValueAndTimestamp<V>>,
    ) -> ProcessResult<Option<ValueAndTimestamp<W>>>
    where
        T: ValueTransformer<K, V, W>,
    {
        let (value, timestamp, headers) = match row {
            Some(row) => (Some(row.value), row.timestamp, row.headers),
            None => (None, UNKNOWN, ctx.headers()),
        };
        let value = self.transformer.transform(key, value, ctx)?.and_then(not_null);
        Ok(value.map(|value| ValueAndTimestamp { value, timestamp, headers }))
    }
}

impl<K: Data, V: Data, W: Data, T> ValueGetter<K, W> for Transformed<K, V, T>
where
    T: ValueTransformer<K, V, W>,
{
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.parent.init(ctx)?;
        self.transformer.init(ctx)
    }

    fn get(&mut self, ctx: &mut Lookup<'_>, key: &K) -> ProcessResult<Option<ValueAndTimestamp<W>>> {
        let row = self.parent.get(ctx, key)?;
        self.transform(ctx, key, row)
    }

    fn get_as_of(
        &mut self,
        ctx: &mut Lookup<'_>,
        key: &K,
        timestamp: i64,
    ) -> ProcessResult<Option<ValueAndTimestamp<W>>> {
        let row = self.parent.get_as_of(ctx, key, timestamp)?;
        self.transform(ctx, key, row)
    }

    fn is_versioned(&self) -> bool {
        self.parent.is_versioned()
    }
}
