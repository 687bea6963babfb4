//! A producer of single records: partitions chosen, batches gathered, memory bounded, deliveries told.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::{
    Delivered, Delivery, Partitioner, ProducerRecord, RecordSink, StickyPartitioner,
    delivery::Completer,
    sender::{Control, Queue, Sender, Work},
};
use crate::{
    Error, Result, TopicName, TopicPartition,
    client::{CommittedOffset, GroupMetadata, ProducerConfig, SharedClient},
};

/// Settings of a [`RecordProducer`].
#[derive(Clone)]
pub struct RecordProducerConfig {
    /// Settings of the producer below: its name, transactional id, compression, `batch_bytes` (`batch.size`) and
    /// `block_max` (`max.block.ms`).
    pub producer: ProducerConfig,
    /// How long a record waits for others to share its batch (`linger.ms`). Default: 0. Even then records gather: those
    /// that come during one sync share the next.
    pub linger: Duration,
    /// Bytes of records that are not delivered yet (`buffer.memory`); when there are so many, `send` waits. Default:
    /// 32 MiB.
    pub buffer_bytes: usize,
    /// How long a record may wait for space on the disk before it is reported as failed (`delivery.timeout.ms`).
    /// Default: 2 min.
    pub delivery_timeout: Duration,
    /// Chooses the partition of records that name none. Default: [`StickyPartitioner`].
    pub partitioner: Option<Arc<dyn Partitioner>>,
}

impl Default for RecordProducerConfig {
    fn default() -> Self {
        RecordProducerConfig {
            producer: ProducerConfig::default(),
            linger: Duration::ZERO,
            buffer_bytes: 32 << 20,
            delivery_timeout: Duration::from_secs(120),
            partitioner: None,
        }
    }
}

impl fmt::Debug for RecordProducerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordProducerConfig")
            .field("producer", &self.producer)
            .field("linger", &self.linger)
            .field("buffer_bytes", &self.buffer_bytes)
            .finish_non_exhaustive()
    }
}

