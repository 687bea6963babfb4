//! Writing: records into open batches, batches into the log, all or nothing in a transaction.

use std::time::Duration;

use super::{CommittedOffset, GroupMetadata};
use crate::{Offset, RecordView, Result, TopicPartition, batch::Compression};

/// Settings of a producer.
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// Name of the client in logs.
    pub client_id: String,
    /// Identity across restarts; `Some` makes the producer transactional and fences older ones of the same name.
    pub transactional_id: Option<String>,
    /// Sequence numbers against duplicates on retry. Default: on. Always on for transactions.
    pub idempotence: bool,
    /// Longest time a transaction may stay open before it is aborted. Default: 60 s.
    pub transaction_timeout: Duration,
    /// Compression of batches. Default: none.
    pub compression: Compression,
    /// Bytes of an open batch at which it is closed and appended. Default: 256 KiB.
    pub batch_bytes: usize,
    /// Longest time that [`Producer::send`] waits for buffer space. Default: 60 s.
    pub block_max: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        ProducerConfig {
            client_id: String::new(),
            transactional_id: None,
            idempotence: true,
            transaction_timeout: Duration::from_secs(60),
            compression: Compression::None,
            batch_bytes: 256 << 10,
            block_max: Duration::from_secs(60),
        }
    }
}

/// An opened target of one producer: what [`Producer::send`] uses instead of looking the name up each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PartitionHandle(pub u32);

/// Writes records. One thread uses it.
///
/// Without a transactional id, [`Producer::flush`] makes what was sent final. With one, everything sent between
/// [`Producer::begin`] and [`Producer::commit`] becomes visible (to readers of committed records) at once, or never.
pub trait Producer: Send {
    /// Opens a partition for sending. The same partition gives the same handle.
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnknownTopic`].
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle>;

    /// Copies `record` into the open batch of its partition. A full batch is appended on the way; when the buffers are
    /// full the call waits (back-pressure), at most [`ProducerConfig::block_max`].
    ///
    /// # Errors
    ///
    /// `Invalid` for a record above `max.message.bytes` (nothing else is affected), `TimedOut` when no space came free,
    /// or the failure of an earlier append.
    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()>;

    /// Returns once everything sent is in the log: durable as the log's setting says, outside a transaction; inside
    /// one, appended.
    ///
    /// # Errors
    ///
    /// The first failure since the last flush; what was sent may then be in the log or not.
    fn flush(&mut self) -> Result<()>;

    /// The offset after the last record of this producer that is in the log, in this partition; `None` if it has sent
    /// none there. Exact after [`Producer::flush`].
    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset>;

    /// Fences older producers of the same transactional id and finishes what they left behind. Before any [`Producer::begin`].
    ///
    /// # Errors
    ///
    /// `Invalid` without a transactional id.
    fn init_transactions(&mut self) -> Result<()>;

    /// Opens a transaction.
    ///
    /// # Errors
    ///
    /// `ProducerFenced`; `Invalid` if one is open.
    fn begin(&mut self) -> Result<()>;

    /// Makes the positions of a consumer group part of the open transaction (KIP-447).
    ///
    /// # Errors
    ///
    /// `ProducerFenced`, or `MemberFenced` if the group has moved on.
    fn send_offsets(&mut self, offsets: &[(TopicPartition, CommittedOffset)], group: &GroupMetadata) -> Result<()>;

    /// Flushes and commits: durable and visible when it returns.
    ///
    /// # Errors
    ///
    /// `ProducerFenced`: it did not happen. `Io`, `Poisoned`, `TimedOut`: unknown; drop the producer, make a new one,
    /// and read back.
    fn commit(&mut self) -> Result<()>;

    /// Takes back everything since [`Producer::begin`].
    ///
    /// # Errors
    ///
    /// As [`Producer::commit`].
    fn abort(&mut self) -> Result<()>;
}
