//! Fills stores from their changelogs, off the processing path.
//!
//! A few workers serve all stream threads of an application. A job is the stores of one task: opened, brought up to the
//! end of their changelogs, all partitions at once, and handed back.
//!
//! Invariant: a restore is complete when the *position* of the consumer has reached the end, not when some record has:
//! compaction and transaction markers leave gaps. The end is the end of the log as it is, with open transactions: a
//! reader of committed records gets there only when whatever an earlier owner left open has been decided.
//!
//! Invariant: nothing is taken on trust. A store whose files lie outside the changelog is reset and rebuilt.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use log_store::{
    Offset, TopicPartition,
    client::{
        Admin, CommittedOffset, Consumer, ConsumerConfig, FetchedBatch, Isolation, OffsetSpec, Polled, SharedClient,
        StartAt,
    },
};
use parking_lot::{Condvar, Mutex};

use super::{
    application::panic_text,
    metrics::{Metric, Metrics},
    restore_progress::{RestoreListener, RestoreProgress},
    settings::Settings,
};
use crate::{Error, Result, state::StateStore, task::TaskId, time::Clock};

/// Workers of one application, at most: a restore is bound by decoding and writing, so more than the cores do not help.
const WORKERS_MAX: usize = 4;

/// How long one poll of a changelog waits: as long as it may take to notice that the restore is cancelled.
const POLL_WAIT: Duration = Duration::from_millis(20);

/// How long a task waits for its directory, which an earlier owner has not let go of yet.
const OPEN_WAIT: Duration = Duration::from_secs(60);

/// One store of a task that is to be restored.
pub(crate) struct RestoringStore {
    pub(crate) store: Box<dyn StateStore>,
    /// `None`: the store has no changelog.
    pub(crate) source: Option<RestoreSource>,
}

/// What a store is restored from.
#[derive(Clone, Debug)]
pub(crate) struct RestoreSource {
    pub(crate) changelog: TopicPartition,
    /// Restore up to here; `None`: to the end. Set for a store that is restored from an input topic, which must not
    /// run ahead of what is processed.
    pub(crate) until: Option<Offset>,
}

/// Opens the stores of a task; what comes back is restored.
pub(crate) type OpenStores = Box<dyn Fn() -> Result<Vec<RestoringStore>> + Send>;

/// Gets the result of a job.
type Done = Box<dyn FnOnce(RestoredTask) + Send>;

/// The stores of a task, restored or not.
pub(crate) struct RestoredTask {
    pub(crate) task: TaskId,
    /// Positions of the task's inputs when the restore began.
    pub(crate) committed: HashMap<TopicPartition, CommittedOffset>,
    /// The stores, in the order in which they were opened; `None` if the job was cancelled.
    pub(crate) stores: Result<Option<Vec<Box<dyn StateStore>>>>,
}

/// One task's stores to be opened and restored.
pub(crate) struct Job {
    pub(crate) task: TaskId,
    pub(crate) committed: HashMap<TopicPartition, CommittedOffset>,
    pub(crate) open: OpenStores,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Gets the result; called once, by a worker.
    pub(crate) done: Done,
}

/// What all workers share.
struct Shared {
    client: SharedClient,
    isolation: Isolation,
    client_id: String,
    metrics: Arc<Metrics>,
    listener: Mutex<Option<Arc<dyn RestoreListener>>>,
    paused: AtomicBool,
    clock: Arc<dyn Clock>,
    /// Nobody works but who calls [`Restorer::step`].
    is_stepped: bool,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Restoration>,
    idle: usize,
    workers: Vec<JoinHandle<()>>,
    is_closed: bool,
}

/// The restore workers of one application. They start with the first job and end with [`Restorer::close`].
#[derive(Clone)]
pub(crate) struct Restorer(Arc<Shared>);

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Restorer")
    }
}

impl Restorer {
    pub(crate) fn new(
        client: SharedClient,
        settings: &Settings,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        is_stepped: bool,
    ) -> Self {
        let (isolation, client_id) = (settings.isolation(), settings.client_id.clone());
        Restorer(Arc::new(Shared {
            client,
            isolation,
            client_id,
            metrics,
            listener: Mutex::default(),
            paused: AtomicBool::new(false),
            clock,
            is_stepped,
            queue: Mutex::default(),
            arrived: Condvar::new(),
        }))
    }

