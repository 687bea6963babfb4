//! An administrator of the embedded log.

use std::sync::Arc;

use super::log::Inner;
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{Admin, CommittedOffset, NewTopic, OffsetSpec, TopicDescription},
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
        Ok(self.log.topics.read().keys().cloned().collect())
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

    fn group_offsets(&mut self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>> {
        let groups = self.log.groups.lock();
        let offsets = groups.get(group).into_iter().flatten();
        Ok(offsets.map(|(partition, offset)| (partition.clone(), offset.clone())).collect())
    }

    fn alter_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        if group.is_empty() {
            return Err(Error::Invalid("a group needs a name".to_owned()));
        }
        self.log.groups.lock().entry(group.to_owned()).or_default().extend(offsets.iter().cloned());
        Ok(())
    }

    fn delete_group(&mut self, group: &str) -> Result<()> {
        self.log.groups.lock().remove(group);
        Ok(())
    }
}
