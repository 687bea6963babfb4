//! The administrator: librdkafka's admin client, and consumers for what that one cannot answer.

use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use log_store::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{
        Admin, CommittedOffset, GroupDescription, MemberDescription, NewTopic, OffsetSpec, Partitions, TopicDescription,
    },
};
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    admin::{AdminOptions, ConfigSource, NewTopic as KafkaNewTopic, ResourceSpecifier, TopicReplication},
    consumer::{CommitMode, Consumer as _},
    groups::GroupList,
    types::RDKafkaErrorCode,
};

use crate::{
    REQUEST_TIMEOUT,
    cluster::{Cluster, patiently},
    convert,
};

/// Between two looks at what the brokers know of a topic that was just created or deleted.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// What Kafka writes for no id; librdkafka does not tell the real one.
const UNTOLD: [u8; 16] = [0; 16];

pub(crate) struct KafkaAdmin {
    cluster: Arc<Cluster>,
}

impl KafkaAdmin {
    pub(crate) fn new(cluster: Arc<Cluster>) -> Self {
        KafkaAdmin { cluster }
    }

    fn options() -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT)).request_timeout(Some(REQUEST_TIMEOUT))
    }

    /// The controller has answered; the brokers hear of it a moment later.
    fn await_partitions(&self, topic: &TopicName, wanted: Option<u32>) -> Result<()> {
        let since = Instant::now();
        while self.cluster.partitions(topic)? != wanted {
            if since.elapsed() > REQUEST_TIMEOUT {
                let what = format!("the brokers do not agree about topic {topic}");
                return Err(Error::TimedOut { what, waited_ms: REQUEST_TIMEOUT.as_millis() as u64 });
            }
            thread::sleep(LOOK_PAUSE);
        }
        Ok(())
    }

    fn groups(&self, group: Option<&str>) -> Result<GroupList> {
        let asker = self.cluster.of_group(group.unwrap_or_default())?;
        let answer = patiently(|| asker.fetch_group_list(group, REQUEST_TIMEOUT));
        answer.map_err(|error| convert::error("describe groups of", &error))
    }
}

fn refused(name: &str, code: RDKafkaErrorCode) -> Error {
    match code {
        RDKafkaErrorCode::TopicAlreadyExists => Error::TopicExists { name: name.to_owned() },
        RDKafkaErrorCode::UnknownTopicOrPartition => Error::UnknownTopic { name: name.to_owned() },
        code => Error::Invalid(format!("{name}: {code}")),
    }
}

impl Admin for KafkaAdmin {
    fn create_topics(&mut self, topics: &[NewTopic]) -> Result<()> {
        let requests = topics.iter().map(|topic| {
            let partitions = convert::partition_number(topic.partitions);
            // -1: the cluster's default replication factor.
            let request = KafkaNewTopic::new(topic.name.as_str(), partitions, TopicReplication::Fixed(-1));
            topic.config.iter().fold(request, |request, (key, value)| request.set(key, value))
        });
        let requests: Vec<_> = requests.collect();
        let answers = block_on(self.cluster.admin.create_topics(&requests, &Self::options()));
        for answer in answers.map_err(|error| convert::error("create topics on", &error))? {
            answer.map_err(|(name, code)| refused(&name, code))?;
        }
        for topic in topics {
            self.await_partitions(&topic.name, Some(topic.partitions))?;
        }
        Ok(())
    }

    fn delete_topics(&mut self, topics: &[TopicName]) -> Result<()> {
        if topics.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = topics.iter().map(TopicName::as_str).collect();
        let answers = block_on(self.cluster.admin.delete_topics(&names, &Self::options()));
        for answer in answers.map_err(|error| convert::error("delete topics of", &error))? {
            answer.map_err(|(name, code)| refused(&name, code))?;
        }
        for topic in topics {
            self.await_partitions(topic, None)?;
        }
        Ok(())
    }

    fn list_topics(&mut self) -> Result<Vec<TopicName>> {
        Ok(self.cluster.topics()?.into_iter().map(|(name, _)| name).collect())
    }

    fn describe_topic(&mut self, topic: &TopicName) -> Result<Option<TopicDescription>> {
        let Some(partitions) = self.cluster.partitions(topic)? else { return Ok(None) };
        let asked = [ResourceSpecifier::Topic(topic.as_str())];
        let answers = block_on(self.cluster.admin.describe_configs(&asked, &Self::options()));
        let mut config = BTreeMap::new();
        for answer in answers.map_err(|error| convert::error("describe topics of", &error))? {
            let resource = answer.map_err(|code| refused(topic.as_str(), code))?;
            let own = resource.entries.into_iter().filter(|entry| entry.source == ConfigSource::DynamicTopic);
            config.extend(own.filter_map(|entry| Some((entry.name, entry.value?))));
        }
        Ok(Some(TopicDescription { name: topic.clone(), topic_id: UNTOLD, partitions, config }))
    }

