//! The consumer: runs of messages become shared batches, rebalances become values in order with them.
//!
//! Invariant: the position of an assigned partition is known from the moment it is assigned, and passes markers of
//! transactions, which librdkafka does not hand out: what reads to the end of a partition gets there.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use log_store::{
    Error, Offset, Result, TopicName, TopicPartition,
    batch::{BatchBuilder, ProducerStamp, header::set_base_offset},
    client::{
        CommittedOffset, Compression, Consumer, ConsumerConfig, FetchedBatch, GroupMetadata, Isolation, OffsetReset,
        OffsetSpec, Polled, StartAt, Subscription, Waker,
    },
};
use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer as _},
    error::KafkaError,
    types::RDKafkaErrorCode as Code,
};

use crate::{
    KafkaClient, REQUEST_TIMEOUT, Shared,
    cluster::{Cluster, patiently},
    convert,
    rebalance::{Context, Rebalance, give_back},
    run::Run,
};

/// Longest sleep inside librdkafka before a wake-up is noticed.
const SLICE: Duration = Duration::from_millis(20);

/// How long an end of a partition that was asked for is believed: a task that waits for an empty partition asks at each
/// turn.
const END_AGE_MAX: Duration = Duration::from_millis(50);

/// Between two looks for positions that only markers have moved.
const MARKER_LOOK: Duration = Duration::from_millis(10);

/// How long a partition that was just assigned may refuse a seek.
const SEEK_WAIT: Duration = Duration::from_secs(10);

/// Between two questions for positions that an open transaction holds.
const UNDECIDED_PAUSE: Duration = Duration::from_millis(50);

/// How long leaving a group waits for librdkafka to give the partitions back.
const LEAVE_WAIT: Duration = Duration::from_secs(10);

/// Names of the consumers of this process, for finding their group metadata.
static CONSUMERS: AtomicU64 = AtomicU64::new(0);

struct Flag(AtomicBool);

impl Waker for Flag {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

pub(crate) struct KafkaConsumer {
    consumer: BaseConsumer<Context>,
    context: Context,
    shared: Arc<Shared>,
    cluster: Arc<Cluster>,
    name: String,
    config: ConsumerConfig,
    offset_resets: HashMap<TopicName, OffsetReset>,
    builder: BatchBuilder,
    /// The first message of another partition than the run before it: in the builder, its run here.
    ahead: Option<(Run, BatchBuilder)>,
    /// Met behind messages that come first.
    failure: Option<Error>,
    positions: HashMap<TopicPartition, Offset>,
    ends: HashMap<(TopicPartition, bool), (Instant, Offset)>,
    looked: Instant,
    /// Revoked partitions that the engine has not let go of yet.
    revoking: Vec<TopicPartition>,
    generation: i32,
    woken: Arc<Flag>,
}

impl KafkaConsumer {
    pub(crate) fn new(client: &KafkaClient, config: &ConsumerConfig) -> Result<Self> {
        let name = format!("consumer-{}", CONSUMERS.fetch_add(1, Ordering::Relaxed));
        let mut native = client.client_config(&config.client_id);
        native
            // librdkafka wants a group even from a consumer that only assigns; it never joins it.
            .set("group.id", if config.group_id.is_empty() { &name } else { &config.group_id })
            .set("isolation.level", convert::isolation(config.isolation))
            .set("auto.offset.reset", convert::offset_reset(config.offset_reset))
            .set("max.poll.interval.ms", convert::millis(config.max_poll_interval))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("allow.auto.create.topics", "false")
            .set("partition.assignment.strategy", "range");
        // A partition that is resumed joins the next request: the one under way must not wait long for others. And a
        // full queue must not silence a partition for a second.
        for (name, value) in [("fetch.wait.max.ms", "50"), ("fetch.queue.backoff.ms", "10")] {
            if native.get(name).is_none() {
                native.set(name, value);
            }
        }
        let context = Context::default();
        let consumer = BaseConsumer::from_config_and_context(&native, context.clone())
            .map_err(|error| convert::error("make a consumer of", &error))?;
        Ok(KafkaConsumer {
            consumer,
            context,
            shared: Arc::clone(&client.shared),
            cluster: client.cluster()?,
            name,
            config: config.clone(),
            offset_resets: HashMap::new(),
            builder: BatchBuilder::new(),
            ahead: None,
            failure: None,
            positions: HashMap::new(),
            ends: HashMap::new(),
            looked: Instant::now(),
            revoking: Vec::new(),
            generation: -1,
            woken: Arc::new(Flag(AtomicBool::new(false))),
        })
    }

