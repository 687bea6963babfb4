//! One of the streams of a cogroup, its type of values forgotten.

use std::sync::Arc;

use streams_core::serde::{Data, SharedSerde};

use crate::{
    aggregate::{
        KGroupedStream,
        fold::{Aggregated, SessionAggregated},
        session_windowed::{store::SessionStoreSpec, write_session_aggregate},
        stored::write_aggregate,
        time_windowed::{TimeWindowing, store::WindowStoreSpec, write_window_aggregate},
    },
    graph::{Graph, GraphNode, Place, Write},
    stream::repartition::{optimizable_node, topic_prefix},
    table::materialize::StoreSpec,
    window::{EmitStrategy, SessionWindows},
};

/// What every key begins with.
pub(super) type Initializer<A> = Arc<dyn Fn() -> A + Send + Sync>;
/// What two sessions come to.
pub(super) type Merger<K, A> = Arc<dyn Fn(&K, A, A) -> A + Send + Sync>;

/// One of the streams of a cogroup.
pub(super) trait CogroupInput<K, A>: Send + Sync {
    /// Tells one grouped stream from another.
    fn identity(&self) -> usize;

    fn place(&self) -> &Place;

    fn key_serde(&self) -> Option<SharedSerde<K>>;

    /// The repartition step that the stream needs, if any. Advances the counter each time.
    fn repartition(&self, graph: &mut Graph, store: &str, store_is_named: bool) -> Option<GraphNode>;

    fn write(&self, spec: Arc<StoreSpec<K, A>>, initializer: Initializer<A>) -> Write;

    fn write_windowed(
        &self,
        spec: Arc<WindowStoreSpec<K, A>>,
        windows: TimeWindowing,
        initializer: Initializer<A>,
    ) -> Write;

    fn write_sessions(
        &self,
        spec: Arc<SessionStoreSpec<K, A>>,
        windows: SessionWindows,
        initializer: Initializer<A>,
        merger: Merger<K, A>,
    ) -> Write;
}

/// A grouped stream, and the function that puts its values into the aggregate.
pub(super) struct Input<K, V, F> {
    grouped: KGroupedStream<K, V>,
    aggregator: Arc<F>,
}

impl<K, V, F> Input<K, V, F> {
    pub(super) fn new(grouped: KGroupedStream<K, V>, aggregator: F) -> Self {
        Input { grouped, aggregator: Arc::new(aggregator) }
    }
}

impl<K, V, A, F> CogroupInput<K, A> for Input<K, V, F>
where
    K: Data,
    V: Data,
    A: Data,
    F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
{
    fn identity(&self) -> usize {
        Arc::as_ptr(&self.grouped.repartition).cast::<()>() as usize
    }

    fn place(&self) -> &Place {
        &self.grouped.place
    }

    fn key_serde(&self) -> Option<SharedSerde<K>> {
        self.grouped.serdes.key.clone()
    }

    fn repartition(&self, graph: &mut Graph, store: &str, store_is_named: bool) -> Option<GraphNode> {
        if !self.grouped.repartition_required {
            return None;
        }
        let (prefix, is_named) = topic_prefix(&self.grouped.name, store);
        Some(optimizable_node(graph, self.grouped.serdes.clone(), prefix, is_named || store_is_named))
    }

    fn write(&self, spec: Arc<StoreSpec<K, A>>, initializer: Initializer<A>) -> Write {
        let aggregator = Arc::clone(&self.aggregator);
        let fold = Aggregated {
            initializer: move || initializer(),
            aggregator: move |key: &K, value: &V, so_far: A| aggregator(key, value, so_far),
        };
        write_aggregate::<K, V, A, _>(spec, Arc::new(fold))
    }

    fn write_windowed(
        &self,
        spec: Arc<WindowStoreSpec<K, A>>,
        windows: TimeWindowing,
        initializer: Initializer<A>,
    ) -> Write {
        let aggregator = Arc::clone(&self.aggregator);
        let fold = Aggregated {
            initializer: move || initializer(),
            aggregator: move |key: &K, value: &V, so_far: A| aggregator(key, value, so_far),
        };
        write_window_aggregate::<K, V, A, _>(spec, windows, EmitStrategy::OnWindowUpdate, Arc::new(fold))
    }

    fn write_sessions(
        &self,
        spec: Arc<SessionStoreSpec<K, A>>,
        windows: SessionWindows,
        initializer: Initializer<A>,
        merger: Merger<K, A>,
    ) -> Write {
        let aggregator = Arc::clone(&self.aggregator);
        let fold = SessionAggregated::new(
            move || initializer(),
            move |key: &K, value: &V, so_far: A| aggregator(key, value, so_far),
            move |key: &K, one: A, other: A| merger(key, one, other),
        );
        write_session_aggregate::<K, V, A, _>(spec, windows, EmitStrategy::OnWindowUpdate, Arc::new(fold))
    }
}
