//! An administrator of the embedded log.

use std::sync::Arc;

use super::{group::OFFSETS_TOPIC, log::Inner};
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{Admin, CommittedOffset, GroupDescription, GroupMetadata, NewTopic, OffsetSpec, TopicDescription},
};

pub(crate) struct EmbeddedAdmin {
    log: Arc<Inner>,
}

impl EmbeddedAdmin {
    pub(crate) fn new(log: Arc<Inner>) -> Self {
        EmbeddedAdmin { log }
    }
}

impl Admin for EmbeddedAdmin {
    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<()> {
        self.log.create_topics(topics)
    }

    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<()> {
        self.log.delete_topics(topics)
    }

    fn list_topics(&mut self) -> Result<Vec<TopicName>> {
        // As Kafka's: its own topics are not listed.
        let topics = self.log.topics.read();
        Ok(topics.keys().filter(|topic| topic.as_str() != OFFSETS_TOPIC).cloned().collect())
    }

    fn describe_topic(&mut self, topic: &TopicName) -> Result<Option<TopicDescription>> {
        Ok(self.log.topics.read().get(topic).map(|topic| topic.describe()))
    }

    fn list_offset(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> Result<Option<Offset>> {
        let partition = self.log.partition(partition)?;
        match spec {
            OffsetSpec::Earliest => partition.log_start().map(Some),
            OffsetSpec::Latest(isolation) => partition.end(isolation).map(Some),
            OffsetSpec::Timestamp(timestamp) => partition.offset_for_time(timestamp),
        }
    }

    fn delete_records(&mut self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        for (name, offset) in before {
            self.log.partition(name)?.advance_log_start(*offset)?;
        }
        self.log.write_log_starts()
    }

    fn list_groups(&mut self) -> Result<Vec<String>> {
        self.log.list_groups()
    }

    fn describe_group(&mut self, group: &str) -> Result<Option<GroupDescription>> {
        self.log.describe_group(group)
    }

    fn group_offsets(&mut self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>> {
        self.log.group_offsets(group)
    }

    fn alter_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        // Nobody's commit: it is refused while the group has members.
        let who = GroupMetadata { group_id: group.to_owned(), generation: -1, member_id: String::new() };
        self.log.commit_offsets(&who, offsets).map_err(|error| match error {
            Error::MemberFenced { .. } => Error::Invalid(format!("group {group:?} has members; stop them first")),
            other => other,
        })
    }

    fn delete_group(&mut self, group: &str) -> Result<()> {
        self.log.delete_group(group)
    }
}
