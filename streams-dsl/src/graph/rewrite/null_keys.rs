//! Records with a null key stop at repartition topics, unless a join below has an answer for them.

use std::collections::HashSet;

use super::super::{Graph, NodeId};

/// Steps with a left or outer join somewhere below them.
pub(super) fn find(graph: &Graph) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    let mut queue: Vec<NodeId> = graph.ids().filter(|id| graph[*id].accepts_null_keys).collect();
    while let Some(id) = queue.pop() {
        for parent in &graph[id].parents {
            if found.insert(*parent) {
                queue.push(*parent);
            }
        }
    }
    found
}
