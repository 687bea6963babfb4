//! Topics, positions and groups.

use std::collections::BTreeMap;

use super::{CommittedOffset, Isolation, Partitions};
use crate::{Offset, Result, TopicName, TopicPartition, topic::encode_id};

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// Number of partitions, at least 1.
    pub partitions: u32,
    /// Settings under Kafka's names (`cleanup.policy`, `retention.ms`, …); what is absent has Kafka's default.
    pub config: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with default settings.
    #[must_use]
    pub fn new(name: TopicName, partitions: u32) -> Self {
        NewTopic { name, partitions, config: BTreeMap::new() }
    }

    /// Adds a setting.
    #[must_use]
    pub fn with_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.insert(key.into(), value.into());
        self
    }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Identity that a topic of the same name created later does not share; zeros where the log does not tell it.
    pub topic_id: [u8; 16],
    /// Number of partitions.
    pub partitions: u32,
    /// Settings that differ from the defaults, under Kafka's names.
    pub config: BTreeMap<String, String>,
}

impl TopicDescription {
    /// The topic's id as Kafka prints it: 22 characters.
    #[must_use]
    pub fn topic_id_text(&self) -> String {
        encode_id(self.topic_id)
    }
}

/// Which offset [`Admin::list_offset`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first record that is kept.
    Earliest,
    /// After the last record that is readable at this isolation.
    Latest(Isolation),
    /// The first record with this timestamp or a later one.
    Timestamp(i64),
}

/// A member of a group, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id in the group.
    pub member_id: String,
    /// Name of the client.
    pub client_id: String,
    /// What it reads, sorted.
    pub partitions: Partitions,
}

/// A consumer group, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Rises with every change of members or topics; -1 where the log does not tell it.
    pub generation: i32,
    /// The members, by id; none if the group has only committed offsets.
    pub members: Vec<MemberDescription>,
}

/// Administers a log.
pub trait Admin: Send {
    /// Creates topics, all or none of each; durable when it returns.
    ///
    /// # Errors
    ///
    /// `TopicExists`, or `Invalid` for a bad name, count or setting.
    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<()>;

    /// Deletes topics with all their records.
    ///
    /// # Errors
    ///
    /// `UnknownTopic`.
    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<()>;

    /// All topics, sorted by name.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached.
    fn list_topics(&mut self) -> Result<Vec<TopicName>>;

    /// Describes a topic; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached.
    fn describe_topic(&mut self, topic: &TopicName) -> Result<Option<TopicDescription>>;

    /// An offset of a partition; `None` if no record is as late as asked for.
    ///
    /// # Errors
    ///
    /// `UnknownTopic`.
    fn list_offset(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> Result<Option<Offset>>;

    /// Drops records before these offsets (for repartition topics, once consumed).
    ///
    /// # Errors
    ///
    /// `UnknownTopic`, `OffsetOutOfRange`.
    fn delete_records(&mut self, before: &[(TopicPartition, Offset)]) -> Result<()>;

    /// Groups with members or committed offsets, sorted.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached.
    fn list_groups(&mut self) -> Result<Vec<String>>;

    /// Describes a group; `None` if it has neither members nor committed offsets.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached.
    fn describe_group(&mut self, group: &str) -> Result<Option<GroupDescription>>;

    /// All committed offsets of a group.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached.
    fn group_offsets(&mut self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>>;

    /// Sets committed offsets of a group without members.
    ///
    /// # Errors
    ///
    /// `Invalid` if the group has members.
    fn alter_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()>;

    /// Forgets a group without members and its offsets. A group that does not exist is no error.
    ///
    /// # Errors
    ///
    /// `Invalid` if the group has members.
    fn delete_group(&mut self, group: &str) -> Result<()>;
}
