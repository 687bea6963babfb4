//! A log client that writes down what is asked of the log, and fails where a test tells it to.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use log_store::{
    Error, Offset, RecordView, Result, TopicPartition,
    client::{
        Admin, CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, Isolation, LogClient, PartitionHandle, Polled,
        Producer, ProducerConfig, SharedClient, StartAt, Subscription, Waker,
    },
};
use parking_lot::{Condvar, Mutex};

/// Where a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// It does not happen.
    Before,
    /// It happens, and its answer is lost.
    After,
}

/// Makes the error of a failing call.
pub(super) type MakeError = fn() -> Error;

/// What is asked and what is to fail, shared by all clients of one log.
pub(super) struct Journal {
    calls: Mutex<Vec<String>>,
    /// The call, how many of its kind go well before, when, and with which error.
    faults: Mutex<Vec<(&'static str, usize, When, MakeError)>>,
    /// Calls until the log is gone for good; negative: it stays.
    calls_left: AtomicI64,
    frozen: Mutex<Frozen>,
    thawed: Condvar,
    /// `max.poll.interval.ms` of consumers made from now on; `None`: what they ask for.
    pub(super) poll_interval: Mutex<Option<Duration>>,
}

/// A process that is stopped at a call, and what becomes of it.
#[derive(Default)]
struct Frozen {
    at: Option<&'static str>,
    is_there: bool,
}

impl Default for Journal {
    fn default() -> Self {
        Journal {
            calls: Mutex::default(),
            faults: Mutex::default(),
            calls_left: AtomicI64::new(-1),
            frozen: Mutex::default(),
            thawed: Condvar::new(),
            poll_interval: Mutex::default(),
        }
    }
}

impl Journal {
    pub(super) fn write(&self, call: impl Into<String>) {
        self.calls.lock().push(call.into());
    }

    /// Everything since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.lock())
    }

    /// Lets the call after the next `good` ones of this name fail, once.
    pub(super) fn fail(&self, call: &'static str, good: usize, when: When, error: MakeError) {
        self.faults.lock().push((call, good, when, error));
    }

    /// True if a fault has not happened yet.
    pub(super) fn is_fault_pending(&self) -> bool {
        !self.faults.lock().is_empty()
    }

    /// After this many more calls every call fails: for the application it is as if the power went.
    pub(super) fn die_after(&self, calls: i64) {
        self.calls_left.store(calls, Ordering::SeqCst);
    }

    /// True once nothing works any more.
    pub(super) fn is_dead(&self) -> bool {
        self.calls_left.load(Ordering::SeqCst) == 0
    }

    /// Stops whoever makes this call next, before it happens.
    pub(super) fn freeze_at(&self, call: &'static str) {
        self.frozen.lock().at = Some(call);
    }

    /// True once somebody has been stopped.
    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.lock().is_there
    }

    /// Lets it go on.
    pub(super) fn thaw(&self) {
        *self.frozen.lock() = Frozen::default();
        self.thawed.notify_all();
    }

    fn freeze_if_due(&self, name: &'static str) {
        let mut frozen = self.frozen.lock();
        while frozen.at == Some(name) {
            frozen.is_there = true;
            self.thawed.wait(&mut frozen);
        }
    }

    fn due(&self, name: &'static str) -> Option<(When, MakeError)> {
        let mut faults = self.faults.lock();
        let place = faults.iter().position(|(faulty, ..)| *faulty == name)?;
        if faults[place].1 == 0 {
            let (_, _, when, error) = faults.remove(place);
            return Some((when, error));
        }
        faults[place].1 -= 1;
        None
    }

    fn call<T>(&self, name: &'static str, text: String, call: impl FnOnce() -> Result<T>) -> Result<T> {
        self.write(text);
        self.freeze_if_due(name);
        let count = |left: i64| if left > 0 { Some(left - 1) } else { None };
        if self.calls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) == Err(0) {
            return Err(Error::Poisoned { reason: "the power is off".into() });
        }
        let fault = self.due(name);
        match fault {
            None => call(),
            Some((When::Before, error)) => Err(error()),
            Some((When::After, error)) => call().and_then(|_| Err(error())),
        }
    }
}

/// See the module.
pub(super) struct FaultyLog {
    pub(super) log: SharedClient,
    pub(super) journal: Arc<Journal>,
}

