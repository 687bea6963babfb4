//! Which stores other threads may read, and who has them.
//!
//! Key-value stores are read directly once they are published; for everything else the stream thread that has the store
//! is asked, and answers between two runs of records.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use super::control::Control;
use crate::{Result, state::StateStore, task::TaskId};

/// What [`StateStore::publish`] answers with.
pub(crate) type Published = Arc<dyn Any + Send + Sync>;

/// Under which the global stores are known here: no task has this id.
pub(crate) const GLOBAL_STORES: TaskId = TaskId { subtopology: u32::MAX, partition: u32::MAX };

type Answer = dyn FnOnce(Option<&mut dyn StateStore>) + Send;

/// A question to the thread that has a store.
pub(crate) struct Question {
    pub(crate) task: TaskId,
    pub(crate) store: String,
    /// The answer is to be of a commit: there is one first.
    pub(crate) needs_commit: bool,
    /// Answers; with nothing if the task is not there any more.
    pub(crate) answer: Box<Answer>,
}

/// The running tasks of an application instance, as far as others may read them.
#[derive(Default)]
pub(crate) struct Queries {
    tasks: RwLock<BTreeMap<TaskId, Running>>,
    /// Stores that are published as soon as their tasks run.
    wanted: Mutex<BTreeSet<String>>,
    /// Rises whenever a task comes or goes.
    generation: AtomicU64,
}

struct Running {
    control: Arc<Control>,
    stores: BTreeMap<String, Option<Published>>,
}

/// One task's store.
pub(crate) struct Place {
    pub(crate) task: TaskId,
    pub(crate) control: Arc<Control>,
    pub(crate) published: Option<Published>,
}

impl Queries {
    /// A task begins to run.
    pub(crate) fn opened(
        &self,
        task: TaskId,
        control: &Arc<Control>,
        stores: &mut [Box<dyn StateStore>],
    ) -> Result<()> {
        let mut running = Running { control: Arc::clone(control), stores: BTreeMap::new() };
        for store in stores.iter_mut().filter(|store| !store.name().is_empty()) {
            let is_wanted = self.wanted.lock().contains(store.name());
            let published = if is_wanted { store.publish()? } else { None };
            running.stores.insert(store.name().to_owned(), published);
        }
        self.tasks.write().insert(task, running);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// A task is about to be closed.
    pub(crate) fn closed(&self, task: TaskId, control: &Arc<Control>) {
        let mut tasks = self.tasks.write();
        // Another thread of this instance may have it already.
        if tasks.get(&task).is_some_and(|running| Arc::ptr_eq(&running.control, control)) {
            tasks.remove(&task);
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// From now on `store` is published wherever it runs.
    pub(crate) fn want(&self, store: &str) {
        self.wanted.lock().insert(store.to_owned());
    }

    /// `store` of `task` can be read.
    pub(crate) fn published(&self, task: TaskId, store: &str, published: Option<Published>) {
        if let Some(running) = self.tasks.write().get_mut(&task)
            && let Some(known) = running.stores.get_mut(store)
        {
            *known = published;
        }
    }

    /// Changes whenever a task comes or goes.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Where `store` is.
    pub(crate) fn places(&self, store: &str) -> Vec<Place> {
        let tasks = self.tasks.read();
        let having = tasks.iter().filter_map(|(task, running)| Some((task, running, running.stores.get(store)?)));
        let place = |(task, running, published): (&TaskId, &Running, &Option<Published>)| Place {
            task: *task,
            control: Arc::clone(&running.control),
            published: published.clone(),
        };
        having.map(place).collect()
    }
}