    fn list_offset(&mut self, partition: &TopicPartition, spec: OffsetSpec) -> Result<Option<Offset>> {
        self.cluster.offset(partition, spec)
    }

    fn delete_records(&mut self, before: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(before.len());
        let failed = |error| convert::error("delete records of", &error);
        for (partition, offset) in before {
            let number = convert::partition_number(partition.partition);
            list.add_partition_offset(partition.topic.as_str(), number, KafkaOffset::Offset(offset.as_i64()))
                .map_err(failed)?;
        }
        let answer = block_on(self.cluster.admin.delete_records(&list, &Self::options())).map_err(failed)?;
        for element in answer.elements() {
            element.error().map_err(failed)?;
        }
        Ok(())
    }

    fn list_groups(&mut self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.groups(None)?.groups().iter().map(|group| group.name().to_owned()).collect();
        names.sort();
        Ok(names)
    }

    fn describe_group(&mut self, group: &str) -> Result<Option<GroupDescription>> {
        let groups = self.groups(Some(group))?;
        let Some(found) = groups.groups().iter().find(|found| found.name() == group && found.state() != "Dead") else {
            return Ok(None);
        };
        let members = found.members().iter().map(|member| MemberDescription {
            member_id: member.id().to_owned(),
            client_id: member.client_id().to_owned(),
            partitions: assigned(member.assignment().unwrap_or_default()).unwrap_or_default(),
        });
        let mut members: Vec<MemberDescription> = members.collect();
        members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
        Ok(Some(GroupDescription { generation: -1, members }))
    }

    fn group_offsets(&mut self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>> {
        let mut list = TopicPartitionList::new();
        for (topic, partitions) in self.cluster.topics()? {
            for partition in 0..partitions {
                list.add_partition(topic.as_str(), convert::partition_number(partition));
            }
        }
        let asker = self.cluster.of_group(group)?;
        let answer = patiently(|| asker.committed_offsets(list.clone(), REQUEST_TIMEOUT));
        let answer = answer.map_err(|error| convert::error("ask for committed offsets of", &error))?;
        let mut offsets = Vec::new();
        for element in answer.elements() {
            if let KafkaOffset::Offset(offset) = element.offset()
                && let Some(offset) = Offset::from_i64(offset)
            {
                let partition = convert::topic_partition(element.topic(), element.partition())?;
                offsets.push((partition, CommittedOffset { offset, metadata: element.metadata().to_owned() }));
            }
        }
        offsets.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(offsets)
    }

    fn alter_group_offsets(&mut self, group: &str, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        if self.describe_group(group)?.is_some_and(|group| !group.members.is_empty()) {
            return Err(Error::Invalid(format!("group {group} has members: stop them first")));
        }
        let (asker, list) = (self.cluster.of_group(group)?, convert::offset_list(offsets)?);
        patiently(|| asker.commit(&list, CommitMode::Sync))
            .map_err(|error| convert::error("set offsets of a group of", &error))
    }

    fn delete_group(&mut self, group: &str) -> Result<()> {
        let answers = block_on(self.cluster.admin.delete_groups(&[group], &Self::options()));
        for answer in answers.map_err(|error| convert::error("delete a group of", &error))? {
            match answer {
                Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound)) => {}
                Err((name, code)) => return Err(refused(&name, code)),
            }
        }
        Ok(())
    }
}

/// The partitions in a member's assignment, as Kafka's consumers write it; `None` for bytes of another make.
fn assigned(bytes: &[u8]) -> Option<Partitions> {
    let mut rest = Fields(bytes);
    let _version = rest.i16()?;
    let topics = rest.i32()?;
    let mut partitions = Partitions::new();
    for _ in 0..topics {
        let length = usize::try_from(rest.i16()?).ok()?;
        let topic = TopicName::new(std::str::from_utf8(rest.take(length)?).ok()?).ok()?;
        for _ in 0..rest.i32()? {
            partitions.push(TopicPartition::new(topic.clone(), u32::try_from(rest.i32()?).ok()?));
        }
    }
    partitions.sort();
    Some(partitions)
}

/// What is left of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1; topic `in`: 2 and 0; topic `x`: 7; no user data.
    const ASSIGNMENT: &[u8] =
        b"\0\x01\0\0\0\x02\0\x02in\0\0\0\x02\0\0\0\x02\0\0\0\0\0\x01x\0\0\0\x01\0\0\0\x07\xff\xff\xff\xff";

    #[test]
    fn an_assignment_is_read() {
        let partition = |topic, number| TopicPartition::new(TopicName::new(topic).unwrap(), number);
        let expected = vec![partition("in", 0), partition("in", 2), partition("x", 7)];
        assert_eq!(assigned(ASSIGNMENT), Some(expected));
    }

    #[test]
    fn a_torn_assignment_is_no_assignment() {
        for length in 0..ASSIGNMENT.len() - 4 {
            assert_eq!(assigned(&ASSIGNMENT[..length]), None, "{length}");
        }
    }
}
