//! The log as a whole: opened, checkpointed, closed.

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    path::Path,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use parking_lot::{Mutex, RwLock};

use super::{
    Durability, LogConfig,
    admin::EmbeddedAdmin,
    checkpointer::{Checkpointer, Topics, all_partitions},
    cleaner::{self, CleanReport, Cleaner},
    consumer::EmbeddedConsumer,
    group::Groups,
    log_checkpoints::{
        CLEANER, LOG_STARTS, Offsets, RECOVERY_POINTS, ensure_meta, is_deleted, random_id, read_offsets, read_topic_id,
        take_clean_mark, write_clean_mark, write_offsets,
    },
    log_shared::Shared,
    partition::{Known, Partition},
    producer::EmbeddedProducer,
    storage::{Directory, FileDirectory},
    topics::{PARTITIONS_MAX, Topic},
    topics_file,
    transaction::{self, Transactions},
};
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{Admin, Consumer, ConsumerConfig, LogClient, Producer, ProducerConfig, TopicDescription},
    clock::{Clock, SystemClock},
};

/// A log in a directory (or in memory) of this process. A clone is another handle on the same log.
///
/// It is a [`LogClient`]: make topics with its admin, write with a producer, read with a consumer. One process has a
/// directory open at a time. The log closes itself in order when the last handle, consumer and producer are gone;
/// [`EmbeddedLog::close`] does it now and tells if that failed.
///
/// ```
/// use log_store::{
///     TopicName, TopicPartition, RecordView,
///     client::{ConsumerConfig, LogClient, NewTopic, Polled, ProducerConfig, StartAt},
///     embedded::{EmbeddedLog, LogConfig},
/// };
/// # let directory = tempfile::tempdir().unwrap();
/// # let path = directory.path();
/// let log = EmbeddedLog::open(path, LogConfig::default())?;
/// let clicks = TopicName::new("clicks")?;
/// log.admin()?.create_topics(&[NewTopic::new(clicks.clone(), 1)])?;
///
/// let mut producer = log.producer(&ProducerConfig::default())?;
/// let partition = TopicPartition::new(clicks, 0);
/// let handle = producer.open(&partition)?;
/// producer.send(handle, RecordView::new(1_700_000_000_000, Some(b"alice"), Some(b"home")))?;
/// producer.flush()?; // durable now
///
/// let mut consumer = log.consumer(&ConsumerConfig::default())?;
/// consumer.assign(&[(partition, StartAt::Beginning)])?;
/// let Polled::Batch(batch) = consumer.poll(std::time::Duration::from_secs(1))? else { panic!("no batch") };
/// let mut cursor = batch.cursor();
/// let record = cursor.advance()?.expect("one record");
/// assert_eq!(cursor.view(&record).value, Some(&b"home"[..]));
/// # Ok::<(), log_store::Error>(())
/// ```
#[derive(Clone)]
pub struct EmbeddedLog {
    inner: Arc<Inner>,
}

/// What handles, consumers and producers share.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Groups,
    pub(crate) transactions: Arc<Transactions>,
    pub(crate) cleaner: Arc<Cleaner>,
    checkpointer: Arc<Checkpointer>,
    /// One writer of the log starts at a time: two would take the new file away from each other.
    writing_log_starts: Mutex<()>,
    lock: Mutex<Option<Box<dyn Any + Send + Sync>>>,
}

impl EmbeddedLog {
    /// Opens the log in `directory`, or makes a new one there. After a crash the ends of the partitions are verified
    /// first, and what was torn is cut off.
    ///
    /// A directory that an Apache Kafka broker has left can be opened, too. Its topics get default settings, since
    /// the broker's own are not in the directory, except that nothing is deleted for its age (`retention.ms` is -1) and
    /// that what it had compacted goes on being compacted. Transactions that it had decided to commit are committed, others
    /// that were open are aborted.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process has it open, [`Error::Io`] if the directory cannot be used,
    /// [`Error::Invalid`] if it holds something else than a log,
    /// [`Error::Corrupt`] if the table of topics is damaged. A damaged partition does not keep the others from being
    /// used: it fails when it is used itself.
    pub fn open(directory: impl AsRef<Path>, config: LogConfig) -> Result<Self> {
        Self::open_in(Arc::new(FileDirectory::new(directory.as_ref())?), config)
    }

