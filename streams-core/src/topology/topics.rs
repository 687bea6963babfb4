//! Which topics a topology uses, under their names on the log: what each sub-topology reads, writes and logs to.
//!
//! Nothing here asks the log: how many partitions existing topics have is given, and what must be created is the answer.

use std::collections::{BTreeMap, BTreeSet};

use log_store::TopicName;

use super::{
    Topology,
    copartition::Declared,
    java_order::hash_set_order,
    node::{InternalTopic, NodeKind, SinkTarget},
    source::Topics,
    subtopology::{stores_of, subtopologies},
};
use crate::{
    Error, Result, StreamsConfig,
    state::{Changelog, ChangelogCleanup},
};

/// What an internal topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalTopicKind {
    /// Between two sub-topologies.
    Repartition,
    /// Changes of a store with one value for each key.
    Changelog,
    /// Changes of a store of windows or sessions.
    WindowedChangelog,
    /// Changes of a store that keeps old versions.
    VersionedChangelog,
}

/// A topic that the application creates for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InternalTopicPlan {
    pub(crate) kind: InternalTopicKind,
    /// Fixed by the topology; `None`: derived from other topics.
    pub(crate) partitions: Option<u32>,
    /// True if a source topic serves as changelog: it exists, and is not created.
    pub(crate) is_source: bool,
    /// Settings under Kafka's names.
    pub(crate) settings: BTreeMap<String, String>,
}

/// Settings that every internal topic gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicSettings<'a> {
    pub(crate) application_id: &'a str,
    /// `topic.` settings of the application.
    pub(crate) overrides: &'a BTreeMap<String, String>,
    /// How much longer than its store a changelog of windows is retained.
    pub(crate) additional_retention_ms: u128,
}

impl<'a> TopicSettings<'a> {
    /// Those of an application.
    pub(crate) fn of(config: &'a StreamsConfig) -> Self {
        TopicSettings {
            application_id: &config.application_id,
            overrides: &config.topic_settings,
            additional_retention_ms: config.window_changelog_additional_retention.as_millis(),
        }
    }
}

/// A versioned store's changelog keeps what compaction may not yet remove for this much longer than the store.
const ADDITIONAL_COMPACTION_LAG_MS: u128 = 24 * 3_600 * 1_000;

/// Topics of one sub-topology.
#[derive(Clone, Debug, Default)]
pub(crate) struct PartTopics {
    pub(crate) sources: BTreeSet<TopicName>,
    pub(crate) sinks: BTreeSet<TopicName>,
    /// Repartition topics that it reads, and changelogs of its stores.
    pub(crate) internal: BTreeMap<TopicName, InternalTopicPlan>,
}

/// Topics of a topology.
#[derive(Clone, Debug)]
pub(crate) struct TopicPlan {
    /// By number of the sub-topology. One that fills a global store has only its source.
    pub(crate) parts: Vec<PartTopics>,
    /// Groups of topics with equal partition counts, as they were declared.
    pub(crate) copartitioned: Declared,
}

impl TopicPlan {
    /// Names all topics. `existing` are the names among which patterns choose.
    pub(crate) fn of<'n>(
        topology: &Topology,
        settings: &TopicSettings<'_>,
        existing: impl Iterator<Item = &'n TopicName> + Clone,
    ) -> Result<Self> {
        let names = Names { topology, settings };
        let mut parts = Vec::new();
        for subtopology in subtopologies(topology) {
            let mut part = PartTopics::default();
            for place in subtopology.nodes {
                match &topology.nodes[place].kind {
                    NodeKind::Source(source) => part.sources.extend(names.sources(&source.topics, existing.clone())?),
                    NodeKind::Sink(sink) => {
                        if let SinkTarget::Named(topic) = &sink.topic {
                            // Only those that somebody reads matter here; those are names.
                            part.sinks.extend(names.full(topic).ok());
                        }
                    }
                    NodeKind::Processor(_) if subtopology.is_global => {}
                    NodeKind::Processor(_) => {
                        for store in stores_of(topology, place) {
                            part.internal.extend(names.changelog(store)?);
                        }
                    }
                }
            }
            for topic in &topology.internal_topics {
                let name = names.full(&topic.name)?;
                if part.sources.contains(&name) {
                    part.internal.insert(name, names.repartition(topic)?);
                }
            }
            parts.push(part);
        }
        let copartitioned = names.copartitioned(existing)?;
        Ok(TopicPlan { parts, copartitioned })
    }
}

struct Names<'a> {
    topology: &'a Topology,
    settings: &'a TopicSettings<'a>,
}

