//! Writes down, now and then, how far the partitions are synced: recovery after a crash begins there.
//!
//! A thread does it, so that no writer waits for the dozens of syncs that it takes; a simulated log, which has no
//! threads, does it at once. What it claims it has synced itself, and it takes no work from the syncs of writers.

use std::{collections::BTreeMap, sync::Arc, thread};

use parking_lot::{Condvar, Mutex, RwLock};

use super::{
    log_checkpoints::{Offsets, RECOVERY_POINTS, write_offsets},
    log_shared::Shared,
    partition::Partition,
    topics::Topic,
};
use crate::{Offset, Result, TopicName};

/// The topics of a log, which come and go.
pub(crate) type Topics = RwLock<BTreeMap<TopicName, Arc<Topic>>>;

/// Every partition of `topics` as they are now.
pub(crate) fn all_partitions(topics: &Topics) -> Vec<Arc<Partition>> {
    topics.read().values().flat_map(|topic| topic.partitions.iter().cloned()).collect()
}

/// Makes the checkpoints of one log.
pub(crate) struct Checkpointer {
    shared: Arc<Shared>,
    topics: Arc<Topics>,
    /// One checkpoint at a time.
    one: Mutex<()>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    has_thread: bool,
    is_due: bool,
    is_closed: bool,
}

impl Checkpointer {
    pub(crate) fn new(shared: &Arc<Shared>, topics: &Arc<Topics>) -> Arc<Self> {
        Arc::new(Checkpointer {
            shared: Arc::clone(shared),
            topics: Arc::clone(topics),
            one: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Starts the thread, which ends with [`Checkpointer::close`]. False if there can be none.
    fn start(self: &Arc<Self>) -> bool {
        if !self.shared.has_threads {
            return false;
        }
        let this = Arc::clone(self);
        let spawned = thread::Builder::new().name("log-checkpoint".to_owned()).spawn(move || this.run());
        spawned.inspect_err(|error| tracing::warn!(%error, "no thread for checkpoints: writers wait for them")).is_ok()
    }

    fn run(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.is_due && !state.is_closed {
                    self.changed.wait(&mut state);
                }
                if state.is_closed {
                    return;
                }
                state.is_due = false;
            }
            // A failure has poisoned the log, which tells everybody else.
            if self.checkpoint().is_err() {
                self.state.lock().has_thread = false;
                return;
            }
        }
    }

    /// A checkpoint is due. Returns at once, unless there is no thread to make it.
    pub(crate) fn ask(self: &Arc<Self>) -> Result<()> {
        {
            let mut state = self.state.lock();
            // Many logs never need it, so the first checkpoint starts the thread.
            if !state.has_thread && !state.is_closed {
                state.has_thread = self.start();
            }
            if state.has_thread || state.is_closed {
                state.is_due = true;
                self.changed.notify_one();
                return Ok(());
            }
        }
        self.checkpoint()
    }

    /// Ends the thread, after the checkpoint under way.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.changed.notify_one();
        drop(self.one.lock());
    }

    /// Writes down how far each partition is synced, with the indexes up to there: recovery begins there.
    ///
    /// Without space on the disk it is left out, which makes the next recovery longer. Any other failure leaves doubt
    /// about what is synced, and ends the log.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let _one = self.one.lock();
        if self.state.lock().is_closed {
            // The close in order writes it all down.
            return Ok(());
        }
        let mut partitions = all_partitions(&self.topics).into_iter();
        let written = partitions.try_for_each(|partition| partition.prepare_checkpoint());
        match written.and_then(|()| self.write_synced()) {
            Err(error) if error.is_storage_full() => {
                tracing::warn!(%error, "no checkpoint: recovery after a crash will take longer");
                Ok(())
            }
            Err(error) => {
                self.shared.poison(&error.to_string());
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    pub(crate) fn write_recovery_points(&self) -> Result<()> {
        let _one = self.one.lock();
        self.write_synced()
    }

    /// Only for whoever holds `one`: two writers would take the new file away from each other.
    fn write_synced(&self) -> Result<()> {
        let mut offsets = Offsets::new();
        for partition in all_partitions(&self.topics) {
            let recovery_point = partition.checkpointed();
            if recovery_point > Offset::ZERO {
                offsets.insert(partition.id.clone(), recovery_point);
            }
        }
        write_offsets(&*self.shared.directory, RECOVERY_POINTS, &offsets)
    }
}