    /// Opens the log in any home of files, for instance [`super::storage::MemoryDirectory`].
    ///
    /// # Errors
    ///
    /// As [`EmbeddedLog::open`].
    pub fn open_in(directory: Arc<dyn Directory>, config: LogConfig) -> Result<Self> {
        Self::open_as(directory, config, Arc::new(SystemClock::new()), true)
    }

    /// Opens a log for simulations: it takes its time from `clock`, and has no threads of its own. The caller calls
    /// [`EmbeddedLog::clean`] and [`EmbeddedLog::abort_expired`].
    ///
    /// # Errors
    ///
    /// As [`EmbeddedLog::open`].
    pub fn open_stepped(directory: Arc<dyn Directory>, config: LogConfig, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_as(directory, config, clock, false)
    }

    fn open_as(
        directory: Arc<dyn Directory>,
        config: LogConfig,
        clock: Arc<dyn Clock>,
        has_threads: bool,
    ) -> Result<Self> {
        let lock = directory.lock()?;
        let is_clean = take_clean_mark(&*directory)?;
        ensure_meta(&*directory)?;
        let shared = Arc::new(Shared::new(directory, config, clock, has_threads));
        let Loaded { topics, adopted, is_checkpointed } = load_topics(&shared, is_clean)?;
        let partitions = || topics.values().flat_map(|topic| &topic.partitions);
        if !is_clean {
            for partition in partitions() {
                partition.recover_if_possible()?;
            }
        }
        let decided = transaction::recover(&*shared.directory)?;
        let begin = match decided {
            Some(decided) if is_clean && adopted.is_none() => decided,
            decided => {
                let decided = decided.map_or_else(|| transaction::recover_without_file(partitions()), Ok)?;
                let begin = transaction::finish_earlier(partitions(), decided)?;
                // Before the decisions are forgotten.
                shared.syncer.wait(&shared)?;
                begin
            }
        };
        let transactions =
            Arc::new(Transactions::open(Arc::clone(&shared.directory), begin, Arc::clone(&shared.clock))?);
        if let Some(adopted) = adopted {
            // From here on it is ours. Before, a failure leaves it as it was.
            topics_file::write(&*shared.directory, &adopted)?;
        }
        let topics = Arc::new(RwLock::new(topics));
        let inner = Arc::new(Inner {
            checkpointer: Checkpointer::new(&shared, &topics),
            shared,
            topics,
            groups: Groups::default(),
            transactions,
            cleaner: Arc::default(),
            writing_log_starts: Mutex::default(),
            lock: Mutex::new(Some(lock)),
        });
        // Without the checkpoint a log may end before what was synced: its owner has given up what is missing.
        if !is_checkpointed || !is_clean && inner.shared.config.durability != Durability::Fsync {
            inner.cut_offsets_to_log_ends()?;
        }
        inner.checkpointer.checkpoint()?;
        if has_threads {
            cleaner::start(&inner);
        }
        if let Durability::Interval(interval) = inner.shared.config.durability
            && has_threads
        {
            start_syncing(Arc::downgrade(&inner), interval);
        }
        Ok(EmbeddedLog { inner })
    }

    /// Changes settings of a topic while it is in use, under Kafka's names; `None` takes one back to its default.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownTopic`], or [`Error::Invalid`] for a bad setting: nothing is changed then.
    pub fn alter_topic(&self, topic: &TopicName, changes: &BTreeMap<String, Option<String>>) -> Result<()> {
        self.inner.alter_topic(topic, changes)
    }

    /// Deletes and compacts now what is due, in all partitions. A thread does so, too, every
    /// [`LogConfig::clean_interval`].
    ///
    /// # Errors
    ///
    /// If files cannot be read or written. A partition that cannot be compacted is named in the program's log, and left
    /// alone.
    pub fn clean(&self) -> Result<CleanReport> {
        self.inner.clean(true)
    }

    /// Aborts now the transactions that were open for longer than their timeout. A thread does so, too, when the first
    /// of them can be.
    ///
    /// # Errors
    ///
    /// If the log cannot be written.
    pub fn abort_expired(&self) -> Result<()> {
        self.inner.abort_expired()
    }

