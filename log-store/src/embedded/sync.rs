//! Group commit: one sync serves every writer that waits, whatever partitions they wrote to.
//!
//! Writers that wait take turns in rounds: the first starts a round over all partitions that have unsynced bytes, and
//! every other waiter helps, each syncing one partition at a time. A round over many partitions gets helpers of its own:
//! a disk takes a few syncs at once in little more time than one. Whatever was appended before a wait began is durable
//! when it ends. No lock of a partition is held during a sync.

use std::{sync::Arc, thread};

use parking_lot::{Condvar, Mutex};

use super::{Durability, LogConfig, log_shared::Shared, partition::Partition};
use crate::{Error, Result};

/// Partitions of a round for each thread that syncs them: a sync takes much longer than a thread to start.
const PARTITIONS_PER_HELPER: usize = 8;

/// Threads that help with one round.
const HELPERS_MAX: usize = 7;

/// A checkpoint is some syncs for each partition. Where rounds are of many partitions it comes after more bytes: one more
/// time the setting for each so many partitions …
const PARTITIONS_PER_CHECKPOINT: usize = 32;

/// … but not more than this many times.
const CHECKPOINT_FACTOR_MAX: usize = 4;

/// Unsynced bytes with which the disk begins before anybody waits for it. More, and a commit of as much as a disk writes
/// between two commits waits long; less, and the many syncs cost more than they save.
const EARLY_BYTES: u64 = 4 << 20;

/// The state of group commit.
#[derive(Default)]
pub(crate) struct Syncer {
    state: Mutex<Rounds>,
    changed: Condvar,
}

#[derive(Default)]
struct Rounds {
    /// Partitions with unsynced bytes that no round has taken yet. Each is in it once.
    dirty: Vec<Arc<Partition>>,
    /// Bytes appended since the last round began.
    dirty_bytes: u64,
    /// A sync is under way that nobody waits for.
    is_early: bool,
    /// Rounds that are over.
    finished: u64,
    /// The round under way.
    round: Option<Round>,
    /// Bytes of finished rounds since the last checkpoint.
    bytes_since_checkpoint: u64,
    /// Partitions of the widest round since then.
    partitions_since_checkpoint: usize,
}

struct Round {
    left: Vec<Arc<Partition>>,
    /// Partitions that somebody syncs right now.
    in_hand: usize,
    bytes: u64,
}

impl Syncer {
    /// Notes that a partition has unsynced bytes; `newly` if it had none before.
    pub(crate) fn note(&self, partition: &Arc<Partition>, newly: bool, bytes: u64) {
        let mut state = self.state.lock();
        if newly {
            state.dirty.push(Arc::clone(partition));
        }
        state.dirty_bytes += bytes;
    }

    /// True if there is much to sync and no early sync under way: the caller then makes one, up to [`Self::end_early`].
    pub(crate) fn begin_early(&self) -> bool {
        let mut state = self.state.lock();
        let begins = !state.is_early && state.dirty_bytes >= EARLY_BYTES;
        state.is_early |= begins;
        begins
    }

    pub(crate) fn end_early(&self) {
        self.state.lock().is_early = false;
    }

    /// True if so many bytes or files are unsynced that a producer waits for a sync before it appends more.
    pub(crate) fn is_behind(&self, config: &LogConfig) -> bool {
        let state = self.state.lock();
        config.durability != Durability::Never
            && (state.dirty_bytes > config.unsynced_bytes_max || state.dirty.len() > config.open_files_max)
    }

    /// Returns once everything appended before this call survives a power cut. True if a checkpoint is due, which the
    /// caller should then make.
    ///
    /// # Errors
    ///
    /// If a sync failed, now or earlier: the log is poisoned.
    pub(crate) fn wait(&self, shared: &Shared) -> Result<bool> {
        let mut state = self.state.lock();
        // A round under way may have passed our partition already; the one after it has not.
        let ours = state.finished + 1 + u64::from(state.round.is_some());
        let mut checkpoint_is_due = false;
        loop {
            shared.check()?;
            if state.finished >= ours {
                return Ok(checkpoint_is_due);
            }
            match &mut state.round {
                None => {
                    let left = std::mem::take(&mut state.dirty);
                    let bytes = std::mem::take(&mut state.dirty_bytes);
                    if left.len() > 1 {
                        self.changed.notify_all();
                    }
                    state.partitions_since_checkpoint = state.partitions_since_checkpoint.max(left.len());
                    let helpers = (left.len() / PARTITIONS_PER_HELPER).min(HELPERS_MAX);
                    state.round = Some(Round { left, in_hand: 0, bytes });
                    if helpers > 0 && shared.has_threads {
                        drop(state);
                        self.sync_with(helpers, shared)?;
                        state = self.state.lock();
                    }
                }
                Some(round) if round.left.is_empty() && round.in_hand == 0 => {
                    state.bytes_since_checkpoint += round.bytes;
                    state.round = None;
                    state.finished += 1;
                    let factor = state.partitions_since_checkpoint / PARTITIONS_PER_CHECKPOINT + 1;
                    let factor = factor.min(CHECKPOINT_FACTOR_MAX) as u64;
                    if state.bytes_since_checkpoint >= shared.config.checkpoint_bytes.saturating_mul(factor) {
                        state.bytes_since_checkpoint = 0;
                        state.partitions_since_checkpoint = 0;
                        checkpoint_is_due = true;
                    }
                    self.changed.notify_all();
                }
                Some(round) if round.left.is_empty() => self.changed.wait(&mut state),
                Some(_) => {
                    drop(state);
                    self.sync_one(shared)?;
                    state = self.state.lock();
                }
            }
        }
    }

    /// Syncs a partition of the round under way; false if none is left.
    fn sync_one(&self, shared: &Shared) -> Result<bool> {
        let mut state = self.state.lock();
        let Some(round) = &mut state.round else { return Ok(false) };
        let Some(partition) = round.left.pop() else { return Ok(false) };
        round.in_hand += 1;
        drop(state);
        let result = partition.sync();
        let mut state = self.state.lock();
        if let Err(error) = result {
            return Err(self.fail(shared, state, &error));
        }
        if let Some(round) = &mut state.round {
            round.in_hand -= 1;
            if round.in_hand == 0 && round.left.is_empty() {
                self.changed.notify_all();
            }
        }
        Ok(true)
    }

    /// Syncs what is left of the round under way, with threads that help.
    fn sync_with(&self, helpers: usize, shared: &Shared) -> Result<()> {
        let help = || {
            while self.sync_one(shared)? {}
            Ok(())
        };
        thread::scope(|scope| {
            for _ in 0..helpers {
                // Without it the round takes longer, and that is all. An error of its own has poisoned the log.
                let _ = thread::Builder::new().name("log-sync".into()).spawn_scoped(scope, help);
            }
            help()
        })
    }

    /// Wakes everybody, to see that the log is poisoned.
    pub(crate) fn wake_all(&self) {
        // Under the lock, so that nobody is between its look at the failure and its wait.
        let _state = self.state.lock();
        self.changed.notify_all();
    }

    /// Forgets what was to be synced.
    pub(crate) fn clear(&self) {
        let mut state = self.state.lock();
        state.dirty.clear();
        state.round = None;
    }

    fn fail(&self, shared: &Shared, state: parking_lot::MutexGuard<'_, Rounds>, error: &Error) -> Error {
        drop(state);
        let reason = error.to_string();
        shared.poison(&reason);
        Error::Poisoned { reason }
    }
}
