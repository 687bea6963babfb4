//! One record on its way in, one on its way out, and what became of the first.

use bytes::Bytes;

use crate::{Header, Headers, Offset, TopicName, TopicPartition};

/// Counted for a record beside its bytes, while it waits.
const OVERHEAD_BYTES: usize = 128;

/// A record to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerRecord {
    /// Where it goes.
    pub topic: TopicName,
    /// Its partition; `None` leaves that to the partitioner.
    pub partition: Option<u32>,
    /// Milliseconds since 1970; `None` is the time at which it is sent.
    pub timestamp: Option<i64>,
    /// Key, or null.
    pub key: Option<Bytes>,
    /// Value, or null.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Headers,
}

impl ProducerRecord {
    /// A record without key and headers.
    pub fn new(topic: TopicName, value: impl Into<Bytes>) -> Self {
        ProducerRecord {
            topic,
            partition: None,
            timestamp: None,
            key: None,
            value: Some(value.into()),
            headers: Headers::new(),
        }
    }

    /// A record without value: in a compacted topic it deletes the key.
    pub fn tombstone(topic: TopicName, key: impl Into<Bytes>) -> Self {
        ProducerRecord { value: None, ..Self::new(topic, Bytes::new()) }.with_key(key)
    }

    /// Sets the key: records of one key go to one partition.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<Bytes>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the partition.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn with_timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.add(key, Some(value.into()));
        self
    }

    /// What it occupies while it waits.
    pub(super) fn len_bytes(&self) -> usize {
        let len = |part: &Option<Bytes>| part.as_ref().map_or(0, Bytes::len);
        let header = |header: &Header| header.key.len() + len(&header.value);
        OVERHEAD_BYTES + len(&self.key) + len(&self.value) + self.headers.as_slice().iter().map(header).sum::<usize>()
    }
}

/// What became of a record that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Where it is.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// Its timestamp, as it was sent; a topic with times of the append has another one.
    pub timestamp: i64,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Where it is from.
    pub partition: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Key, or null.
    pub key: Option<Bytes>,
    /// Value, or null.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Headers,
}