    /// The next rebalance, if one waits. What fails stays, and is tried again.
    fn next_rebalance(&mut self) -> Result<Option<Polled>> {
        let assigned = match self.context.events.lock().front() {
            None => return Ok(None),
            Some(Rebalance::Assigned(partitions, metadata)) => Some((partitions.clone(), metadata.clone())),
            Some(Rebalance::Revoked(_) | Rebalance::Lost(_)) => None,
        };
        if let Some((partitions, metadata)) = assigned {
            let positions = self.resolve(&partitions)?;
            self.context.events.lock().pop_front();
            self.generation += 1;
            self.accept(&positions);
            match metadata {
                Some(metadata) => self.shared.members.lock().insert(self.name.clone(), metadata),
                None => self.shared.members.lock().remove(&self.name),
            };
            return Ok(Some(Polled::Assigned(partitions)));
        }
        let event = self.context.events.lock().pop_front();
        self.generation = self.generation.max(0);
        Ok(match event {
            Some(Rebalance::Revoked(partitions)) if partitions.is_empty() => {
                give_back(&self.consumer);
                Some(Polled::Idle)
            }
            Some(Rebalance::Revoked(partitions)) => {
                self.revoking.clone_from(&partitions);
                Some(Polled::Revoked(partitions))
            }
            Some(Rebalance::Lost(partitions)) => {
                self.shared.members.lock().remove(&self.name);
                self.forget(&partitions);
                Some(Polled::Lost(partitions))
            }
            Some(Rebalance::Assigned(..)) | None => None,
        })
    }

    /// Where each of `partitions` is to be read from: the group's offset, or else what the reset says.
    fn resolve(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, Offset)>> {
        let committed = self.committed(partitions)?;
        let mut positions = Vec::with_capacity(partitions.len());
        for (partition, committed) in partitions.iter().zip(committed) {
            let position = match committed {
                Some(committed) => committed.offset,
                None => self.reset_position(partition)?,
            };
            positions.push((partition.clone(), position));
        }
        Ok(positions)
    }

    fn reset_position(&self, partition: &TopicPartition) -> Result<Offset> {
        let reset = self.offset_resets.get(&partition.topic).unwrap_or(&self.config.offset_reset);
        let end = OffsetSpec::Latest(self.config.isolation);
        let spec = match reset {
            OffsetReset::Earliest => OffsetSpec::Earliest,
            OffsetReset::Latest => end,
            OffsetReset::None => {
                let group = &self.config.group_id;
                let what = format!("{partition}: group {group} has no committed offset, and no reset is allowed");
                return Err(Error::Invalid(what));
            }
            OffsetReset::ByDuration(ago) => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(*ago);
                OffsetSpec::Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
        };
        let found = match self.cluster.offset(partition, spec)? {
            // No record is as young as that.
            None => self.cluster.offset(partition, end)?,
            found => found,
        };
        Ok(found.unwrap_or_default())
    }

    fn accept(&mut self, positions: &[(TopicPartition, Offset)]) {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in positions {
            let number = convert::partition_number(partition.partition);
            let added =
                list.add_partition_offset(partition.topic.as_str(), number, KafkaOffset::Offset(offset.as_i64()));
            if let Err(error) = added {
                tracing::error!(%partition, %error, "cannot set where a partition begins");
            }
        }
        self.positions = positions.iter().cloned().collect();
        if let Err(error) = self.consumer.assign(&list) {
            // The group has moved on meanwhile: the news of the loss follows.
            tracing::warn!(%error, "cannot accept assigned partitions");
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.positions.remove(partition);
        }
        if self.ahead.as_ref().is_some_and(|(run, _)| partitions.contains(&run.partition)) {
            self.ahead = None;
        }
    }

