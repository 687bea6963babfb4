//! `join`, `left_join`, `outer_join`: two streams, within a window of time.

mod matching;
mod outer_store;
mod self_join;
mod stores;
mod time_tracker;
mod window;

use std::sync::Arc;

use matching::{JoinSide, Side, Sides};
use self_join::SelfJoin;
use stores::JoinStores;
use streams_core::{serde::Data, topology::Topology};
use time_tracker::Trackers;
use window::KeepInWindow;

use crate::{
    graph::{GraphNode, Step, lower::Wiring, naming::Given},
    options::StreamJoined,
    stream::{
        Field, KStream,
        merge::{MERGE, PassThrough},
        repartition::Serdes,
    },
    window::{JoinWindows, millis},
};

const WINDOWED: &str = "KSTREAM-WINDOWED-";
const JOIN_THIS: &str = "KSTREAM-JOINTHIS-";
const JOIN_OTHER: &str = "KSTREAM-JOINOTHER-";
const OUTER_THIS: &str = "KSTREAM-OUTERTHIS-";
const OUTER_OTHER: &str = "KSTREAM-OUTEROTHER-";
const OUTER_SHARED: &str = "KSTREAM-OUTERSHARED-";

/// Which records without a match give a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Inner,
    Left,
    Outer,
}

impl<K: Data, V: Data> KStream<K, V> {
    /// Joins records of this stream and of `other` that have the same key and are within `windows` of each other:
    /// `joiner(&key, &value, &other_value)` for each such pair, at the later of both times.
    ///
    /// Records with a null key or value are dropped. Repartitions where the key may have changed; both streams must have
    /// the same number of partitions. Each side is kept in a window store for the length of the window and its grace.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// let shipments = builder.stream::<String, String>("shipments");
    /// let week = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(7 * 86_400));
    /// let shipped = orders.join(&shipments, |_id, order, shipment| format!("{order} by {shipment}"), week);
    /// shipped.to("shipped-orders");
    /// ```
    pub fn join<V2: Data, W: Field, J>(&self, other: &KStream<K, V2>, joiner: J, windows: JoinWindows) -> KStream<K, W>
    where
        J: Fn(&K, &V, &V2) -> W + Send + Sync + 'static,
    {
        self.join_with(other, joiner, windows, StreamJoined::new())
    }

