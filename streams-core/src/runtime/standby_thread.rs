//! The thread that keeps an instance's standby tasks up to date.
//!
//! Which tasks those are it learns from the group: the members of all instances, and what each reads. Instances are told
//! apart by their client ids, so several instances of one application in one process need `client.id`s of their own.

use std::{collections::BTreeMap, sync::Arc, thread::JoinHandle, time::Duration};

use log_store::{
    Offset, TopicPartition,
    client::{Admin, Consumer, ConsumerConfig, Isolation, OffsetSpec, Polled, StartAt},
};

use super::{
    application::Application,
    control::Control,
    metrics::Metric,
    standby::{Copy, Standby, standbys_of},
    thread::SAVE_INTERVAL,
};
use crate::{Error, Result, state::StateStore, task::TaskId};

/// Between two looks at the group.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Between two flushes of what was applied: a crash of this instance costs its copies no more than this.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// Looks that find a task here beside its copy: by then its thread has taken the copy over, or has begun without it.
const LOOKS_MAX: u32 = 6;

/// How long one poll waits.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// The running thread.
pub(crate) struct StandbyThread {
    control: Arc<Control>,
    handle: JoinHandle<Result<()>>,
}

/// What the thread does, step by step.
pub(crate) struct StandbyWork {
    app: Arc<Application>,
    admin: Box<dyn Admin>,
    consumer: Box<dyn Consumer>,
    /// What the consumer reads.
    reads: Vec<TopicPartition>,
    /// Copies of tasks that came here, and how many looks have found them.
    arriving: BTreeMap<TaskId, u32>,
    /// Times of the last look at the group and of the last flush.
    looked: Option<Duration>,
    flushed: Duration,
    saved: Duration,
}

impl StandbyThread {
    /// Starts the thread of an application that has started.
    pub(crate) fn start(app: &Arc<Application>) -> Result<Self> {
        let mut work = StandbyWork::new(app)?;
        let control = Arc::new(Control::new(work.consumer.waker()));
        let name = format!("{}-StandbyThread", app.settings.client_id);
        let asked = Arc::clone(&control);
        let body = move || {
            let mut worked = Ok(());
            while worked.is_ok() && !asked.is_closing() {
                worked = work.step();
            }
            if let Err(error) = &worked {
                tracing::error!(%error, "no standby task of this instance is kept up to date any more");
            }
            work.close().and(worked)
        };
        let handle = std::thread::Builder::new().name(name).spawn(body);
        let handle =
            handle.map_err(|error| Error::IllegalState(format!("cannot start the standby thread: {error}")))?;
        Ok(StandbyThread { control, handle })
    }

    /// Ends the thread, and waits until its stores are closed.
    pub(crate) fn end(self) -> Result<()> {
        self.control.close();
        match self.handle.join() {
            Ok(worked) => worked,
            Err(_) => Err(Error::IllegalState("the standby thread panicked".to_owned())),
        }
    }
}

impl StandbyWork {
    /// Nothing is done yet.
    pub(crate) fn new(app: &Arc<Application>) -> Result<Self> {
        let consumer = app.client.consumer(&ConsumerConfig {
            client_id: format!("{}-standby-consumer", app.settings.client_id),
            isolation: app.settings.isolation(),
            ..ConsumerConfig::default()
        })?;
        let (app, admin, now) = (Arc::clone(app), app.client.admin()?, app.clock.monotonic());
        Ok(StandbyWork {
            app,
            admin,
            consumer,
            reads: Vec::new(),
            arriving: BTreeMap::new(),
            looked: None,
            flushed: now,
            saved: now,
        })
    }

    /// One poll, and what is due.
    pub(crate) fn step(&mut self) -> Result<()> {
        let now = self.app.clock.monotonic();
        if self.looked.is_none_or(|looked| now >= looked + LOOK_INTERVAL) {
            self.looked = Some(now);
            self.look()?;
        }
        self.read()?;
        if now >= self.flushed + FLUSH_INTERVAL {
            self.flushed = now;
            self.app.standbys.flush()?;
        }
        if now >= self.saved + SAVE_INTERVAL {
            self.saved = now;
            self.app.standbys.save()?;
        }
        Ok(())
    }

