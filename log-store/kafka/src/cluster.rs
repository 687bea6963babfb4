//! What the cluster is asked outside of reading and writing: shared by all administrators and consumers of a client.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use log_store::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{Isolation, OffsetSpec},
};
use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, Offset as KafkaOffset, TopicPartitionList,
    admin::AdminClient,
    client::DefaultClientContext,
    config::FromClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
    types::{RDKafkaErrorCode, RDKafkaRespErr},
};

use crate::{REQUEST_TIMEOUT, convert};

/// Between two questions to a coordinator that is not ready.
const COORDINATOR_PAUSE: Duration = Duration::from_millis(50);

/// Asks again while the coordinator of a group moves or starts.
pub(crate) fn patiently<T>(mut ask: impl FnMut() -> KafkaResult<T>) -> KafkaResult<T> {
    let since = Instant::now();
    loop {
        let answer = ask();
        let is_moving = answer.as_ref().is_err_and(|error| {
            matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::NotCoordinator
                        | RDKafkaErrorCode::CoordinatorNotAvailable
                        | RDKafkaErrorCode::CoordinatorLoadInProgress
                        | RDKafkaErrorCode::WaitingForCoordinator
                )
            )
        });
        if !is_moving || since.elapsed() > REQUEST_TIMEOUT {
            return answer;
        }
        thread::sleep(COORDINATOR_PAUSE);
    }
}

pub(crate) struct Cluster {
    pub(crate) admin: AdminClient<DefaultClientContext>,
    config: ClientConfig,
    committed: BaseConsumer,
    uncommitted: BaseConsumer,
    /// Never members: they ask for the committed offsets of their groups.
    of_groups: Mutex<HashMap<String, Arc<BaseConsumer>>>,
}

impl Cluster {
    pub(crate) fn new(config: ClientConfig) -> Result<Self> {
        let admin = AdminClient::from_config(&config).map_err(|error| convert::error("administer", &error))?;
        let reader = |isolation| {
            let mut config = config.clone();
            config.set("isolation.level", convert::isolation(isolation));
            BaseConsumer::from_config(&config).map_err(|error| convert::error("make a consumer of", &error))
        };
        let (committed, uncommitted) = (reader(Isolation::ReadCommitted)?, reader(Isolation::ReadUncommitted)?);
        Ok(Cluster { admin, config, committed, uncommitted, of_groups: Mutex::default() })
    }

    /// A consumer that speaks for a group without being a member. It does not wait for open transactions.
    pub(crate) fn of_group(&self, group: &str) -> Result<Arc<BaseConsumer>> {
        let mut known = self.of_groups.lock();
        if let Some(consumer) = known.get(group) {
            return Ok(Arc::clone(consumer));
        }
        let mut config = self.config.clone();
        config
            .set("group.id", group)
            .set("isolation.level", convert::isolation(Isolation::ReadUncommitted))
            .set("enable.auto.commit", "false");
        let consumer: BaseConsumer =
            BaseConsumer::from_config(&config).map_err(|error| convert::error("make a consumer of", &error))?;
        let consumer = Arc::new(consumer);
        known.insert(group.to_owned(), Arc::clone(&consumer));
        Ok(consumer)
    }

    /// All topics with their numbers of partitions, sorted.
    pub(crate) fn topics(&self) -> Result<Vec<(TopicName, u32)>> {
        let metadata = self.committed.fetch_metadata(None, REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| convert::error("list the topics of", &error))?;
        let mut topics = Vec::with_capacity(metadata.topics().len());
        for topic in metadata.topics() {
            topics.push((TopicName::new(topic.name())?, convert::count(topic.partitions().len())));
        }
        topics.sort();
        Ok(topics)
    }

    /// Partitions of a topic, `None` if there is no such topic, or some of its partitions have no leader yet.
    pub(crate) fn partitions(&self, topic: &TopicName) -> Result<Option<u32>> {
        let metadata = self.committed.fetch_metadata(Some(topic.as_str()), REQUEST_TIMEOUT);
        let metadata = metadata.map_err(|error| convert::error("describe topics of", &error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic.as_str()) else {
            return Ok(None);
        };
        match found.error() {
            None => {}
            Some(
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
                | RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            ) => return Ok(None),
            Some(other) => {
                return Err(Error::Invalid(format!("cannot describe {topic}: {}", RDKafkaErrorCode::from(other))));
            }
        }
        if found.partitions().iter().any(|partition| partition.leader() < 0) {
            return Ok(None);
        }
        Ok(Some(convert::count(found.partitions().len())))
    }

    /// See [`log_store::client::Admin::list_offset`].
    pub(crate) fn offset(&self, partition: &TopicPartition, spec: OffsetSpec) -> Result<Option<Offset>> {
        let (topic, number) = (partition.topic.as_str(), convert::partition_number(partition.partition));
        let failed = |error| convert::error("ask for offsets of", &error);
        let watermarks = |isolation| {
            let reader = match isolation {
                Isolation::ReadCommitted => &self.committed,
                Isolation::ReadUncommitted => &self.uncommitted,
            };
            reader.fetch_watermarks(topic, number, REQUEST_TIMEOUT).map_err(failed)
        };
        match spec {
            OffsetSpec::Earliest => Ok(Offset::from_i64(watermarks(Isolation::ReadUncommitted)?.0)),
            OffsetSpec::Latest(isolation) => Ok(Offset::from_i64(watermarks(isolation)?.1)),
            OffsetSpec::Timestamp(timestamp) => {
                let mut list = TopicPartitionList::new();
                list.add_partition_offset(topic, number, KafkaOffset::Offset(timestamp)).map_err(failed)?;
                let answer = self.uncommitted.offsets_for_times(list, REQUEST_TIMEOUT).map_err(failed)?;
                let found = answer.find_partition(topic, number);
                Ok(found.and_then(|found| Offset::from_i64(found.offset().to_raw()?)))
            }
        }
    }
}
