//! One stream thread at work: the only loop. What it does next is decided by [`ThreadState`]; this file obeys.
//!
//! ```text
//! poll -> hand batches to tasks -> process -> punctuate -> commit if due
//! ```
//!
//! The clock is read once for each run of records, never for each record; nothing here allocates or locks for a record.
//! A thread without work sleeps in its poll until records, a waker, or the next deadline.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::{
    application::Application,
    committer::{Committer, failure_of},
    control::Control,
    inputs::Inputs,
    metrics::Metric,
    pace::Pace,
    purge::Purge,
    restorer::{Job, RestoredTask, close_all},
    thread_state::{Command, Event, Failure, StreamThreadState, ThreadState},
};
use crate::{
    Error, Result,
    task::{TaskId, stream_task::StreamTask},
};
use log_store::{
    TopicPartition,
    client::{CommittedOffset, Consumer, FetchedBatch, Polled},
};

/// Batches taken from the consumer before the tasks get their turn, so that a task with several partitions can choose
/// among their heads.
const BATCHES_PER_TURN_MAX: usize = 64;

/// … and bytes: what is taken from many partitions and waits is cold when its turn comes.
const BYTES_PER_TURN_MAX: usize = 4 << 20;

/// Times in a row, without a commit in between, that a thread joins its group anew.
const FENCED_MAX: u32 = 10;

/// So often stores make what is committed durable, however little that is.
pub(super) const SAVE_INTERVAL: Duration = Duration::from_secs(600);

/// Before a thread begins again: a log that does not answer must not be asked without a pause.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// One stream thread.
pub(crate) struct StreamThread {
    app: Arc<Application>,
    /// Number of the thread, from 1.
    index: u32,
    name: String,
    control: Arc<Control>,
    state: ThreadState,
    consumer: Box<dyn Consumer>,
    committer: Committer,
    inputs: Inputs,
    running: BTreeMap<TaskId, StreamTask>,
    /// Tasks whose stores are with the restore workers; true cancels.
    restoring: BTreeMap<TaskId, Arc<AtomicBool>>,
    restored: (mpsc::Sender<RestoredTask>, mpsc::Receiver<RestoredTask>),
    /// Restored, not yet taken up.
    ready: VecDeque<RestoredTask>,
    /// The copies that the group has been told of.
    standbys: u64,
    pace: Pace,
    purge: Purge,
    /// When the stores were saved last.
    saved: Duration,
    /// Failures in a row, and when the first of them was.
    failing: Option<(u32, Duration)>,
    dropped_records: u64,
    /// Why the thread ends, if not because it was asked to.
    cause: Option<Error>,
}

impl StreamThread {
    /// A thread that has not joined its group yet.
    pub(crate) fn new(app: Arc<Application>, index: u32) -> Result<Self> {
        let name = app.settings.thread_name(index);
        let consumer = app.client.consumer(&app.settings.consumer(&name))?;
        let committer = Committer::new(Arc::clone(&app.client), app.settings.producer(app.process_id(), index));
        let settings = &app.settings;
        let inputs = Inputs::new(settings.buffer_bytes_max, settings.isolation(), settings.task_idle_max);
        let control = Arc::new(Control::new(consumer.waker()));
        let pace = Pace::new(settings.commit_interval, app.clock.monotonic());
        let repartition_topics = app.blueprint().repartition_topics().iter().cloned().collect();
        let purge = Purge::new(app.client.admin()?, repartition_topics, settings.purge_interval, app.clock.monotonic());
        let saved = app.clock.monotonic();
        Ok(StreamThread {
            app,
            index,
            name,
            control,
            state: ThreadState::new(),
            consumer,
            committer,
            inputs,
            running: BTreeMap::new(),
            restoring: BTreeMap::new(),
            restored: mpsc::channel(),
            ready: VecDeque::new(),
            standbys: 0,
            pace,
            purge,
            saved,
            failing: None,
            dropped_records: 0,
            cause: None,
        })
    }

    pub(crate) fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Makes the producer and joins the group. Before [`StreamThread::run`].
    ///
    /// # Errors
    ///
    /// If the log cannot be reached or a topic is gone.
    pub(crate) fn join(&mut self) -> Result<()> {
        self.handle(Event::Started);
        self.committer.renew()?;
        self.subscribe()?;
        Ok(())
    }

