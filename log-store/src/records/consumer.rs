//! A consumer of single records: positions kept and committed, topics followed by pattern.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use regex_lite::Regex;

use super::{ConsumerRecord, RecordStream};
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{
        Admin, BatchCursor, CommittedOffset, Consumer, ConsumerConfig, CopartitionGroup, GroupMetadata, Isolation,
        OffsetSpec, Partitions, Polled, SharedClient, StartAt, Subscription, Waker,
    },
};

/// Settings of a [`RecordConsumer`].
#[derive(Clone, Debug)]
pub struct RecordConsumerConfig {
    /// Settings of the consumer below: its group, isolation, `offset_reset` (`auto.offset.reset`), assignor.
    pub consumer: ConsumerConfig,
    /// Time between two automatic commits of what was handed out before (`auto.commit.interval.ms`); `None` leaves it to
    /// [`RecordConsumer::commit`]. Without a group nothing is committed. Default: 5 s.
    pub auto_commit: Option<Duration>,
    /// Most records of one poll (`max.poll.records`). Default: 500.
    pub records_max: usize,
    /// Time after which a subscription by pattern looks for new topics (`metadata.max.age.ms`). Default: 5 s.
    pub metadata_age_max: Duration,
}

impl Default for RecordConsumerConfig {
    fn default() -> Self {
        RecordConsumerConfig {
            consumer: ConsumerConfig::default(),
            auto_commit: Some(Duration::from_secs(5)),
            records_max: 500,
            metadata_age_max: Duration::from_secs(5),
        }
    }
}

/// What a rebalance brought, told to the listener of [`RecordConsumer::on_rebalance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// These came, in addition to what was there.
    Assigned(Partitions),
    /// These go: what was handed out of them is being committed, if that is automatic, before anybody else reads them.
    Revoked(Partitions),
    /// These are somebody else's already: nothing of them can be committed.
    Lost(Partitions),
}

/// Reads records, as a member of a group or of given partitions. One thread uses it.
///
/// A record counts as handed out once [`RecordConsumer::poll`] has returned it; an automatic commit covers what earlier
/// polls returned. So a crash repeats records and loses none.
pub struct RecordConsumer {
    consumer: Box<dyn Consumer>,
    admin: Box<dyn Admin>,
    config: RecordConsumerConfig,
    /// The batch under way.
    current: Option<Current>,
    /// Of each assigned partition, what comes after the last record that was handed out; where none was yet, nothing.
    positions: BTreeMap<TopicPartition, Offset>,
    /// Positions that were committed last.
    committed: BTreeMap<TopicPartition, Offset>,
    next_commit: Instant,
    paused: BTreeSet<TopicPartition>,
    /// Go to another member as soon as what was handed out of them is done.
    revoked: Partitions,
    pattern: Option<Pattern>,
    listener: Option<Listener>,
}

type Listener = Box<dyn FnMut(&Rebalance) + Send>;

struct Current {
    partition: TopicPartition,
    cursor: BatchCursor,
    start: Offset,
    next: Offset,
}

struct Pattern {
    regex: Regex,
    topics: Vec<TopicName>,
    next_look: Instant,
}

impl RecordConsumer {
    /// A consumer on `client`; it reads nothing until it subscribes or is assigned.
    ///
    /// # Errors
    ///
    /// As [`crate::client::LogClient::consumer`].
    pub fn new(client: &SharedClient, config: RecordConsumerConfig) -> Result<Self> {
        Ok(RecordConsumer {
            consumer: client.consumer(&config.consumer)?,
            admin: client.admin()?,
            next_commit: Instant::now() + config.auto_commit.unwrap_or_default(),
            config,
            current: None,
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
            paused: BTreeSet::new(),
            revoked: Partitions::new(),
            pattern: None,
            listener: None,
        })
    }

    /// Joins the group and reads its share of these topics.
    ///
    /// # Errors
    ///
    /// As [`Consumer::subscribe`].
    pub fn subscribe(&mut self, topics: &[TopicName]) -> Result<()> {
        self.pattern = None;
        self.consumer.subscribe(&subscription(topics))
    }