    pub(crate) fn set_listener(&self, listener: Arc<dyn RestoreListener>) {
        *self.0.listener.lock() = Some(listener);
    }

    /// Restores wait while this is true.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.0.paused.store(paused, Ordering::Relaxed);
    }

    /// Queues a job; a worker is started for it if all are busy and more are allowed.
    pub(crate) fn submit(&self, job: Job) -> Result<()> {
        let mut queue = self.0.queue.lock();
        queue.jobs.push_back(Restoration::new(&self.0, job));
        if self.0.is_stepped {
            return Ok(());
        }
        let allowed = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        if queue.idle < queue.jobs.len() && queue.workers.len() < allowed {
            let shared = Arc::clone(&self.0);
            let name = format!("{}-restore-{}", shared.client_id, queue.workers.len() + 1);
            let spawned = std::thread::Builder::new().name(name).spawn(move || shared.work());
            let worker =
                spawned.map_err(|error| Error::IllegalState(format!("cannot start a restore thread: {error}")))?;
            queue.workers.push(worker);
        }
        drop(queue);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Takes the job that waits longest one step on; false if there is none. Only without workers.
    pub(crate) fn step(&self) -> bool {
        let Some(mut restoration) = self.0.queue.lock().jobs.pop_front() else { return false };
        if restoration.step(Duration::ZERO) == Step::GoesOn {
            self.0.queue.lock().jobs.push_back(restoration);
        }
        true
    }

    /// Ends the job of `task`, which was cancelled, if nobody else would.
    pub(crate) fn end_cancelled(&self, task: TaskId) {
        let find = |queue: &mut Queue| {
            let is_it = |job: &Restoration| job.context.task == task && job.cancelled.load(Ordering::Relaxed);
            let place = queue.jobs.iter().position(is_it)?;
            queue.jobs.remove(place)
        };
        while self.0.is_stepped
            && let Some(mut restoration) = find(&mut self.0.queue.lock())
        {
            restoration.step(Duration::ZERO);
        }
    }

    /// Drops all jobs with their stores, unclosed.
    pub(crate) fn forget(&self) {
        let jobs = std::mem::take(&mut self.0.queue.lock().jobs);
        drop(jobs);
    }

    /// Ends the workers once their jobs are done or cancelled, and waits for that: a program may exit after it, and must
    /// not while RocksDB is being closed.
    pub(crate) fn close(&self) {
        let workers = {
            let mut queue = self.0.queue.lock();
            queue.is_closed = true;
            std::mem::take(&mut queue.workers)
        };
        self.0.arrived.notify_all();
        for worker in workers {
            // What a job panicked with was its answer.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn work(self: &Arc<Self>) {
        loop {
            let mut restoration = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some(restoration) = queue.jobs.pop_front() {
                        break restoration;
                    }
                    if queue.is_closed {
                        return;
                    }
                    queue.idle += 1;
                    self.arrived.wait(&mut queue);
                    queue.idle -= 1;
                }
            };
            while restoration.step(POLL_WAIT) == Step::GoesOn {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    GoesOn,
    Done,
}

type Stores = Vec<Box<dyn StateStore>>;

/// One job, done step by step: open the stores, fill them, hand them back.
struct Restoration {
    context: Context,
    cancelled: Arc<AtomicBool>,
    open: OpenStores,
    /// Taken when the job is done.
    answer: Option<(HashMap<TopicPartition, CommittedOffset>, Done)>,
    /// When the job was begun.
    began: Option<Duration>,
    fill: Option<Fill>,
}

/// The stores of a task while they are filled.
struct Fill {
    stores: Stores,
    fillings: Vec<Filling>,
    /// `None`: nothing is to be read.
    consumer: Option<Box<dyn Consumer>>,
}

/// One store that is being filled.
struct Filling {
    store: usize,
    progress: RestoreProgress,
    since: Duration,
    is_done: bool,
}

/// What all steps of a job need.
struct Context {
    shared: Arc<Shared>,
    task: TaskId,
    listener: Option<Arc<dyn RestoreListener>>,
}

impl Restoration {
    fn new(shared: &Arc<Shared>, job: Job) -> Self {
        let listener = shared.listener.lock().clone();
        Restoration {
            context: Context { shared: Arc::clone(shared), task: job.task, listener },
            cancelled: job.cancelled,
            open: job.open,
            answer: Some((job.committed, job.done)),
            began: None,
            fill: None,
        }
    }

    /// Works for about `wait`, and answers when everything is done.
    fn step(&mut self, wait: Duration) -> Step {
        // A serde of the user may panic on what is in a changelog.
        let stepped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.try_step(wait)));
        let task = self.context.task;
        let stepped = stepped.unwrap_or_else(|panic| {
            let text = panic_text(&*panic);
            Err(Error::IllegalState(format!("the restore of task {task} panicked: {text}")))
        });
        let stores = match stepped {
            Ok(None) => return Step::GoesOn,
            Ok(Some(stores)) => Ok(stores),
            Err(error) => {
                let stores = self.fill.take().map(|fill| fill.stores);
                if let Some(Err(second)) = stores.map(|mut stores| close_all(&mut stores)) {
                    tracing::warn!(error = %second, "a store could not be closed after a failed restore");
                }
                Err(error)
            }
        };
        if let Some((committed, done)) = self.answer.take() {
            done(RestoredTask { task, committed, stores });
        }
        Step::Done
    }

    /// `Some` at the end: the stores, or nothing if the job was cancelled.
    fn try_step(&mut self, wait: Duration) -> Result<Option<Option<Stores>>> {
        let clock = &self.context.shared.clock;
        let began = *self.began.get_or_insert_with(|| clock.monotonic());
        if self.cancelled.load(Ordering::Relaxed) {
            return self.suspend().map(|()| Some(None));
        }
        let Some(fill) = &mut self.fill else {
            match (self.open)() {
                // An earlier owner in this process has not let go of them yet.
                Err(Error::IllegalState(_)) if clock.monotonic() - began < OPEN_WAIT => clock.sleep(wait),
                opened => self.begin(opened?)?,
            }
            return Ok(None);
        };
        if fill.finish_complete(&self.context)? {
            return Ok(self.fill.take().map(|fill| Some(fill.stores)));
        }
        if self.context.shared.paused.load(Ordering::Relaxed) {
            clock.sleep(wait);
            return Ok(None);
        }
        fill.read(&self.context, wait)?;
        Ok(None)
    }

    fn begin(&mut self, opened: Vec<RestoringStore>) -> Result<()> {
        let sources: Vec<Option<RestoreSource>> = opened.iter().map(|store| store.source.clone()).collect();
        let stores = opened.into_iter().map(|opened| opened.store).collect();
        // From here on they are closed if anything fails.
        let fill = self.fill.insert(Fill { stores, fillings: Vec::new(), consumer: None });
        if sources.iter().any(Option::is_some) {
            fill.begin(&self.context, &sources)?;
        }
        Ok(())
    }

    /// What was restored stays in the files: the next restore goes on from there.
    fn suspend(&mut self) -> Result<()> {
        let Some(mut fill) = self.fill.take() else { return Ok(()) };
        for filling in fill.fillings.iter().filter(|filling| !filling.is_done) {
            self.context.tell(|listener| listener.on_restore_suspended(&filling.progress));
        }
        close_all(&mut fill.stores)
    }
}

