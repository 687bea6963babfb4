//! The logical graph: what the user wrote, before it becomes a topology.
//!
//! Nodes live in one arena and point at their parents by [`NodeId`]. The graph that the handles share only grows: an
//! optimisation works on a copy (see [`rewrite`]), so one builder can be built several times.
//!
//! Kafka Streams' names hang on one counter that every operator advances, also for names that are never used
//! ("burned"); the order of the calls here is therefore part of the compatibility with Java.

pub(crate) mod demand;
pub(crate) mod lower;
pub(crate) mod naming;
pub(crate) mod node;
pub(crate) mod rewrite;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use demand::Demand;
pub(crate) use node::{GraphNode, NodeId, Step, TableKind, Write};

/// Nodes, names and everything else that the operators leave behind.
#[derive(Clone)]
pub(crate) struct Graph {
    nodes: Vec<GraphNode>,
    next_index: u32,
    next_priority: u32,
    /// Groups of source nodes whose topics must have the same number of partitions.
    pub(crate) copartition: Vec<BTreeSet<String>>,
    /// What tables were asked for by the operators after them, in order.
    pub(crate) demands: Vec<Demand>,
    /// The repartition node that joins of one stream share.
    pub(crate) join_repartitions: HashMap<NodeId, NodeId>,
    /// Stores, changelogs and repartition topics that got a generated name.
    pub(crate) generated: Vec<Generated>,
    /// What cannot run, found while the program was described.
    pub(crate) violations: Vec<String>,
}

/// An internal resource whose name was not given by the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Generated {
    /// A state store.
    Store(String),
    /// The changelog topic of a store.
    Changelog(String),
    /// A repartition topic.
    Repartition(String),
}

impl Graph {
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn new() -> Self {
        Graph {
            nodes: vec![GraphNode::root()],
            next_index: 0,
            next_priority: 0,
            copartition: Vec::new(),
            demands: Vec::new(),
            join_repartitions: HashMap::new(),
            generated: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Adds `node` below `parents`.
    pub(crate) fn add(&mut self, node: GraphNode, parents: &[NodeId]) -> NodeId {
        let id = NodeId(u32::try_from(self.nodes.len()).expect("fewer than 4 billion nodes"));
        // Parents come first, so the arena order is a topological order and a cycle cannot be written down.
        assert!(parents.iter().all(|parent| *parent < id));
        self.nodes.push(node);
        for parent in parents {
            self.attach(*parent, id);
        }
        id
    }

    /// Puts `child` below `parent` as an operator does: the node moves behind everything added so far in the order in
    /// which the topology is written.
    pub(crate) fn attach(&mut self, parent: NodeId, child: NodeId) {
        self.connect(parent, child);
        self[child].priority = self.next_priority;
        self.next_priority += 1;
    }

    /// Puts `child` below `parent`, nothing else.
    pub(crate) fn connect(&mut self, parent: NodeId, child: NodeId) {
        if !self[parent].children.contains(&child) {
            self[parent].children.push(child);
        }
        if !self[child].parents.contains(&parent) {
            self[child].parents.push(parent);
        }
    }

    /// Takes `child` away from `parent`.
    pub(crate) fn disconnect(&mut self, parent: NodeId, child: NodeId) {
        self[parent].children.retain(|id| *id != child);
        self[child].parents.retain(|id| *id != parent);
    }

    /// All nodes, the root first, parents before children as long as nothing was rewritten.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..u32::try_from(self.nodes.len()).expect("fewer than 4 billion nodes")).map(NodeId)
    }

    /// Remembers that the sources of all these nodes must be partitioned alike.
    pub(crate) fn copartition(&mut self, sources: BTreeSet<String>) {
        self.copartition.push(sources);
    }

    /// Notes something that makes the program impossible; `build` reports all of them.
    pub(crate) fn refuse(&mut self, violation: impl Into<String>) {
        self.violations.push(violation.into());
    }
}

impl std::ops::Index<NodeId> for Graph {
    type Output = GraphNode;

    fn index(&self, id: NodeId) -> &GraphNode {
        &self.nodes[id.0 as usize]
    }
}

impl std::ops::IndexMut<NodeId> for Graph {
    fn index_mut(&mut self, id: NodeId) -> &mut GraphNode {
        &mut self.nodes[id.0 as usize]
    }
}

/// The graph as the handles share it.
#[derive(Clone)]
pub(crate) struct SharedGraph(Arc<Mutex<Graph>>);

impl SharedGraph {
    pub(crate) fn new() -> Self {
        SharedGraph(Arc::new(Mutex::new(Graph::new())))
    }

    /// The graph, for the length of one operator. Never held while user code runs.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Graph> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a handle stands in the graph: what every kind of stream and table has.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) graph: SharedGraph,
    pub(crate) node: NodeId,
    /// Name of the operator that gave the handle. Repartition topics of joins are named after it.
    pub(crate) name: Arc<str>,
    /// The source nodes that feed it, up to the next repartition topic.
    pub(crate) sources: Arc<BTreeSet<String>>,
}

impl Place {
    /// The place of an operator that was added below this one.
    pub(crate) fn next(&self, node: NodeId, name: &str) -> Self {
        Place { graph: self.graph.clone(), node, name: name.into(), sources: Arc::clone(&self.sources) }
    }

    /// The same place, fed by other sources.
    pub(crate) fn fed_by(self, sources: BTreeSet<String>) -> Self {
        Place { sources: Arc::new(sources), ..self }
    }

    /// Sources of this place and all `others`, which have to be partitioned alike from now on.
    pub(crate) fn copartition_with<'a>(&self, others: impl IntoIterator<Item = &'a Place>) -> BTreeSet<String> {
        let mut sources = BTreeSet::clone(&self.sources);
        for other in others {
            sources.extend(other.sources.iter().cloned());
        }
        self.graph.lock().copartition(sources.clone());
        sources
    }
}