    /// Tells the group what this thread reads, and of what this instance has copies.
    fn subscribe(&mut self) -> Result<()> {
        self.standbys = self.app.standbys.generation();
        let preferred = self.app.standbys.tasks();
        let blueprint = self.app.blueprint();
        let preferred = preferred.into_iter().flat_map(|task| blueprint.partitions_of(task)).collect();
        Ok(self.consumer.subscribe(&blueprint.subscription(preferred))?)
    }

    /// Works until it is asked to close, or until an error ends it.
    pub(crate) fn run(mut self) -> Result<()> {
        while self.turn() {}
        self.outcome()
    }

    /// Why the thread has come to its end.
    pub(crate) fn outcome(mut self) -> Result<()> {
        self.cause.take().map_or(Ok(()), Err)
    }

    /// Its running tasks.
    pub(crate) fn running(&mut self) -> impl Iterator<Item = (TaskId, &mut StreamTask)> {
        self.running.iter_mut().map(|(id, task)| (*id, task))
    }

    /// One turn of the loop. False once the thread is at its end.
    pub(crate) fn turn(&mut self) -> bool {
        if let Err(error) = self.try_turn() {
            self.fail(error);
        }
        self.state.state() != StreamThreadState::Dead
    }

    fn try_turn(&mut self) -> Result<()> {
        if self.control.is_closing() {
            self.handle(Event::Shutdown);
            return Ok(());
        }
        self.ready.extend(self.restored.1.try_iter());
        while let Some(restored) = self.ready.pop_front() {
            self.on_restored(restored)?;
        }
        self.answer_questions();
        if self.app.standbys.generation() != self.standbys {
            self.subscribe()?;
        }
        let has_records = self.poll()?;
        if self.app.is_paused() {
            return self.commit_if_due();
        }
        let processed = self.process()?;
        self.punctuate()?;
        if !processed && !has_records {
            // Nothing more will come before the next poll has waited: let others see what there is.
            self.committer.flush_outputs()?;
        } else if self.pace.is_flush_due(self.app.clock.monotonic()) {
            self.committer.flush_outputs()?;
            self.pace.flushed(self.app.clock.monotonic());
        }
        self.commit_if_due()?;
        self.save_if_due()
    }

    /// Also where nothing happens any more: what happened last must not be in the changelog alone.
    fn save_if_due(&mut self) -> Result<()> {
        let now = self.app.clock.monotonic();
        if self.committer.has_work() || now < self.saved + SAVE_INTERVAL {
            return Ok(());
        }
        self.saved = now;
        self.running.values_mut().flat_map(StreamTask::stores).try_for_each(|store| store.save())
    }

    /// Answers what other threads ask about stores.
    fn answer_questions(&mut self) {
        let questions = self.control.take_questions();
        if questions.iter().any(|question| question.needs_commit) && self.committer.has_work() {
            self.handle(Event::CommitDue);
        }
        for question in questions {
            let task = self.running.get_mut(&question.task);
            let mut stores = task.into_iter().flat_map(|task| task.stores().iter_mut());
            let store = stores.find(|store| store.name() == question.store);
            (question.answer)(store.map(|store| &mut **store));
        }
    }

    /// Takes what the log has; true if records came.
    fn poll(&mut self) -> Result<bool> {
        let mut wait = self.wait();
        let mut bytes = 0;
        for _ in 0..BATCHES_PER_TURN_MAX {
            match self.consumer.poll(wait)? {
                Polled::Batch(batch) => {
                    bytes += batch.bytes.len();
                    self.on_batch(batch);
                }
                Polled::Idle => {
                    // A member that the group has nothing for is not told so.
                    if self.state.state() == StreamThreadState::Starting && self.consumer.group().generation >= 0 {
                        self.handle(Event::Assigned(BTreeSet::new()));
                    }
                    break;
                }
                Polled::Assigned(partitions) => self.on_assigned(&partitions),
                Polled::Revoked(partitions) => {
                    self.inputs.revoke(&partitions);
                    self.handle(Event::Revoked(self.app.blueprint().tasks_of(&partitions)));
                }
                Polled::Lost(partitions) => {
                    self.handle(Event::Lost(self.app.blueprint().tasks_of(&partitions)));
                    self.inputs.release(&partitions);
                }
            }
            if bytes >= BYTES_PER_TURN_MAX || self.state.state() == StreamThreadState::Dead {
                break;
            }
            wait = Duration::ZERO;
        }
        self.app.metrics.add(Metric::PollTotal, 1);
        self.app.metrics.add(Metric::PollBytesTotal, bytes as u64);
        Ok(bytes > 0)
    }

