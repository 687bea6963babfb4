//! The topics of a log: created, found and deleted.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::RwLock;

use super::{
    log::Inner,
    log_checkpoints::random_id,
    log_shared::Shared,
    partition::{Known, Partition, SharedTopicConfig},
    topics_file,
};
use crate::{
    Error, Result, TopicConfig, TopicName, TopicPartition,
    client::{NewTopic, TopicDescription},
};

/// Most partitions of one topic.
pub(super) const PARTITIONS_MAX: u32 = 100_000;

/// One topic.
pub(crate) struct Topic {
    description: RwLock<TopicDescription>,
    config: SharedTopicConfig,
    pub(crate) partitions: Vec<Arc<Partition>>,
}

impl Topic {
    /// The topic as described; `known` says what the checkpoints say about a partition.
    pub(crate) fn new(
        shared: &Arc<Shared>,
        description: TopicDescription,
        known: impl Fn(&TopicPartition) -> Known,
    ) -> Result<Self> {
        let config = Arc::new(RwLock::new(Arc::new(TopicConfig::from_map(&description.config)?)));
        let partition = |number| {
            let id = TopicPartition::new(description.name.clone(), number);
            let known = known(&id);
            Arc::new(Partition::new(shared, id, description.topic_id, &config, known))
        };
        let partitions = (0..description.partitions).map(partition).collect();
        Ok(Topic { description: RwLock::new(description), config, partitions })
    }

    /// Its name, id, partitions and settings.
    pub(crate) fn describe(&self) -> TopicDescription {
        self.description.read().clone()
    }
}

impl Inner {
    /// The topic of this name.
    pub(crate) fn topic(&self, name: &TopicName) -> Result<Arc<Topic>> {
        let found = self.topics.read().get(name).cloned();
        found.ok_or_else(|| Error::UnknownTopic { name: name.to_string() })
    }

    /// The partition of this name.
    pub(crate) fn partition(&self, name: &TopicPartition) -> Result<Arc<Partition>> {
        let topics = self.topics.read();
        let partition = topics.get(&name.topic).and_then(|topic| topic.partitions.get(name.partition as usize));
        partition.cloned().ok_or_else(|| Error::UnknownTopic { name: name.to_string() })
    }

    /// Creates all of `new` or none; durable when it returns.
    pub(crate) fn create_topics(&self, new: &[NewTopic]) -> Result<()> {
        self.shared.check()?;
        let mut created = BTreeMap::new();
        let mut topics = self.topics.write();
        for topic in new {
            if topic.partitions == 0 || topic.partitions > PARTITIONS_MAX {
                return Err(Error::Invalid(format!(
                    "topic {}: {} partitions, expected 1 to {PARTITIONS_MAX}",
                    topic.name, topic.partitions
                )));
            }
            let description = TopicDescription {
                name: topic.name.clone(),
                topic_id: random_id(),
                partitions: topic.partitions,
                config: topic.config.clone(),
            };
            // A new topic has nothing to recover.
            let known = |_: &TopicPartition| Known { is_clean: true, ..self.known_nothing() };
            let made = Arc::new(Topic::new(&self.shared, description, known)?);
            if topics.contains_key(&topic.name) || created.insert(topic.name.clone(), made).is_some() {
                return Err(Error::TopicExists { name: topic.name.to_string() });
            }
        }
        let all = topics.values().chain(created.values()).map(|topic| topic.describe());
        self.write_topics(all.collect())?;
        topics.extend(created);
        Ok(())
    }

    /// Deletes all of `names` or none.
    pub(crate) fn delete_topics(&self, names: &[TopicName]) -> Result<()> {
        self.shared.check()?;
        let mut topics = self.topics.write();
        if let Some(unknown) = names.iter().find(|name| !topics.contains_key(name)) {
            return Err(Error::UnknownTopic { name: unknown.to_string() });
        }
        let kept = topics.values().map(|topic| topic.describe()).filter(|topic| !names.contains(&topic.name));
        self.write_topics(kept.collect())?;
        // From here on the topics are gone; what is left of them goes now, or with the next start.
        for name in names {
            for partition in topics.remove(name).iter().flat_map(|topic| &topic.partitions) {
                partition.delete()?;
            }
        }
        drop(topics);
        self.write_recovery_points()?;
        self.write_log_starts()?;
        self.forget_offsets_of(names)
    }

    /// Changes settings of a topic while it is in use: `None` takes one back to its default.
    pub(crate) fn alter_topic(&self, name: &TopicName, changes: &BTreeMap<String, Option<String>>) -> Result<()> {
        self.shared.check()?;
        let topics = self.topics.write();
        let topic = topics.get(name).ok_or_else(|| Error::UnknownTopic { name: name.to_string() })?;
        let mut changed = topic.describe();
        for (setting, value) in changes {
            match value {
                Some(value) => changed.config.insert(setting.clone(), value.clone()),
                None => changed.config.remove(setting),
            };
        }
        let config = TopicConfig::from_map(&changed.config)?;
        let others = topics.values().map(|topic| topic.describe()).filter(|other| other.name != *name);
        self.write_topics(others.chain([changed.clone()]).collect())?;
        *topic.config.write() = Arc::new(config);
        *topic.description.write() = changed;
        Ok(())
    }

    fn write_topics(&self, mut topics: Vec<TopicDescription>) -> Result<()> {
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics_file::write(&*self.shared.directory, &topics)
    }
}
