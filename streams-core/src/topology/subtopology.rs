//! Sub-topologies: the parts of a topology that are connected by edges or by shared stores.
//!
//! They are numbered in the order in which their first nodes were added, global stores included. A task is one
//! sub-topology on one partition number, so the numbers name the directories of state: they are part of the format.

use std::collections::HashMap;

use super::{Topology, java_order::hash_set_order, node::NodeKind};

/// Nodes that run together. Its number is its place in [`subtopologies`]' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubTopology {
    /// Places in [`Topology::nodes`], ascending.
    pub(crate) nodes: Vec<usize>,
    /// True if it fills a global store: then no task runs it.
    pub(crate) is_global: bool,
}

impl SubTopology {
    /// Several parts as one that tasks run.
    pub(crate) fn merged<'p>(parts: impl IntoIterator<Item = &'p SubTopology>) -> Self {
        let mut nodes: Vec<usize> = parts.into_iter().flat_map(|part| part.nodes.iter().copied()).collect();
        nodes.sort_unstable();
        SubTopology { nodes, is_global: false }
    }
}

/// Names of all nodes with their places. Of two nodes with one name the first counts.
pub(crate) fn places(topology: &Topology) -> HashMap<&str, usize> {
    let mut places = HashMap::with_capacity(topology.nodes.len());
    for (place, node) in topology.nodes.iter().enumerate() {
        places.entry(&*node.name).or_insert(place);
    }
    places
}

/// Names of the stores of node `place`, in the order in which Kafka keeps them: that of a Java hash set.
pub(crate) fn stores_of(topology: &Topology, place: usize) -> Vec<&str> {
    let name = &*topology.nodes[place].name;
    let mut stores: Vec<&str> = Vec::new();
    for connection in topology.connections.iter().filter(|connection| connection.processor == name) {
        if !stores.contains(&connection.store.as_str()) {
            stores.push(&connection.store);
        }
    }
    hash_set_order(&stores).into_iter().map(|index| stores[index]).collect()
}

/// The sub-topologies by number.
pub(crate) fn subtopologies(topology: &Topology) -> Vec<SubTopology> {
    let places = places(topology);
    let mut groups = Groups { parent: (0..topology.nodes.len()).collect() };
    for (place, node) in topology.nodes.iter().enumerate() {
        for parent in node.parents.iter().filter_map(|parent| places.get(parent.as_str())) {
            groups.unite(place, *parent);
        }
    }
    let mut first_user: HashMap<&str, usize> = HashMap::new();
    for connection in &topology.connections {
        if let Some(place) = places.get(connection.processor.as_str()) {
            let first = *first_user.entry(&connection.store).or_insert(*place);
            groups.unite(first, *place);
        }
    }
    let mut number_of_root: HashMap<usize, usize> = HashMap::new();
    let mut subtopologies: Vec<SubTopology> = Vec::new();
    for (place, node) in topology.nodes.iter().enumerate() {
        let number = *number_of_root.entry(groups.root(place)).or_insert_with(|| {
            subtopologies.push(SubTopology { nodes: Vec::new(), is_global: false });
            subtopologies.len() - 1
        });
        subtopologies[number].nodes.push(place);
        let is_source = matches!(node.kind, NodeKind::Source(_));
        subtopologies[number].is_global |= is_source && topology.global_sources.iter().any(|name| **name == *node.name);
    }
    subtopologies
}

/// Disjoint sets of nodes.
struct Groups {
    parent: Vec<usize>,
}

impl Groups {
    fn root(&mut self, mut at: usize) -> usize {
        while self.parent[at] != at {
            self.parent[at] = self.parent[self.parent[at]];
            at = self.parent[at];
        }
        at
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.parent[one] = other;
    }
}