    /// Opens and closes standby tasks as the group has them.
    fn look(&mut self) -> Result<()> {
        let standbys = Arc::clone(&self.app.standbys);
        let held = standbys.held();
        let wanted = self.wanted(&held)?;
        for task in held.iter().filter(|task| !wanted.contains(task)) {
            standbys.close(*task)?;
        }
        for task in wanted.iter().filter(|task| !held.contains(task)) {
            match self.open(*task) {
                Ok(standby) => {
                    standbys.add(*task, standby);
                    // Also if the same changelog was read before: the copy begins where its files end.
                    self.reads.clear();
                }
                // It was here until now, and is not closed yet.
                Err(Error::IllegalState(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let positions = standbys.positions();
        self.app.metrics.set(Metric::StandbyTasks, standbys.held().len() as u64);
        if positions.iter().map(|(changelog, _)| changelog).ne(&self.reads) {
            self.reads = positions.iter().map(|(changelog, _)| changelog.clone()).collect();
            let start: Vec<_> =
                positions.into_iter().map(|(changelog, position)| (changelog, StartAt::Offset(position))).collect();
            self.consumer.assign(&start)?;
        }
        Ok(())
    }

    fn wanted(&mut self, held: &[TaskId]) -> Result<Vec<TaskId>> {
        let settings = &self.app.settings;
        let Some(group) = self.admin.describe_group(&settings.application_id)? else { return Ok(Vec::new()) };
        let blueprint = self.app.blueprint();
        let mut active = BTreeMap::new();
        let mut instances = Vec::new();
        for member in &group.members {
            // The name of an instance is what the names of its threads begin with.
            let Some((instance, _)) = member.client_id.rsplit_once("-StreamThread-") else { continue };
            instances.push(instance.to_owned());
            active.extend(blueprint.tasks_of(&member.partitions).into_iter().map(|task| (task, instance.to_owned())));
        }
        instances.sort_unstable();
        instances.dedup();
        let is_arriving = |task: &TaskId| held.contains(task) && active.get(task) == Some(&settings.client_id);
        self.arriving.retain(|task, _| is_arriving(task));
        for task in held.iter().filter(|task| is_arriving(task)) {
            *self.arriving.entry(*task).or_default() += 1;
        }
        let is_kept = |task: &TaskId| self.arriving.get(task).is_none_or(|looks| *looks <= LOOKS_MAX);
        let kept: Vec<TaskId> = held.iter().copied().filter(is_kept).collect();
        let tasks = blueprint.stateful_tasks();
        Ok(standbys_of(&settings.client_id, &tasks, &active, &instances, settings.standby_replicas, &kept))
    }

    /// Opens the stores of `task`, and finds where each goes on.
    fn open(&mut self, task: TaskId) -> Result<Standby> {
        let blueprint = self.app.blueprint();
        let opened = blueprint.open_stores(task, &std::collections::HashMap::new(), &Arc::default())()?;
        let mut stores: Vec<Box<dyn StateStore>> = opened.into_iter().map(|opened| opened.store).collect();
        let mut copies = Vec::new();
        for (index, changelog) in blueprint.changelogs(task).into_iter().enumerate() {
            let Some(changelog) = changelog else { continue };
            let first = self.admin.list_offset(&changelog, OffsetSpec::Earliest)?.unwrap_or(Offset::ZERO);
            let end = self.consumer.end_offset(&changelog, Isolation::ReadUncommitted)?;
            let position = match stores[index].checkpoint() {
                Some(checkpoint) if (first..=end).contains(&checkpoint) => checkpoint,
                None => first,
                Some(checkpoint) => {
                    let reason =
                        format!("its files correspond to offset {checkpoint} of {changelog}: {first} to {end}");
                    stores[index].reset(&reason)?;
                    self.app.metrics.add(Metric::StoresRebuiltTotal, 1);
                    first
                }
            };
            copies.push(Copy::new(index, changelog, position));
        }
        Ok(Standby { stores, copies, is_warm: false })
    }

    fn read(&mut self) -> Result<()> {
        let standbys = &self.app.standbys;
        match self.consumer.poll(POLL_WAIT)? {
            Polled::Batch(batch) => {
                let records = standbys.apply(&batch)?;
                self.app.metrics.add(Metric::StandbyRecordsTotal, records);
            }
            _ => {
                let (consumer, isolation) = (&mut self.consumer, self.app.settings.isolation());
                standbys.moved(&mut |changelog| consumer.position(changelog));
                standbys.settle(&mut |changelog| Ok(consumer.end_offset(changelog, isolation)?))?;
            }
        }
        Ok(())
    }

    /// Closes all standby tasks.
    pub(crate) fn close(&mut self) -> Result<()> {
        let standbys = &self.app.standbys;
        standbys.held().into_iter().map(|task| standbys.close(task)).fold(Ok(()), Result::and)
    }
}
