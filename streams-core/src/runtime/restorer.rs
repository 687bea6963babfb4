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
    time::{Duration, Instant},
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
};
use crate::{Error, Result, state::StateStore, task::TaskId};

/// Workers of one application, at most: a restore is bound by decoding and writing, so more than the cores do not help.
const WORKERS_MAX: usize = 4;

/// How long one poll of a changelog waits: as long as it may take to notice that the restore is cancelled.
const POLL_WAIT: Duration = Duration::from_millis(20);

/// How long a task waits for its directory, which an earlier owner has not let go of yet.
const OPEN_WAIT: Duration = Duration::from_secs(60);

/// How far the restore of one store has come.
#[derive(Clone, Debug)]
pub struct RestoreProgress {
    /// The task.
    pub task: TaskId,
    /// The store.
    pub store: String,
    /// What it is restored from.
    pub changelog: TopicPartition,
    /// Where the restore began: what was before is in the store's files.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
    /// How far it is.
    pub position: Offset,
    /// Records applied so far.
    pub records: u64,
    /// Time since it began.
    pub elapsed: Duration,
}

impl RestoreProgress {
    /// Offsets that are left; an upper bound of the records.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.end.offsets_since(self.position)
    }

    /// Records per second so far.
    #[must_use]
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Time left at the present rate; `None` while there is no rate yet.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let done = self.position.offsets_since(self.start);
        if self.remaining() == 0 {
            return Some(Duration::ZERO);
        }
        let seconds = self.elapsed.as_secs_f64() / done as f64 * self.remaining() as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Told how restores go on. Called by the workers that restore: return soon.
pub trait RestoreListener: Send + Sync {
    /// A store begins to be restored.
    fn on_restore_start(&self, _progress: &RestoreProgress) {}
    /// A batch of records has been applied.
    fn on_batch_restored(&self, _progress: &RestoreProgress) {}
    /// The store is complete.
    fn on_restore_end(&self, _progress: &RestoreProgress) {}
    /// The restore ends early: the task goes elsewhere, or the application closes.
    fn on_restore_suspended(&self, _progress: &RestoreProgress) {}
}

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
    pub(crate) done: Box<dyn FnOnce(RestoredTask) + Send>,
}

/// What all workers share.
struct Shared {
    client: SharedClient,
    isolation: Isolation,
    client_id: String,
    metrics: Arc<Metrics>,
    listener: Mutex<Option<Arc<dyn RestoreListener>>>,
    paused: AtomicBool,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
    workers: usize,
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
    pub(crate) fn new(client: SharedClient, isolation: Isolation, client_id: String, metrics: Arc<Metrics>) -> Self {
        Restorer(Arc::new(Shared {
            client,
            isolation,
            client_id,
            metrics,
            listener: Mutex::default(),
            paused: AtomicBool::new(false),
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
        queue.jobs.push_back(job);
        let allowed = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX);
        if queue.idle < queue.jobs.len() && queue.workers < allowed {
            let shared = Arc::clone(&self.0);
            let name = format!("{}-restore-{}", shared.client_id, queue.workers + 1);
            let spawned = std::thread::Builder::new().name(name).spawn(move || shared.work());
            spawned.map_err(|error| Error::IllegalState(format!("cannot start a restore thread: {error}")))?;
            queue.workers += 1;
        }
        drop(queue);
        self.0.arrived.notify_one();
        Ok(())
    }

    /// Ends the workers once their jobs are done or cancelled.
    pub(crate) fn close(&self) {
        self.0.queue.lock().is_closed = true;
        self.0.arrived.notify_all();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    if let Some(job) = queue.jobs.pop_front() {
                        break job;
                    }
                    if queue.is_closed {
                        return;
                    }
                    queue.idle += 1;
                    self.arrived.wait(&mut queue);
                    queue.idle -= 1;
                }
            };
            let (task, cancelled) = (job.task, job.cancelled);
            // A serde of the user may panic on what is in a changelog.
            let restored =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match open(&job.open, &cancelled)? {
                    Some(stores) => Restore::new(self, task, &cancelled).run(stores),
                    None => Ok(None),
                }));
            let stores = restored.unwrap_or_else(|panic| {
                let text = panic_text(&*panic);
                Err(Error::IllegalState(format!("the restore of task {task} panicked: {text}")))
            });
            (job.done)(RestoredTask { task, committed: job.committed, stores });
        }
    }
}

/// Opens the stores of a task, waiting for an earlier owner in this process to let go of them; `None` if cancelled.
fn open(open: &OpenStores, cancelled: &AtomicBool) -> Result<Option<Vec<RestoringStore>>> {
    let began = Instant::now();
    while !cancelled.load(Ordering::Relaxed) {
        match open() {
            Err(Error::IllegalState(_)) if began.elapsed() < OPEN_WAIT => std::thread::sleep(POLL_WAIT),
            opened => return opened.map(Some),
        }
    }
    Ok(None)
}

