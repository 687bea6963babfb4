//! Which tables are versioned: those in a versioned store, and those computed from nothing but such.

use std::collections::HashSet;

use super::super::{Graph, NodeId, Step};

/// The versioned tables. A suppression below one is refused.
pub(super) fn find(graph: &mut Graph) -> HashSet<NodeId> {
    let versioned: HashSet<NodeId> = graph.ids().filter(|id| is_versioned(graph, *id)).collect();
    let suppressed: Vec<NodeId> = graph
        .ids()
        .filter(|id| matches!(graph[*id].step, Step::Suppress))
        .filter(|id| graph[*id].parents.iter().all(|parent| versioned.contains(parent)))
        .collect();
    for id in suppressed {
        let name = graph[id].name.clone();
        graph.refuse(format!("{name}: a versioned table cannot be suppressed, nor one computed from it"));
    }
    versioned
}

fn is_versioned(graph: &Graph, id: NodeId) -> bool {
    match graph[id].output_versioned {
        Some(versioned) => versioned,
        // The root ends the search: what comes straight from a topic is not versioned.
        None => id != Graph::ROOT && graph[id].parents.iter().all(|parent| is_versioned(graph, *parent)),
    }
}
