//! [`TimeWindowedKStream`]: groups of records within windows of time.

mod fixed;
mod sliding;
pub(super) mod store;

use std::sync::Arc;

use fixed::FixedWindowAggregate;
use sliding::SlidingWindowAggregate;
use store::WindowStoreSpec;
use streams_core::{
    Change,
    serde::{Data, SharedSerde, TimeWindowedSerde, Window, Windowed},
    topology::Topology,
};

use super::{
    AGGREGATE, KGroupedStream, REDUCE,
    fold::{Aggregated, Counted, Fold, Reduced},
    stored::burn_store_name,
};
use crate::{
    graph::{Graph, GraphNode, Step, TableKind, Write, lower::Wiring},
    options::Materialized,
    table::{KTable, materialize::serde_or_default},
    window::{EmitStrategy, SlidingWindows, TimeWindows, UnlimitedWindows},
};

/// A grouped stream, cut into windows of time. See [`KGroupedStream::windowed_by`].
#[derive(Clone)]
pub struct TimeWindowedKStream<K, V> {
    grouped: KGroupedStream<K, V>,
    windows: TimeWindowing,
    emit: EmitStrategy,
}

/// Which windows of time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeWindowing {
    Fixed(TimeWindows),
    Unlimited(UnlimitedWindows),
    Sliding(SlidingWindows),
}

impl TimeWindowing {
    /// Length of a window, as its serde and its store have to know it.
    pub(super) fn size_ms(self) -> i64 {
        match self {
            TimeWindowing::Fixed(windows) => windows.size_ms,
            TimeWindowing::Unlimited(_) => i64::MAX,
            TimeWindowing::Sliding(windows) => windows.difference_ms,
        }
    }

    pub(super) fn grace_ms(self) -> i64 {
        match self {
            TimeWindowing::Fixed(windows) => windows.grace_ms,
            TimeWindowing::Unlimited(_) => 0,
            TimeWindowing::Sliding(windows) => windows.grace_ms,
        }
    }

    /// How long windows must be kept.
    pub(super) fn retention_ms(self) -> i64 {
        let span = match self {
            TimeWindowing::Sliding(windows) => windows.difference_ms.saturating_mul(2),
            other => other.size_ms(),
        };
        span.saturating_add(self.grace_ms())
    }

    pub(super) fn check(self, graph: &mut Graph) {
        let checked = match self {
            TimeWindowing::Fixed(windows) => windows.check(),
            TimeWindowing::Unlimited(windows) => windows.check(),
            TimeWindowing::Sliding(_) => Ok(()),
        };
        if let Err(violation) = checked {
            graph.refuse(violation);
        }
    }

    /// Windows of a fixed size, or the one without end, that `timestamp` is in.
    pub(super) fn windows_for(self, timestamp: i64) -> impl Iterator<Item = Window> {
        let (fixed, unlimited) = match self {
            TimeWindowing::Fixed(windows) => (Some(windows.windows_for(timestamp)), None),
            TimeWindowing::Unlimited(windows) => (None, windows.window_for(timestamp)),
            TimeWindowing::Sliding(_) => (None, None),
        };
        fixed.into_iter().flatten().chain(unlimited)
    }
}

impl<K: Data, V: Data> TimeWindowedKStream<K, V> {
    pub(super) fn new(grouped: KGroupedStream<K, V>, windows: TimeWindowing) -> Self {
        windows.check(&mut grouped.place.graph.lock());
        TimeWindowedKStream { grouped, windows, emit: EmitStrategy::OnWindowUpdate }
    }

    /// When results are passed on. Default: at each update.
    #[must_use]
    pub fn emit_strategy(mut self, emit: EmitStrategy) -> Self {
        if emit == EmitStrategy::OnWindowClose && matches!(self.windows, TimeWindowing::Unlimited(_)) {
            let mut graph = self.grouped.place.graph.lock();
            graph.refuse("unlimited windows never close: they cannot emit on window close");
        }
        self.emit = emit;
        self
    }

    /// The number of records of each key in each window.
    ///
    /// Records with a null key are dropped; null values are counted, except in sliding windows.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let payments = builder.stream::<String, i64>("payments");
    /// let per_minute: KTable<Windowed<String>, i64> = payments
    ///     .group_by_key()
    ///     .windowed_by(TimeWindows::of_size_with_no_grace(Duration::from_secs(60)))
    ///     .count();
    /// per_minute.to_stream().to("payments-per-minute");
    /// ```
    #[must_use]
    pub fn count(&self) -> KTable<Windowed<K>, i64> {
        self.windowed(AGGREGATE, Materialized::absent(), Counted)
    }