    /// How long a poll may sleep: not at all while there are records, else until the next deadline.
    fn wait(&self) -> Duration {
        if self.app.is_paused() {
            return self.app.settings.poll_wait;
        }
        if self.pace.has_more() {
            return Duration::ZERO;
        }
        let now = self.app.clock.monotonic();
        let mut wait = self.app.settings.poll_wait;
        if self.committer.has_work() {
            wait = wait.min(self.pace.until_commit(now));
        }
        if let Some(left) = self.inputs.until_idle_ends(now) {
            wait = wait.min(left);
        }
        if let Some(due) = self.running.values().filter_map(StreamTask::next_wall_clock_punctuation).min() {
            let left = due.saturating_sub(self.app.clock.wall_clock_ms());
            wait = wait.min(Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        }
        wait
    }

    fn on_batch(&mut self, batch: FetchedBatch) {
        let task = self.inputs.owner(&batch.partition).and_then(|task| self.running.get_mut(&task));
        let Some(task) = task else {
            // A partition that waits is paused, and is read again from its committed offset when its task runs.
            tracing::debug!(partition = %batch.partition, "records of a task that does not run");
            return;
        };
        let partition = batch.partition.clone();
        if task.add_records(batch).is_ok() {
            self.inputs.received(&partition, task.buffered_bytes(&partition), &mut *self.consumer);
        }
        self.pace.set_more(true);
    }

    fn on_assigned(&mut self, partitions: &[TopicPartition]) {
        let mut by_task: BTreeMap<TaskId, Vec<TopicPartition>> = BTreeMap::new();
        for partition in partitions {
            if let Some(task) = self.app.blueprint().task_of(partition) {
                by_task.entry(task).or_default().push(partition.clone());
            }
        }
        for (task, partitions) in &by_task {
            self.inputs.assign(*task, partitions, &mut *self.consumer);
        }
        // A task is ours when all its partitions are; they may arrive one after the other.
        let whole =
            by_task.into_keys().filter(|task| self.inputs.of(*task) == self.app.blueprint().partitions_of(*task));
        let whole: BTreeSet<TaskId> = whole.collect();
        self.handle(Event::Assigned(whole));
    }

    fn process(&mut self) -> Result<bool> {
        let mut any = false;
        self.pace.begin_turn();
        let app = Arc::clone(&self.app);
        let globals = app.global_stores();
        let mut now = self.app.clock.monotonic();
        let wall_clock_time = self.app.clock.wall_clock_ms();
        for task in self.running.values_mut() {
            if !task.has_records() {
                continue;
            }
            let (inputs, consumer) = (&mut self.inputs, &mut *self.consumer);
            let mut may_proceed =
                |empty: &mut dyn Iterator<Item = &TopicPartition>| inputs.may_proceed(empty, consumer, now);
            let producer = self.committer.producer()?;
            let run_records = self.pace.run_records();
            let processed = globals
                .lend_if_used(task, |task| task.process(producer, run_records, wall_clock_time, &mut may_proceed))?;
            if processed == 0 {
                continue;
            }
            any = true;
            self.committer.mark_work();
            let took = self.app.clock.monotonic() - now;
            now += took;
            self.pace.ran(processed, took);
            self.app.metrics.add(Metric::ProcessTotal, processed as u64);
            self.app.metrics.add(Metric::ProcessNs, took.as_nanos() as u64);
            if task.stores().iter().any(|store| store.needs_flush()) {
                let producer = self.committer.producer()?;
                globals.lend_if_used(task, |task| task.flush(producer))?;
            }
        }
        self.pace.set_more(any);
        let running = &self.running;
        self.inputs.refill(
            |task, partition| running.get(&task).map_or(0, |task| task.buffered_bytes(partition)),
            &mut *self.consumer,
        );
        Ok(any)
    }

    fn punctuate(&mut self) -> Result<()> {
        let now = self.app.clock.wall_clock_ms();
        for task in self.running.values_mut() {
            if task.next_wall_clock_punctuation().is_some_and(|due| due <= now) {
                let producer = self.committer.producer()?;
                self.app.global_stores().lend_if_used(task, |task| task.punctuate_wall_clock(producer, now))?;
                self.committer.mark_work();
                self.app.metrics.add(Metric::PunctuateTotal, 1);
            }
        }
        Ok(())
    }

    fn commit_if_due(&mut self) -> Result<()> {
        if !self.committer.has_work() {
            return Ok(());
        }
        let mut due = self.pace.is_commit_due(self.app.clock.monotonic());
        let mut dirty_bytes = 0;
        for task in self.running.values_mut() {
            due |= task.take_commit_request() | task.stores().iter().any(|store| store.needs_commit());
            dirty_bytes += task.dirty_bytes();
        }
        if due || dirty_bytes >= self.app.settings.uncommitted_bytes_max.max(1) {
            self.handle(Event::CommitDue);
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        let before = self.app.clock.monotonic();
        let committed = self.committer.commit(&mut self.running, &mut *self.consumer, self.app.global_stores())?;
        let after = self.app.clock.monotonic();
        self.pace.committed(before, after - before);
        self.failing = None;
        self.purge.committed(self.committer.positions());
        self.purge.delete_if_due(after);
        if committed {
            self.app.metrics.add(Metric::CommitTotal, 1);
            self.app.metrics.add(Metric::CommitNs, (after - before).as_nanos() as u64);
            let dropped: u64 = self.running.values().map(StreamTask::dropped_records).sum();
            self.app.metrics.add(Metric::DroppedRecordsTotal, dropped.saturating_sub(self.dropped_records));
            self.dropped_records = dropped;
        }
        Ok(())
    }

    /// Takes a failure of the work outside of commands.
    fn fail(&mut self, error: Error) {
        let failure = self.judge(error, true);
        self.handle(Event::Failed(failure));
    }

    /// What an error means. A command that was left half done cannot be taken up again in the middle: then only a new
    /// thread helps.
    fn judge(&mut self, error: Error, may_retry: bool) -> Failure {
        let now = self.app.clock.monotonic();
        let (times, since) = self.failing.map_or((1, now), |(times, since)| (times + 1, since));
        self.failing = Some((times, since));
        let failure = match failure_of(&error) {
            Failure::Fenced if times > FENCED_MAX => Failure::Fatal,
            Failure::Retriable if !may_retry || now - since > self.app.settings.task_timeout => Failure::Fatal,
            failure => failure,
        };
        self.app.metrics.add(Metric::CommitFailedTotal, 1);
        match failure {
            Failure::Fatal => {
                tracing::error!(thread = self.name, %error, "stream thread ends");
                self.cause.get_or_insert(error);
            }
            Failure::Fenced => {
                self.app.metrics.add(Metric::TaskMigratedTotal, 1);
                tracing::warn!(thread = self.name, %error, "fenced: joining the group anew");
            }
            Failure::Retriable => {
                tracing::warn!(thread = self.name, %error, "beginning again from the committed offsets");
                self.app.clock.sleep(RETRY_PAUSE.min(self.app.settings.task_timeout));
            }
        }
        failure
    }

    /// Steps and obeys until nothing follows.
    fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.state.step(event) {
                let is_commit = command == Command::Commit;
                match self.obey(command) {
                    Ok(()) if is_commit => events.push_back(Event::Committed),
                    Ok(()) => {}
                    Err(error) => {
                        let failure = self.judge(error, is_commit);
                        events.push_back(Event::Failed(failure));
                        break;
                    }
                }
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Enter(state) => self.app.thread_entered(self.index, state),
            Command::Restore(tasks) => self.restore(&tasks)?,
            Command::Run(task) => self.run_task(task)?,
            Command::Commit => self.commit()?,
            Command::CloseClean(tasks) => self.close(&tasks)?,
            Command::CloseDirty(tasks) => {
                if let Err(error) = self.close(&tasks) {
                    tracing::warn!(thread = self.name, %error, "a store could not be closed after a failure");
                }
            }
            Command::RenewProducer => {
                self.committer.renew()?;
                self.pace.committed(self.app.clock.monotonic(), Duration::ZERO);
            }
            Command::Acknowledge(tasks) => {
                let partitions = self.inputs.release_revoked(&tasks);
                self.consumer.acknowledge(&partitions)?;
            }
            Command::Rejoin => {
                self.inputs.clear();
                self.consumer.unsubscribe()?;
                self.subscribe()?;
            }
            Command::Leave => {
                self.committer.abandon();
                self.inputs.clear();
                self.consumer.unsubscribe()?;
            }
        }
        Ok(())
    }

    fn restore(&mut self, tasks: &BTreeSet<TaskId>) -> Result<()> {
        let partitions: Vec<TopicPartition> = tasks.iter().flat_map(|task| self.inputs.of(*task)).collect();
        // After a failure the tasks are ours already, and their partitions are being read.
        for task in tasks {
            let of_task = self.inputs.of(*task);
            self.inputs.assign(*task, &of_task, &mut *self.consumer);
        }
        let offsets = self.consumer.committed(&partitions)?;
        let mut committed: HashMap<TopicPartition, CommittedOffset> =
            partitions.into_iter().zip(offsets).filter_map(|(partition, offset)| Some((partition, offset?))).collect();
        for task in tasks {
            let of_task = self.inputs.of(*task);
            let committed: HashMap<_, _> =
                of_task.into_iter().filter_map(|partition| committed.remove_entry(&partition)).collect();
            let cancelled = Arc::new(AtomicBool::new(false));
            self.restoring.insert(*task, Arc::clone(&cancelled));
            let (sender, control) = (self.restored.0.clone(), Arc::clone(&self.control));
            let done = move |restored| {
                // The thread may be gone: then its receiver is, and the stores are dropped closed.
                let _ = sender.send(restored);
                control.wake();
            };
            let open = self.app.blueprint().open_stores(*task, &committed, &self.app.standbys);
            self.app.restorer.submit(Job { task: *task, committed, open, cancelled, done: Box::new(done) })?;
        }
        Ok(())
    }

    fn on_restored(&mut self, mut restored: RestoredTask) -> Result<()> {
        let task = restored.task;
        if self.restoring.remove(&task).is_none() {
            return restored.stores?.map_or(Ok(()), |mut stores| close_all(&mut stores));
        }
        let Some(mut stores) = std::mem::replace(&mut restored.stores, Ok(None))? else { return Ok(()) };
        stores.extend(self.app.global_stores().vacant());
        let wall_clock_time = self.app.clock.wall_clock_ms();
        let made = self.app.blueprint().make_task(task, stores, &restored.committed, wall_clock_time);
        self.inputs.start(task, &restored.committed, &mut *self.consumer)?;
        self.running.insert(task, made);
        self.handle(Event::Restored(task));
        Ok(())
    }

    fn run_task(&mut self, id: TaskId) -> Result<()> {
        if let Some(task) = self.running.get_mut(&id) {
            self.app.queries.opened(id, &self.control, task.stores())?;
            let producer = self.committer.producer()?;
            self.app.global_stores().lend(task, |task| task.init(producer))?;
            self.committer.mark_work();
            self.app.metrics.add(Metric::TaskCreatedTotal, 1);
        }
        Ok(())
    }

    /// Waits until the worker has let go of the stores of `task`.
    fn await_cancelled(&mut self, task: TaskId) -> Result<()> {
        loop {
            if let Some(place) = self.ready.iter().position(|restored| restored.task == task) {
                let stores = self.ready.remove(place).map_or(Ok(None), |restored| restored.stores);
                return stores?.map_or(Ok(()), |mut stores| close_all(&mut stores));
            }
            self.app.restorer.end_cancelled(task);
            match self.restored.1.recv() {
                Ok(restored) => self.ready.push_back(restored),
                Err(mpsc::RecvError) => return Ok(()),
            }
        }
    }

    fn close(&mut self, tasks: &BTreeSet<TaskId>) -> Result<()> {
        let mut outcome = Ok(());
        for task in tasks {
            if let Some(cancelled) = self.restoring.remove(task) {
                cancelled.store(true, Ordering::Relaxed);
                // The worker closes the stores; the next owner of the task may open them only then.
                outcome = outcome.and(self.await_cancelled(*task));
            }
            if let Some(running) = self.running.remove(task) {
                self.app.queries.closed(*task, &self.control);
                self.dropped_records = self.dropped_records.saturating_sub(running.dropped_records());
                outcome = outcome.and(close_all(&mut running.close()));
                self.app.metrics.add(Metric::TaskClosedTotal, 1);
            }
        }
        outcome
    }
}

impl Drop for StreamThread {
    fn drop(&mut self) {
        // Whoever waits for an answer learns that there will be none.
        self.control.end();
    }
}
