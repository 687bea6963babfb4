//! The stores that every task of an application may read: one set, lent to whoever runs.
//!
//! Invariant: at any moment the stores are with one task, or at home. Whoever borrows them gives them back, also when user
//! code panics.

use log_store::{Offset, RecordView};
use parking_lot::{Mutex, MutexGuard};

use crate::{
    Error, Result,
    runtime::restorer::close_all,
    state::{ChangelogSink, StateStore},
    task::stream_task::StreamTask,
};

/// See the module.
#[derive(Default)]
pub(crate) struct GlobalStores {
    stores: Mutex<Vec<Box<dyn StateStore>>>,
    count: usize,
}

impl GlobalStores {
    pub(crate) fn new(stores: Vec<Box<dyn StateStore>>) -> Self {
        GlobalStores { count: stores.len(), stores: Mutex::new(stores) }
    }

    /// What a task gets in their place until they are lent to it.
    pub(crate) fn vacant(&self) -> impl Iterator<Item = Box<dyn StateStore>> {
        (0..self.count).map(|_| Box::new(Vacant) as Box<dyn StateStore>)
    }

    /// Runs `call` with the stores lent to `task`, which was made with their places at the end of its own.
    pub(crate) fn lend<R>(&self, task: &mut StreamTask, call: impl FnOnce(&mut StreamTask) -> R) -> R {
        if self.count == 0 {
            return call(task);
        }
        let mut lent = Lent { home: self.stores.lock(), task };
        lent.exchange();
        call(lent.task)
    }

    /// The same, unless the task does not read them.
    #[inline]
    pub(crate) fn lend_if_used<R>(&self, task: &mut StreamTask, call: impl FnOnce(&mut StreamTask) -> R) -> R {
        if task.uses_global_stores() { self.lend(task, call) } else { call(task) }
    }

    /// The stores at home.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn StateStore>>> {
        self.stores.lock()
    }

    /// Closes all of them, and lets go of their files. No task runs any more.
    pub(crate) fn close(&self) -> Result<()> {
        close_all(&mut std::mem::take(&mut *self.stores.lock()))
    }
}

struct Lent<'a> {
    home: MutexGuard<'a, Vec<Box<dyn StateStore>>>,
    task: &'a mut StreamTask,
}

impl Lent<'_> {
    fn exchange(&mut self) {
        let held = self.task.stores();
        let own = held.len() - self.home.len();
        held[own..].swap_with_slice(&mut self.home);
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.exchange();
    }
}

/// Keeps the place of a global store while it is elsewhere.
pub(crate) struct Vacant;

impl Vacant {
    fn refuse<T>() -> Result<T> {
        Err(Error::IllegalState("a global store is with another task".to_owned()))
    }
}

impl StateStore for Vacant {
    fn name(&self) -> &str {
        ""
    }

    fn dirty_bytes(&self) -> usize {
        0
    }

    fn write_changelog(&mut self, _: &mut dyn ChangelogSink) -> Result<()> {
        Ok(())
    }

    fn committed(&mut self, _: Option<Offset>) -> Result<()> {
        Ok(())
    }

    fn rollback(&mut self) -> Result<()> {
        Self::refuse()
    }

    fn checkpoint(&self) -> Option<Offset> {
        None
    }

    fn restore(&mut self, _: Offset, _: RecordView<'_>) -> Result<()> {
        Self::refuse()
    }

    fn restored(&mut self, _: Offset) -> Result<()> {
        Self::refuse()
    }

    fn reset(&mut self, _: &str) -> Result<()> {
        Self::refuse()
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
