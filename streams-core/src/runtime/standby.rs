//! Standby tasks: copies of stores whose tasks are on other instances, kept up to date from their changelogs.
//!
//! The thread that fills them and the stream threads that take them over meet here. A task that comes to this instance
//! takes its stores from its standby as they are, open, and restores what is left of the changelog.
//!
//! Invariant: stores are in one pair of hands, the standby's or the task's.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::atomic::{AtomicU64, Ordering},
};

use log_store::{Offset, TopicPartition, client::FetchedBatch};
use parking_lot::Mutex;

use super::restorer::close_all;
use crate::{Result, state::StateStore, task::TaskId};

/// The standby tasks of one instance.
#[derive(Default)]
pub(crate) struct Standbys {
    tasks: Mutex<BTreeMap<TaskId, Standby>>,
    /// Rises whenever a standby task becomes ready to take over, or goes.
    generation: AtomicU64,
}

/// One standby task.
pub(crate) struct Standby {
    /// In the order in which they were opened.
    pub(crate) stores: Vec<Box<dyn StateStore>>,
    pub(crate) copies: Vec<Copy>,
    /// It has once been at the end of all its changelogs.
    pub(crate) is_warm: bool,
}

/// One store with a changelog.
pub(crate) struct Copy {
    pub(crate) store: usize,
    pub(crate) changelog: TopicPartition,
    /// The next offset to be applied.
    pub(crate) position: Offset,
    /// Records have been applied that the store has not been told the end of.
    is_open: bool,
}

impl Copy {
    pub(crate) fn new(store: usize, changelog: TopicPartition, position: Offset) -> Self {
        Copy { store, changelog, position, is_open: false }
    }
}

impl Standby {
    /// Everything applied so far is part of the stores.
    fn settle(&mut self) -> Result<()> {
        for copy in self.copies.iter_mut().filter(|copy| copy.is_open) {
            self.stores[copy.store].restored(copy.position)?;
            copy.is_open = false;
        }
        Ok(())
    }
}

impl Standbys {
    /// The stores of `task`, if there is a standby of it here, with all that was applied to them.
    pub(crate) fn take(&self, task: TaskId) -> Result<Option<Vec<Box<dyn StateStore>>>> {
        let Some(mut standby) = self.remove(task) else { return Ok(None) };
        match standby.settle() {
            Ok(()) => Ok(Some(standby.stores)),
            Err(error) => {
                if let Err(second) = close_all(&mut standby.stores) {
                    tracing::warn!(%task, error = %second, "a standby could not be closed after a failure");
                }
                Err(error)
            }
        }
    }

    fn remove(&self, task: TaskId) -> Option<Standby> {
        let removed = self.tasks.lock().remove(&task);
        if removed.is_some() {
            self.generation.fetch_add(1, Ordering::Release);
        }
        removed
    }

    /// Keeps a new standby task.
    pub(crate) fn add(&self, task: TaskId, standby: Standby) {
        self.tasks.lock().insert(task, standby);
    }

    /// Ends a standby task; its files stay.
    pub(crate) fn close(&self, task: TaskId) -> Result<()> {
        self.take(task)?.map_or(Ok(()), |mut stores| close_all(&mut stores))
    }

    /// Applies a batch of a changelog, if its store is still here; how many records.
    pub(crate) fn apply(&self, batch: &FetchedBatch) -> Result<u64> {
        let mut tasks = self.tasks.lock();
        for standby in tasks.values_mut() {
            let Some(copy) = standby.copies.iter_mut().find(|copy| copy.changelog == batch.partition) else { continue };
            let store = &mut standby.stores[copy.store];
            let mut cursor = batch.cursor();
            let mut records = 0;
            while let Some(at) = cursor.advance()? {
                if at.offset >= copy.position {
                    store.restore(at.offset, cursor.view(&at))?;
                    records += 1;
                }
            }
            copy.position = copy.position.max(batch.next);
            copy.is_open = true;
            return Ok(records);
        }
        Ok(0)
    }

    /// There is nothing more to apply now: `ends` answers where the changelogs end.
    pub(crate) fn settle(&self, ends: &mut dyn FnMut(&TopicPartition) -> Result<Offset>) -> Result<()> {
        for standby in self.tasks.lock().values_mut() {
            standby.settle()?;
            if !standby.is_warm {
                let mut is_warm = true;
                for copy in &standby.copies {
                    is_warm &= copy.position >= ends(&copy.changelog)?;
                }
                standby.is_warm = is_warm;
                self.generation.fetch_add(u64::from(is_warm), Ordering::Release);
            }
        }
        Ok(())
    }

