//! `cogroup`: one aggregate of several streams.

mod input;
mod windowed;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use input::{CogroupInput, Initializer, Input};
use streams_core::{
    Change,
    serde::{Data, SharedSerde},
};
pub use windowed::{SessionWindowedCogroupedKStream, TimeWindowedCogroupedKStream};

use super::{KGroupedStream, windowing::Windows};
use crate::{
    graph::{Graph, GraphNode, NodeId, Place, Step, TableKind, Write, naming::Given},
    options::Materialized,
    stream::{merge::PassThrough, write_processor},
    table::{KTable, View, materialize::StoreSpec},
};

const AGGREGATE: &str = "COGROUPKSTREAM-AGGREGATE-";
const MERGE: &str = "COGROUPKSTREAM-MERGE-";

/// Several grouped streams that are aggregated into one table. See [`KGroupedStream::cogroup`].
pub struct CogroupedKStream<K, A> {
    inputs: Vec<Arc<dyn CogroupInput<K, A>>>,
    /// Where each input comes in: repartition topics are shared by all aggregations of these streams.
    entries: Arc<Mutex<HashMap<usize, NodeId>>>,
}

impl<K, A> Clone for CogroupedKStream<K, A> {
    fn clone(&self) -> Self {
        CogroupedKStream { inputs: self.inputs.clone(), entries: Arc::clone(&self.entries) }
    }
}

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// Begins an aggregate of several streams: each has an aggregator of its own, all share one aggregate for each key.
    ///
    /// One store instead of one for each stream, and no joins.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let deposits = builder.stream::<String, i64>("deposits").group_by_key();
    /// let fees = builder.stream::<String, i64>("fees").group_by_key();
    /// let balances: KTable<String, i64> = deposits
    ///     .cogroup(|_account, cents, balance: i64| balance + cents)
    ///     .cogroup(&fees, |_account, cents, balance| balance - cents)
    ///     .aggregate(|| 0);
    /// balances.to_stream().to("balances");
    /// ```
    pub fn cogroup<A: Data, F>(&self, aggregator: F) -> CogroupedKStream<K, A>
    where
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        CogroupedKStream { inputs: Vec::new(), entries: Arc::default() }.cogroup(self, aggregator)
    }
}

impl<K: Data, A: Data> CogroupedKStream<K, A> {
    /// Adds a stream, with the function that puts its values into the aggregate.
    #[must_use]
    pub fn cogroup<V: Data, F>(mut self, grouped: &KGroupedStream<K, V>, aggregator: F) -> Self
    where
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        let input: Arc<dyn CogroupInput<K, A>> = Arc::new(Input::new(grouped.clone(), aggregator));
        // The same grouped stream once more takes its earlier place.
        match self.inputs.iter_mut().find(|known| known.identity() == input.identity()) {
            Some(known) => *known = input,
            None => self.inputs.push(input),
        }
        self
    }

    /// The table of the aggregates; a key begins with `initializer()`. Records with a null key or value are dropped; a
    /// null result deletes the key.
    pub fn aggregate<I>(&self, initializer: I) -> KTable<K, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, Materialized::absent())
    }

    /// As [`CogroupedKStream::aggregate`], with a name or a store.
    pub fn aggregate_with<I>(&self, initializer: I, options: impl Into<Materialized<K, A>>) -> KTable<K, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
    {
        let materialized = self.with_key_serde(options.into());
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let (store, is_named) = self.store_name(&materialized);
        let named = materialized.processor.clone();
        let history = materialized.history();
        let spec = StoreSpec::new(store.clone(), materialized);
        let initializer: Initializer<A> = Arc::new(initializer);
        let place = self.wire::<K>(&store, is_named, &named, None, Some(history.is_some()), |input| {
            input.write(Arc::clone(&spec), Arc::clone(&initializer))
        });
        KTable::new(place, key_serde, value_serde, is_named.then(|| store.clone()), View::of_store(&store, history))
    }

    /// Cuts the groups into windows.
    pub fn windowed_by<W: Windows>(&self, windows: W) -> W::WindowedCogroup<K, A> {
        windows.cut_cogroup(self.clone())
    }

    fn first(&self) -> &dyn CogroupInput<K, A> {
        self.inputs.first().expect("cogroup begins with a stream").as_ref()
    }

    fn with_key_serde(&self, materialized: Materialized<K, A>) -> Materialized<K, A> {
        let key: Option<SharedSerde<K>> = self.first().key_serde();
        materialized.or_serdes(key.as_ref(), None)
    }

    /// The store's name, and whether the user gave it.
    fn store_name(&self, materialized: &Materialized<K, A>) -> (String, bool) {
        let mut graph = self.first().place().graph.lock();
        (materialized.store_name(&mut graph, AGGREGATE), materialized.store_name.is_some())
    }

    /// Adds an aggregation for each input, and the node in which they come together. `KR` is the key of the result.
    fn wire<KR: Data>(
        &self,
        store: &str,
        store_is_named: bool,
        named: &Given,
        grace_ms: Option<i64>,
        versioned: Option<bool>,
        write: impl Fn(&dyn CogroupInput<K, A>) -> Write,
    ) -> Place {
        let entries = self.enter(store, store_is_named);
        let mut graph = self.first().place().graph.lock();
        let mut parents = Vec::new();
        for (number, (input, entry)) in self.inputs.iter().zip(entries).enumerate() {
            let suffix = format!("-cogroup-agg-{number}");
            let name = named.suffixed_or_generate(&mut graph, &suffix, AGGREGATE);
            let mut node =
                GraphNode::new(name, Step::Other, write(&**input)).table(TableKind::Aggregate).versioned(versioned);
            node.grace_ms = grace_ms;
            parents.push(graph.add(node, &[entry]));
        }
        let name = named.suffixed_or_generate(&mut graph, "-cogroup-merge", MERGE);
        let pass = write_processor::<KR, Change<A>, KR, Change<A>, _>(|| PassThrough);
        let node =
            GraphNode::new(name.clone(), Step::Other, pass).table(TableKind::PassThrough { parents: parents.clone() });
        let id = graph.add(node, &parents);
        drop(graph);
        self.first().place().next(id, &name).fed_by(BTreeSet::from([name]))
    }

    /// The node below which each input is aggregated, behind a repartition topic where one is needed.
    fn enter(&self, store: &str, store_is_named: bool) -> Vec<NodeId> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut graph = self.first().place().graph.lock();
        let nodes =
            self.inputs.iter().map(|input| enter_one(&mut graph, &mut entries, &**input, store, store_is_named));
        let nodes = nodes.collect();
        drop(graph);
        let others = self.inputs.iter().skip(1).map(|input| input.place());
        self.first().place().copartition_with(others);
        nodes
    }
}

fn enter_one<K: Data, A: Data>(
    graph: &mut Graph,
    entries: &mut HashMap<usize, NodeId>,
    input: &dyn CogroupInput<K, A>,
    store: &str,
    store_is_named: bool,
) -> NodeId {
    let Some(node) = input.repartition(graph, store, store_is_named) else { return input.place().node };
    let parent = input.place().node;
    *entries.entry(input.identity()).or_insert_with(|| graph.add(node, &[parent]))
}
