//! A producer of the embedded log: one open batch for each partition, appended when it is full.
//!
//! Outside a transaction, a batch that found no space on the disk stays, and the next call tries it again: nothing that
//! was sent is lost in silence, and nothing comes twice. In a transaction a failed append leaves only the abort.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{Durability, log::Inner, partition::Partition, producer_state::advance, transaction::Session};
use crate::{
    Error, NO_TIMESTAMP, Offset, RecordView, Result, TopicConfig, TopicPartition,
    batch::{BatchBuilder, Compression, MarkerKind, ProducerStamp, TimestampType},
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer, ProducerConfig},
};

pub(crate) struct EmbeddedProducer {
    log: Arc<Inner>,
    config: ProducerConfig,
    session: Session,
    targets: Vec<Target>,
    handles: HashMap<TopicPartition, PartitionHandle>,
    /// What took longer than a send may wait.
    under_way: Option<UnderWay>,
}

/// Work at the disk that another thread is in, since it cannot be left.
struct UnderWay {
    work: DiskWork,
    answer: mpsc::Receiver<Result<()>>,
}

/// What a send may have to wait for.
#[derive(Clone, Copy)]
enum DiskWork {
    /// Much is unsynced.
    Sync,
    /// A producer id is needed that no crash gives again.
    Id,
}

impl DiskWork {
    fn run(self, log: &Inner) -> Result<()> {
        match self {
            DiskWork::Sync => log.sync(),
            DiskWork::Id => log.transactions.reserve_ids(),
        }
    }

    fn describe(self, log: &Inner) -> String {
        match self {
            DiskWork::Sync => {
                let bytes_max = log.shared.config.unsynced_bytes_max;
                format!("a sync of the log's files; no more than about {bytes_max} bytes may wait for one")
            }
            DiskWork::Id => "a sync of the file that tells which producer ids are in use".to_owned(),
        }
    }
}

struct Target {
    partition: Arc<Partition>,
    builder: BatchBuilder,
    /// A finished batch that could not be appended yet.
    waiting: Option<BytesMut>,
    limits: Limits,
    acknowledged: Option<Offset>,
    /// Sequence number of the next record, under the producer's identity.
    sequence: i32,
    /// Part of the open transaction.
    is_added: bool,
}

/// What the topic's settings allow, looked up for each batch: they may change while running.
struct Limits {
    compression: Compression,
    /// Bytes at which the open batch is appended.
    full_bytes: usize,
    /// The topic's limit of a batch, and so of a record.
    bytes_max: usize,
    timestamp_min: i64,
    timestamp_max: i64,
}

impl Limits {
    fn new(topic: &TopicConfig, producer: &ProducerConfig, now_ms: i64) -> Self {
        let bytes_max = topic.message_bytes_max as usize;
        let millis = |limit: Duration| i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
        let is_checked = topic.timestamp_type == TimestampType::CreateTime;
        let before = topic.timestamp_before_max.filter(|_| is_checked);
        let after = topic.timestamp_after_max.filter(|_| is_checked);
        Limits {
            compression: topic.compression.unwrap_or(producer.compression),
            full_bytes: producer.batch_bytes.min(bytes_max),
            bytes_max,
            timestamp_min: before.map_or(i64::MIN, |before| now_ms.saturating_sub(millis(before))),
            timestamp_max: after.map_or(i64::MAX, |after| now_ms.saturating_add(millis(after))),
        }
    }

    #[inline]
    fn allow(&self, timestamp: i64) -> bool {
        (self.timestamp_min <= timestamp && timestamp <= self.timestamp_max) || timestamp == NO_TIMESTAMP
    }
}

impl EmbeddedProducer {
    pub(crate) fn new(log: Arc<Inner>, config: ProducerConfig) -> Self {
        let session = Session::new(Arc::clone(&log), &config);
        EmbeddedProducer { log, config, session, targets: Vec::new(), handles: HashMap::new(), under_way: None }
    }

    /// Appends what a target holds: first a batch that waits, then the open one.
    fn append(&mut self, target: usize) -> Result<()> {
        self.try_append(target).inspect_err(|_| self.session.fail())
    }

    fn try_append(&mut self, index: usize) -> Result<()> {
        self.append_waiting(index)?;
        let target = &mut self.targets[index];
        if target.builder.is_empty() {
            return Ok(());
        }
        let is_transactional = self.session.is_inside();
        if is_transactional && !target.is_added {
            self.session.add(&target.partition.id)?;
            target.is_added = true;
        }
        let stamp = self.session.identity()?.map_or(ProducerStamp::NONE, |identity| ProducerStamp {
            id: identity.producer_id,
            epoch: identity.epoch,
            sequence: target.sequence,
            is_transactional,
        });
        target.sequence = advance(target.sequence, target.builder.count());
        target.waiting = Some(target.builder.finish(stamp, target.limits.compression));
        target.limits = Limits::new(&target.partition.config(), &self.config, target.partition.now_ms());
        self.append_waiting(index)
    }

    /// Appends the finished batch of a target, if there is one.
    fn append_waiting(&mut self, index: usize) -> Result<()> {
        let target = &mut self.targets[index];
        let Some(batch) = &mut target.waiting else { return Ok(()) };
        let appended = target.partition.append_from(batch)?;
        target.waiting = None;
        target.acknowledged = Some(appended.next);
        Ok(())
    }

    /// Waits for what is to be done at the disk before more is appended, but no longer than a send may.
    fn wait_for_disk(&mut self) -> Result<()> {
        let begun = Instant::now();
        if let Some(earlier) = self.under_way.take() {
            self.wait_since(begun, earlier)?;
        }
        let shared = &self.log.shared;
        if shared.syncer.is_behind(&shared.config) {
            self.work_since(begun, DiskWork::Sync)?;
        }
        if self.session.needs_id() && self.log.transactions.is_out_of_ids() {
            self.work_since(begun, DiskWork::Id)?;
        }
        Ok(())
    }