/// One restore under way.
struct Restore<'a> {
    shared: &'a Shared,
    task: TaskId,
    cancelled: &'a AtomicBool,
    listener: Option<Arc<dyn RestoreListener>>,
}

/// One store that is being filled.
struct Filling {
    store: usize,
    progress: RestoreProgress,
    since: Instant,
    is_done: bool,
}

impl<'a> Restore<'a> {
    fn new(shared: &'a Shared, task: TaskId, cancelled: &'a AtomicBool) -> Self {
        Restore { shared, task, cancelled, listener: shared.listener.lock().clone() }
    }

    fn run(&self, stores: Vec<RestoringStore>) -> Result<Option<Vec<Box<dyn StateStore>>>> {
        let sources: Vec<Option<RestoreSource>> = stores.iter().map(|store| store.source.clone()).collect();
        let mut stores: Vec<Box<dyn StateStore>> = stores.into_iter().map(|store| store.store).collect();
        let outcome = if sources.iter().any(Option::is_some) { self.fill(&mut stores, &sources) } else { Ok(true) };
        match outcome {
            Ok(true) => Ok(Some(stores)),
            // What was restored stays in the files: the next restore goes on from there.
            Ok(false) => close_all(&mut stores).map(|()| None),
            Err(error) => {
                if let Err(second) = close_all(&mut stores) {
                    tracing::warn!(error = %second, "a store could not be closed after a failed restore");
                }
                Err(error)
            }
        }
    }

    /// Brings the stores up to date; false if the restore was cancelled.
    fn fill(&self, stores: &mut [Box<dyn StateStore>], sources: &[Option<RestoreSource>]) -> Result<bool> {
        let mut admin = self.shared.client.admin()?;
        let mut consumer = self.shared.client.consumer(&ConsumerConfig {
            client_id: format!("{}-restore-consumer", self.shared.client_id),
            isolation: self.shared.isolation,
            ..ConsumerConfig::default()
        })?;
        let mut fillings = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let Some(source) = source else { continue };
            let filling = self.begin(index, &mut stores[index], source, &mut *admin, &mut *consumer)?;
            fillings.push(filling);
        }
        let start: Vec<_> = fillings
            .iter()
            .filter(|filling| filling.progress.remaining() > 0)
            .map(|filling| (filling.progress.changelog.clone(), StartAt::Offset(filling.progress.start)))
            .collect();
        if !start.is_empty() {
            consumer.assign(&start)?;
        }
        loop {
            for filling in fillings.iter_mut().filter(|filling| !filling.is_done) {
                if let Some(position) = consumer.position(&filling.progress.changelog) {
                    filling.progress.position = filling.progress.position.max(position).min(filling.progress.end);
                }
                if filling.progress.remaining() == 0 {
                    self.finish(filling, &mut stores[filling.store], &mut *consumer)?;
                }
            }
            if fillings.iter().all(|filling| filling.is_done) {
                return Ok(true);
            }
            if self.cancelled.load(Ordering::Relaxed) {
                for filling in fillings.iter().filter(|filling| !filling.is_done) {
                    self.tell(|listener| listener.on_restore_suspended(&filling.progress));
                }
                return Ok(false);
            }
            if self.shared.paused.load(Ordering::Relaxed) {
                std::thread::sleep(POLL_WAIT);
                continue;
            }
            if let Polled::Batch(batch) = consumer.poll(POLL_WAIT)? {
                let target = fillings.iter_mut().find(|filling| filling.progress.changelog == batch.partition);
                let Some(filling) = target.filter(|filling| !filling.is_done) else { continue };
                self.apply(&batch, filling, &mut *stores[filling.store])?;
            }
        }
    }

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
        Ok(Filling { store: index, progress, since: Instant::now(), is_done: false })
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
        progress.elapsed = filling.since.elapsed();
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
        filling.progress.elapsed = filling.since.elapsed();
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

#[cfg(test)]
mod tests {
    use log_store::TopicName;

    use super::*;

    #[test]
    fn progress_says_how_long_it_will_take() {
        let mut progress = RestoreProgress {
            task: TaskId { subtopology: 0, partition: 0 },
            store: "counts".into(),
            changelog: TopicPartition::new(TopicName::new("app-counts-changelog").unwrap(), 0),
            start: Offset::new(100),
            end: Offset::new(1_100),
            position: Offset::new(100),
            records: 0,
            elapsed: Duration::ZERO,
        };
        assert_eq!((progress.remaining(), progress.time_left()), (1_000, None));
        progress.position = Offset::new(350);
        progress.records = 200;
        progress.elapsed = Duration::from_secs(2);
        assert_eq!(progress.time_left(), Some(Duration::from_secs(6)));
        assert!((progress.records_per_second() - 100.0).abs() < 1e-9);
        progress.position = progress.end;
        assert_eq!(progress.time_left(), Some(Duration::ZERO));
    }
}
