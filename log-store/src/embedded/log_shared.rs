//! What all partitions of one log share: the disk, the settings, the sync, the memory of fresh batches, the failure.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;

use super::{LogConfig, partition::Partition, storage::Directory, sync::Syncer};
use crate::{Error, Result, clock::Clock};

/// Shared by the partitions of a log.
pub(crate) struct Shared {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) config: LogConfig,
    pub(crate) clock: Arc<dyn Clock>,
    /// False in a simulation: the log does nothing by itself.
    pub(crate) has_threads: bool,
    pub(crate) syncer: Syncer,
    pub(crate) fresh: FreshBytes,
    pub(crate) open_files: OpenFiles,
    /// The first failure of a write or sync. Set once; from then on nothing is written or acknowledged.
    failure: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(
        directory: Arc<dyn Directory>,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        has_threads: bool,
    ) -> Self {
        let fresh = FreshBytes { bytes_max: config.tail_bytes_max, queue: Mutex::default() };
        let open_files =
            OpenFiles { partitions_max: config.open_files_max / FILES_PER_PARTITION, queue: Mutex::default() };
        Shared {
            directory,
            config,
            clock,
            has_threads,
            syncer: Syncer::default(),
            fresh,
            open_files,
            failure: OnceLock::new(),
        }
    }

    /// Refuses if an earlier write failed, or the log was closed.
    pub(crate) fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
        }
    }

    /// Milliseconds since 1970 now.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.wall_clock_ms()
    }

    /// Ends all writing. The first reason stays.
    pub(crate) fn poison(&self, reason: &str) {
        tracing::error!(reason, "the log is closed to writes");
        self.end(reason);
    }

    /// Ends all reading and writing, without an alarm.
    pub(crate) fn end(&self, reason: &str) {
        let _first_reason_stays = self.failure.set(reason.to_owned());
        self.syncer.wake_all();
    }
}

/// Counts the bytes of fresh batches that the partitions keep in memory, oldest first.
pub(crate) struct FreshBytes {
    bytes_max: usize,
    queue: Mutex<FreshQueue>,
}

#[derive(Default)]
struct FreshQueue {
    bytes: usize,
    chunks: VecDeque<(Weak<Partition>, usize)>,
}

/// Counted for a chunk beside its bytes.
const CHUNK_OVERHEAD: usize = 128;

impl FreshBytes {
    /// Counts a chunk that `partition` has put at the end of its tail. When there are too many, the oldest chunks
    /// (of any partition) are dropped. The caller holds no partition's lock.
    pub(crate) fn charge(&self, partition: &Arc<Partition>, bytes: usize) {
        let bytes = bytes + CHUNK_OVERHEAD;
        let mut queue = self.queue.lock();
        queue.bytes += bytes;
        queue.chunks.push_back((Arc::downgrade(partition), bytes));
        while queue.bytes > self.bytes_max
            && let Some((oldest, bytes)) = queue.chunks.pop_front()
        {
            queue.bytes -= bytes;
            if let Some(oldest) = oldest.upgrade() {
                // A partition's lock is never held while this one is asked for.
                oldest.drop_oldest_chunk();
            }
        }
    }
}

/// Files that a partition has open, about: one that is written to, and now and then some for its readers.
const FILES_PER_PARTITION: usize = 2;

/// Partitions looked at when there are too many: with each new one the queue gets shorter, if it can.
const TRIES_MAX: usize = 8;

/// The partitions that have files open, in the order in which they opened the first one.
pub(crate) struct OpenFiles {
    partitions_max: usize,
    queue: Mutex<VecDeque<Weak<Partition>>>,
}

impl OpenFiles {
    /// Counts a partition that is about to open its first file. When there are too many, the longest open close theirs,
    /// except where something waits for a sync.
    pub(crate) fn note(&self, partition: &Arc<Partition>) {
        let mut queue = self.queue.lock();
        queue.push_back(Arc::downgrade(partition));
        let mut tries = TRIES_MAX.min(queue.len());
        while queue.len() > self.partitions_max.max(1) && tries > 0 {
            tries -= 1;
            let Some(oldest) = queue.pop_front() else { return };
            // Never waits for a partition's lock: the caller holds its own.
            if oldest.upgrade().is_some_and(|oldest| !oldest.release_files()) {
                queue.push_back(oldest);
            }
        }
    }
}