    /// As [`TimeWindowedKStream::count`], with a name or a store.
    #[must_use]
    pub fn count_with(&self, options: impl Into<Materialized<K, i64>>) -> KTable<Windowed<K>, i64> {
        let materialized = options.into();
        // Sliding windows came to Kafka Streams after it stopped burning names.
        if !matches!(self.windows, TimeWindowing::Sliding(_)) {
            burn_store_name(&mut self.grouped.place.graph.lock(), &materialized);
        }
        self.windowed(AGGREGATE, materialized, Counted)
    }

    /// Combines the values of each key in each window: the first as it is, then `reducer(so_far, value)`.
    ///
    /// Records with a null key are dropped. Null values reach the reducer, except in sliding windows; a null result
    /// deletes the window.
    pub fn reduce<F>(&self, reducer: F) -> KTable<Windowed<K>, V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.reduce_with(reducer, Materialized::absent())
    }

    /// As [`TimeWindowedKStream::reduce`], with a name or a store.
    pub fn reduce_with<F>(&self, reducer: F, options: impl Into<Materialized<K, V>>) -> KTable<Windowed<K>, V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let materialized: Materialized<K, V> = options.into().or_serdes(None, self.grouped.serdes.value.as_ref());
        self.windowed(REDUCE, materialized, Reduced(reducer))
    }

    /// Folds the values of each key in each window: `initializer()` to begin with, then
    /// `aggregator(&key, &value, so_far)`.
    ///
    /// Records with a null key are dropped. Null values reach the aggregator, except in sliding windows; a null result
    /// deletes the window.
    pub fn aggregate<A: Data, I, F>(&self, initializer: I, aggregator: F) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, aggregator, Materialized::absent())
    }

    /// As [`TimeWindowedKStream::aggregate`], with a name or a store.
    pub fn aggregate_with<A: Data, I, F>(
        &self,
        initializer: I,
        aggregator: F,
        options: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K>, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        self.windowed(AGGREGATE, options.into(), Aggregated { initializer, aggregator })
    }

    fn windowed<A: Data>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        fold: impl Fold<K, V, A>,
    ) -> KTable<Windowed<K>, A> {
        let materialized = materialized.or_serdes(self.grouped.serdes.key.as_ref(), None);
        let mut graph = self.grouped.place.graph.lock();
        let is_named = materialized.store_name.is_some();
        let store = materialized.store_name(&mut graph, prefix);
        let name = materialized.processor.or_generate(&mut graph, prefix);
        let spec = WindowStoreSpec::new(&mut graph, store.clone(), materialized, self.windows, self.emit);
        drop(graph);
        let parent = self.grouped.partitioned_by_key(&store, is_named);
        let write = write_window_aggregate(Arc::clone(&spec), self.windows, self.emit, Arc::new(fold));
        let mut node =
            GraphNode::new(name.clone(), Step::Other, write).table(TableKind::Aggregate).versioned(Some(false));
        node.grace_ms = Some(self.windows.grace_ms());
        let id = self.grouped.place.graph.lock().add(node, &[parent.node]);
        let (key_serde, value_serde) = spec.table_serdes();
        KTable::new(parent.next(id, &name), Some(key_serde), value_serde, is_named.then_some(store), spec.view())
    }
}

/// Serde of the keys of a table of windows.
pub(super) fn windowed_serde<K: Data>(
    inner: Option<&SharedSerde<K>>,
    windows: TimeWindowing,
) -> SharedSerde<Windowed<K>> {
    Arc::new(TimeWindowedSerde::new(serde_or_default(inner), windows.size_ms()))
}

/// Writes the processor of a windowed aggregation, and its store.
pub(super) fn write_window_aggregate<K, V, A, F>(
    spec: Arc<WindowStoreSpec<K, A>>,
    windows: TimeWindowing,
    emit: EmitStrategy,
    fold: Arc<F>,
) -> Write
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A>,
{
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let store = spec.build(wiring);
        let (fold, name) = (Arc::clone(&fold), spec.name.clone());
        let settings = store::Settings {
            sends_old_values: wiring.sends_old_values(),
            emit,
            emit_interval_ms: crate::window::millis(wiring.config.emit_interval),
        };
        let (name_of_node, parents) = (wiring.name(), wiring.parents());
        match windows {
            TimeWindowing::Sliding(windows) => {
                topology.add_processor::<_, K, V, Windowed<K>, Change<A>>(name_of_node, parents, move || {
                    SlidingWindowAggregate::new(&name, windows, settings, Arc::clone(&fold))
                })
            }
            windows => topology.add_processor::<_, K, V, Windowed<K>, Change<A>>(name_of_node, parents, move || {
                FixedWindowAggregate::new(&name, windows, settings, Arc::clone(&fold))
            }),
        };
        topology.add_state_store(store, &[name_of_node]);
    })
}