impl fmt::Debug for FaultyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyLog({:?})", self.log)
    }
}

impl LogClient for FaultyLog {
    fn admin(&self) -> Result<Box<dyn Admin>> {
        self.log.admin()
    }

    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        let max_poll_interval = self.journal.poll_interval.lock().unwrap_or(config.max_poll_interval);
        let inner = self.log.consumer(&ConsumerConfig { max_poll_interval, ..config.clone() })?;
        // Restores are watched through their stores.
        if config.group_id.is_empty() {
            return Ok(inner);
        }
        Ok(Box::new(FaultyConsumer { inner, journal: Arc::clone(&self.journal) }))
    }

    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        let text = match &config.transactional_id {
            Some(id) => format!("producer {id}"),
            None => "producer".to_owned(),
        };
        let inner = self.journal.call("producer", text, || self.log.producer(config))?;
        Ok(Box::new(FaultyProducer { inner, journal: Arc::clone(&self.journal), topics: Vec::new() }))
    }

    fn commit_interval_default(&self) -> Duration {
        self.log.commit_interval_default()
    }
}

struct FaultyConsumer {
    inner: Box<dyn Consumer>,
    journal: Arc<Journal>,
}

fn offsets(offsets: &[(TopicPartition, CommittedOffset)]) -> String {
    let mut texts: Vec<String> =
        offsets.iter().map(|(partition, offset)| format!(" {partition}@{}", offset.offset)).collect();
    texts.sort();
    texts.concat()
}

impl Consumer for FaultyConsumer {
    fn subscribe(&mut self, subscription: &Subscription) -> Result<()> {
        self.journal.call("subscribe", "subscribe".into(), || self.inner.subscribe(subscription))
    }
    fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()> {
        self.inner.assign(start)
    }
    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        self.journal.freeze_if_due("poll");
        self.inner.poll(wait)
    }
    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<()> {
        self.journal.call("acknowledge", "acknowledge".into(), || self.inner.acknowledge(revoked))
    }
    fn unsubscribe(&mut self) -> Result<()> {
        self.journal.call("unsubscribe", "unsubscribe".into(), || self.inner.unsubscribe())
    }
    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }
    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }
    fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<()> {
        self.inner.seek(partition, to)
    }
    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.inner.position(partition)
    }
    fn end_offset(&mut self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.inner.end_offset(partition, isolation)
    }
    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>> {
        self.journal.call("committed", "read offsets".into(), || self.inner.committed(partitions))
    }
    fn commit(&mut self, positions: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        let text = format!("commit offsets{}", offsets(positions));
        self.journal.call("commit offsets", text, || self.inner.commit(positions))
    }
    fn group(&self) -> GroupMetadata {
        self.inner.group()
    }
    fn waker(&self) -> Arc<dyn Waker> {
        self.inner.waker()
    }
}

struct FaultyProducer {
    inner: Box<dyn Producer>,
    journal: Arc<Journal>,
    /// By handle.
    topics: Vec<(PartitionHandle, String)>,
}

impl Producer for FaultyProducer {
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle> {
        let handle = self.inner.open(to)?;
        self.topics.push((handle, to.topic.to_string()));
        Ok(handle)
    }
    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
        let topic = self.topics.iter().find(|(handle, _)| *handle == to).map_or("?", |(_, topic)| topic);
        self.journal.call("send", format!("send {topic}"), || self.inner.send(to, record))
    }
    fn flush(&mut self) -> Result<()> {
        self.journal.call("flush", "flush".into(), || self.inner.flush())
    }
    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        self.inner.acknowledged(partition)
    }
    fn init_transactions(&mut self) -> Result<()> {
        self.journal.call("init", "init".into(), || self.inner.init_transactions())
    }
    fn begin(&mut self) -> Result<()> {
        self.journal.call("begin", "begin".into(), || self.inner.begin())
    }
    fn send_offsets(&mut self, positions: &[(TopicPartition, CommittedOffset)], group: &GroupMetadata) -> Result<()> {
        let text = format!("send offsets{}", offsets(positions));
        self.journal.call("send offsets", text, || self.inner.send_offsets(positions, group))
    }
    fn commit(&mut self) -> Result<()> {
        self.journal.call("commit", "commit".into(), || self.inner.commit())
    }
    fn abort(&mut self) -> Result<()> {
        self.journal.call("abort", "abort".into(), || self.inner.abort())
    }
}