    /// Syncs everything, writes down that the log was closed in order, and lets go of the directory. Whoever uses a
    /// consumer or producer of it from now on gets [`Error::Poisoned`].
    ///
    /// # Errors
    ///
    /// If something could not be written: the next opening recovers, as after a crash.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmbeddedLog({:?})", self.inner.shared.directory)
    }
}

impl LogClient for EmbeddedLog {
    fn admin(&self) -> Result<Box<dyn Admin>> {
        Ok(Box::new(EmbeddedAdmin::new(Arc::clone(&self.inner))))
    }

    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(EmbeddedConsumer::new(Arc::clone(&self.inner), config.clone())))
    }

    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        Ok(Box::new(EmbeddedProducer::new(Arc::clone(&self.inner), config.clone())))
    }

    fn commit_interval_default(&self) -> Duration {
        // A commit is a sync, about a tenth of a millisecond on a good disk: this keeps it below a hundredth of the
        // work, and results fresh.
        Duration::from_millis(30)
    }
}

impl Inner {
    /// Returns once everything appended so far survives a power cut.
    pub(crate) fn sync(&self) -> Result<()> {
        if self.shared.syncer.wait(&self.shared)? {
            self.checkpointer.ask()?;
        }
        Ok(())
    }

    /// Lets the disk begin with what was appended, if it is much: nobody waits for this sync, and the next one, which
    /// somebody does wait for, finds less to do.
    pub(crate) fn sync_early(&self) {
        let shared = &self.shared;
        if !shared.has_threads || shared.config.durability != Durability::Fsync || !shared.syncer.begin_early() {
            return;
        }
        // Not the log itself: whoever drops its last handle expects that it is closed.
        let (of_thread, checkpointer) = (Arc::clone(shared), Arc::clone(&self.checkpointer));
        let run = move || {
            // A failure has poisoned the log, which tells everybody else; so does a failed checkpoint.
            if of_thread.syncer.wait(&of_thread).unwrap_or(false) {
                let _told_by_the_log = checkpointer.ask();
            }
            of_thread.syncer.end_early();
        };
        if thread::Builder::new().name("log-sync".to_owned()).spawn(run).is_err() {
            shared.syncer.end_early();
        }
    }

    /// What is known of a partition without files.
    pub(crate) fn known_nothing(&self) -> Known {
        Known { recovery_point: Offset::ZERO, log_start: None, is_clean: false, is_checkpointed: true }
    }

    /// See [`Checkpointer::checkpoint`].
    pub(crate) fn checkpoint(&self) -> Result<()> {
        self.checkpointer.checkpoint()
    }

    pub(crate) fn write_recovery_points(&self) -> Result<()> {
        self.checkpointer.write_recovery_points()
    }

    pub(crate) fn write_log_starts(&self) -> Result<()> {
        let _one = self.writing_log_starts.lock();
        let mut offsets = Offsets::new();
        for partition in self.all_partitions() {
            if let Some(log_start) = partition.log_start_to_note() {
                offsets.insert(partition.id.clone(), log_start);
            }
        }
        write_offsets(&*self.shared.directory, LOG_STARTS, &offsets)
    }

    pub(crate) fn all_partitions(&self) -> Vec<Arc<Partition>> {
        all_partitions(&self.topics)
    }

    fn close(&self) -> Result<()> {
        let Some(_lock) = self.lock.lock().take() else { return Ok(()) };
        self.cleaner.close();
        self.checkpointer.close();
        let closed = self.close_in_order();
        self.shared.end("the log was closed");
        self.shared.syncer.clear();
        closed
    }

    fn close_in_order(&self) -> Result<()> {
        self.shared.check()?;
        self.abort_open_transactions()?;
        self.shared.syncer.wait(&self.shared)?;
        self.transactions.close()?;
        for partition in self.all_partitions() {
            partition.seal_for_close()?;
        }
        self.write_recovery_points()?;
        self.write_log_starts()?;
        write_clean_mark(&*self.shared.directory)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log could not be closed in order; the next opening recovers");
        }
    }
}

/// The topics of a log that is being opened.
struct Loaded {
    topics: BTreeMap<TopicName, Arc<Topic>>,
    /// There was no table of topics: they are what directories there are.
    adopted: Option<Vec<TopicDescription>>,
    /// There was a checkpoint of recovery points.
    is_checkpointed: bool,
}

