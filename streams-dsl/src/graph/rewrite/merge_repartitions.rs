//! `merge.repartition.topics`: several repartition topics below one change of the key become one.
//!
//! The topic that stays is called as the first of them and moves up to right below the change of the key. Topics that
//! the user asked for by `repartition` stay as they are.

use super::super::{Graph, GraphNode, NodeId, Step};

/// Merges what can be merged.
pub(super) fn apply(graph: &mut Graph) {
    let mut groups = below_key_changes(graph);
    gather_at_merges(graph, &mut groups);
    for (key_change, repartitions) in groups {
        if !repartitions.is_empty() {
            merge(graph, key_change, &repartitions);
        }
    }
}

/// The nodes that change the key, each with the repartition steps that are there because of it.
type Groups = Vec<(NodeId, Vec<NodeId>)>;

fn below_key_changes(graph: &Graph) -> Groups {
    let mut groups: Groups = Vec::new();
    for id in graph.ids() {
        let node = &graph[id];
        if node.changes_key {
            groups.push((id, Vec::new()));
        } else if is_optimizable(node)
            && let Some(key_change) = responsible_key_change(graph, id)
            && let Some((_, repartitions)) = groups.iter_mut().find(|(node, _)| *node == key_change)
        {
            repartitions.push(id);
        }
    }
    groups
}

fn is_optimizable(node: &GraphNode) -> bool {
    matches!(&node.step, Step::Repartition(step) if step.rename.is_some())
}

/// The change of the key that `repartition` is there for, if nothing between them changes the value: the topic would
/// otherwise carry other values than those that reach it today.
fn responsible_key_change(graph: &Graph, repartition: NodeId) -> Option<NodeId> {
    let change = ancestor(graph, repartition, &|id| graph[id].changes_key || graph[id].changes_value)?;
    // A join with a global table changes the value without saying so; the types tell.
    let fits = graph[change].output.is_some() && graph[change].output == graph[repartition].output;
    (graph[change].changes_key && fits).then_some(change)
}

/// The nearest node at or above `start` that `wanted` accepts, as Kafka Streams searches: parents first, then above the
/// first parent.
fn ancestor(graph: &Graph, start: NodeId, wanted: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
    if wanted(start) {
        return Some(start);
    }
    graph[start].parents.iter().find_map(|parent| ancestor(graph, *parent, wanted))
}

/// Repartition steps below a merge of streams belong to the merge, not to the changes of the key above it.
fn gather_at_merges(graph: &Graph, groups: &mut Groups) {
    let is_child_of = |parent: NodeId| move |id: NodeId| graph[id].parents.contains(&parent);
    let merges: Vec<NodeId> = graph.ids().filter(|id| matches!(graph[*id].step, Step::Merge)).collect();
    let mut gathered: Groups = Vec::new();
    let mut emptied: Vec<NodeId> = Vec::new();
    for merge in merges {
        let mut repartitions: Vec<NodeId> = Vec::new();
        for (key_change, below) in groups.iter() {
            let all_below_merge = below.iter().all(|id| ancestor(graph, *id, &is_child_of(merge)).is_some());
            if all_below_merge && ancestor(graph, merge, &is_child_of(*key_change)).is_some() {
                for id in below {
                    if !repartitions.contains(id) {
                        repartitions.push(*id);
                    }
                }
                emptied.push(*key_change);
            }
        }
        gathered.push((merge, repartitions));
    }
    for (merge, repartitions) in gathered {
        match groups.iter_mut().find(|(node, _)| *node == merge) {
            Some((_, known)) => *known = repartitions,
            None => groups.push((merge, repartitions)),
        }
    }
    groups.retain(|(node, _)| !emptied.contains(node));
}

fn merge(graph: &mut Graph, key_change: NodeId, repartitions: &[NodeId]) {
    let Step::Repartition(first) = graph[repartitions[0]].step.clone() else { return };
    let Some(rename) = first.rename else { return };
    let node = rename(graph, &first.topic);
    let single = graph.add(node, &[]);
    graph[single].priority = graph[key_change].priority;
    for replaced in repartitions {
        let is_child = |id: NodeId| graph[id].parents.contains(&key_change);
        let Some(child) = ancestor(graph, *replaced, &is_child) else {
            // An earlier one of the repartition steps hung below the same child, which has moved already.
            let (topic, kept) = (graph[*replaced].name.clone(), graph[single].name.clone());
            graph.refuse(format!(
                "the repartition topics of {topic} and {kept} lie below the same step after a change of the key: \
                 merge.repartition.topics cannot merge them; group or repartition once and use that for both, or leave \
                 this optimization out"
            ));
            return;
        };
        graph.connect(single, child);
        graph.disconnect(key_change, child);
        let (children, parents) = (graph[*replaced].children.clone(), graph[*replaced].parents.clone());
        for child in &children {
            for parent in &parents {
                graph.connect(*parent, *child);
            }
        }
        for parent in &parents {
            graph.disconnect(*parent, *replaced);
        }
        for child in &children {
            graph.disconnect(*replaced, *child);
        }
        let (old, new) = (graph[*replaced].name.clone(), graph[single].name.clone());
        for group in &mut graph.copartition {
            if group.remove(&old) {
                group.insert(new.clone());
            }
        }
    }
    graph.connect(key_change, single);
}