impl Names<'_> {
    /// The name of a topic on the log: the application's own have its id in front.
    fn full(&self, topic: &str) -> Result<TopicName> {
        let is_internal = self.topology.internal_topics.iter().any(|internal| internal.name == topic);
        let id = self.settings.application_id;
        checked(if is_internal { format!("{id}-{topic}") } else { topic.to_owned() })
    }

    fn sources<'n>(&self, topics: &Topics, existing: impl Iterator<Item = &'n TopicName>) -> Result<Vec<TopicName>> {
        match topics {
            Topics::Named(names) => names.iter().map(|name| self.full(name)).collect(),
            Topics::Pattern(pattern) => Ok(existing.filter(|topic| pattern.matches(topic.as_str())).cloned().collect()),
        }
    }

    fn repartition(&self, topic: &InternalTopic) -> Result<InternalTopicPlan> {
        let partitions = topic.partitions;
        if partitions == Some(0) {
            let problem = format!("internal topic {} has 0 partitions; it needs at least 1", topic.name);
            return Err(Error::Topology(vec![problem]));
        }
        // Records are deleted once they are consumed, so nothing else may delete them.
        let own = [("cleanup.policy", "delete"), ("segment.bytes", "52428800"), ("retention.ms", "-1")];
        let settings = self.settings(own.into_iter(), &BTreeMap::new());
        Ok(InternalTopicPlan { kind: InternalTopicKind::Repartition, partitions, is_source: false, settings })
    }

    /// The changelog of a store; `None` if it has none.
    fn changelog(&self, store: &str) -> Result<Option<(TopicName, InternalTopicPlan)>> {
        let none = BTreeMap::new();
        let found = self.topology.stores.iter().find(|known| known.builder.name() == store && !known.is_global);
        let (name, cleanup, config, is_source) = match found.map(|found| found.builder.changelog()) {
            None | Some(Changelog::Disabled) => return Ok(None),
            Some(Changelog::SourceTopic { topic, cleanup }) => (self.full(topic)?, *cleanup, &none, true),
            Some(Changelog::Topic { cleanup, config }) => {
                (checked(format!("{}-{store}-changelog", self.settings.application_id))?, *cleanup, config, false)
            }
        };
        let additional = self.settings.additional_retention_ms;
        let (kind, policy, derived) = match cleanup {
            ChangelogCleanup::Compact => (InternalTopicKind::Changelog, "compact", None),
            ChangelogCleanup::CompactDelete { retention } => (
                InternalTopicKind::WindowedChangelog,
                "compact,delete",
                Some(("retention.ms", retention.as_millis() + additional)),
            ),
            ChangelogCleanup::Delete { retention } => (
                InternalTopicKind::WindowedChangelog,
                "delete",
                Some(("retention.ms", retention.as_millis() + additional)),
            ),
            ChangelogCleanup::CompactWithLag { history } => (
                InternalTopicKind::VersionedChangelog,
                "compact",
                Some(("min.compaction.lag.ms", history.as_millis() + ADDITIONAL_COMPACTION_LAG_MS)),
            ),
        };
        let mut settings = self.settings([("cleanup.policy", policy)].into_iter(), config);
        // What follows from the store stands above the application's settings, below the store's own.
        if let Some((key, millis)) = derived
            && !config.contains_key(key)
        {
            let millis = i64::try_from(millis).unwrap_or(i64::MAX);
            settings.insert(key.to_owned(), millis.to_string());
        }
        Ok(Some((name, InternalTopicPlan { kind, partitions: None, is_source, settings })))
    }

    /// The engine's settings, below the application's, below the store's.
    fn settings<'s>(
        &self,
        own: impl Iterator<Item = (&'s str, &'s str)>,
        of_store: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([("message.timestamp.type".to_owned(), "CreateTime".to_owned())]);
        settings.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        settings.extend(self.settings.overrides.clone());
        settings.extend(of_store.clone());
        settings
    }

    /// The topics of the sources in each group, in the order in which a Java `HashSet` of those sources has them.
    fn copartitioned<'n>(&self, existing: impl Iterator<Item = &'n TopicName> + Clone) -> Result<Declared> {
        let mut groups = Declared::new();
        for sources in &self.topology.copartitioned {
            let mut group: Vec<TopicName> = Vec::new();
            for member in hash_set_order(sources) {
                let source = self.topology.sources().find(|(name, _)| *name == sources[member]);
                let Some((_, source)) = source else { continue };
                for topic in self.sources(&source.topics, existing.clone())? {
                    if !group.contains(&topic) {
                        group.push(topic);
                    }
                }
            }
            groups.push(group);
        }
        Ok(groups)
    }
}

fn checked(name: String) -> Result<TopicName> {
    TopicName::new(&name).map_err(|error| Error::Topology(vec![error.to_string()]))
}