/// The topics in the table, each with what the checkpoints know.
fn load_topics(shared: &Arc<Shared>, is_clean: bool) -> Result<Loaded> {
    let directory = &*shared.directory;
    let table = topics_file::read(directory)?;
    let is_adopted = table.is_none();
    let descriptions = table.map_or_else(|| adopt_topics(directory), Ok)?;
    let adopted = is_adopted.then(|| descriptions.clone());
    let recovery_points = read_offsets(directory, RECOVERY_POINTS)?;
    let log_starts = read_offsets(directory, LOG_STARTS)?.unwrap_or_default();
    // A broker that was killed leaves recovery points that promise less than ours: they may lie within a batch.
    let recovery_points = recovery_points.filter(|_| is_clean || !is_adopted);
    let known = |partition: &TopicPartition| Known {
        recovery_point: recovery_points.as_ref().and_then(|known| known.get(partition)).copied().unwrap_or_default(),
        log_start: log_starts.get(partition).copied(),
        is_clean,
        is_checkpointed: recovery_points.is_some(),
    };
    let mut topics = BTreeMap::new();
    for description in descriptions {
        topics.insert(description.name.clone(), Arc::new(Topic::new(shared, description, known)?));
    }
    remove_deleted(directory)?;
    Ok(Loaded { topics, adopted, is_checkpointed: recovery_points.is_some() })
}

/// Topics of a directory that has no table yet: a new one, or one that a Kafka broker wrote.
fn adopt_topics(directory: &dyn Directory) -> Result<Vec<TopicDescription>> {
    let mut topics: BTreeMap<TopicName, TopicDescription> = BTreeMap::new();
    // What a broker knows of its topics is elsewhere: nothing is deleted before somebody says so. But it notes how far
    // it has compacted.
    let compacted = read_offsets(directory, CLEANER)?.unwrap_or_default();
    let is_compacted = |name: &TopicName| compacted.keys().any(|partition| partition.topic == *name);
    let config = |name: &TopicName| {
        let policy = is_compacted(name).then(|| ("cleanup.policy".to_owned(), "compact".to_owned()));
        policy.into_iter().chain([("retention.ms".to_owned(), "-1".to_owned())]).collect()
    };
    let entries = directory.list("").map_err(|error| Error::io("list", directory.locate(""), error))?;
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        let Some((topic, number)) = entry.name.rsplit_once('-') else { continue };
        let (Ok(name), Ok(number)) = (TopicName::new(topic), number.parse::<u32>()) else { continue };
        if number >= PARTITIONS_MAX {
            let directory = directory.locate(&entry.name);
            return Err(Error::Invalid(format!(
                "{} cannot be a partition: their numbers are below {PARTITIONS_MAX} (is this the directory of a log?)",
                directory.display()
            )));
        }
        let topic_id = read_topic_id(directory, &entry.name)?;
        let topic = topics.entry(name.clone()).or_insert_with(|| TopicDescription {
            config: config(&name),
            name,
            topic_id: topic_id.unwrap_or_else(random_id),
            partitions: 0,
        });
        topic.partitions = topic.partitions.max(number + 1);
    }
    Ok(topics.into_values().collect())
}

/// Removes directories of topics whose deletion was interrupted.
fn remove_deleted(directory: &dyn Directory) -> Result<()> {
    let entries = directory.list("").map_err(|error| Error::io("list", directory.locate(""), error))?;
    for entry in entries.iter().filter(|entry| entry.is_dir && is_deleted(&entry.name)) {
        let removed = directory.remove_dir(&entry.name);
        removed.map_err(|error| Error::io("remove", directory.locate(&entry.name), error))?;
    }
    Ok(())
}

/// Syncs every `interval` until the log is gone.
fn start_syncing(log: Weak<Inner>, interval: Duration) {
    let run = move || {
        loop {
            thread::sleep(interval);
            let Some(log) = log.upgrade() else { return };
            // A failure poisons the log, which tells everybody else.
            if log.sync().is_err() {
                return;
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("log-sync".to_owned()).spawn(run) {
        tracing::error!(%error, "cannot start the thread that syncs the log; only a full buffer or a close does");
    }
}