    /// Forgets everything that has been read.
    fn clear(&mut self) {
        self.positions.clear();
        self.ends.clear();
        self.ahead = None;
        self.failure = None;
        self.revoking.clear();
    }

    /// Gathers messages of one partition, waiting up to `wait` for the first; `None` also when a rebalance came.
    fn gather(&mut self, wait: Duration) -> Result<Option<FetchedBatch>> {
        let mut run = None;
        if let Some((ahead, builder)) = self.ahead.take() {
            self.builder = builder;
            run = Some(ahead);
        }
        let mut is_drained = true;
        loop {
            let wait = if run.is_some() { Duration::ZERO } else { wait };
            let message = match self.consumer.poll(wait) {
                None => break,
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.failure = serious(&error);
                    break;
                }
            };
            let offset = Offset::from_i64(message.offset()).ok_or_else(|| {
                Error::Invalid(format!("{}-{} sent offset {}", message.topic(), message.partition(), message.offset()))
            })?;
            match &mut run {
                Some(run) if run.takes(message.topic(), message.partition(), offset) => {
                    run.push(&mut self.builder, &message, offset)?;
                }
                Some(_) => {
                    self.ahead = Some(Run::begin(BatchBuilder::new(), &message, offset)?);
                    break;
                }
                None => {
                    let (begun, builder) = Run::begin(std::mem::take(&mut self.builder), &message, offset)?;
                    (run, self.builder) = (Some(begun), builder);
                }
            }
            if self.builder.len_bytes() >= self.config.fetch_bytes_max {
                is_drained = false;
                break;
            }
            if !self.context.events.lock().is_empty() {
                break;
            }
        }
        let Some(Run { partition, start, mut next }) = run else { return Ok(None) };
        let mut bytes = self.builder.finish(ProducerStamp::NONE, Compression::None);
        set_base_offset(&mut bytes, start);
        if is_drained && let Some(position) = self.native_position(&partition) {
            next = next.max(position);
        }
        self.positions.insert(partition.clone(), next);
        Ok(Some(FetchedBatch { partition, bytes: bytes.freeze(), start, next, aborted: Arc::from([]) }))
    }

    /// Where librdkafka is, past markers; `None` before the first message.
    fn native_position(&self, partition: &TopicPartition) -> Option<Offset> {
        let list = self.consumer.position().ok()?;
        let found = list.find_partition(partition.topic.as_str(), convert::partition_number(partition.partition))?;
        Offset::from_i64(found.offset().to_raw()?)
    }

    /// A batch without records for a partition where only markers, or aborted records, have been passed.
    fn passed_markers(&mut self) -> Option<FetchedBatch> {
        if self.looked.elapsed() < MARKER_LOOK {
            return None;
        }
        self.looked = Instant::now();
        let list = self.consumer.position().ok()?;
        for element in list.elements() {
            let Some(next) = element.offset().to_raw().and_then(Offset::from_i64) else { continue };
            let Ok(partition) = convert::topic_partition(element.topic(), element.partition()) else { continue };
            let Some(position) = self.positions.get_mut(&partition).filter(|position| **position < next) else {
                continue;
            };
            let start = std::mem::replace(position, next);
            return Some(FetchedBatch { partition, bytes: Bytes::new(), start, next, aborted: Arc::from([]) });
        }
        None
    }

    fn named(&self, error: Error) -> Error {
        match error {
            Error::MemberFenced { reason, .. } => Error::MemberFenced {
                group: self.config.group_id.clone(),
                member: self.config.client_id.clone(),
                reason,
            },
            error => error,
        }
    }
}

/// What must reach the engine; librdkafka mends the rest by itself, however long it takes.
fn serious(error: &KafkaError) -> Option<Error> {
    let code = error.rdkafka_error_code();
    let is_serious = matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            code,
            Some(
                Code::UnknownTopicOrPartition
                    | Code::AutoOffsetReset
                    | Code::TopicAuthorizationFailed
                    | Code::GroupAuthorizationFailed
                    | Code::SaslAuthenticationFailed
                    | Code::Authentication
            )
        );
    if is_serious {
        return Some(convert::error("fetch from", error));
    }
    tracing::warn!(%error, "librdkafka goes on by itself");
    None
}