    /// As [`KStream::join`], with names, serdes or settings of the stores.
    pub fn join_with<V2: Data, W: Field, J>(
        &self,
        other: &KStream<K, V2>,
        joiner: J,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, &V2) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, this: Option<&V>, other: Option<&V2>| {
            let both = this.zip(other).expect("an inner join has both values");
            joiner(key, both.0, both.1)
        };
        self.stream_node(other, joiner, windows, joined, Kind::Inner)
    }

    /// As [`KStream::join`], and a result with nothing on the right for each record of this stream that finds no match:
    /// once none can come any more, that is when stream time has passed its window and the grace period.
    ///
    /// A record of this stream with a null key has no match, and gives its result at once. Records with a null value are
    /// dropped.
    pub fn left_join<V2: Data, W: Field, J>(
        &self,
        other: &KStream<K, V2>,
        joiner: J,
        windows: JoinWindows,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, Option<&V2>) -> W + Send + Sync + 'static,
    {
        self.left_join_with(other, joiner, windows, StreamJoined::new())
    }

    /// As [`KStream::left_join`], with names, serdes or settings of the stores.
    pub fn left_join_with<V2: Data, W: Field, J>(
        &self,
        other: &KStream<K, V2>,
        joiner: J,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, Option<&V2>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, this: Option<&V>, other: Option<&V2>| {
            joiner(key, this.expect("a left join has a left value"), other)
        };
        self.stream_node(other, joiner, windows, joined, Kind::Left)
    }

    /// As [`KStream::left_join`], for both sides: also records of `other` that find no match give a result, with nothing
    /// on the left.
    pub fn outer_join<V2: Data, W: Field, J>(
        &self,
        other: &KStream<K, V2>,
        joiner: J,
        windows: JoinWindows,
    ) -> KStream<K, W>
    where
        J: Fn(&K, Option<&V>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        self.outer_join_with(other, joiner, windows, StreamJoined::new())
    }

    /// As [`KStream::outer_join`], with names, serdes or settings of the stores.
    pub fn outer_join_with<V2: Data, W: Field, J>(
        &self,
        other: &KStream<K, V2>,
        joiner: J,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, W>
    where
        J: Fn(&K, Option<&V>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        self.stream_node(other, joiner, windows, joined, Kind::Outer)
    }

    fn stream_node<V2: Data, W: Field, J>(
        &self,
        other: &KStream<K, V2>,
        joiner: J,
        windows: JoinWindows,
        joined: StreamJoined<K, V, V2>,
        kind: Kind,
    ) -> KStream<K, W>
    where
        J: Fn(&K, Option<&V>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        let name = Given(joined.name.clone());
        let is_named = name.0.is_some();
        let this_serdes = Serdes { key: joined.key_serde.clone(), value: joined.value_serde.clone() };
        let other_serdes = Serdes { key: joined.key_serde.clone(), value: joined.other_value_serde.clone() };
        let this = if self.repartition_required {
            let prefix = name.suffixed_or("-left", &self.place.name);
            self.repartition_for_join(&prefix, is_named, this_serdes.clone())
        } else {
            self.clone()
        };
        let other = if other.repartition_required {
            let prefix = name.suffixed_or("-right", &other.place.name);
            other.repartition_for_join(&prefix, is_named, other_serdes.clone())
        } else {
            other.clone()
        };
        let sources = this.place.copartition_with([&other.place]);
        let (this_serdes, other_serdes) = (this_serdes.or(&this), other_serdes.or(&other));
        let key_serde = joined.key_serde.clone();
        let mut graph = self.place.graph.lock();
        if let Err(violation) = windows.check() {
            graph.refuse(violation);
        }
        let names = Names::new(&mut graph, &name, kind);
        let stores = JoinStores::new(&mut graph, &names, &joined, windows, (this_serdes, other_serdes), kind);

        let keep = KeepInWindow::write::<K, V>(Arc::clone(&stores.this));
        let node = GraphNode::new(names.this_windowed.clone(), Step::JoinWindow, keep);
        graph.add(node, &[this.place.node]);
        let keep = KeepInWindow::write::<K, V2>(Arc::clone(&stores.other));
        let node = GraphNode::new(names.other_windowed.clone(), Step::JoinWindow, keep);
        graph.add(node, &[other.place.node]);

        let step =
            Step::StreamJoin { this_window: names.this_windowed.clone(), other_window: names.other_windowed.clone() };
        let merge = names.merge.clone();
        let writer = Writer { names, stores, joiner: Arc::new(joiner), windows, kind };
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            if wiring.is_self_join() {
                writer.write_self_join::<W>(topology, wiring);
            } else {
                writer.write::<W>(topology, wiring);
            }
        });
        let mut node = GraphNode::new(merge.clone(), step, write).giving::<K, W>();
        node.accepts_null_keys = kind != Kind::Inner;
        let id = graph.add(node, &[this.place.node, other.place.node]);
        drop(graph);
        KStream {
            place: self.place.next(id, &merge).fed_by(sources),
            key_serde,
            value_serde: None,
            repartition_required: false,
        }
    }
}

/// Names of a join's nodes, and what the names of its stores begin with.
struct Names {
    this_windowed: String,
    other_windowed: String,
    this_join: String,
    other_join: String,
    merge: String,
    this_generated: String,
    other_generated: String,
    this_suffix: &'static str,
    other_suffix: &'static str,
}

impl Names {
    fn new(graph: &mut crate::graph::Graph, name: &Given, kind: Kind) -> Self {
        let (this_suffix, this_prefix) = match kind {
            Kind::Outer => ("-outer-this-join", OUTER_THIS),
            Kind::Inner | Kind::Left => ("-this-join", JOIN_THIS),
        };
        let (other_suffix, other_prefix) = match kind {
            Kind::Inner => ("-other-join", JOIN_OTHER),
            Kind::Left | Kind::Outer => ("-outer-other-join", OUTER_OTHER),
        };
        let this_windowed = name.suffixed_or_generate(graph, "-this-windowed", WINDOWED);
        let other_windowed = name.suffixed_or_generate(graph, "-other-windowed", WINDOWED);
        let this_generated = graph.new_name(this_prefix);
        let other_generated = graph.new_name(other_prefix);
        Names {
            this_windowed,
            other_windowed,
            this_join: name.suffixed_or(this_suffix, &this_generated),
            other_join: name.suffixed_or(other_suffix, &other_generated),
            merge: name.suffixed_or_generate(graph, "-merge", MERGE),
            this_generated,
            other_generated,
            this_suffix,
            other_suffix,
        }
    }
}

