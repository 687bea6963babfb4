//! Dead letters: records that a handler was asked about, kept in a topic of their own with the reason (KIP-1034).
//!
//! A letter is the record as it entered the sub-topology, byte for byte, with the headers that it had where it failed and,
//! behind them, what went wrong. What fails without a record (a punctuation, what a cache held back) has neither key nor
//! value. Letters are part of the transaction: one that belongs to an aborted turn never existed.

use bytes::Bytes;
use log_store::{Headers, TopicPartition};

use crate::Error;

/// What went wrong, as a short name; Kafka Streams writes the class of the exception.
const EXCEPTION: &str = "__streams.errors.exception";
const MESSAGE: &str = "__streams.errors.message";
/// All that is known, in one text; Kafka Streams writes the stack trace.
const STACKTRACE: &str = "__streams.errors.stacktrace";
const TOPIC: &str = "__streams.errors.topic";
const PARTITION: &str = "__streams.errors.partition";
const OFFSET: &str = "__streams.errors.offset";

/// A letter whose record is still to be looked up.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// Where the record came from; `None` if there was none.
    pub(super) partition: Option<TopicPartition>,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    /// Those of the record, and those that say what went wrong.
    pub(super) headers: Headers,
}

impl DeadLetter {
    /// A letter about `error`; `headers` are those of the record.
    pub(super) fn new(
        error: &Error,
        partition: Option<&TopicPartition>,
        offset: i64,
        timestamp: i64,
        mut headers: Headers,
    ) -> Self {
        let (exception, message) = match error {
            Error::Deserialization { reason, .. } => ("Deserialization", reason.clone()),
            Error::Processing { reason, .. } => ("Processing", reason.clone()),
            Error::Production { reason, .. } => ("Production", reason.clone()),
            other => ("Error", other.to_string()),
        };
        let number = |of: Option<u32>| of.map_or_else(|| "-1".to_owned(), |number| number.to_string());
        headers.add(EXCEPTION, Some(Bytes::from(format!("streams_core::Error::{exception}"))));
        headers.add(MESSAGE, Some(Bytes::from(message)));
        headers.add(STACKTRACE, Some(Bytes::from(error.to_string())));
        headers.add(TOPIC, partition.map(|partition| Bytes::from(partition.topic.to_string())));
        headers.add(PARTITION, Some(Bytes::from(number(partition.map(|partition| partition.partition)))));
        headers.add(OFFSET, Some(Bytes::from(offset.to_string())));
        DeadLetter { partition: partition.cloned(), offset, timestamp, headers }
    }
}
