//! The seam: all that the engine knows of any log.
//!
//! Three traits and the values that pass through them, shaped for two homes at once: the embedded log of this crate
//! and Apache Kafka. A verb is here only if both can honour it.
//!
//! * [`Consumer`] hands out shared batches of one partition, and a rebalance as a value in order with them.
//! * [`Producer`] copies records into open batches, and makes them final alone or in a transaction.
//! * [`Admin`] knows topics, positions and groups.
//!
//! A [`LogClient`] makes all three.

mod admin;
mod consumer;
mod fetched;
mod producer;

use std::{fmt, sync::Arc, time::Duration};

pub use crate::batch::Compression;
pub use admin::{Admin, GroupDescription, MemberDescription, NewTopic, OffsetSpec, TopicDescription};
pub use consumer::{
    Assignor, CommittedOffset, Consumer, ConsumerConfig, CopartitionGroup, GroupMetadata, Isolation, OffsetReset,
    Partitions, Polled, StartAt, Subscription, Waker,
};
pub use fetched::{AbortedTransaction, BatchCursor, FetchedBatch, RecordRef};
pub use producer::{PartitionHandle, Producer, ProducerConfig};

use crate::Result;

/// Makes consumers, producers and admins of one log (Kafka Streams' `KafkaClientSupplier`).
pub trait LogClient: Send + Sync + fmt::Debug {
    /// An administrator.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached.
    fn admin(&self) -> Result<Box<dyn Admin>>;

    /// A consumer; it does nothing until it subscribes or is assigned.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached or the settings contradict each other.
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>>;

    /// A producer.
    ///
    /// # Errors
    ///
    /// If the log cannot be reached or the settings contradict each other.
    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>>;

    /// Time between two commits that suits this log: a few milliseconds where a commit is one local sync, Kafka's
    /// 100 ms where it is a round of requests.
    fn commit_interval_default(&self) -> Duration;
}

/// A shared [`LogClient`].
pub type SharedClient = Arc<dyn LogClient>;
