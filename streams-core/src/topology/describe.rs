//! The text of `Topology.describe()`, byte for byte as Kafka prints it.
//!
//! Kafka orders nodes by the number of paths that lead through them, and builds its lists of neighbours while it still
//! counts. Their order is therefore that of a tree whose comparator changed on the way; [`TreeSet`] plays it back.

use std::{
    cmp::Ordering,
    fmt::{self, Write},
};

use super::{
    Topology,
    java_order::{TreeSet, compare_text, hash_set_order},
    node::{Node, NodeKind, SinkTarget},
    source::Topics,
    subtopology::{SubTopology, places, stores_of, subtopologies},
};

/// What a topology consists of, as text. Two topologies with equal text have equal node names, stores and topics.
///
/// Names of internal topics are shown without the prefix `{application.id}-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyDescription(String);

impl TopologyDescription {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopologyDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Topology {
    /// Describes the topology as Kafka's `Topology.describe()` does.
    #[must_use]
    pub fn describe(&self) -> TopologyDescription {
        let mut text = "Topologies:\n ".to_owned();
        for (number, subtopology) in subtopologies(self).iter().enumerate() {
            // Writing to a string cannot fail.
            let _ = if subtopology.is_global {
                write!(
                    text,
                    "  Sub-topology: {number} for global store (will not generate tasks)\n{}",
                    Nodes(self, subtopology)
                )
            } else {
                write!(text, "  Sub-topology: {number}\n{}\n", Nodes(self, subtopology))
            };
        }
        TopologyDescription(text)
    }
}

/// The nodes of one sub-topology with their neighbours.
struct Nodes<'a>(&'a Topology, &'a SubTopology);

impl fmt::Display for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nodes(topology, subtopology) = self;
        let graph = Graph::of(topology, subtopology);
        let names = |set: &TreeSet| {
            let names: Vec<&str> = set.items().into_iter().map(|node| graph.name(node)).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        for node in graph.in_order() {
            let (successors, predecessors) = (&graph.successors[node as usize], &graph.predecessors[node as usize]);
            let place = subtopology.nodes[node as usize];
            let Node { name, kind, .. } = &topology.nodes[place];
            match kind {
                NodeKind::Source(source) => {
                    writeln!(
                        f,
                        "    Source: {name} (topics: {})\n      --> {}",
                        topics(&source.topics),
                        names(successors)
                    )?;
                }
                NodeKind::Processor(_) => {
                    let stores = stores_of(topology, place).join(", ");
                    writeln!(f, "    Processor: {name} (stores: [{stores}])\n      --> {}", names(successors))?;
                    writeln!(f, "      <-- {}", names(predecessors))?;
                }
                NodeKind::Sink(sink) => {
                    match &sink.topic {
                        SinkTarget::Named(topic) => writeln!(f, "    Sink: {name} (topic: {topic})")?,
                        SinkTarget::Dynamic(extractor) => {
                            writeln!(f, "    Sink: {name} (extractor class: {extractor})")?;
                        }
                    }
                    writeln!(f, "      <-- {}", names(predecessors))?;
                }
            }
        }
        Ok(())
    }
}

fn topics(topics: &Topics) -> String {
    match topics {
        Topics::Pattern(pattern) => pattern.as_str().to_owned(),
        Topics::Named(names) => {
            let ordered: Vec<&str> = hash_set_order(names).into_iter().map(|index| names[index].as_str()).collect();
            format!("[{}]", ordered.join(", "))
        }
    }
}

/// The nodes of one sub-topology, numbered within it.
struct Graph<'a> {
    names: Vec<&'a str>,
    predecessors: Vec<TreeSet>,
    successors: Vec<TreeSet>,
    /// Paths that start at each node, itself included. Wraps where Kafka's count does.
    sizes: Vec<i32>,
}

impl<'a> Graph<'a> {
    fn of(topology: &'a Topology, subtopology: &SubTopology) -> Self {
        let names: Vec<&str> = subtopology.nodes.iter().map(|place| &*topology.nodes[*place].name).collect();
        let places = places(topology);
        let count = names.len();
        let mut graph = Graph {
            predecessors: vec![TreeSet::default(); count],
            successors: vec![TreeSet::default(); count],
            sizes: vec![1; count],
            names,
        };
        for node in hash_set_order(&graph.names) {
            for parent in &topology.nodes[subtopology.nodes[node]].parents {
                let parent = places.get(parent.as_str()).and_then(|place| subtopology.nodes.binary_search(place).ok());
                // A parent that is unknown or added later is for validation to report.
                if let Some(parent) = parent.filter(|parent| *parent < node) {
                    graph.connect(parent, node);
                }
            }
        }
        graph
    }

    fn name(&self, node: u32) -> &'a str {
        self.names[node as usize]
    }

    fn connect(&mut self, parent: usize, child: usize) {
        let (names, sizes) = (&self.names, &self.sizes);
        let compare = |left: u32, right: u32| compare(names, sizes, left, right);
        self.predecessors[child].insert(parent as u32, compare);
        self.successors[parent].insert(child as u32, compare);
        self.grow(parent, self.sizes[child]);
    }

    /// Adds `paths` to a node and, once for each way there, to all that lead to it so far.
    fn grow(&mut self, node: usize, paths: i32) {
        let mut added = vec![0_i32; node + 1];
        added[node] = paths;
        // Parents come before their children: from here on down every node has its whole sum before it is passed on.
        for node in (0..=node).rev() {
            self.sizes[node] = self.sizes[node].wrapping_add(added[node]);
            for parent in self.predecessors[node].items() {
                added[parent as usize] = added[parent as usize].wrapping_add(added[node]);
            }
        }
    }

    fn in_order(&self) -> Vec<u32> {
        let mut nodes: Vec<u32> = (0..self.names.len() as u32).collect();
        nodes.sort_by(|left, right| compare(&self.names, &self.sizes, *left, *right));
        nodes
    }
}

/// Most paths first, then by name.
fn compare(names: &[&str], sizes: &[i32], left: u32, right: u32) -> Ordering {
    let (left, right) = (left as usize, right as usize);
    sizes[right].wrapping_sub(sizes[left]).cmp(&0).then_with(|| compare_text(names[left], names[right]))
}
