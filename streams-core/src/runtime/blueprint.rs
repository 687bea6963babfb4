//! The topology as it lies on the log: which partitions make which task, and what a task is made of.
//!
//! Drawn once, when the application starts and all topics are there; shared by its threads and never changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use log_store::{
    Offset, TopicName, TopicPartition,
    client::{CommittedOffset, CopartitionGroup, OffsetReset, Subscription},
};

use super::{
    fingerprint::{Fingerprint, StoreShape},
    restorer::{OpenStores, RestoreSource, RestoringStore},
    standby::Standbys,
};
use crate::{
    Error, Handlers, Result,
    processor::erased::NodeCell,
    state::{Changelog, StateStore, StoreBuilder, StoreContext},
    task::{
        TaskId,
        context::TaskParts,
        record_collector::{PartitionCounts, RecordCollector},
        source_node::Entrance,
        stream_task::{Input, StreamTask},
    },
    time::DefaultTimestampExtractor,
    topology::{
        Topics, Topology,
        node::{MakeProcessor, MakeSink, MakeSource, NodeKind, SinkTarget},
        subtopology::{SubTopology, places, stores_of, subtopologies},
    },
};

/// Makes the context in which a task's stores are opened.
pub(crate) type StoreContexts = Arc<dyn Fn(TaskId) -> Result<StoreContext> + Send + Sync>;

/// What is outside of the topology and goes into every task.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) application_id: Arc<str>,
    pub(crate) handlers: Handlers,
    pub(crate) dead_letter_topic: Option<Arc<str>>,
    pub(crate) timestamp_extractor: DefaultTimestampExtractor,
    pub(crate) counts: PartitionCounts,
    pub(crate) store_contexts: StoreContexts,
}

/// See the module.
pub(crate) struct Blueprint {
    surroundings: Surroundings,
    /// By number. A part that only fills global stores is there and has no topics of tasks.
    parts: Vec<Part>,
    /// Which part reads a topic, and how many partitions the topic has.
    topics: HashMap<TopicName, (u32, u32)>,
    offset_resets: Vec<(TopicName, OffsetReset)>,
    /// The application's own topics between its parts.
    internal_topics: Vec<TopicName>,
}

/// One sub-topology.
struct Part {
    nodes: Vec<NodePlan>,
    topics: Vec<TopicName>,
    stores: Vec<StorePlan>,
    /// For each node, the stores that it is connected to.
    connections: Vec<Vec<u32>>,
}

struct NodePlan {
    name: String,
    children: Box<[u32]>,
    kind: NodeMaker,
}

enum NodeMaker {
    Source { topics: Vec<TopicName>, make: Arc<dyn MakeSource> },
    Processor(MakeProcessor),
    Sink { topic: Option<String>, make: Arc<dyn MakeSink> },
}

#[derive(Clone)]
struct StorePlan {
    builder: Arc<dyn StoreBuilder>,
    changelog: Option<ChangelogTopic>,
}

#[derive(Clone)]
enum ChangelogTopic {
    Own(TopicName),
    Source(TopicName),
}

impl Blueprint {
    /// Lays `topology` on the topics of the log: `existing` are all their names, with their partition counts.
    ///
    /// # Errors
    ///
    /// Source topics that do not exist, all of them.
    pub(crate) fn draw(
        topology: &Topology,
        existing: &BTreeMap<TopicName, u32>,
        surroundings: Surroundings,
    ) -> Result<Self> {
        Blueprint::draw_parts(topology, &subtopologies(topology), existing, surroundings)
    }

    /// As [`Blueprint::draw`], with these parts.
    pub(crate) fn draw_parts(
        topology: &Topology,
        parts: &[SubTopology],
        existing: &BTreeMap<TopicName, u32>,
        surroundings: Surroundings,
    ) -> Result<Self> {
        let names = Names { topology, application_id: &surroundings.application_id };
        let mut blueprint = Blueprint {
            parts: Vec::new(),
            topics: HashMap::new(),
            offset_resets: Vec::new(),
            internal_topics: topology
                .internal_topics
                .iter()
                .map(|topic| names.full(&topic.name))
                .collect::<Result<_>>()?,
            surroundings: surroundings.clone(),
        };
        let mut missing = Vec::new();
        for (number, subtopology) in parts.iter().enumerate() {
            let part = if subtopology.is_global {
                Part { nodes: Vec::new(), topics: Vec::new(), stores: Vec::new(), connections: Vec::new() }
            } else {
                names.part(&subtopology.nodes, existing, &mut blueprint.offset_resets)?
            };
            for topic in &part.topics {
                match existing.get(topic) {
                    Some(partitions) => {
                        let number = u32::try_from(number).expect("fewer than 4 billion sub-topologies");
                        blueprint.topics.insert(topic.clone(), (number, *partitions));
                    }
                    None => missing.push(topic.to_string()),
                }
            }
            blueprint.parts.push(part);
        }
        if missing.is_empty() {
            return Ok(blueprint);
        }
        Err(Error::Topology(
            missing
                .iter()
                .map(|topic| format!("source topic {topic} does not exist; create it before the application starts"))
                .collect(),
        ))
    }

