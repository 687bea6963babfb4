//! From the logical graph to the topology.
//!
//! Each node writes itself; what is decided here is the order, which is Kafka Streams' own: among the nodes whose parents
//! are written, the one that was added first comes next.

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
};

use streams_core::{state::StoreBuilder, topology::Topology};

use super::{Graph, GraphNode, NodeId, demand::Demands, rewrite::Rewrites};
use crate::config::TopologyConfig;

/// What one step has to know when it writes itself.
pub(crate) struct Wiring<'a> {
    pub(crate) config: &'a TopologyConfig,
    graph: &'a Graph,
    demands: &'a Demands,
    rewrites: &'a Rewrites,
    stores: &'a Stores,
    id: NodeId,
    parents: Vec<&'a str>,
}

/// Stores made so far, so that operators which share one get the very same.
type Stores = RefCell<HashMap<usize, Arc<dyn StoreBuilder>>>;

impl<'a> Wiring<'a> {
    fn node(&self) -> &'a GraphNode {
        &self.graph[self.id]
    }

    /// The step's name.
    pub(crate) fn name(&self) -> &'a str {
        &self.node().name
    }

    /// Names of the steps above.
    pub(crate) fn parents(&self) -> &[&'a str] {
        &self.parents
    }

    /// True if updates of this step's table carry old values.
    pub(crate) fn sends_old_values(&self) -> bool {
        self.demands.sends_old_values(self.id)
    }

    /// True if this source table is in a store.
    pub(crate) fn is_materialized(&self) -> bool {
        self.demands.is_materialized(self.id)
    }

    /// True if the table `parent` is versioned.
    pub(crate) fn is_versioned(&self, parent: NodeId) -> bool {
        self.rewrites.versioned.contains(&parent)
    }

    /// True if records with a null key pass this repartition step: a join below answers them.
    pub(crate) fn keeps_null_keys(&self) -> bool {
        self.rewrites.keep_null_keys.contains(&self.id)
    }

    /// True if this join joins a stream with itself, with one store.
    pub(crate) fn is_self_join(&self) -> bool {
        self.rewrites.self_joins.contains(&self.id)
    }

    /// True if source tables are restored from their source topic.
    pub(crate) fn reuses_source_topic(&self) -> bool {
        self.config.optimization.reuses_source_topics()
    }

    /// The topology's store of `spec`: made at the first call, the same afterwards.
    pub(crate) fn store<T>(
        &self,
        spec: &Arc<T>,
        make: impl FnOnce() -> Arc<dyn StoreBuilder>,
    ) -> Arc<dyn StoreBuilder> {
        let identity = Arc::as_ptr(spec).cast::<()>() as usize;
        Arc::clone(self.stores.borrow_mut().entry(identity).or_insert_with(make))
    }
}

/// Writes all of `graph`.
pub(crate) fn lower(graph: &Graph, rewrites: &Rewrites, config: &TopologyConfig) -> Topology {
    let demands = Demands::replay(graph);
    let stores = Stores::default();
    let mut topology = Topology::new();
    for id in writing_order(graph) {
        let parents = graph[id].parents.iter().map(|parent| graph[*parent].name.as_str()).collect();
        let wiring = Wiring { config, graph, demands: &demands, rewrites, stores: &stores, id, parents };
        (graph[id].write)(&mut topology, &wiring);
    }
    for group in &graph.copartition {
        // Some are no sources: a source that was merged with another, or the node after several aggregations, which
        // stands for theirs. Kafka Streams passes over them in the same way.
        let sources: Vec<&str> = group.iter().map(String::as_str).filter(|name| topology.has_source(name)).collect();
        topology.copartition_sources(&sources);
    }
    topology
}

fn writing_order(graph: &Graph) -> Vec<NodeId> {
    let mut order = Vec::new();
    let mut written = HashSet::new();
    let mut queue = BinaryHeap::from([Reverse((0, Graph::ROOT))]);
    while let Some(Reverse((_, id))) = queue.pop() {
        // Each parent queues its children; a child whose other parents are missing is queued again by the last of them.
        let is_ready = graph[id].parents.iter().all(|parent| written.contains(parent));
        if is_ready && written.insert(id) {
            order.push(id);
            queue.extend(graph[id].children.iter().map(|child| Reverse((graph[*child].priority, *child))));
        }
    }
    order
}
