//! A disk for the rows of stores that can be cut off at any moment: for simulations.
//!
//! What RocksDB promises without a log of its own, and no more: writes are applied whole and in order, those that were
//! made durable stay, and of those after them a power cut leaves a prefix, since a write buffer may have been flushed at
//! any time.

use std::{collections::BTreeMap, fmt, sync::Arc};

use log_store::Offset;
use parking_lot::Mutex;

use super::{Backend, Cursor, KeyRange, MemoryBackend, disk::TaskFiles};
use crate::{
    Result,
    state::layer::{Direction, RowBuffer},
    task::TaskId,
};

/// Where the persistent stores of one instance keep their rows in a simulation. A clone is the same disk.
#[derive(Clone, Default)]
pub struct SimulatedDisk {
    stores: Arc<Mutex<BTreeMap<(TaskId, String), Files>>>,
    replay_max: u64,
}

/// What lies on the disk of one store.
#[derive(Clone, Default)]
struct Files {
    durable: MemoryBackend,
    /// Applied since.
    applied: Vec<Applied>,
}

#[derive(Clone)]
struct Applied {
    rows: RowBuffer,
    dropped: Vec<KeyRange>,
    position: Option<Offset>,
}

impl Applied {
    fn to(&self, rows: &mut MemoryBackend) {
        // Memory does not fail.
        let _infallible = rows.apply(&self.rows, &self.dropped, self.position);
    }
}

impl Files {
    fn live(&self) -> MemoryBackend {
        let mut live = self.durable.clone();
        self.applied.iter().for_each(|applied| applied.to(&mut live));
        live
    }
}

impl SimulatedDisk {
    /// An empty disk. A store writes to it when more than `replay_max` changelog offsets would have to be read again
    /// after a crash: small numbers make much happen.
    #[must_use]
    pub fn new(replay_max: u64) -> Self {
        SimulatedDisk { stores: Arc::default(), replay_max }
    }

    /// The disk as the next process finds it after a power cut, of each store what `kept(n)` (at most `n`) says of its
    /// `n` writes that are not durable. This one goes on as it was.
    #[must_use]
    pub fn crash(&self, mut kept: impl FnMut(usize) -> usize) -> SimulatedDisk {
        let stores = self.stores.lock();
        let crashed = stores.iter().map(|(name, files)| {
            let kept = kept(files.applied.len()).min(files.applied.len());
            let durable = Files { applied: files.applied[..kept].to_vec(), ..files.clone() }.live();
            (name.clone(), Files { durable, applied: Vec::new() })
        });
        SimulatedDisk { stores: Arc::new(Mutex::new(crashed.collect())), replay_max: self.replay_max }
    }

    /// The rows of one store; `files` is the hold on the task's directory.
    pub(crate) fn open(&self, task: TaskId, store: &str, files: Arc<TaskFiles>) -> SimulatedBackend {
        let name = (task, store.to_owned());
        let mut stores = self.stores.lock();
        let found = stores.entry(name.clone()).or_default();
        let backend = (found.live(), found.durable.position());
        SimulatedBackend { disk: self.clone(), name, live: backend.0, durable_position: backend.1, _files: files }
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stores = self.stores.lock();
        let stores = stores.iter().map(|((task, store), files)| {
            let live = files.live().position();
            format!("{task} {store}: durable {:?}, applied {live:?}", files.durable.position())
        });
        f.debug_list().entries(stores).finish()
    }
}

/// Rows of one store on a [`SimulatedDisk`].
pub(crate) struct SimulatedBackend {
    disk: SimulatedDisk,
    name: (TaskId, String),
    live: MemoryBackend,
    durable_position: Option<Offset>,
    _files: Arc<TaskFiles>,
}

impl SimulatedBackend {
    fn change(&self, change: impl FnOnce(&mut Files)) {
        change(self.disk.stores.lock().entry(self.name.clone()).or_default());
    }
}

impl Backend for SimulatedBackend {
    fn get(&self, row: &mut Vec<u8>) -> Result<bool> {
        self.live.get(row)
    }

    fn scan(&self, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Result<Box<dyn Cursor + '_>> {
        self.live.scan(from, to, direction)
    }

    fn scan_group(&self, prefix: &[u8]) -> Result<Box<dyn Cursor + '_>> {
        self.live.scan_group(prefix)
    }

    fn apply(&mut self, rows: &RowBuffer, dropped: &[KeyRange], position: Option<Offset>) -> Result<()> {
        let applied = Applied { rows: rows.clone(), dropped: dropped.to_vec(), position };
        applied.to(&mut self.live);
        self.change(|files| files.applied.push(applied));
        Ok(())
    }

    fn position(&self) -> Option<Offset> {
        self.live.position()
    }

    fn durable_position(&self) -> Option<Offset> {
        self.durable_position
    }

    fn make_durable(&mut self) -> Result<()> {
        self.durable_position = self.live.position();
        self.change(|files| *files = Files { durable: files.live(), applied: Vec::new() });
        Ok(())
    }

    fn replay_max(&self) -> u64 {
        self.disk.replay_max
    }

    fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    fn approximate_rows(&self) -> u64 {
        self.live.approximate_rows()
    }

    fn reset(&mut self, _reason: &str) -> Result<()> {
        self.live = MemoryBackend::default();
        self.durable_position = None;
        self.change(|files| *files = Files::default());
        Ok(())
    }
}
