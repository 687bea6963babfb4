//! [`SessionWindowedKStream`]: groups of records within sessions.

mod processor;
pub(super) mod store;

use std::sync::Arc;

use processor::SessionAggregate;
use store::SessionStoreSpec;
use streams_core::{
    Change,
    serde::{Data, Windowed},
    topology::Topology,
};

use super::{
    AGGREGATE, KGroupedStream, REDUCE,
    fold::{Counted, Fold, Reduced, SessionAggregated, SessionFold},
    stored::burn_store_name,
};
use crate::{
    graph::{GraphNode, Step, TableKind, Write, lower::Wiring},
    options::Materialized,
    table::KTable,
    window::{EmitStrategy, SessionWindows, millis},
};

/// A grouped stream, cut into sessions. See [`KGroupedStream::windowed_by`].
#[derive(Clone)]
pub struct SessionWindowedKStream<K, V> {
    grouped: KGroupedStream<K, V>,
    windows: SessionWindows,
    emit: EmitStrategy,
}

impl<K: Data, V: Data> SessionWindowedKStream<K, V> {
    pub(super) fn new(grouped: KGroupedStream<K, V>, windows: SessionWindows) -> Self {
        SessionWindowedKStream { grouped, windows, emit: EmitStrategy::OnWindowUpdate }
    }

    /// When results are passed on. Default: at each update.
    #[must_use]
    pub fn emit_strategy(mut self, emit: EmitStrategy) -> Self {
        self.emit = emit;
        self
    }

    /// The number of records of each key in each session.
    ///
    /// Records with a null key are dropped; null values are counted. When a session grows or two become one, the sessions
    /// before are deleted.
    #[must_use]
    pub fn count(&self) -> KTable<Windowed<K>, i64> {
        self.windowed(AGGREGATE, Materialized::absent(), Counted)
    }

    /// As [`SessionWindowedKStream::count`], with a name or a store.
    #[must_use]
    pub fn count_with(&self, options: impl Into<Materialized<K, i64>>) -> KTable<Windowed<K>, i64> {
        let materialized = options.into();
        burn_store_name(&mut self.grouped.place.graph.lock(), &materialized);
        self.windowed(AGGREGATE, materialized, Counted)
    }

    /// Combines the values of each key in each session: the first as it is, then `reducer(so_far, value)`, also where two
    /// sessions become one.
    ///
    /// Records with a null key are dropped; null values reach the reducer. A null result deletes the session.
    pub fn reduce<F>(&self, reducer: F) -> KTable<Windowed<K>, V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.reduce_with(reducer, Materialized::absent())
    }

    /// As [`SessionWindowedKStream::reduce`], with a name or a store.
    pub fn reduce_with<F>(&self, reducer: F, options: impl Into<Materialized<K, V>>) -> KTable<Windowed<K>, V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let materialized: Materialized<K, V> = options.into().or_serdes(None, self.grouped.serdes.value.as_ref());
        self.windowed(REDUCE, materialized, Reduced(reducer))
    }

    /// Folds the values of each key in each session: `initializer()` to begin with,
    /// `aggregator(&key, &value, so_far)` for each value, `merger(&key, one, other)` where sessions become one.
    ///
    /// Records with a null key are dropped; null values reach the aggregator. A null result deletes the session.
    pub fn aggregate<A: Data, I, F, M>(&self, initializer: I, aggregator: F, merger: M) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
        M: Fn(&K, A, A) -> A + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, aggregator, merger, Materialized::absent())
    }

    /// As [`SessionWindowedKStream::aggregate`], with a name or a store.
    pub fn aggregate_with<A: Data, I, F, M>(
        &self,
        initializer: I,
        aggregator: F,
        merger: M,
        options: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
        M: Fn(&K, A, A) -> A + Send + Sync + 'static,
    {
        self.windowed(AGGREGATE, options.into(), SessionAggregated::new(initializer, aggregator, merger))
    }

    fn windowed<A: Data>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        fold: impl Fold<K, V, A> + SessionFold<K, A>,
    ) -> KTable<Windowed<K>, A> {
        let materialized = materialized.or_serdes(self.grouped.serdes.key.as_ref(), None);
        let mut graph = self.grouped.place.graph.lock();
        let is_named = materialized.store_name.is_some();
        let store = materialized.store_name(&mut graph, prefix);
        let name = materialized.processor.or_generate(&mut graph, prefix);
        let spec = SessionStoreSpec::new(&mut graph, store.clone(), materialized, self.windows, self.emit);
        drop(graph);
        let parent = self.grouped.partitioned_by_key(&store, is_named);
        let write = write_session_aggregate(Arc::clone(&spec), self.windows, self.emit, Arc::new(fold));
        let mut node =
            GraphNode::new(name.clone(), Step::Other, write).table(TableKind::Aggregate).versioned(Some(false));
        node.grace_ms = Some(self.windows.grace_ms.saturating_add(self.windows.gap_ms));
        let id = self.grouped.place.graph.lock().add(node, &[parent.node]);
        let (key_serde, value_serde) = spec.table_serdes();
        KTable::new(parent.next(id, &name), Some(key_serde), value_serde, is_named.then_some(store), spec.view())
    }
}

/// Writes the processor of an aggregation in sessions, and its store.
pub(super) fn write_session_aggregate<K, V, A, F>(
    spec: Arc<SessionStoreSpec<K, A>>,
    windows: SessionWindows,
    emit: EmitStrategy,
    fold: Arc<F>,
) -> Write
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A> + SessionFold<K, A>,
{
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let store = spec.build(wiring);
        let (fold, name) = (Arc::clone(&fold), spec.name.clone());
        let settings = super::time_windowed::store::Settings {
            sends_old_values: wiring.sends_old_values(),
            emit,
            emit_interval_ms: millis(wiring.config.emit_interval),
        };
        topology
            .add_processor::<_, K, V, Windowed<K>, Change<A>>(wiring.name(), wiring.parents(), move || {
                SessionAggregate::new(&name, windows, settings, Arc::clone(&fold))
            })
            .add_state_store(store, &[wiring.name()]);
    })
}
