//! Streams of the same topics share one source: a topic is read once.

use std::collections::HashMap;

use super::super::{Graph, NodeId, Step, node::Topics};

/// Hangs what is below a second source of the same topics below the first.
pub(super) fn apply(graph: &mut Graph) {
    let mut listed: HashMap<String, NodeId> = HashMap::new();
    let mut patterns: HashMap<String, NodeId> = HashMap::new();
    for id in graph[Graph::ROOT].children.clone() {
        let Step::Source(source) = graph[id].step.clone() else { continue };
        match source.topics {
            Topics::Pattern(pattern) => match patterns.get(&pattern) {
                Some(first) => merge(graph, *first, id),
                None => {
                    patterns.insert(pattern, id);
                }
            },
            Topics::Listed(topics) => {
                for topic in &topics {
                    match listed.get(topic) {
                        None => {
                            listed.insert(topic.clone(), id);
                        }
                        Some(first) if *first == id => {}
                        Some(first) => {
                            let first = *first;
                            let same = matches!(
                                &graph[first].step,
                                Step::Source(known) if known.topics == Topics::Listed(topics.clone())
                            );
                            if same {
                                merge(graph, first, id);
                            } else {
                                let message = format!(
                                    "topic {topic} is read by {} and {} together with different other topics; \
                                     sources must read equal or disjoint topics",
                                    graph[first].name, graph[id].name
                                );
                                graph.refuse(message);
                            }
                        }
                    }
                }
            }
        }
    }
}

fn merge(graph: &mut Graph, first: NodeId, second: NodeId) {
    if let (Step::Source(one), Step::Source(other)) = (&graph[first].step, &graph[second].step)
        && one.reset != other.reset
    {
        let message = format!(
            "{} and {} read the same topics with different offset reset policies",
            graph[first].name, graph[second].name
        );
        graph.refuse(message);
    }
    for child in graph[second].children.clone() {
        graph.disconnect(second, child);
        graph.connect(first, child);
    }
    graph.disconnect(Graph::ROOT, second);
}