impl Fill {
    fn begin(&mut self, context: &Context, sources: &[Option<RestoreSource>]) -> Result<()> {
        let shared = &context.shared;
        let mut admin = shared.client.admin()?;
        let mut consumer = shared.client.consumer(&ConsumerConfig {
            client_id: format!("{}-restore-consumer", shared.client_id),
            isolation: shared.isolation,
            ..ConsumerConfig::default()
        })?;
        for (index, source) in sources.iter().enumerate() {
            let Some(source) = source else { continue };
            let filling = context.begin(index, &mut self.stores[index], source, &mut *admin, &mut *consumer)?;
            self.fillings.push(filling);
        }
        let start: Vec<_> = self
            .fillings
            .iter()
            .filter(|filling| filling.progress.remaining() > 0)
            .map(|filling| (filling.progress.changelog.clone(), StartAt::Offset(filling.progress.start)))
            .collect();
        if !start.is_empty() {
            consumer.assign(&start)?;
        }
        self.consumer = Some(consumer);
        Ok(())
    }

    /// Finishes the stores that are complete; true if all are.
    fn finish_complete(&mut self, context: &Context) -> Result<bool> {
        let Some(consumer) = &mut self.consumer else { return Ok(true) };
        for filling in self.fillings.iter_mut().filter(|filling| !filling.is_done) {
            if let Some(position) = consumer.position(&filling.progress.changelog) {
                filling.progress.position = filling.progress.position.max(position).min(filling.progress.end);
            }
            if filling.progress.remaining() == 0 {
                context.finish(filling, &mut self.stores[filling.store], &mut **consumer)?;
            }
        }
        Ok(self.fillings.iter().all(|filling| filling.is_done))
    }

