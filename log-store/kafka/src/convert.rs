//! Between the words of librdkafka and ours.

use std::{io, time::Duration};

use log_store::{
    Error, Result, TopicName, TopicPartition,
    client::{CommittedOffset, Compression, Isolation, OffsetReset, StartAt},
};
use rdkafka::{Offset, TopicPartitionList, error::KafkaError, types::RDKafkaErrorCode as Code};

/// An error of librdkafka, met while doing `operation`. What names a producer or a member is filled in by its owner.
pub(crate) fn error(operation: &'static str, error: &KafkaError) -> Error {
    let Some(code) = error.rdkafka_error_code() else {
        return Error::io(operation, "kafka", io::Error::other(error.to_string()));
    };
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            Error::UnknownTopic { name: error.to_string() }
        }
        // librdkafka's own errors are fatal to the producer; a new one goes on.
        Code::Fenced
        | Code::ProducerFenced
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::UnknownProducerId
        | Code::OutOfOrderSequenceNumber => {
            Error::ProducerFenced { transactional_id: String::new(), ours: -1, current: -1 }
        }
        Code::UnknownMemberId
        | Code::IllegalGeneration
        | Code::FencedInstanceId
        | Code::AssignmentLost
        | Code::RebalanceInProgress => fenced(&error.to_string()),
        Code::MessageSizeTooLarge => Error::Invalid(error.to_string()),
        Code::TopicAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SaslAuthenticationFailed => Error::io(operation, "kafka", io::Error::other(error.to_string())),
        Code::OperationTimedOut
        | Code::RequestTimedOut
        | Code::MessageTimedOut
        | Code::TimedOutQueue
        | Code::BrokerTransportFailure
        | Code::AllBrokersDown
        | Code::NotCoordinator
        | Code::CoordinatorNotAvailable
        | Code::CoordinatorLoadInProgress
        | Code::WaitingForCoordinator
        | Code::UnstableOffsetCommit => unanswered(operation, error),
        // A transaction that must be aborted, or whose outcome is unknown: begin again with a new producer.
        _ if matches!(error, KafkaError::Transaction(_)) => unanswered(operation, error),
        _ => Error::io(operation, "kafka", io::Error::other(error.to_string())),
    }
}

fn unanswered(operation: &str, error: &KafkaError) -> Error {
    Error::TimedOut { what: format!("cannot {operation} kafka: {error}"), waited_ms: 0 }
}

/// A member that may not commit any more.
pub(crate) fn fenced(reason: &str) -> Error {
    Error::MemberFenced { group: String::new(), member: String::new(), reason: reason.to_owned() }
}

pub(crate) fn topic_partition(topic: &str, partition: i32) -> Result<TopicPartition> {
    let partition =
        u32::try_from(partition).map_err(|_| Error::Invalid(format!("{topic} has no partition {partition}")))?;
    Ok(TopicPartition::new(TopicName::new(topic)?, partition))
}

pub(crate) fn partition_number(partition: u32) -> i32 {
    i32::try_from(partition).unwrap_or(i32::MAX)
}

pub(crate) fn count(partitions: usize) -> u32 {
    u32::try_from(partitions).unwrap_or(u32::MAX)
}

/// A list of partitions without offsets.
pub(crate) fn partition_list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(partition.topic.as_str(), partition_number(partition.partition));
    }
    list
}

pub(crate) fn partitions_of(list: &TopicPartitionList) -> Result<Vec<TopicPartition>> {
    let mut partitions = Vec::with_capacity(list.count());
    for element in list.elements() {
        partitions.push(topic_partition(element.topic(), element.partition())?);
    }
    partitions.sort();
    Ok(partitions)
}

/// A list of positions with their metadata.
pub(crate) fn offset_list(offsets: &[(TopicPartition, CommittedOffset)]) -> Result<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (partition, committed) in offsets {
        let mut element = list.add_partition(partition.topic.as_str(), partition_number(partition.partition));
        element.set_offset(Offset::Offset(committed.offset.as_i64())).map_err(|e| error("set an offset of", &e))?;
        element.set_metadata(&committed.metadata);
    }
    Ok(list)
}

pub(crate) fn start(at: StartAt) -> Offset {
    match at {
        StartAt::Offset(offset) => Offset::Offset(offset.as_i64()),
        StartAt::Beginning => Offset::Beginning,
        StartAt::End => Offset::End,
    }
}

pub(crate) fn isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "read_committed",
        Isolation::ReadUncommitted => "read_uncommitted",
    }
}

pub(crate) fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// `auto.offset.reset`, for a position that retention has overtaken. librdkafka has no reset by duration: then the poll
/// fails.
pub(crate) fn offset_reset(reset: OffsetReset) -> &'static str {
    match reset {
        OffsetReset::Earliest => "earliest",
        OffsetReset::Latest => "latest",
        OffsetReset::None | OffsetReset::ByDuration(_) => "error",
    }
}

pub(crate) fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