    /// What every thread subscribes to, with the partitions that it would like best.
    pub(crate) fn subscription(&self, preferred: Vec<TopicPartition>) -> Subscription {
        let parts = self.parts.iter().filter(|part| !part.topics.is_empty());
        Subscription {
            groups: parts.map(|part| CopartitionGroup { topics: part.topics.clone() }).collect(),
            offset_resets: self.offset_resets.clone(),
            preferred,
        }
    }

    /// The task that reads `partition`.
    pub(crate) fn task_of(&self, partition: &TopicPartition) -> Option<TaskId> {
        let (subtopology, _) = self.topics.get(&partition.topic)?;
        Some(TaskId { subtopology: *subtopology, partition: partition.partition })
    }

    /// The tasks that read any of `partitions`.
    pub(crate) fn tasks_of(&self, partitions: &[TopicPartition]) -> BTreeSet<TaskId> {
        partitions.iter().filter_map(|partition| self.task_of(partition)).collect()
    }

    /// All that a task reads, sorted.
    pub(crate) fn partitions_of(&self, task: TaskId) -> Vec<TopicPartition> {
        let topics = self.parts[task.subtopology as usize].topics.iter();
        let there = topics.filter(|topic| self.topics.get(*topic).is_some_and(|(_, count)| task.partition < *count));
        let mut partitions: Vec<_> = there.map(|topic| TopicPartition::new(topic.clone(), task.partition)).collect();
        partitions.sort();
        partitions
    }

