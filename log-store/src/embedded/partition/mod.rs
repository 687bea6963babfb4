//! One partition: its segments, its positions, and the order among them.
//!
//! ```text
//! log start <= last stable offset <= log end
//! ```
//!
//! A partition is opened when it is first used. Its lock is held for one append or one look-up, never during a sync and
//! never while a batch is read from a file.

mod append;
mod checkpoint;
mod clean;
mod fetch;
mod look_up;
mod open;
mod producers;
mod roll;
mod tail;

use std::{collections::VecDeque, io, path::PathBuf, sync::Arc};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard, RwLock};

pub(crate) use clean::{Source, Survey};
pub(crate) use open::Known;

use self::{producers::Producers, tail::Tail};
use super::{Durability, consumer_watch::Watch, log_shared::Shared, segment::Segment, storage::SegmentFile};
use crate::{Error, Offset, Result, TopicConfig, TopicPartition, client::Isolation};

/// The settings of a topic, as its partitions see them; they may change while running.
pub(crate) type SharedTopicConfig = Arc<RwLock<Arc<TopicConfig>>>;

/// A partition of a topic.
pub(crate) struct Partition {
    pub(crate) id: TopicPartition,
    topic_id: [u8; 16],
    directory_name: Arc<str>,
    shared: Arc<Shared>,
    config: SharedTopicConfig,
    known: Known,
    slot: Mutex<Slot>,
    watches: RwLock<Vec<Arc<Watch>>>,
}

enum Slot {
    Closed,
    Open(Box<Log>),
    /// What was synced once is damaged: nothing of this partition can be trusted without an operator.
    Damaged {
        file: PathBuf,
        position: u64,
        reason: String,
    },
    /// Its topic was deleted.
    Deleted,
}

/// An open partition, under its lock.
struct Log {
    /// In the order of their offsets. The last is the active one; there is none before the first append.
    segments: Vec<Segment>,
    log_start: Offset,
    log_end: Offset,
    /// Everything before it is synced.
    recovery_point: Offset,
    /// The recovery point that was last written down.
    checkpointed: Offset,
    /// True while the partition waits for a sync.
    is_dirty: bool,
    /// True while the active segment's files are as a close in order leaves them: nothing was appended since.
    is_ended: bool,
    /// Sealed files that wait for a sync beside the active one.
    unsynced: Vec<Arc<dyn SegmentFile>>,
    /// True if a name in the directory waits for a sync.
    has_new_names: bool,
    /// True if the small files of a new directory wait for a sync.
    is_new: bool,
    tail: Tail,
    producers: Producers,
    /// Sealed segments with open files, the longest open first.
    open_sealed: VecDeque<Offset>,
    /// True if the partition counts among those with open files.
    has_open_files: bool,
    leader_epoch: i32,
}

impl Partition {
    /// Milliseconds since 1970 now.
    pub(crate) fn now_ms(&self) -> i64 {
        self.shared.now_ms()
    }

    pub(crate) fn new(
        shared: &Arc<Shared>,
        id: TopicPartition,
        topic_id: [u8; 16],
        config: &SharedTopicConfig,
        known: Known,
    ) -> Self {
        Partition {
            directory_name: id.to_string().into(),
            id,
            topic_id,
            shared: Arc::clone(shared),
            config: Arc::clone(config),
            known,
            slot: Mutex::new(Slot::Closed),
            watches: RwLock::default(),
        }
    }

    /// The settings of its topic.
    pub(crate) fn config(&self) -> Arc<TopicConfig> {
        Arc::clone(&self.config.read())
    }

    /// Where its files are, for messages.
    pub(crate) fn located(&self) -> PathBuf {
        self.shared.directory.locate(&self.directory_name)
    }

    /// The first offset that is kept.
    pub(crate) fn log_start(&self) -> Result<Offset> {
        Ok(self.log()?.log_start)
    }

    /// Where the readable part ends.
    pub(crate) fn end(&self, isolation: Isolation) -> Result<Offset> {
        Ok(self.log()?.end(isolation))
    }

    /// Log start and readable end.
    pub(crate) fn range(&self, isolation: Isolation) -> Result<(Offset, Offset)> {
        let log = self.log()?;
        Ok((log.log_start, log.end(isolation)))
    }

    /// Tells `watch` whenever there is something new to read.
    pub(crate) fn watch(&self, watch: Arc<Watch>) {
        self.watches.write().push(watch);
    }

