//! The thread of a [`super::RecordProducer`]: takes what waits, sends it, makes it final, and tells those who sent it.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use super::{Delivered, ProducerRecord, RecordMetadata, delivery::Completer};
use crate::{
    Error, Offset, RecordView, Result, TopicPartition,
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer, ProducerConfig, SharedClient},
};

/// Pause before what found no space on the disk is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What waits for the thread, shared with those who send.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) state: Mutex<State>,
    /// There is work, or it is urgent now.
    pub(super) work: Condvar,
    /// There is space.
    pub(super) space: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: VecDeque<Work>,
    /// Bytes of all records that are not delivered yet.
    pub(super) bytes: usize,
    /// When the first of those that wait came.
    pub(super) since: Option<Instant>,
    /// No more lingering: somebody waits for the end of it.
    pub(super) is_urgent: bool,
    pub(super) is_closed: bool,
    pub(super) wakers: Vec<Waker>,
}

/// Something to do, in order.
pub(super) enum Work {
    Record { record: ProducerRecord, to: TopicPartition, timestamp: i64, completer: Completer },
    Control(Control, Reply),
}

/// What is done between records.
pub(super) enum Control {
    Flush,
    Begin,
    SendOffsets(Vec<(TopicPartition, CommittedOffset)>, GroupMetadata),
    Commit,
    Abort,
}

/// Where the answer of a [`Control`] goes.
pub(super) type Reply = std::sync::mpsc::SyncSender<Result<()>>;

pub(super) struct Sender {
    pub(super) queue: Arc<Queue>,
    pub(super) client: SharedClient,
    pub(super) config: ProducerConfig,
    pub(super) producer: Box<dyn Producer>,
    pub(super) linger: Duration,
    pub(super) delivery_timeout: Duration,
    pub(super) sent: HashMap<PartitionHandle, Vec<Sent>>,
    /// Bytes of `sent`.
    pub(super) sent_bytes: usize,
}

/// A record that the producer has taken.
pub(super) struct Sent {
    partition: TopicPartition,
    timestamp: i64,
    /// Known once its batch is in the log.
    offset: Option<Offset>,
    completer: Completer,
}

impl Sender {
    pub(super) fn run(mut self) {
        while let Some(work) = self.take() {
            for work in work {
                match work {
                    Work::Record { record, to, timestamp, completer } => self.send(&record, to, timestamp, completer),
                    Work::Control(control, reply) => {
                        self.finish();
                        // Whoever asked may be gone.
                        let _ = reply.send(self.control(control));
                    }
                }
            }
            self.finish();
        }
    }

    /// Waits for work, and then until it has lingered; `None` after the end.
    fn take(&self) -> Option<VecDeque<Work>> {
        let mut state = self.queue.state.lock();
        loop {
            if state.waiting.is_empty() {
                if state.is_closed {
                    return None;
                }
                self.queue.work.wait(&mut state);
                continue;
            }
            let due = state.since.map_or_else(Instant::now, |since| since + self.linger);
            let is_due = state.is_urgent
                || state.is_closed
                || state.bytes >= self.config.batch_bytes
                || self.linger.is_zero()
                || self.queue.work.wait_until(&mut state, due).timed_out();
            if is_due {
                (state.since, state.is_urgent) = (None, false);
                return Some(std::mem::take(&mut state.waiting));
            }
        }
    }

    fn send(&mut self, record: &ProducerRecord, to: TopicPartition, timestamp: i64, completer: Completer) {
        let bytes = record.len_bytes();
        match self.try_send(record, &to, timestamp) {
            Ok(handle) => {
                let sent = Sent { partition: to, timestamp, offset: None, completer };
                self.sent.entry(handle).or_default().push(sent);
                self.sent_bytes += bytes;
            }
            Err(error) => {
                completer.complete(Err(Arc::new(error)));
                self.release(bytes);
            }
        }
    }

    fn try_send(&mut self, record: &ProducerRecord, to: &TopicPartition, timestamp: i64) -> Result<PartitionHandle> {
        let handle = self.producer.open(to)?;
        let before = self.producer.acknowledged(handle);
        let view = RecordView {
            timestamp,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: (&record.headers).into(),
        };
        let sent = self.patiently(|producer| producer.send(handle, view));
        // The batch before this record was full, and is in the log now.
        let after = self.producer.acknowledged(handle);
        if after != before {
            self.locate(handle, after);
        }
        sent.map(|()| handle)
    }

    /// The records of a partition that have no offset yet are the last before `end`.
    fn locate(&mut self, handle: PartitionHandle, end: Option<Offset>) {
        let (Some(sent), Some(end)) = (self.sent.get_mut(&handle), end) else { return };
        for (back, sent) in sent.iter_mut().rev().take_while(|sent| sent.offset.is_none()).enumerate() {
            sent.offset = Offset::from_i64(end.as_i64() - 1 - back as i64);
        }
    }

    /// Makes final what was sent, and tells everybody.
    fn finish(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let flushed = self.patiently(|producer| producer.flush()).map_err(Arc::new);
        let handles: Vec<PartitionHandle> = self.sent.keys().copied().collect();
        for handle in handles {
            self.locate(handle, self.producer.acknowledged(handle));
        }
        for sent in self.sent.drain().flat_map(|(_, sent)| sent) {
            let Sent { partition, timestamp, offset, completer } = sent;
            let delivered: Delivered = match (&flushed, offset) {
                (Err(error), _) => Err(Arc::clone(error)),
                (Ok(()), Some(offset)) => Ok(RecordMetadata { partition, offset, timestamp }),
                (Ok(()), None) => Err(Arc::new(Error::Invalid(format!("{partition}: a flush has told no offset")))),
            };
            completer.complete(delivered);
        }
        let bytes = std::mem::take(&mut self.sent_bytes);
        self.release(bytes);
        if flushed.is_err() && self.config.transactional_id.is_none() {
            // What still waits in the producer was reported as failed: it must not come later.
            if let Ok(producer) = self.client.producer(&self.config) {
                self.producer = producer;
            }
        }
    }

    fn control(&mut self, control: Control) -> Result<()> {
        match control {
            Control::Flush => Ok(()),
            Control::Begin => self.producer.begin(),
            Control::SendOffsets(offsets, group) => self.producer.send_offsets(&offsets, &group),
            Control::Commit => self.producer.commit(),
            Control::Abort => self.producer.abort(),
        }
    }

    /// Tries again while the disk is full, as long as a delivery may take. Meanwhile what is sent waits, and then those
    /// who send.
    fn patiently(&mut self, mut attempt: impl FnMut(&mut dyn Producer) -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + self.delivery_timeout;
        loop {
            match attempt(&mut *self.producer) {
                Err(error) if error.is_storage_full() && Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
                other => return other,
            }
        }
    }

    fn release(&self, bytes: usize) {
        let mut state = self.queue.state.lock();
        state.bytes -= bytes;
        self.queue.space.notify_all();
        for waker in state.wakers.drain(..) {
            waker.wake();
        }
    }
}