/// Sends records. Any number of threads may use it at once; one thread of its own does the work.
///
/// [`RecordProducer::send`] returns as soon as the record waits in memory, and waits itself while too much does. What was
/// sent to one partition arrives there in that order. A transactional producer (one with a `transactional_id`) is
/// initialised when it is made.
pub struct RecordProducer {
    client: SharedClient,
    queue: Arc<Queue>,
    partitioner: Arc<dyn Partitioner>,
    partitions: Mutex<HashMap<TopicName, u32>>,
    buffer_bytes: usize,
    block_max: Duration,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl RecordProducer {
    /// A producer on `client`.
    ///
    /// # Errors
    ///
    /// As [`crate::client::LogClient::producer`] and [`crate::client::Producer::init_transactions`].
    pub fn new(client: &SharedClient, config: RecordProducerConfig) -> Result<Self> {
        let mut producer = client.producer(&config.producer)?;
        if config.producer.transactional_id.is_some() {
            producer.init_transactions()?;
        }
        let queue = Arc::new(Queue::default());
        let batch_bytes = config.producer.batch_bytes;
        let block_max = config.producer.block_max;
        let sender = Sender {
            queue: Arc::clone(&queue),
            client: Arc::clone(client),
            config: config.producer,
            producer,
            linger: config.linger,
            delivery_timeout: config.delivery_timeout,
            sent: HashMap::new(),
            sent_bytes: 0,
        };
        let thread = std::thread::Builder::new().name("record-producer".to_owned()).spawn(move || sender.run());
        let thread = thread.map_err(|error| Error::io("start the thread of", "a producer", error))?;
        Ok(RecordProducer {
            client: Arc::clone(client),
            queue,
            partitioner: config.partitioner.unwrap_or_else(|| Arc::new(StickyPartitioner::new(batch_bytes))),
            partitions: Mutex::default(),
            buffer_bytes: config.buffer_bytes,
            block_max,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Sends a record. The delivery tells its offset, once it is in the log (durably, outside a transaction).
    ///
    /// # Errors
    ///
    /// `TimedOut` if no memory came free within `block_max`; `UnknownTopic`; `Invalid` for a partition that does not
    /// exist, or after [`RecordProducer::close`]. Nothing was sent then.
    pub fn send(&self, record: ProducerRecord) -> Result<Delivery> {
        let (delivery, completer) = Delivery::pair();
        self.enqueue(record, completer, true)?;
        Ok(delivery)
    }

    /// Sends a record and calls `told` with what became of it, on the producer's thread: it must not wait there, nor
    /// send with this producer.
    ///
    /// # Errors
    ///
    /// As [`RecordProducer::send`]; `told` is not called then.
    pub fn send_with(&self, record: ProducerRecord, told: impl FnOnce(Delivered) + Send + 'static) -> Result<()> {
        self.enqueue(record, Completer::Callback(Box::new(told)), true)
    }

    /// A `Sink` that sends with this producer.
    #[must_use]
    pub fn sink(self: &Arc<Self>) -> RecordSink {
        RecordSink::new(Arc::clone(self))
    }

    /// Returns once everything that was sent before is delivered, or has failed (its deliveries tell).
    ///
    /// # Errors
    ///
    /// `Invalid` after [`RecordProducer::close`].
    pub fn flush(&self) -> Result<()> {
        self.control(Control::Flush)
    }

    /// Opens a transaction: what is sent from here on is part of it.
    ///
    /// # Errors
    ///
    /// As [`crate::client::Producer::begin`].
    pub fn begin(&self) -> Result<()> {
        self.control(Control::Begin)
    }

    /// Makes positions of a group part of the transaction, as [`crate::client::Producer::send_offsets`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn send_offsets(&self, offsets: Vec<(TopicPartition, CommittedOffset)>, group: GroupMetadata) -> Result<()> {
        self.control(Control::SendOffsets(offsets, group))
    }

    /// Commits: all that was sent since [`RecordProducer::begin`] is durable and visible when it returns.
    ///
    /// # Errors
    ///
    /// As [`crate::client::Producer::commit`]; also if one of the sends has failed.
    pub fn commit(&self) -> Result<()> {
        self.control(Control::Commit)
    }

    /// Takes everything back since [`RecordProducer::begin`].
    ///
    /// # Errors
    ///
    /// As [`crate::client::Producer::abort`].
    pub fn abort(&self) -> Result<()> {
        self.control(Control::Abort)
    }

    /// Delivers what was sent, and ends. Dropping it does the same.
    pub fn close(&self) {
        self.queue.state.lock().is_closed = true;
        self.queue.work.notify_all();
        self.queue.space.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            // It has no reason to panic; if it did, deliveries were dropped, and there is nobody to tell.
            let _ = thread.join();
        }
    }

    /// True if a record would not have to wait for memory; otherwise `waker` is told when to ask again.
    pub(super) fn has_space(&self, waker: &std::task::Waker) -> bool {
        let mut state = self.queue.state.lock();
        let has_space = state.bytes < self.buffer_bytes || state.is_closed;
        if !has_space {
            state.wakers.push(waker.clone());
            self.make_urgent(&mut state);
        }
        has_space
    }

    /// Puts a record into the queue, waiting for memory if `may_wait`.
    pub(super) fn enqueue(&self, record: ProducerRecord, completer: Completer, may_wait: bool) -> Result<()> {
        let count = self.partitions_of(&record.topic)?;
        let number = record.partition.unwrap_or_else(|| self.partitioner.partition(&record, count));
        let to = TopicPartition::new(record.topic.clone(), number);
        if number >= count {
            return Err(Error::Invalid(format!("{to}: the topic has {count} partitions, numbered from 0")));
        }
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        let bytes = record.len_bytes();
        let mut state = self.queue.state.lock();
        let mut deadline = None;
        // One record always fits, however large.
        while may_wait && !state.is_closed && state.bytes > 0 && state.bytes + bytes > self.buffer_bytes {
            self.make_urgent(&mut state);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + self.block_max);
            if self.queue.space.wait_until(&mut state, deadline).timed_out() {
                let waited_ms = u64::try_from(self.block_max.as_millis()).unwrap_or(u64::MAX);
                let what = format!("memory of the producer: {} of {} bytes wait", state.bytes, self.buffer_bytes);
                return Err(Error::TimedOut { what, waited_ms });
            }
        }
        if state.is_closed {
            return Err(closed());
        }
        state.bytes += bytes;
        state.since.get_or_insert_with(Instant::now);
        state.waiting.push_back(Work::Record { record, to, timestamp, completer });
        self.queue.work.notify_one();
        Ok(())
    }

    /// Ends the lingering of what waits.
    pub(super) fn hurry(&self) {
        self.make_urgent(&mut self.queue.state.lock());
    }

    fn make_urgent(&self, state: &mut super::sender::State) {
        state.is_urgent = !state.waiting.is_empty();
        self.queue.work.notify_one();
    }

    fn control(&self, control: Control) -> Result<()> {
        let (reply, answer) = mpsc::sync_channel(1);
        {
            let mut state = self.queue.state.lock();
            if state.is_closed {
                return Err(closed());
            }
            state.waiting.push_back(Work::Control(control, reply));
            self.make_urgent(&mut state);
        }
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    fn partitions_of(&self, topic: &TopicName) -> Result<u32> {
        if let Some(count) = self.partitions.lock().get(topic) {
            return Ok(*count);
        }
        let description = self.client.admin()?.describe_topic(topic)?;
        let count = description.ok_or_else(|| Error::UnknownTopic { name: topic.to_string() })?.partitions;
        self.partitions.lock().insert(topic.clone(), count);
        Ok(count)
    }
}

impl Drop for RecordProducer {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for RecordProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.queue.state.lock();
        write!(f, "RecordProducer({} of {} bytes wait)", state.bytes, self.buffer_bytes)
    }
}

fn closed() -> Error {
    Error::Invalid("the producer is closed; make a new one".to_owned())
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Deliveries that nobody has looked at yet.
pub(super) type Pending = VecDeque<Delivery>;