    /// Joins the group and reads its share of all topics whose whole name matches the regular expression, now and
    /// whenever there is a new one.
    ///
    /// # Errors
    ///
    /// `Invalid` for a pattern that is none; as [`Consumer::subscribe`].
    pub fn subscribe_pattern(&mut self, pattern: &str) -> Result<()> {
        let regex = Regex::new(&format!("^(?:{pattern})$"))
            .map_err(|error| Error::Invalid(format!("{pattern:?} is no regular expression: {error}")))?;
        self.consumer.subscribe(&Subscription::default())?;
        self.pattern = Some(Pattern { regex, topics: Vec::new(), next_look: Instant::now() });
        self.look_for_topics()
    }

    /// Reads exactly these partitions, outside any group.
    ///
    /// # Errors
    ///
    /// As [`Consumer::assign`].
    pub fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()> {
        self.pattern = None;
        self.forget_all();
        self.consumer.assign(start)
    }

    /// Leaves the group, after an automatic commit.
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit`] and [`Consumer::unsubscribe`].
    pub fn unsubscribe(&mut self) -> Result<()> {
        let committed = self.commit_automatically();
        self.pattern = None;
        self.forget_all();
        self.consumer.unsubscribe()?;
        committed
    }

    /// Calls `listener` at every rebalance, from within [`RecordConsumer::poll`].
    pub fn on_rebalance(&mut self, listener: impl FnMut(&Rebalance) + Send + 'static) {
        self.listener = Some(Box::new(listener));
    }

    /// The next records, of one partition or several; waits up to `wait` for the first. None if nothing came, or after a
    /// rebalance.
    ///
    /// # Errors
    ///
    /// As [`Consumer::poll`], and [`Consumer::commit`] where that is automatic.
    pub fn poll(&mut self, wait: Duration) -> Result<Vec<ConsumerRecord>> {
        let now = Instant::now();
        if now >= self.next_commit {
            self.commit_automatically()?;
            self.next_commit = now + self.config.auto_commit.unwrap_or(Duration::from_secs(3_600));
        }
        if self.pattern.as_ref().is_some_and(|pattern| now >= pattern.next_look) {
            self.look_for_topics()?;
        }
        if !self.revoked.is_empty() {
            let revoked = std::mem::take(&mut self.revoked);
            self.revoke(revoked)?;
        }
        let mut records = Vec::new();
        self.take(&mut records)?;
        // What is there at once comes with it.
        let mut wait = if records.is_empty() { self.wait_for_topics(now, wait) } else { Duration::ZERO };
        while records.len() < self.config.records_max {
            match self.consumer.poll(wait) {
                Ok(Polled::Batch(batch)) => {
                    let (partition, start, next) = (batch.partition.clone(), batch.start, batch.next);
                    self.current = Some(Current { partition, cursor: batch.cursor(), start, next });
                    self.take(&mut records)?;
                }
                Ok(Polled::Idle) => break,
                Ok(Polled::Assigned(partitions)) => self.tell(&Rebalance::Assigned(partitions)),
                // First the records at hand are given to the caller, who then polls again.
                Ok(Polled::Revoked(partitions)) if !records.is_empty() => {
                    self.revoked = partitions;
                    break;
                }
                Ok(Polled::Revoked(partitions)) => self.revoke(partitions)?,
                Ok(Polled::Lost(partitions)) => {
                    self.forget(&partitions);
                    self.tell(&Rebalance::Lost(partitions));
                }
                // First what is good; the error comes again.
                Err(_) if !records.is_empty() => break,
                Err(error) => return Err(error),
            }
            wait = if records.is_empty() { wait.saturating_sub(now.elapsed()) } else { Duration::ZERO };
        }
        Ok(records)
    }

    /// No records of these partitions until [`RecordConsumer::resume`]; membership goes on.
    ///
    /// # Errors
    ///
    /// As [`Consumer::seek`].
    pub fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer.pause(partitions);
        self.paused.extend(partitions.iter().cloned());
        // The rest of the batch under way is read again later.
        match self.current.take() {
            Some(current) if partitions.contains(&current.partition) => self.put_back(&current),
            other => {
                self.current = other;
                Ok(())
            }
        }
    }

    /// Undoes [`RecordConsumer::pause`].
    pub fn resume(&mut self, partitions: &[TopicPartition]) {
        self.paused.retain(|paused| !partitions.contains(paused));
        self.consumer.resume(partitions);
    }

    /// The partitions that are paused.
    #[must_use]
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.paused.iter().cloned().collect()
    }

    /// Goes on elsewhere in an assigned partition.
    ///
    /// # Errors
    ///
    /// As [`Consumer::seek`].
    pub fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<()> {
        self.consumer.seek(partition, to)?;
        self.current.take_if(|current| current.partition == *partition);
        let position = self.consumer.position(partition);
        self.positions.extend(position.map(|position| (partition.clone(), position)));
        Ok(())
    }

    /// Goes on at the first record that is as late as `timestamp` (milliseconds since 1970), or at the end.
    ///
    /// # Errors
    ///
    /// As [`RecordConsumer::seek`] and [`Admin::list_offset`].
    pub fn seek_to_time(&mut self, partition: &TopicPartition, timestamp: i64) -> Result<()> {
        let found = self.admin.list_offset(partition, OffsetSpec::Timestamp(timestamp))?;
        self.seek(partition, found.map_or(StartAt::End, StartAt::Offset))
    }

    /// Offset of the next record that [`RecordConsumer::poll`] will hand out; `None` if the partition is not assigned.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let below = self.consumer.position(partition)?;
        let is_under_way = self.current.as_ref().is_some_and(|current| current.partition == *partition);
        Some(if is_under_way { self.positions.get(partition).copied().unwrap_or(below) } else { below })
    }

    /// Where the readable part of a partition ends.
    ///
    /// # Errors
    ///
    /// As [`Consumer::end_offset`].
    pub fn end_offset(&mut self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.consumer.end_offset(partition, isolation)
    }

    /// Commits, durably, what was handed out so far.
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit`].
    pub fn commit(&mut self) -> Result<()> {
        let all: Partitions = self.positions.keys().cloned().collect();
        self.commit_positions(&all)
    }

    /// Commits, durably, these offsets.
    ///
    /// # Errors
    ///
    /// As [`Consumer::commit`].
    pub fn commit_offsets(&mut self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        self.consumer.commit(offsets)
    }

    /// Committed offsets of the group.
    ///
    /// # Errors
    ///
    /// As [`Consumer::committed`].
    pub fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>> {
        self.consumer.committed(partitions)
    }

    /// What was handed out so far, for [`super::RecordProducer::send_offsets`].
    #[must_use]
    pub fn positions(&self) -> Vec<(TopicPartition, CommittedOffset)> {
        let committed = |offset: Offset| CommittedOffset { offset, metadata: String::new() };
        self.positions.iter().map(|(partition, offset)| (partition.clone(), committed(*offset))).collect()
    }

    /// Who this member is, for [`super::RecordProducer::send_offsets`].
    #[must_use]
    pub fn group(&self) -> GroupMetadata {
        self.consumer.group()
    }

    /// A handle that ends a poll early, from any thread.
    #[must_use]
    pub fn waker(&self) -> Arc<dyn Waker> {
        self.consumer.waker()
    }

    /// The records as a `Stream`.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn into_stream(self) -> Result<RecordStream> {
        RecordStream::new(self)
    }

    /// Commits, if that is automatic, and leaves the group. Dropping it does the same, in silence.
    ///
    /// # Errors
    ///
    /// As [`RecordConsumer::unsubscribe`].
    pub fn close(mut self) -> Result<()> {
        self.unsubscribe()
    }

    /// These, the last of what was handed out, count as not handed out.
    pub(super) fn give_back(&mut self, records: &VecDeque<ConsumerRecord>) {
        for record in records.iter().rev() {
            if let Some(position) = self.positions.get_mut(&record.partition) {
                *position = record.offset.min(*position);
            }
        }
    }

    /// Moves records of the batch under way.
    fn take(&mut self, records: &mut Vec<ConsumerRecord>) -> Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        while records.len() < self.config.records_max {
            let advanced = match current.cursor.advance() {
                // First what is good; the error comes with the next poll, which reads the rest again.
                Err(_) if !records.is_empty() => {
                    let current = self.current.take();
                    return current.map_or(Ok(()), |current| self.put_back(&current));
                }
                other => other?,
            };
            let Some(at) = advanced else {
                self.positions.insert(current.partition.clone(), current.next);
                self.current = None;
                return Ok(());
            };
            let view = current.cursor.view(&at);
            records.push(ConsumerRecord {
                partition: current.partition.clone(),
                offset: at.offset,
                timestamp: at.timestamp,
                key: view.key.map(Bytes::copy_from_slice),
                value: view.value.map(Bytes::copy_from_slice),
                headers: view.headers.to_headers(),
            });
            match self.positions.get_mut(&current.partition) {
                Some(position) => *position = at.offset.next(),
                None => _ = self.positions.insert(current.partition.clone(), at.offset.next()),
            }
        }
        Ok(())
    }

    /// Gives back what was not handed out of a batch.
    fn put_back(&mut self, current: &Current) -> Result<()> {
        let position = self.positions.get(&current.partition).copied().unwrap_or_default().max(current.start);
        self.consumer.seek(&current.partition, StartAt::Offset(position))
    }

    fn revoke(&mut self, partitions: Partitions) -> Result<()> {
        // Nothing that was handed out may be read again by the next owner, if it can be helped.
        let committed = if self.commits_automatically() { self.commit_positions(&partitions) } else { Ok(()) };
        let told = Rebalance::Revoked(partitions);
        self.tell(&told);
        let Rebalance::Revoked(partitions) = told else { return Ok(()) };
        self.forget(&partitions);
        self.consumer.acknowledge(&partitions)?;
        committed
    }

    fn tell(&mut self, rebalance: &Rebalance) {
        if let Some(listener) = &mut self.listener {
            listener(rebalance);
        }
    }

    fn commits_automatically(&self) -> bool {
        self.config.auto_commit.is_some() && !self.config.consumer.group_id.is_empty()
    }

    fn commit_automatically(&mut self) -> Result<()> {
        if self.commits_automatically() { self.commit() } else { Ok(()) }
    }

    fn commit_positions(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let is_new = |partition: &TopicPartition, offset: &Offset| self.committed.get(partition) != Some(offset);
        let offsets: Vec<(TopicPartition, CommittedOffset)> = partitions
            .iter()
            .filter_map(|partition| self.positions.get_key_value(partition))
            .filter(|(partition, offset)| is_new(partition, offset))
            .map(|(partition, offset)| {
                (partition.clone(), CommittedOffset { offset: *offset, metadata: String::new() })
            })
            .collect();
        if offsets.is_empty() {
            return Ok(());
        }
        self.consumer.commit(&offsets)?;
        self.committed.extend(offsets.into_iter().map(|(partition, committed)| (partition, committed.offset)));
        Ok(())
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.current.take_if(|current| partitions.contains(&current.partition));
        for partition in partitions {
            self.positions.remove(partition);
            self.committed.remove(partition);
            self.paused.remove(partition);
        }
    }

    fn forget_all(&mut self) {
        self.current = None;
        self.revoked.clear();
        self.positions.clear();
        self.committed.clear();
        self.paused.clear();
    }

    /// Subscribes to the topics that match by now.
    fn look_for_topics(&mut self) -> Result<()> {
        let Some(pattern) = &mut self.pattern else { return Ok(()) };
        pattern.next_look = Instant::now() + self.config.metadata_age_max;
        let mut topics = self.admin.list_topics()?;
        topics.retain(|topic| pattern.regex.is_match(topic.as_str()));
        if topics != pattern.topics {
            self.consumer.subscribe(&subscription(&topics))?;
            pattern.topics = topics;
        }
        Ok(())
    }

    /// No longer than until the next look for topics.
    fn wait_for_topics(&self, now: Instant, wait: Duration) -> Duration {
        let left = self.pattern.as_ref().map(|pattern| pattern.next_look.saturating_duration_since(now));
        left.map_or(wait, |left| wait.min(left))
    }
}

impl Drop for RecordConsumer {
    fn drop(&mut self) {
        if let Err(error) = self.unsubscribe() {
            tracing::warn!(%error, "a consumer that is gone could not commit what it had handed out");
        }
    }
}

impl fmt::Debug for RecordConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordConsumer").field("positions", &self.positions).finish_non_exhaustive()
    }
}

/// Topics that need not stay together.
fn subscription(topics: &[TopicName]) -> Subscription {
    let groups = topics.iter().map(|topic| CopartitionGroup { topics: vec![topic.clone()] }).collect();
    Subscription { groups, ..Subscription::default() }
}
