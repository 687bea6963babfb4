//! What all partitions of one log share: the disk, the settings, the sync, the memory of fresh batches, the failure.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;

use super::{LogConfig, partition::Partition, storage::Directory, sync::Syncer};
use crate::{Error, Result};

/// Shared by the partitions of a log.
pub(crate) struct Shared {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) config: LogConfig,
    pub(crate) syncer: Syncer,
    pub(crate) fresh: FreshBytes,
    /// The first failure of a write or sync. Set once; from then on nothing is written or acknowledged.
    failure: OnceLock<String>,
}

impl Shared {
    pub(crate) fn new(directory: Arc<dyn Directory>, config: LogConfig) -> Self {
        let fresh = FreshBytes { bytes_max: config.tail_bytes_max, queue: Mutex::default() };
        Shared { directory, config, syncer: Syncer::default(), fresh, failure: OnceLock::new() }
    }

    /// Refuses if an earlier write failed, or the log was closed.
    pub(crate) fn check(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(reason) => Err(Error::Poisoned { reason: reason.clone() }),
        }
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

/// Milliseconds since 1970 now.
#[expect(clippy::disallowed_methods, reason = "the log's own clock: append times and retention")]
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
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
