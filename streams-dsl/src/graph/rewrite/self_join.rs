//! `single.store.self.join`: a stream joined with itself is kept in one store.

use std::collections::HashSet;

use super::super::{Graph, NodeId, Step};

/// Takes the second window store away from each join whose two sides are one stream, outer joins included: a record
/// always finds itself, so none stays unmatched.
pub(super) fn apply(graph: &mut Graph) -> HashSet<NodeId> {
    let mut found = HashSet::new();
    for join in reachable(graph) {
        let Step::StreamJoin { this_window, other_window } = graph[join].step.clone() else { continue };
        let [parent] = graph[join].parents[..] else { continue };
        let window = |name: &str| {
            graph[parent].children.iter().copied().find(|child| {
                matches!(graph[*child].step, Step::JoinWindow)
                    && graph[*child].name == name
                    && graph[*child].priority < graph[join].priority
            })
        };
        if let (Some(_), Some(other)) = (window(&this_window), window(&other_window)) {
            graph.disconnect(parent, other);
            found.insert(join);
        }
    }
    found
}

fn reachable(graph: &Graph) -> Vec<NodeId> {
    let mut seen = HashSet::from([Graph::ROOT]);
    let mut order = vec![Graph::ROOT];
    let mut next = 0;
    while let Some(id) = order.get(next).copied() {
        order.extend(graph[id].children.iter().copied().filter(|child| seen.insert(*child)));
        next += 1;
    }
    order
}