    /// Undoes [`Partition::watch`].
    pub(crate) fn unwatch(&self, watch: &Arc<Watch>) {
        self.watches.write().retain(|other| !Arc::ptr_eq(other, watch));
    }

    /// True if a consumer waits for what is appended.
    fn is_watched(&self) -> bool {
        !self.watches.read().is_empty()
    }

    fn notify(&self) {
        for watch in self.watches.read().iter() {
            watch.notify();
        }
    }

    /// Forgets the oldest chunk in memory: the log as a whole has too many.
    pub(crate) fn drop_oldest_chunk(&self) {
        if let Slot::Open(log) = &mut *self.slot.lock() {
            log.tail.pop();
        }
    }

    /// Closes all files of the partition, unless it is in use or its last writes are not synced. They open again when
    /// they are needed.
    pub(crate) fn release_files(&self) -> bool {
        let Some(mut slot) = self.slot.try_lock() else { return false };
        let Slot::Open(log) = &mut *slot else { return true };
        // Closed before it is synced, a file might lose the news of a failed write.
        if log.is_dirty && self.shared.config.durability != Durability::Never {
            return false;
        }
        log.segments.iter_mut().for_each(Segment::release);
        log.open_sealed.clear();
        log.has_open_files = false;
        true
    }

    /// Counts the partition among those with open files, before it opens one.
    fn note_open_files(self: &Arc<Self>, log: &mut Log) {
        if !std::mem::replace(&mut log.has_open_files, true) {
            self.shared.open_files.note(self);
        }
    }

    /// Drops records before `offset`; whole segments go at the next cleaning.
    pub(crate) fn advance_log_start(&self, offset: Offset) -> Result<()> {
        let mut log = self.log()?;
        if offset > log.log_end {
            return Err(self.out_of_range(&log, offset));
        }
        log.log_start = log.log_start.max(offset);
        Ok(())
    }

    /// Everything appended so far, durable: writes the active segment's and sealed files. For [`super::sync`] only.
    pub(crate) fn sync(&self) -> Result<()> {
        let directory = &*self.shared.directory;
        let (files, end, has_new_names, is_new) = {
            let Slot::Open(log) = &mut *self.slot.lock() else { return Ok(()) };
            log.is_dirty = false;
            let mut files = std::mem::take(&mut log.unsynced);
            if let Some(active) = log.segments.last_mut() {
                files.push(active.file(directory)?);
            }
            (files, log.log_end, std::mem::take(&mut log.has_new_names), std::mem::take(&mut log.is_new))
        };
        let synced = || -> io::Result<()> {
            files.iter().try_for_each(|file| file.sync())?;
            if is_new {
                self.sync_small_files()?;
            }
            if has_new_names {
                directory.sync_dir(&self.directory_name)?;
                directory.sync_dir("")?;
            }
            Ok(())
        };
        match synced() {
            // Its topic was deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound && matches!(*self.slot.lock(), Slot::Deleted) => {}
            synced => synced.map_err(|error| Error::io("sync", self.located(), error))?,
        }
        if let Slot::Open(log) = &mut *self.slot.lock() {
            log.recovery_point = log.recovery_point.max(end);
        }
        Ok(())
    }

    /// The lock, with the partition opened.
    fn log(&self) -> Result<MappedMutexGuard<'_, Log>> {
        let mut slot = self.slot.lock();
        if matches!(*slot, Slot::Closed) {
            *slot = match self.open() {
                Ok(log) => Slot::Open(Box::new(log)),
                Err(Error::Corrupt { file, position, reason }) => Slot::Damaged { file, position, reason },
                Err(error) => return Err(error),
            };
        }
        match &*slot {
            Slot::Damaged { file, position, reason } => {
                Err(Error::Corrupt { file: file.clone(), position: *position, reason: reason.clone() })
            }
            Slot::Deleted => Err(Error::UnknownTopic { name: self.id.to_string() }),
            _ => Ok(MutexGuard::map(slot, |slot| match slot {
                Slot::Open(log) => &mut **log,
                _ => unreachable!("the other states have returned"),
            })),
        }
    }

    fn out_of_range(&self, log: &Log, requested: Offset) -> Error {
        Error::OffsetOutOfRange {
            partition: self.id.clone(),
            requested,
            log_start: log.log_start,
            log_end: log.log_end,
        }
    }
}

impl Log {
    fn end(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted => self.log_end,
            // The front of an open transaction may have been deleted.
            Isolation::ReadCommitted => self.producers.states.last_stable(self.log_end).max(self.log_start),
        }
    }
}