    /// What must stay as it is for the state to fit.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for (number, part) in self.parts.iter().enumerate() {
            let counts = part.topics.iter().filter_map(|topic| self.topics.get(topic));
            let partitions = counts.map(|(_, count)| *count).max().unwrap_or(0);
            for store in &part.stores {
                let subtopology = u32::try_from(number).expect("fewer than 4 billion sub-topologies");
                let changelog = match &store.changelog {
                    Some(ChangelogTopic::Own(topic)) => Some(topic.to_string()),
                    _ => None,
                };
                let shape = StoreShape { format: store.builder.format(), subtopology, partitions, changelog };
                fingerprint.stores.insert(store.builder.name().to_owned(), shape);
            }
        }
        for topic in &self.internal_topics {
            if let Some((_, partitions)) = self.topics.get(topic) {
                fingerprint.repartition_topics.insert(topic.to_string(), *partitions);
            }
        }
        fingerprint
    }

    /// The application's own topics between its parts: what has been read of them is of no more use.
    pub(crate) fn repartition_topics(&self) -> &[TopicName] {
        &self.internal_topics
    }

    /// All input partitions.
    pub(crate) fn inputs(&self) -> Vec<TopicPartition> {
        let all = self
            .topics
            .iter()
            .flat_map(|(topic, (_, count))| (0..*count).map(|partition| TopicPartition::new(topic.clone(), partition)));
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    }

    /// Opens the stores of `task`, to be called by whoever restores them, or takes them from a standby of it. `committed`
    /// are the positions of its inputs.
    pub(crate) fn open_stores(
        &self,
        task: TaskId,
        committed: &HashMap<TopicPartition, CommittedOffset>,
        standbys: &Arc<Standbys>,
    ) -> OpenStores {
        let plans = self.parts[task.subtopology as usize].stores.clone();
        let sources: Vec<Option<RestoreSource>> =
            plans.iter().map(|plan| plan.restore_source(task.partition, committed)).collect();
        let contexts = Arc::clone(&self.surroundings.store_contexts);
        let standbys = Arc::clone(standbys);
        Box::new(move || {
            if plans.is_empty() {
                return Ok(Vec::new());
            }
            if let Some(stores) = standbys.take(task)? {
                let pairs = stores.into_iter().zip(&sources);
                return Ok(pairs.map(|(store, source)| RestoringStore { store, source: source.clone() }).collect());
            }
            let context = contexts(task)?;
            let opened = plans.iter().zip(&sources).map(|(plan, source)| {
                Ok(RestoringStore { store: plan.builder.build(&context)?, source: source.clone() })
            });
            opened.collect()
        })
    }

    /// The tasks that have a store with a changelog of its own: those of which a copy can be kept.
    pub(crate) fn stateful_tasks(&self) -> Vec<TaskId> {
        let is_copied = |task: &TaskId| self.changelogs(*task).iter().any(Option::is_some);
        let mut tasks: Vec<TaskId> = self.tasks_of(&self.inputs()).into_iter().collect();
        tasks.retain(is_copied);
        tasks
    }

    /// Of each store of `task`, in order, its own changelog.
    pub(crate) fn changelogs(&self, task: TaskId) -> Vec<Option<TopicPartition>> {
        let stores = self.parts[task.subtopology as usize].stores.iter();
        let changelogs = stores.map(|store| match &store.changelog {
            Some(ChangelogTopic::Own(topic)) => Some(TopicPartition::new(topic.clone(), task.partition)),
            _ => None,
        });
        changelogs.collect()
    }

    /// A task whose stores are restored. Stores beyond its own are global ones: every node may read them.
    pub(crate) fn make_task(
        &self,
        task: TaskId,
        stores: Vec<Box<dyn StateStore>>,
        committed: &HashMap<TopicPartition, CommittedOffset>,
        wall_clock_time: i64,
    ) -> StreamTask {
        let part = &self.parts[task.subtopology as usize];
        let nodes = part.nodes.iter().map(NodePlan::make).collect();
        let inputs = self.make_inputs(part, task, committed);
        let queue_of = |topic: &TopicName| {
            let place = inputs.iter().position(|input| input.partition.topic == *topic)?;
            u32::try_from(place).ok()
        };
        let changelogs = self.changelogs(task).into_iter();
        let global = part.stores.len()..stores.len();
        let changelogs = changelogs.chain(global.clone().map(|_| None)).collect();
        let global = global.filter_map(|index| u32::try_from(index).ok());
        let connections = part.connections.iter().map(|own| own.iter().copied().chain(global.clone()).collect());
        let source_changelogs = part.stores.iter().map(|store| match &store.changelog {
            Some(ChangelogTopic::Source(topic)) => queue_of(topic),
            _ => None,
        });
        let surroundings = &self.surroundings;
        let parts = TaskParts {
            id: task,
            application_id: Arc::clone(&surroundings.application_id),
            node_names: part.nodes.iter().map(|node| node.name.clone()).collect(),
            source_changelogs: source_changelogs.collect(),
            stores,
            connections: connections.collect(),
            collector: RecordCollector::new(Arc::clone(&surroundings.counts), changelogs),
            handlers: surroundings.handlers.clone(),
            dead_letter_topic: surroundings.dead_letter_topic.clone(),
        };
        StreamTask::new(nodes, inputs, parts, wall_clock_time)
    }

    fn make_inputs(
        &self,
        part: &Part,
        task: TaskId,
        committed: &HashMap<TopicPartition, CommittedOffset>,
    ) -> Vec<Input> {
        let mut inputs = Vec::new();
        for (index, node) in part.nodes.iter().enumerate() {
            let NodeMaker::Source { topics, make } = &node.kind else { continue };
            for topic in topics {
                if self.topics.get(topic).is_none_or(|(_, count)| task.partition >= *count) {
                    continue;
                }
                let partition = TopicPartition::new(topic.clone(), task.partition);
                inputs.push(Input {
                    committed: committed.get(&partition).cloned(),
                    partition,
                    source_index: u32::try_from(index).expect("fewer than 4 billion nodes"),
                    source_name: node.name.clone(),
                    source: make.make(self.surroundings.timestamp_extractor),
                });
            }
        }
        inputs
    }
}

impl StorePlan {
    fn restore_source(
        &self,
        partition: u32,
        committed: &HashMap<TopicPartition, CommittedOffset>,
    ) -> Option<RestoreSource> {
        match self.changelog.as_ref()? {
            ChangelogTopic::Own(topic) => {
                Some(RestoreSource { changelog: TopicPartition::new(topic.clone(), partition), until: None })
            }
            ChangelogTopic::Source(topic) => {
                let changelog = TopicPartition::new(topic.clone(), partition);
                // What is not yet processed comes through the topology.
                let until = committed.get(&changelog).map_or(Offset::ZERO, |committed| committed.offset);
                Some(RestoreSource { changelog, until: Some(until) })
            }
        }
    }
}

