//! Reading: shared batches, and rebalances as values in order with them.

use std::{sync::Arc, time::Duration};

use super::FetchedBatch;
use crate::{Offset, Result, TopicName, TopicPartition};

/// A set of partitions, sorted.
pub type Partitions = Vec<TopicPartition>;

/// What one [`Consumer::poll`] brings.
#[derive(Debug)]
pub enum Polled {
    /// Records of one partition.
    Batch(FetchedBatch),
    /// These partitions are now this member's, in addition to what it has. Their records follow.
    Assigned(Partitions),
    /// These partitions go to another member. None of their records follows; they stay fenced until
    /// [`Consumer::acknowledge`].
    Revoked(Partitions),
    /// These partitions are already somebody else's: whatever is uncommitted for them must be dropped.
    Lost(Partitions),
    /// Nothing happened within the wait, or [`Waker::wake`] was called.
    Idle,
}

/// Where reading starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At this offset.
    Offset(Offset),
    /// At the first record that is kept.
    Beginning,
    /// After the last record.
    End,
}

/// Where reading starts when a group has no committed offset, or it points outside the log (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetReset {
    /// At the first record that is kept.
    #[default]
    Earliest,
    /// After the last record.
    Latest,
    /// Nowhere: the poll fails.
    None,
    /// At the first record not older than this (`by_duration:…`, KIP-1106).
    ByDuration(Duration),
}

/// Which records of open or aborted transactions are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// All that is in the log.
    ReadUncommitted,
    /// Only what is committed, up to the last stable offset.
    #[default]
    ReadCommitted,
}

/// How a group shares out its partitions (`partition.assignment.strategy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Each member keeps what it can, loads are even, and topics of a [`CopartitionGroup`] stay together.
    #[default]
    CooperativeSticky,
    /// Neighbouring partitions of each topic to each member.
    Range,
    /// One partition after the other to one member after the other, over all topics.
    RoundRobin,
}

/// Settings of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// Group whose membership and committed offsets are used; empty for a consumer that only assigns.
    pub group_id: String,
    /// Name of the client in logs and group descriptions.
    pub client_id: String,
    /// Which records are seen. Default: committed ones.
    pub isolation: Isolation,
    /// Start without a committed offset. Default: earliest.
    pub offset_reset: OffsetReset,
    /// How the group shares out its partitions. Members that differ follow the one that joined first. Default:
    /// cooperative sticky.
    pub assignor: Assignor,
    /// Longest time between two polls; then the member loses its partitions (`max.poll.interval.ms`). Default: 5 min.
    ///
    /// Kafka's `session.timeout.ms` is about something else: there, heartbeats of a thread in the background tell that the
    /// process of a member is alive. The members of an embedded log live in the process of the log, and are gone with it.
    pub max_poll_interval: Duration,
    /// Most bytes in one [`FetchedBatch`] (at least one record batch comes all the same). Default: 1 MiB.
    pub fetch_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        ConsumerConfig {
            group_id: String::new(),
            client_id: String::new(),
            isolation: Isolation::default(),
            offset_reset: OffsetReset::default(),
            assignor: Assignor::default(),
            max_poll_interval: Duration::from_secs(300),
            fetch_bytes_max: 1 << 20,
        }
    }
}

/// Topics that are read together: partition `n` of each goes to the same member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopartitionGroup {
    /// Topics of one sub-topology.
    pub topics: Vec<TopicName>,
}

/// What a member of a group wants to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    /// The topics, in groups that must stay together. Every member of a group subscribes to the same. A home that
    /// assigns by topic (Kafka's range assignor) keeps them together as long as their partition counts are equal.
    pub groups: Vec<CopartitionGroup>,
    /// Where topics start that have no committed offset, when it is not the consumer's own setting.
    pub offset_resets: Vec<(TopicName, OffsetReset)>,
    /// Partitions that this member would take over sooner than others, because it has copies of what belongs to them
    /// (standby tasks). A wish: an assignor may not know it, and evening out comes first.
    pub preferred: Vec<TopicPartition>,
}

/// A committed position: the offset of the next record to read, and a note beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Next record to read.
    pub offset: Offset,
    /// Free text, at most 4,096 bytes. Kafka Streams keeps its partition time here.
    pub metadata: String,
}

/// Who commits: passed to a transaction so that a member that lost its partitions is fenced (KIP-447).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group.
    pub group_id: String,
    /// Generation (or member epoch); -1 outside group membership.
    pub generation: i32,
    /// The member; empty outside group membership.
    pub member_id: String,
}

/// Ends a [`Consumer::poll`] early, from any thread.
pub trait Waker: Send + Sync {
    /// The poll that is under way, or the next one, returns [`Polled::Idle`] at once.
    fn wake(&self);
}

/// Reads partitions, as a member of a group or by assignment. Membership and fetching are one object, because they
/// are one object in every Kafka client.
///
/// One thread uses it. Poll often: a member that does not poll for its session's length loses its partitions.
pub trait Consumer: Send {
    /// Joins the group of the settings. Partitions arrive as [`Polled::Assigned`].
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnknownTopic`] if a topic does not exist; `Invalid` if the consumer has no group.
    fn subscribe(&mut self, subscription: &Subscription) -> Result<()>;

    /// Reads exactly these partitions from these positions, outside any group. Replaces what was assigned before.
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnknownTopic`].
    fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()>;

    /// The next batch or event; waits up to `wait` for one. Partitions take turns.
    ///
    /// # Errors
    ///
    /// `OffsetOutOfRange` where no reset applies, `Corrupt` for damaged bytes, `Io`.
    fn poll(&mut self, wait: Duration) -> Result<Polled>;

    /// Gives up revoked partitions, after the engine has committed and let go of them.
    ///
    /// # Errors
    ///
    /// If the group cannot be reached.
    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<()>;

    /// Leaves the group (if in one): its partitions go to others at once.
    ///
    /// # Errors
    ///
    /// If the group cannot be reached.
    fn unsubscribe(&mut self) -> Result<()>;

    /// No batches of these partitions until [`Consumer::resume`]; membership goes on.
    fn pause(&mut self, partitions: &[TopicPartition]);

    /// Undoes [`Consumer::pause`].
    fn resume(&mut self, partitions: &[TopicPartition]);

    /// Reads an assigned partition from elsewhere.
    ///
    /// # Errors
    ///
    /// `Invalid` if the partition is not assigned.
    fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<()>;

    /// Offset of the next record that [`Consumer::poll`] will bring; `None` if the partition is not assigned.
    fn position(&self, partition: &TopicPartition) -> Option<Offset>;

    /// Where the readable part of a partition ends: the last stable offset or the log end.
    ///
    /// # Errors
    ///
    /// [`crate::Error::UnknownTopic`].
    fn end_offset(&mut self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset>;

    /// Committed offsets of the group, one for each partition asked for. Waits for transactions that are about to
    /// decide one of them.
    ///
    /// # Errors
    ///
    /// If the group cannot be reached.
    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>>;

    /// Commits offsets of the group, durably, outside any transaction.
    ///
    /// # Errors
    ///
    /// [`crate::Error::MemberFenced`] if the partitions went to another member.
    fn commit(&mut self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()>;

    /// Who this member is, for [`super::Producer::send_offsets`].
    fn group(&self) -> GroupMetadata;

    /// A handle that ends a poll early.
    fn waker(&self) -> Arc<dyn Waker>;
}
