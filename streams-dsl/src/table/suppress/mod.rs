//! `suppress`: fewer updates of a table, or only the last one of each window.

mod buffer;
mod processor;
mod row;
mod view;

use std::sync::Arc;

use buffer::BufferSpec;
use processor::{Limits, SuppressUpdates};
use streams_core::{
    Change,
    serde::{Data, Windowed},
    topology::Topology,
};
use view::suppressed_view;

use super::{KTable, materialize::serde_or_default};
use crate::{
    graph::{Generated, Graph, GraphNode, NodeId, Step, TableKind, lower::Wiring, naming::Given},
    options::{BufferFull, Suppressed, Until},
    window::millis,
};

const SUPPRESS: &str = "KTABLE-SUPPRESS-";

/// The time at which the wait of an update begins, instead of that of its record.
pub(super) type BufferTime<K> = fn(&K) -> i64;

impl<K: Data, V: Data> KTable<K, V> {
    /// The same table with fewer updates: those of a key are held back for a time, and only the last one is passed on.
    ///
    /// What is held back lies in memory and in a changelog topic. Not for versioned tables. For the final results of
    /// windows see [`KTable::suppress_until_window_closes`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let counts = builder.stream::<String, String>("clicks").group_by_key().count();
    /// let seldom = counts.suppress(Suppressed::until_time_limit(
    ///     Duration::from_secs(60),
    ///     BufferConfig::max_records(100_000),
    /// ));
    /// seldom.to_stream().to("clicks-by-the-minute");
    /// ```
    #[must_use]
    pub fn suppress(&self, suppressed: Suppressed) -> KTable<K, V> {
        if suppressed.until == Until::WindowCloses {
            let mut graph = self.place.graph.lock();
            let name = self.place.name.to_string();
            graph.refuse(format!("{name}: only a table of windows can be suppressed until its windows close"));
        }
        self.suppress_node(suppressed, None)
    }

    fn suppress_node(&self, suppressed: Suppressed, window_end: Option<BufferTime<K>>) -> KTable<K, V> {
        let mut graph = self.place.graph.lock();
        let name = match &suppressed.name {
            Some(name) => {
                graph.check_name(name);
                name.clone()
            }
            None => graph.new_name(SUPPRESS),
        };
        let store = match Given(suppressed.name.clone()) {
            Given(Some(name)) => format!("{name}-store"),
            Given(None) => {
                let store = graph.new_store_name(SUPPRESS);
                if suppressed.buffer.logging.is_some() {
                    graph.generated.push(Generated::Changelog(format!("{store}-changelog")));
                }
                store
            }
        };
        let wait_ms = match suppressed.until {
            Until::TimeLimit(wait) => millis(wait),
            Until::WindowCloses => window_grace(&graph, self.node()).unwrap_or_else(|| {
                graph.refuse(format!("{name}: no windows are made above it, so none can close"));
                0
            }),
        };
        if suppressed.until == Until::WindowCloses && suppressed.buffer.full == BufferFull::Emit {
            graph.refuse(format!("{name}: final results must not be passed on early; let a full buffer shut down"));
        }
        drop(graph);
        self.demand_old_values();
        let spec = BufferSpec::new(
            store,
            serde_or_default(self.key_serde.as_ref()),
            serde_or_default(self.value_serde.as_ref()),
            &suppressed.buffer,
        );
        let limits = Limits {
            wait_ms,
            records_max: suppressed.buffer.records_max,
            bytes_max: suppressed.buffer.bytes_max,
            full: suppressed.buffer.full,
        };
        let view = suppressed_view(self.view(), &spec);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let (store, name) = (spec.build(wiring), Arc::<str>::from(spec.name()));
            let node: Arc<str> = wiring.name().into();
            topology
                .add_processor::<_, K, Change<V>, K, Change<V>>(wiring.name(), wiring.parents(), move || {
                    SuppressUpdates::new(&node, &name, limits, window_end)
                })
                .add_state_store(store, &[wiring.name()]);
        });
        let node = GraphNode::new(name.clone(), Step::Suppress, write)
            .table(TableKind::Suppress { parent: self.node() })
            .versioned(Some(false));
        let id = self.place.graph.lock().add(node, &[self.node()]);
        let sources = std::collections::BTreeSet::from([self.place.name.to_string()]);
        let place = self.place.next(id, &name).fed_by(sources);
        KTable::new(place, self.key_serde.clone(), self.value_serde.clone(), None, view)
    }
}

impl<K: Data, V: Data> KTable<Windowed<K>, V> {
    /// One result for each window: its last value, once stream time has passed its end by the grace period. Deletions are
    /// not passed on.
    ///
    /// The buffer must not let results go early: [`BufferConfig::unbounded`](crate::BufferConfig::unbounded), or one that
    /// shuts down when full.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let minute = TimeWindows::of_size_and_grace(Duration::from_secs(60), Duration::from_secs(10));
    /// let counts = builder.stream::<String, String>("clicks").group_by_key().windowed_by(minute).count();
    /// let finals =
    ///     counts.suppress_until_window_closes(Suppressed::until_window_closes(BufferConfig::unbounded()));
    /// finals.to_stream().to("clicks-per-minute");
    /// ```
    #[must_use]
    pub fn suppress_until_window_closes(&self, suppressed: Suppressed) -> KTable<Windowed<K>, V> {
        let suppressed = Suppressed { until: Until::WindowCloses, ..suppressed };
        self.suppress_node(suppressed, Some(|key| key.window.end))
    }
}

/// How long after their end the windows above `node` still change: the longest of all that are merged there.
fn window_grace(graph: &Graph, node: NodeId) -> Option<i64> {
    if let Some(grace) = graph[node].grace_ms {
        return Some(grace);
    }
    let parents = graph[node].parents.iter().map(|parent| window_grace(graph, *parent));
    parents.collect::<Option<Vec<i64>>>()?.into_iter().max()
}