    /// Takes what is applied to the files.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut tasks = self.tasks.lock();
        tasks.values_mut().flat_map(|standby| &mut standby.stores).try_for_each(|store| store.flush())
    }

    /// As [`Self::flush`], and what is in the files survives a crash.
    pub(crate) fn save(&self) -> Result<()> {
        let mut tasks = self.tasks.lock();
        tasks.values_mut().flat_map(|standby| &mut standby.stores).try_for_each(|store| store.save())
    }

    /// Positions of a changelog behind its last record: markers and compacted records leave gaps.
    pub(crate) fn moved(&self, position_of: &mut dyn FnMut(&TopicPartition) -> Option<Offset>) {
        for copy in self.tasks.lock().values_mut().flat_map(|standby| &mut standby.copies) {
            if let Some(position) = position_of(&copy.changelog).filter(|position| *position > copy.position) {
                copy.position = position;
                copy.is_open = true;
            }
        }
    }

    /// What is to be read, and from where.
    pub(crate) fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let tasks = self.tasks.lock();
        let copies = tasks.values().flat_map(|standby| &standby.copies);
        copies.map(|copy| (copy.changelog.clone(), copy.position)).collect()
    }

    /// Calls `visit` with each store that has a changelog, as it is.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(TaskId, &mut dyn StateStore)) {
        for (task, standby) in self.tasks.lock().iter_mut() {
            for copy in &standby.copies {
                visit(*task, &mut *standby.stores[copy.store]);
            }
        }
    }

    /// The tasks that are kept.
    pub(crate) fn held(&self) -> Vec<TaskId> {
        self.tasks.lock().keys().copied().collect()
    }

    /// The tasks that could be taken over at once.
    pub(crate) fn tasks(&self) -> Vec<TaskId> {
        self.tasks.lock().iter().filter(|(_, standby)| standby.is_warm).map(|(task, _)| *task).collect()
    }

    /// Changes whenever [`Self::tasks`] does.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Of which tasks the instance `me` keeps a copy: each task has `replicas` copies on instances that do not run it. Every
/// instance decides alone, and all decide alike: the instances of a task are ranked by chance, always the same, so that
/// few copies move when instances come and go.
pub(crate) fn standbys_of(
    me: &str,
    tasks: &[TaskId],
    active: &BTreeMap<TaskId, String>,
    instances: &[String],
    replicas: usize,
    held: &[TaskId],
) -> Vec<TaskId> {
    let hasher = BuildHasherDefault::<DefaultHasher>::default();
    let is_mine = |task: &&TaskId| {
        // A task on the move: whoever has a copy keeps it.
        let Some(active) = active.get(task) else { return held.contains(task) };
        // It comes here: the stream thread takes the copy over as it is, and has perhaps not done so yet.
        if active == me {
            return held.contains(task);
        }
        let mut others: Vec<&String> = instances.iter().filter(|instance| *instance != active).collect();
        others.sort_by_key(|instance| hasher.hash_one((task, instance)));
        others.iter().take(replicas).any(|instance| *instance == me)
    };
    tasks.iter().filter(is_mine).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(partition: u32) -> TaskId {
        TaskId { subtopology: 0, partition }
    }

    #[test]
    fn each_task_has_its_copies_on_other_instances_and_few_move() {
        let tasks: Vec<TaskId> = (0..60).map(task).collect();
        let names = |count: usize| (0..count).map(|number| format!("app-{number}")).collect::<Vec<_>>();
        let copies = |instances: &[String], replicas| -> Vec<(TaskId, String)> {
            let active = tasks.iter().map(|task| (*task, instances[task.partition as usize % instances.len()].clone()));
            let active: BTreeMap<TaskId, String> = active.collect();
            let of = |me: &String| {
                let mine = standbys_of(me, &tasks, &active, instances, replicas, &[]);
                assert!(mine.iter().all(|task| active[task] != *me), "a copy beside its task");
                mine.into_iter().map(|task| (task, me.clone())).collect::<Vec<_>>()
            };
            instances.iter().flat_map(of).collect()
        };
        assert_eq!(copies(&names(1), 1), [], "there is nobody else");
        for (instances, replicas, each) in [(2, 1, 1), (4, 1, 1), (4, 2, 2), (3, 5, 2)] {
            let copies = copies(&names(instances), replicas);
            assert_eq!(copies.len(), tasks.len() * each, "{instances} instances, {replicas} replicas");
        }
        let per_instance = |name: &str| copies(&names(4), 1).iter().filter(|(_, of)| of == name).count();
        assert!(names(4).iter().all(|name| (5..26).contains(&per_instance(name))), "they are spread");
    }

    #[test]
    fn a_copy_of_a_task_on_the_move_stays() {
        let (tasks, instances) = ([task(0)], ["a".to_owned(), "b".to_owned()]);
        let nobody = BTreeMap::new();
        assert_eq!(standbys_of("b", &tasks, &nobody, &instances, 1, &tasks), tasks);
        assert_eq!(standbys_of("b", &tasks, &nobody, &instances, 1, &[]), []);
    }

    #[test]
    fn a_copy_of_a_task_that_comes_here_stays_until_it_is_taken_over() {
        let (tasks, instances) = ([task(0)], ["b".to_owned()]);
        let here = BTreeMap::from([(task(0), "b".to_owned())]);
        assert_eq!(standbys_of("b", &tasks, &here, &instances, 1, &tasks), tasks);
        assert_eq!(standbys_of("b", &tasks, &here, &instances, 1, &[]), []);
    }
}
