//! Every rule that a topology must obey, in one list; every violation, in one report.

use std::collections::{BTreeMap, HashMap, HashSet};

use log_store::TopicName;

use super::{
    Topology,
    node::{NodeKind, SinkTarget, SourceSpec},
    source::Topics,
    subtopology::places,
};
use crate::{Error, Result, state::Changelog};

/// A rule adds a sentence for each violation: what is wrong, where, and how to mend it.
type Rule = fn(&Topology, &mut Vec<String>);

const RULES: [Rule; 9] = [
    node_names_are_unique,
    parents_are_known_and_can_forward,
    edges_have_one_type,
    source_topics_have_one_source,
    internal_topics_are_names,
    stores_are_unique_and_used,
    changelogs_that_are_source_topics_are_read,
    connections_lead_from_processors_to_stores,
    copartitioned_sources_agree,
];

impl Topology {
    /// Checks all rules.
    ///
    /// # Errors
    ///
    /// [`Error::Topology`] with every violation.
    pub fn validate(&self) -> Result<()> {
        let mut violations = Vec::new();
        for rule in RULES {
            rule(self, &mut violations);
        }
        if violations.is_empty() { Ok(()) } else { Err(Error::Topology(violations)) }
    }

    /// Checks that a log can have the topics that sinks write to. A topology is not refused for them before it meets a
    /// log, as in Kafka Streams.
    pub(crate) fn validate_sink_topics(&self) -> Result<()> {
        let mut violations = Vec::new();
        sink_topics_are_names(self, &mut violations);
        if violations.is_empty() { Ok(()) } else { Err(Error::Topology(violations)) }
    }

    /// Sources with their names.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &SourceSpec)> {
        self.nodes.iter().filter_map(|node| node.source().map(|source| (&*node.name, source)))
    }

    /// True if it has a source of this name.
    #[must_use]
    pub fn has_source(&self, name: &str) -> bool {
        self.sources().any(|(known, _)| known == name)
    }

    /// True if a source chooses its topics among those that exist.
    pub(crate) fn has_patterns(&self) -> bool {
        self.sources().any(|(_, source)| matches!(source.topics, Topics::Pattern(_)))
    }

    pub(crate) fn is_global_source(&self, name: &str) -> bool {
        self.global_sources.iter().any(|source| source == name)
    }
}

fn node_names_are_unique(topology: &Topology, violations: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for node in &topology.nodes {
        if node.name.is_empty() {
            violations.push("a node has an empty name".to_owned());
        } else if !seen.insert(&node.name) {
            violations.push(format!(
                "node {} is already added; every source, processor and sink has its own name",
                node.name
            ));
        }
    }
}

fn parents_are_known_and_can_forward(topology: &Topology, violations: &mut Vec<String>) {
    let places = places(topology);
    for (place, node) in topology.nodes.iter().enumerate() {
        if node.parents.is_empty() && node.source().is_none() {
            violations.push(format!("node {} has no parents: no record would ever reach it", node.name));
        }
        for parent in &node.parents {
            match places.get(parent.as_str()) {
                Some(known) if *known < place => {
                    if topology.nodes[*known].sink().is_some() {
                        violations.push(format!(
                            "sink {parent} cannot be the parent of {}: sinks forward nothing",
                            node.name
                        ));
                    }
                }
                Some(own) if *own == place => violations.push(format!("node {parent} is its own parent")),
                Some(_) => {
                    violations.push(format!("parent {parent} of {} is added after it; add parents first", node.name))
                }
                None => violations.push(format!("parent {parent} of {} is unknown", node.name)),
            }
        }
    }
}

fn edges_have_one_type(topology: &Topology, violations: &mut Vec<String>) {
    let places = places(topology);
    for node in &topology.nodes {
        let Some(input) = node.input() else { continue };
        for parent in &node.parents {
            let output = places.get(parent.as_str()).and_then(|place| topology.nodes[*place].output());
            let Some(output) = output.filter(|output| *output != input) else { continue };
            let (mut from, mut to) = (output.to_string(), input.to_string());
            if from == to {
                (from, to) = (output.full_name(), input.full_name());
            }
            violations.push(format!("{parent} forwards records of {from}, but {} takes records of {to}", node.name));
        }
    }
}