    fn work_since(&mut self, begun: Instant, work: DiskWork) -> Result<()> {
        if !self.log.shared.has_threads {
            return work.run(&self.log);
        }
        let (tell, answer) = mpsc::sync_channel(1);
        let log = Arc::clone(&self.log);
        let spawned = thread::Builder::new().name("log-sync".to_owned()).spawn(move || {
            let done = work.run(&log);
            // Whoever is told may close the log and expect that it is closed.
            drop(log);
            let _nobody_may_wait_any_more = tell.send(done);
        });
        match spawned {
            Ok(_) => self.wait_since(begun, UnderWay { work, answer }),
            Err(_) => work.run(&self.log),
        }
    }

    fn wait_since(&mut self, begun: Instant, under_way: UnderWay) -> Result<()> {
        match under_way.answer.recv_timeout(self.config.block_max.saturating_sub(begun.elapsed())) {
            Ok(done) => done,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let what = under_way.work.describe(&self.log);
                self.under_way = Some(under_way);
                let waited_ms = u64::try_from(self.config.block_max.as_millis()).unwrap_or(u64::MAX);
                Err(Error::TimedOut { what, waited_ms })
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => under_way.work.run(&self.log),
        }
    }

    #[cold]
    fn refuse_timestamp(&mut self, index: usize, timestamp: i64) -> Result<()> {
        let target = &mut self.targets[index];
        // The limits are as old as the open batch, and the clock has gone on.
        target.limits = Limits::new(&target.partition.config(), &self.config, target.partition.now_ms());
        if target.limits.allow(timestamp) {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{}: timestamp {timestamp} is not between {} and {}; see message.timestamp.before.max.ms and \
             message.timestamp.after.max.ms of the topic",
            target.partition.id, target.limits.timestamp_min, target.limits.timestamp_max
        )))
    }

    /// Appends the open batch, so that `record` fits into the next one.
    #[cold]
    fn make_room(&mut self, index: usize, record: &RecordView<'_>) -> Result<()> {
        self.wait_for_disk().inspect_err(|_| self.session.fail())?;
        self.append(index)?;
        self.log.sync_early();
        let target = &self.targets[index];
        let len = target.builder.len_bytes_with(record);
        if len <= target.limits.bytes_max {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{}: record of up to {len} bytes with its batch is larger than max.message.bytes, {}",
            target.partition.id, target.limits.bytes_max
        )))
    }

    fn end(&mut self, kind: MarkerKind) -> Result<()> {
        self.session.end(kind)?;
        for target in &mut self.targets {
            target.sequence = 0;
            target.is_added = false;
        }
        Ok(())
    }

    fn append_all(&mut self) -> Result<()> {
        for index in 0..self.targets.len() {
            let target = &self.targets[index];
            if target.waiting.is_none() && target.builder.is_empty() {
                continue;
            }
            let shared = &self.log.shared;
            if shared.syncer.is_behind(&shared.config) {
                self.log.sync()?;
            }
            self.append(index)?;
        }
        Ok(())
    }
}

impl Producer for EmbeddedProducer {
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle> {
        if let Some(handle) = self.handles.get(to) {
            return Ok(*handle);
        }
        let partition = self.log.partition(to)?;
        let handle = PartitionHandle(u32::try_from(self.targets.len()).expect("fewer than 4 billion partitions"));
        self.targets.push(Target {
            limits: Limits::new(&partition.config(), &self.config, partition.now_ms()),
            partition,
            builder: BatchBuilder::new(),
            waiting: None,
            acknowledged: None,
            sequence: 0,
            is_added: false,
        });
        self.handles.insert(to.clone(), handle);
        Ok(handle)
    }

    #[inline]
    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
        if !self.session.is_open() {
            return Err(self.session.refusal());
        }
        let index = to.0 as usize;
        if !self.targets[index].limits.allow(record.timestamp) {
            self.refuse_timestamp(index, record.timestamp)?;
        }
        let target = &self.targets[index];
        if target.builder.len_bytes_with(&record) > target.limits.full_bytes {
            self.make_room(index, &record)?;
        }
        self.targets[index].builder.append(record)
    }

    fn flush(&mut self) -> Result<()> {
        self.append_all()?;
        if self.session.is_inside() {
            return self.log.shared.check();
        }
        match self.log.shared.config.durability {
            Durability::Fsync => self.log.sync(),
            Durability::Interval(_) | Durability::Never => self.log.shared.check(),
        }
    }

    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        self.targets.get(partition.0 as usize)?.acknowledged
    }

    fn init_transactions(&mut self) -> Result<()> {
        self.session.init()?;
        for target in &mut self.targets {
            target.builder.clear();
            target.waiting = None;
            target.sequence = 0;
            target.is_added = false;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.session.begin()
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, CommittedOffset)], group: &GroupMetadata) -> Result<()> {
        self.session.send_offsets(offsets, group)
    }

    fn commit(&mut self) -> Result<()> {
        self.append_all()?;
        self.end(MarkerKind::Commit)
    }

    fn abort(&mut self) -> Result<()> {
        for target in &mut self.targets {
            target.builder.clear();
            target.waiting = None;
        }
        self.end(MarkerKind::Abort)
    }
}

impl Drop for EmbeddedProducer {
    /// Nobody can end its transaction any more.
    fn drop(&mut self) {
        if self.session.is_inside()
            && let Err(error) = self.abort()
        {
            tracing::debug!(%error, "the open transaction of a producer that is gone was not aborted by it");
        }
    }
}