/// Writes the nodes of a join.
struct Writer<K, V1, V2, J> {
    names: Names,
    stores: JoinStores<K, V1, V2>,
    joiner: Arc<J>,
    windows: JoinWindows,
    kind: Kind,
}

impl<K: Data, V1: Data, V2: Data, J> Writer<K, V1, V2, J> {
    fn write<W: Field>(&self, topology: &mut Topology, wiring: &Wiring<'_>)
    where
        J: Fn(&K, Option<&V1>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        let names = &self.names;
        let (this_store, other_store) = (self.stores.this.build(wiring), self.stores.other.build(wiring));
        let unmatched_store = self.stores.unmatched.as_ref().map(|spec| spec.build(wiring));
        let unmatched = self.stores.unmatched.as_ref().map(|spec| Arc::<str>::from(spec.name()));
        let trackers = Trackers::new(millis(wiring.config.outer_join_emit_interval));
        let windows = self.windows;

        let joiner = Arc::clone(&self.joiner);
        let left = Side {
            is_left: true,
            is_outer: self.kind != Kind::Inner,
            before_ms: windows.before_ms,
            after_ms: windows.after_ms,
            windows,
            other_store: self.stores.other.name().into(),
            unmatched: unmatched.clone(),
            trackers: trackers.clone(),
        };
        topology
            .add_processor::<_, K, V1, K, W>(&*names.this_join, &[&names.this_windowed], move || {
                let (one, two) = (Arc::clone(&joiner), Arc::clone(&joiner));
                let match_one = move |key: &K, this: &V1, other: Option<&V2>| one(key, Some(this), other);
                JoinSide::new(left.clone(), match_one, unmatched_joiner(two), Sides::Left)
            })
            .add_state_store(Arc::clone(&other_store), &[&names.this_join]);
        if let Some(store) = &unmatched_store {
            topology.add_state_store(Arc::clone(store), &[&names.this_join]);
        }

        let joiner = Arc::clone(&self.joiner);
        let right = Side {
            is_left: false,
            is_outer: self.kind == Kind::Outer,
            before_ms: windows.after_ms,
            after_ms: windows.before_ms,
            windows,
            other_store: self.stores.this.name().into(),
            unmatched,
            trackers,
        };
        topology
            .add_processor::<_, K, V2, K, W>(&*names.other_join, &[&names.other_windowed], move || {
                let (one, two) = (Arc::clone(&joiner), Arc::clone(&joiner));
                let match_one = move |key: &K, this: &V2, other: Option<&V1>| one(key, other, Some(this));
                JoinSide::new(right.clone(), match_one, unmatched_joiner(two), Sides::Right)
            })
            .add_state_store(this_store, &[&names.other_join]);
        if let Some(store) = unmatched_store {
            topology.add_state_store(store, &[&names.other_join]);
        }
        let parents = [names.this_join.as_str(), &names.other_join];
        topology.add_processor::<_, K, W, K, W>(&*names.merge, &parents, || PassThrough);
    }

    fn write_self_join<W: Field>(&self, topology: &mut Topology, wiring: &Wiring<'_>)
    where
        J: Fn(&K, Option<&V1>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        let names = &self.names;
        let store = self.stores.this.build(wiring);
        let (name, windows, joiner) =
            (Arc::<str>::from(self.stores.this.name()), self.windows, Arc::clone(&self.joiner));
        topology
            .add_processor::<_, K, V1, K, W>(&*names.merge, &[&names.this_windowed], move || {
                let joiner = Arc::clone(&joiner);
                SelfJoin::<K, V1, V2, _>::new(&name, windows, move |key: &K, this: &V1, other: &V2| {
                    joiner(key, Some(this), Some(other))
                })
            })
            .add_state_store(store, &[&names.merge]);
    }
}

/// The joiner for a record that found no match, of either side.
fn unmatched_joiner<K, V1, V2, W, J>(joiner: Arc<J>) -> impl Fn(&K, &Sides<V1, V2>) -> W + Send + Sync
where
    J: Fn(&K, Option<&V1>, Option<&V2>) -> W + Send + Sync + 'static,
{
    move |key, value| match value {
        Sides::Left(left) => joiner(key, Some(left), None),
        Sides::Right(right) => joiner(key, None, Some(right)),
    }
}