fn source_topics_have_one_source(topology: &Topology, violations: &mut Vec<String>) {
    let mut source_of: HashMap<&str, &str> = HashMap::new();
    for (name, source) in topology.sources() {
        let Topics::Named(topics) = &source.topics else { continue };
        if topics.is_empty() {
            violations.push(format!("source {name} has no topics"));
        }
        for topic in topics {
            if let Err(error) = TopicName::new(topic) {
                violations.push(format!("source {name}: {error}"));
            }
            if let Some(other) = source_of.insert(topic, name) {
                violations.push(format!(
                    "topic {topic} is read by {other} and by {name}; read it once and add both parts after that source"
                ));
            }
        }
    }
    for (name, source) in topology.sources() {
        let Topics::Pattern(pattern) = &source.topics else { continue };
        if topology.is_global_source(name) {
            violations.push(format!("source {name} fills a global store: it needs one topic, not a pattern"));
        }
        let mut matched: Vec<_> = source_of.iter().filter(|(topic, _)| pattern.matches(topic)).collect();
        matched.sort_unstable();
        for (topic, other) in matched {
            violations.push(format!("topic {topic} is read by {other} and matches the pattern {pattern:?} of {name}"));
        }
    }
}

fn sink_topics_are_names(topology: &Topology, violations: &mut Vec<String>) {
    for node in &topology.nodes {
        if let NodeKind::Sink(sink) = &node.kind
            && let SinkTarget::Named(topic) = &sink.topic
            && let Err(error) = TopicName::new(topic)
        {
            violations.push(format!("sink {}: {error}", node.name));
        }
    }
}

fn internal_topics_are_names(topology: &Topology, violations: &mut Vec<String>) {
    for topic in &topology.internal_topics {
        if let Err(error) = TopicName::new(&topic.name) {
            violations.push(format!("internal topic: {error}"));
        }
    }
}

fn stores_are_unique_and_used(topology: &Topology, violations: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for store in &topology.stores {
        let name = store.builder.name();
        // The name becomes a topic and a directory.
        if let Err(error) = TopicName::new(name) {
            violations.push(format!("store: {}", error.to_string().replacen("topic name", "name", 1)));
        }
        if !seen.insert(name) {
            violations.push(format!("a different store called {name} is already added"));
        } else if !topology.connections.iter().any(|connection| connection.store == name) {
            violations.push(format!("store {name} is not connected to any processor; connect it, or leave it out"));
        }
    }
}

fn changelogs_that_are_source_topics_are_read(topology: &Topology, violations: &mut Vec<String>) {
    for store in &topology.stores {
        let Changelog::SourceTopic { topic, .. } = store.builder.changelog() else { continue };
        let is_read = topology.sources().any(|(name, source)| {
            !topology.is_global_source(name)
                && matches!(&source.topics, Topics::Named(topics) if topics.contains(topic))
        });
        if !is_read && !store.is_global {
            violations.push(format!(
                "store {} is restored from topic {topic:?}, but no source reads that one topic",
                store.builder.name()
            ));
        }
    }
}

fn connections_lead_from_processors_to_stores(topology: &Topology, violations: &mut Vec<String>) {
    let places = places(topology);
    for connection in &topology.connections {
        let (processor, store) = (&connection.processor, &connection.store);
        match places.get(processor.as_str()).map(|place| &topology.nodes[*place]) {
            None => violations.push(format!("store {store} is connected to {processor}, which is unknown")),
            Some(node) => match &node.kind {
                NodeKind::Processor(_) => {
                    let found = topology.stores.iter().find(|known| known.builder.name() == store);
                    let fills_global = node.parents.iter().any(|parent| topology.is_global_source(parent));
                    match found {
                        None => violations.push(format!("processor {processor} is connected to store {store}, which is not added")),
                        Some(found) if found.is_global && !fills_global => violations.push(format!(
                            "processor {processor} is connected to the global store {store}; every processor may read it without that"
                        )),
                        Some(_) => {}
                    }
                }
                NodeKind::Source(_) | NodeKind::Sink(_) => violations.push(format!(
                    "store {store} is connected to {processor}; only processors use stores, not sources or sinks"
                )),
            },
        }
    }
}

fn copartitioned_sources_agree(topology: &Topology, violations: &mut Vec<String>) {
    let places = places(topology);
    for group in &topology.copartitioned {
        let mut counts: BTreeMap<&str, Option<u32>> = BTreeMap::new();
        for name in group {
            match places.get(name.as_str()).and_then(|place| topology.nodes[*place].source()) {
                None => violations.push(format!("copartitioned source {name} is unknown")),
                Some(source) => {
                    if let Topics::Named(topics) = &source.topics {
                        counts.extend(topics.iter().map(|topic| {
                            let internal = topology.internal_topics.iter().find(|known| known.name == *topic);
                            (topic.as_str(), internal.and_then(|known| known.partitions))
                        }));
                    }
                }
            }
        }
        // Counts of other topics are known only when the application starts.
        let fixed: Option<Vec<u32>> = counts.values().copied().collect();
        if let Some(fixed) = fixed
            && fixed.windows(2).any(|pair| pair[0] != pair[1])
        {
            let list: Vec<String> =
                counts.keys().zip(&fixed).map(|(topic, count)| format!("{topic} has {count}")).collect();
            violations
                .push(format!("topics that are read together need the same number of partitions: {}", list.join(", ")));
        }
    }
}