impl Consumer for KafkaConsumer {
    fn subscribe(&mut self, subscription: &Subscription) -> Result<()> {
        if self.config.group_id.is_empty() {
            return Err(Error::Invalid("a consumer without a group cannot subscribe".into()));
        }
        let mut topics = Vec::new();
        for group in &subscription.groups {
            let mut counts = Vec::with_capacity(group.topics.len());
            for topic in &group.topics {
                let known = self.cluster.partitions(topic)?;
                counts.push(known.ok_or_else(|| Error::UnknownTopic { name: topic.to_string() })?);
                topics.push(topic.as_str());
            }
            if counts.iter().any(|count| Some(count) != counts.first()) {
                let names = group.topics.iter().zip(&counts).map(|(topic, count)| format!("{topic} ({count})"));
                let what = "topics that are read together need equally many partitions on Kafka, where the range \
                            assignor keeps them together";
                return Err(Error::Invalid(format!("{what}: {}", names.collect::<Vec<_>>().join(", "))));
            }
        }
        topics.sort_unstable();
        topics.dedup();
        self.offset_resets = subscription.offset_resets.iter().cloned().collect();
        self.context.set_leaving(false);
        self.consumer.subscribe(&topics).map_err(|error| convert::error("subscribe to", &error))
    }

    fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()> {
        self.clear();
        let mut list = TopicPartitionList::with_capacity(start.len());
        for (partition, at) in start {
            let spec = match at {
                StartAt::Offset(_) => None,
                StartAt::Beginning => Some(OffsetSpec::Earliest),
                StartAt::End => Some(OffsetSpec::Latest(self.config.isolation)),
            };
            let offset = match (at, spec) {
                (StartAt::Offset(offset), _) => *offset,
                (_, Some(spec)) => self.cluster.offset(partition, spec)?.unwrap_or_default(),
                (_, None) => Offset::default(),
            };
            let number = convert::partition_number(partition.partition);
            list.add_partition_offset(partition.topic.as_str(), number, KafkaOffset::Offset(offset.as_i64()))
                .map_err(|error| convert::error("assign", &error))?;
            self.positions.insert(partition.clone(), offset);
        }
        self.consumer.assign(&list).map_err(|error| convert::error("assign partitions of", &error))
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let deadline = Instant::now() + wait;
        loop {
            // Messages that librdkafka handed out before a rebalance come before it.
            if self.ahead.is_none() {
                if let Some(failure) = self.failure.take() {
                    return Err(failure);
                }
                if let Some(event) = self.next_rebalance()? {
                    return Ok(event);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(batch) = self.gather(left.min(SLICE))? {
                return Ok(Polled::Batch(batch));
            }
            if !self.context.events.lock().is_empty() || self.failure.is_some() {
                continue;
            }
            if let Some(batch) = self.passed_markers() {
                return Ok(Polled::Batch(batch));
            }
            if self.woken.0.swap(false, Ordering::AcqRel) || left.is_zero() {
                return Ok(Polled::Idle);
            }
        }
    }

    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<()> {
        self.forget(revoked);
        self.revoking.retain(|partition| !revoked.contains(partition));
        if self.revoking.is_empty() {
            self.shared.members.lock().remove(&self.name);
            self.clear();
            give_back(&self.consumer);
        }
        Ok(())
    }

    fn unsubscribe(&mut self) -> Result<()> {
        self.shared.members.lock().remove(&self.name);
        self.clear();
        self.context.set_leaving(true);
        self.context.events.lock().clear();
        // What was revoked before, and nobody will acknowledge now.
        give_back(&self.consumer);
        self.consumer.unsubscribe();
        let since = Instant::now();
        while self.consumer.assignment().is_ok_and(|left| left.count() > 0) && since.elapsed() < LEAVE_WAIT {
            self.consumer.poll(SLICE);
        }
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        if let Err(error) = self.consumer.pause(&convert::partition_list(partitions)) {
            tracing::warn!(%error, "cannot pause partitions");
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        if let Err(error) = self.consumer.resume(&convert::partition_list(partitions)) {
            tracing::warn!(%error, "cannot resume partitions");
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<()> {
        if !self.positions.contains_key(partition) {
            return Err(Error::Invalid(format!("{partition} is not assigned: it cannot be read from elsewhere")));
        }
        let spec = match to {
            StartAt::Offset(_) => None,
            StartAt::Beginning => Some(OffsetSpec::Earliest),
            StartAt::End => Some(OffsetSpec::Latest(self.config.isolation)),
        };
        let offset = match (to, spec) {
            (StartAt::Offset(offset), _) => offset,
            (_, Some(spec)) => self.cluster.offset(partition, spec)?.unwrap_or_default(),
            (_, None) => Offset::default(),
        };
        self.forget(std::slice::from_ref(partition));
        let number = convert::partition_number(partition.partition);
        let native = convert::start(StartAt::Offset(offset));
        let since = Instant::now();
        // A partition that was just assigned is not yet being fetched, and refuses.
        while let Err(error) = self.consumer.seek(partition.topic.as_str(), number, native, REQUEST_TIMEOUT) {
            if since.elapsed() > SEEK_WAIT {
                return Err(convert::error("seek in", &error));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.positions.insert(partition.clone(), offset);
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let known = *self.positions.get(partition)?;
        // What is ahead is not handed out yet.
        if self.ahead.as_ref().is_some_and(|(run, _)| run.partition == *partition) {
            return Some(known);
        }
        Some(self.native_position(partition).map_or(known, |native| native.max(known)))
    }

    fn end_offset(&mut self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        let key = (partition.clone(), isolation == Isolation::ReadCommitted);
        if let Some((when, end)) = self.ends.get(&key)
            && when.elapsed() < END_AGE_MAX
        {
            return Ok(*end);
        }
        let end = self.cluster.offset(partition, OffsetSpec::Latest(isolation))?.unwrap_or_default();
        self.ends.insert(key, (Instant::now(), end));
        Ok(end)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |error| convert::error("ask for committed offsets of", &error);
        let since = Instant::now();
        let list = loop {
            let ask = || self.consumer.committed_offsets(convert::partition_list(partitions), REQUEST_TIMEOUT);
            let list = patiently(ask).map_err(failed)?;
            let is_open = |error| matches!(error, KafkaError::OffsetFetch(Code::UnstableOffsetCommit));
            let is_undecided = list.elements().iter().any(|element| element.error().is_err_and(is_open));
            // A transaction of an earlier owner is about to decide them, or times out.
            if !is_undecided || since.elapsed() > REQUEST_TIMEOUT {
                break list;
            }
            thread::sleep(UNDECIDED_PAUSE);
        };
        let mut committed = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let number = convert::partition_number(partition.partition);
            let Some(found) = list.find_partition(partition.topic.as_str(), number) else {
                committed.push(None);
                continue;
            };
            found.error().map_err(failed)?;
            let offset = found.offset().to_raw().and_then(Offset::from_i64);
            committed.push(offset.map(|offset| CommittedOffset { offset, metadata: found.metadata().to_owned() }));
        }
        Ok(committed)
    }

    fn commit(&mut self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        if self.consumer.assignment_lost() {
            return Err(self.named(convert::fenced("its partitions went to others")));
        }
        let list = convert::offset_list(offsets)?;
        patiently(|| self.consumer.commit(&list, CommitMode::Sync))
            .map_err(|error| self.named(convert::error("commit offsets to", &error)))
    }

    fn group(&self) -> GroupMetadata {
        if self.consumer.assignment_lost() {
            self.shared.members.lock().remove(&self.name);
        }
        GroupMetadata {
            group_id: self.config.group_id.clone(),
            generation: self.generation,
            member_id: self.name.clone(),
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::<Flag>::clone(&self.woken)
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        // librdkafka asks once more for its partitions while it closes.
        self.context.set_leaving(true);
        self.shared.members.lock().remove(&self.name);
    }
}