    fn read(&mut self, context: &Context, wait: Duration) -> Result<()> {
        let Some(consumer) = &mut self.consumer else { return Ok(()) };
        if let Polled::Batch(batch) = consumer.poll(wait)? {
            let target = self.fillings.iter_mut().find(|filling| filling.progress.changelog == batch.partition);
            if let Some(filling) = target.filter(|filling| !filling.is_done) {
                context.apply(&batch, filling, &mut *self.stores[filling.store])?;
            }
        }
        Ok(())
    }
}

impl Context {
    /// Decides where the restore of one store begins and ends.
    fn begin(
        &self,
        index: usize,
        store: &mut Box<dyn StateStore>,
        source: &RestoreSource,
        admin: &mut dyn Admin,
        consumer: &mut dyn Consumer,
    ) -> Result<Filling> {
        let changelog = &source.changelog;
        let first = admin.list_offset(changelog, OffsetSpec::Earliest)?.unwrap_or(Offset::ZERO);
        let log_end = consumer.end_offset(changelog, Isolation::ReadUncommitted)?;
        let end = source.until.map_or(log_end, |until| until.min(log_end));
        let start = match store.checkpoint() {
            None => first.min(end),
            Some(checkpoint) if (first..=end).contains(&checkpoint) => checkpoint,
            Some(checkpoint) => {
                let reason = format!(
                    "its files correspond to offset {checkpoint} of {changelog}, which has {first} to {end}; \
                     it is rebuilt from the changelog"
                );
                tracing::warn!(task = %self.task, store = store.name(), "{reason}");
                store.reset(&reason)?;
                self.shared.metrics.add(Metric::StoresRebuiltTotal, 1);
                first.min(end)
            }
        };
        let progress = RestoreProgress {
            task: self.task,
            store: store.name().to_owned(),
            changelog: changelog.clone(),
            start,
            end,
            position: start,
            records: 0,
            elapsed: Duration::ZERO,
        };
        self.tell(|listener| listener.on_restore_start(&progress));
        Ok(Filling { store: index, progress, since: self.shared.clock.monotonic(), is_done: false })
    }

    fn apply(&self, batch: &FetchedBatch, filling: &mut Filling, store: &mut dyn StateStore) -> Result<()> {
        let progress = &mut filling.progress;
        let mut cursor = batch.cursor();
        let mut records = 0;
        while let Some(at) = cursor.advance()? {
            // Records past the end belong to what is processed after the restore.
            if at.offset >= progress.end {
                break;
            }
            store.restore(at.offset, cursor.view(&at))?;
            records += 1;
        }
        progress.records += records;
        progress.position = batch.next.min(progress.end);
        progress.elapsed = self.shared.clock.monotonic() - filling.since;
        self.shared.metrics.add(Metric::RestoreRecordsTotal, records);
        self.tell(|listener| listener.on_batch_restored(progress));
        Ok(())
    }

    fn finish(
        &self,
        filling: &mut Filling,
        store: &mut Box<dyn StateStore>,
        consumer: &mut dyn Consumer,
    ) -> Result<()> {
        consumer.pause(std::slice::from_ref(&filling.progress.changelog));
        store.restored(filling.progress.end)?;
        filling.is_done = true;
        filling.progress.elapsed = self.shared.clock.monotonic() - filling.since;
        let progress = &filling.progress;
        tracing::debug!(
            task = %self.task, store = progress.store, records = progress.records, end = %progress.end,
            "store restored"
        );
        self.tell(|listener| listener.on_restore_end(progress));
        Ok(())
    }

    fn tell(&self, call: impl FnOnce(&dyn RestoreListener)) {
        if let Some(listener) = &self.listener {
            call(&**listener);
        }
    }
}

/// Closes all stores, whatever happens to one of them; the first error.
pub(crate) fn close_all(stores: &mut [Box<dyn StateStore>]) -> Result<()> {
    let mut outcome = Ok(());
    for store in stores {
        let closed = store.close();
        if outcome.is_ok() {
            outcome = closed;
        }
    }
    outcome
}