impl NodePlan {
    fn make(&self) -> NodeCell {
        let processor = match &self.kind {
            NodeMaker::Source { .. } => Box::new(Entrance),
            NodeMaker::Processor(make) => make(),
            NodeMaker::Sink { topic, make } => make.make(topic.as_deref()),
        };
        NodeCell { name: self.name.as_str().into(), children: self.children.clone(), processor }
    }
}

/// Names in the topology to names on the log.
pub(crate) struct Names<'a> {
    topology: &'a Topology,
    application_id: &'a str,
}

impl Names<'_> {
    /// The name of a topic on the log: the application's own have its id in front.
    fn full(&self, topic: &str) -> Result<TopicName> {
        Ok(TopicName::new(self.full_text(topic))?)
    }

    fn full_text(&self, topic: &str) -> String {
        let is_internal = self.topology.internal_topics.iter().any(|internal| internal.name == topic);
        if is_internal { format!("{}-{topic}", self.application_id) } else { topic.to_owned() }
    }

    fn part(
        &self,
        members: &[usize],
        existing: &BTreeMap<TopicName, u32>,
        offset_resets: &mut Vec<(TopicName, OffsetReset)>,
    ) -> Result<Part> {
        let by_name = places(self.topology);
        let index_of: HashMap<usize, u32> = members
            .iter()
            .enumerate()
            .filter_map(|(index, place)| Some((*place, u32::try_from(index).ok()?)))
            .collect();
        let mut children: Vec<Vec<u32>> = vec![Vec::new(); members.len()];
        for place in members {
            for parent in &self.topology.nodes[*place].parents {
                let parent = by_name.get(parent.as_str()).and_then(|parent| index_of.get(parent));
                if let Some(parent) = parent {
                    children[*parent as usize].push(index_of[place]);
                }
            }
        }
        let used: Vec<Vec<&str>> = members.iter().map(|place| stores_of(self.topology, *place)).collect();
        let mut part = Part { nodes: Vec::new(), topics: Vec::new(), stores: Vec::new(), connections: Vec::new() };
        let mut store_names: Vec<&str> = Vec::new();
        for store in &self.topology.stores {
            let name = store.builder.name();
            if used.iter().any(|of_node| of_node.contains(&name)) {
                store_names.push(name);
                part.stores.push(self.store(&store.builder, store.is_global)?);
            }
        }
        for ((place, children), used) in members.iter().zip(children).zip(used) {
            let node = &self.topology.nodes[*place];
            let kind = match &node.kind {
                NodeKind::Source(source) => {
                    let topics: Vec<TopicName> = match &source.topics {
                        Topics::Named(names) => names.iter().map(|name| self.full(name)).collect::<Result<_>>()?,
                        Topics::Pattern(pattern) => {
                            existing.keys().filter(|topic| pattern.matches(topic.as_str())).cloned().collect()
                        }
                    };
                    if let Some(reset) = source.offset_reset {
                        offset_resets.extend(topics.iter().map(|topic| (topic.clone(), reset)));
                    }
                    part.topics.extend(topics.iter().cloned());
                    NodeMaker::Source { topics, make: Arc::clone(&source.make) }
                }
                NodeKind::Processor(processor) => NodeMaker::Processor(Arc::clone(&processor.make)),
                NodeKind::Sink(sink) => {
                    let topic = match &sink.topic {
                        SinkTarget::Named(topic) => Some(self.full_text(topic)),
                        SinkTarget::Dynamic(_) => None,
                    };
                    NodeMaker::Sink { topic, make: Arc::clone(&sink.make) }
                }
            };
            part.nodes.push(NodePlan { name: node.name.to_string(), children: children.into(), kind });
            let connected = used.iter().filter_map(|name| store_names.iter().position(|known| known == name));
            part.connections.push(connected.filter_map(|index| u32::try_from(index).ok()).collect());
        }
        Ok(part)
    }

    fn store(&self, builder: &Arc<dyn StoreBuilder>, is_global: bool) -> Result<StorePlan> {
        let changelog = match builder.changelog() {
            _ if is_global => None,
            Changelog::Topic { .. } => {
                let name = format!("{}-{}-changelog", self.application_id, builder.name());
                Some(ChangelogTopic::Own(TopicName::new(name)?))
            }
            Changelog::SourceTopic { topic, .. } => Some(ChangelogTopic::Source(self.full(topic)?)),
            Changelog::Disabled => None,
        };
        Ok(StorePlan { builder: Arc::clone(builder), changelog })
    }
}
