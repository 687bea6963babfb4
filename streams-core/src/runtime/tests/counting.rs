//! A small application whose every effect can be counted: words in, counts out, with a store that shows its life.
//!
//! ```text
//! words (n partitions) -> count (store "counts", changelog) -> counts
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, NewTopic, OffsetSpec, Polled, ProducerConfig, SharedClient, StartAt},
};
use parking_lot::Mutex;

use super::faulty_log::Journal;
use crate::{
    ProcessingGuarantee, Record, Result, StreamsConfig, StreamsConfigBuilder,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    runtime::{State, Streams},
    state::{Changelog, ChangelogCleanup, ChangelogSink, StateStore, StoreBuilder, StoreContext},
    task::TaskId,
    topology::{Sink, Source, Topology},
};

pub(super) const WAIT: Duration = Duration::from_secs(60);

/// What the files of all stores hold: it outlives applications, as a disk does.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Mutex<HashMap<TaskId, Image>>>);

#[derive(Clone, Default)]
struct Image {
    rows: BTreeMap<String, u64>,
    checkpoint: Option<Offset>,
}

impl Disk {
    /// Pretends that the files are further than they are.
    pub(super) fn set_checkpoint(&self, partition: u32, offset: Offset) {
        self.0.lock().entry(TaskId { subtopology: 0, partition }).or_default().checkpoint = Some(offset);
    }

    pub(super) fn wipe(&self) {
        self.0.lock().clear();
    }
}

/// Counts by word. Committed rows reach the disk at once; uncommitted ones never do.
struct CountStore {
    task: TaskId,
    disk: Disk,
    journal: Arc<Journal>,
    rows: BTreeMap<String, u64>,
    dirty: BTreeMap<String, u64>,
    checkpoint: Option<Offset>,
}

impl StateStore for CountStore {
    fn name(&self) -> &str {
        "counts"
    }
    fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 16
    }
    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
        self.journal.write("write changelog");
        for (word, count) in &self.dirty {
            sink.log(word.as_bytes(), Some(&count.to_be_bytes()), 0, log_store::HeadersView::EMPTY)?;
        }
        Ok(())
    }
    fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()> {
        self.journal.write("store committed");
        self.dirty.clear();
        self.checkpoint = changelog_end.or(self.checkpoint);
        self.flush()
    }
    fn rollback(&mut self) -> Result<()> {
        unreachable!("a task is made anew after a failure")
    }
    fn checkpoint(&self) -> Option<Offset> {
        self.checkpoint
    }
    fn restore(&mut self, _offset: Offset, record: RecordView<'_>) -> Result<()> {
        let word = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        self.rows.insert(word, u64::from_be_bytes(record.value.unwrap().try_into().unwrap()));
        Ok(())
    }
    fn restored(&mut self, next: Offset) -> Result<()> {
        self.journal.write(format!("restored {} to {next}", self.task));
        self.checkpoint = Some(next);
        Ok(())
    }
    fn reset(&mut self, _reason: &str) -> Result<()> {
        self.journal.write(format!("reset {}", self.task));
        self.rows.clear();
        self.checkpoint = None;
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        let image = Image { rows: self.rows.clone(), checkpoint: self.checkpoint };
        self.disk.0.lock().insert(self.task, image);
        Ok(())
    }
    fn save(&mut self) -> Result<()> {
        self.journal.write(format!("save {}", self.task));
        self.flush()
    }
    fn close(&mut self) -> Result<()> {
        self.journal.write(format!("close {}", self.task));
        if self.dirty.is_empty() { self.flush() } else { Ok(()) }
    }
}

pub(super) struct CountStoreBuilder {
    pub(super) disk: Disk,
    pub(super) journal: Arc<Journal>,
    pub(super) changelog: Changelog,
}

impl StoreBuilder for CountStoreBuilder {
    fn name(&self) -> &str {
        "counts"
    }
    fn changelog(&self) -> &Changelog {
        &self.changelog
    }
    fn is_persistent(&self) -> bool {
        true
    }
    fn is_caching(&self) -> bool {
        false
    }
    fn build(&self, context: &StoreContext) -> Result<Box<dyn StateStore>> {
        let task = context.task();
        self.journal.write(format!("open {task}"));
        let image = self.disk.0.lock().get(&task).cloned().unwrap_or_default();
        Ok(Box::new(CountStore {
            task,
            disk: self.disk.clone(),
            journal: Arc::clone(&self.journal),
            rows: image.rows,
            dirty: BTreeMap::new(),
            checkpoint: image.checkpoint,
        }))
    }
}

/// Counts words. The word `panic!` panics, `error!` fails, `slow!` takes 20 ms.
#[derive(Default)]
struct Count {
    store: Option<StoreHandle<CountStore>>,
}

impl Processor<String, String, String, u64> for Count {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, u64>) -> ProcessResult {
        self.store = Some(ctx.store_handle("counts")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, u64>,
    ) -> ProcessResult {
        match record.value.as_str() {
            "panic!" => panic!("a word that panics"),
            "error!" => return Err("a word that fails".into()),
            "slow!" => std::thread::sleep(Duration::from_millis(20)),
            _ => {}
        }
        let store = ctx.store(self.store.unwrap());
        let count = store.rows.entry(record.value.clone()).or_default();
        *count += 1;
        let count = *count;
        store.dirty.insert(record.value.clone(), count);
        ctx.forward(record.map_word(count))
    }
}

trait MapWord {
    fn map_word(self, count: u64) -> Record<String, u64>;
}

impl MapWord for Record<String, String> {
    fn map_word(self, count: u64) -> Record<String, u64> {
        let word = self.value.clone();
        self.with_key(word).with_value(count)
    }
}

/// A log with the topics of the application, and everything that outlives the application.
pub(super) struct World {
    pub(super) log: SharedClient,
    pub(super) client: SharedClient,
    pub(super) journal: Arc<Journal>,
    pub(super) disk: Disk,
    pub(super) state_dir: tempfile::TempDir,
    pub(super) partitions: u32,
}

impl World {
    pub(super) fn new(partitions: u32) -> Self {
        let log: SharedClient = super::log();
        let journal = Arc::new(Journal::default());
        let topic = |name: &str| NewTopic::new(TopicName::new(name).unwrap(), partitions);
        let topics = ["words", "counts", "app-counts-changelog"].map(topic);
        log.admin().unwrap().create_topics(&topics).unwrap();
        let client = Arc::new(super::faulty_log::FaultyLog { log: Arc::clone(&log), journal: Arc::clone(&journal) });
        World { log, client, journal, disk: Disk::default(), state_dir: tempfile::tempdir().unwrap(), partitions }
    }

    pub(super) fn topology(&self) -> Topology {
        let cleanup = ChangelogCleanup::Compact;
        self.topology_with(Changelog::Topic { cleanup, config: BTreeMap::new() })
    }

    pub(super) fn topology_with(&self, changelog: Changelog) -> Topology {
        let store: Arc<dyn StoreBuilder> =
            Arc::new(CountStoreBuilder { disk: self.disk.clone(), journal: Arc::clone(&self.journal), changelog });
        let mut topology = Topology::new();
        topology
            .add_source(Source::<String, String>::new("source", "words"))
            .add_processor("count", &["source"], Count::default)
            .add_state_store(store, &["count"])
            .add_sink(Sink::<String, u64>::new("sink", "counts"), &["count"]);
        topology
    }

    pub(super) fn config(&self, guarantee: ProcessingGuarantee) -> StreamsConfigBuilder {
        StreamsConfig::builder("app")
            .processing_guarantee(guarantee)
            .commit_interval(Duration::from_millis(10))
            .state_dir(self.state_dir.path())
    }

    pub(super) fn streams(&self, config: StreamsConfigBuilder) -> Streams {
        Streams::new(self.topology(), config.build().unwrap(), Arc::clone(&self.client)).unwrap()
    }

    /// Started, and running.
    pub(super) fn run(&self, config: StreamsConfigBuilder) -> Streams {
        let streams = self.streams(config);
        streams.start().unwrap();
        streams.wait_for(State::Running, WAIT).unwrap();
        streams
    }

    /// The same log and topics, for another instance: its own disk, directory and journal.
    pub(super) fn elsewhere(&self) -> Self {
        let journal = Arc::new(Journal::default());
        let (log, disk) = (Arc::clone(&self.log), Disk::default());
        let client = Arc::new(super::faulty_log::FaultyLog { log: Arc::clone(&log), journal: Arc::clone(&journal) });
        World { log, client, journal, disk, state_dir: tempfile::tempdir().unwrap(), partitions: self.partitions }
    }

    /// The same instance after a crash: what was on its disk is there, its connection to the log is new.
    pub(super) fn reborn(self) -> Self {
        let journal = Arc::new(Journal::default());
        let client =
            Arc::new(super::faulty_log::FaultyLog { log: Arc::clone(&self.log), journal: Arc::clone(&journal) });
        World { client, journal, ..self }
    }

    /// Appends words, in turn to the partitions.
    pub(super) fn say(&self, words: &[&str]) {
        let mut producer = self.log.producer(&ProducerConfig::default()).unwrap();
        for (place, word) in words.iter().enumerate() {
            let partition = TopicPartition::new(TopicName::new("words").unwrap(), place as u32 % self.partitions);
            let handle = producer.open(&partition).unwrap();
            let record = RecordView::new(1_000 + place as i64, Some(b"k"), Some(word.as_bytes()));
            producer.send(handle, record).unwrap();
        }
        producer.flush().unwrap();
    }

    /// Waits until everything said so far is committed.
    pub(super) fn wait_until_consumed(&self) {
        let mut admin = self.log.admin().unwrap();
        let deadline = Instant::now() + WAIT;
        for partition in 0..self.partitions {
            let partition = TopicPartition::new(TopicName::new("words").unwrap(), partition);
            let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadCommitted)).unwrap().unwrap();
            loop {
                let offsets = admin.group_offsets("app").unwrap();
                let at = offsets.iter().find(|(known, _)| *known == partition).map(|(_, offset)| offset.offset);
                if end == Offset::ZERO || at == Some(end) {
                    break;
                }
                assert!(Instant::now() < deadline, "{partition} is at {at:?} of {end}: {:#?}", self.journal.take());
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Committed records of a topic: key, and value as a number.
    pub(super) fn read(&self, topic: &str) -> Vec<(String, u64)> {
        let mut records = Vec::new();
        for partition in 0..self.partitions {
            let partition = TopicPartition::new(TopicName::new(topic).unwrap(), partition);
            let mut consumer = self.log.consumer(&ConsumerConfig::default()).unwrap();
            consumer.assign(&[(partition.clone(), StartAt::Beginning)]).unwrap();
            let end = consumer.end_offset(&partition, Isolation::ReadCommitted).unwrap();
            while consumer.position(&partition).unwrap() < end {
                let Polled::Batch(batch) = consumer.poll(Duration::from_millis(100)).unwrap() else { continue };
                let mut cursor = batch.cursor();
                while let Some(at) = cursor.advance().unwrap() {
                    let record = cursor.view(&at);
                    let word = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                    records.push((word, u64::from_be_bytes(record.value.unwrap().try_into().unwrap())));
                }
            }
        }
        records
    }

    /// The last count of each word in `topic`, each word in one partition.
    pub(super) fn last_counts(&self, topic: &str) -> BTreeMap<String, u64> {
        self.read(topic).into_iter().collect()
    }
}

/// Records of partition 0 of a topic, as texts, as soon as there are `count`.
pub(super) fn read_texts(log: &SharedClient, topic: &str, count: usize) -> Vec<(String, String)> {
    let partition = TopicPartition::new(TopicName::new(topic).unwrap(), 0);
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(partition, StartAt::Beginning)]).unwrap();
    let mut records = Vec::new();
    let deadline = Instant::now() + WAIT;
    while records.len() < count && Instant::now() < deadline {
        let Polled::Batch(batch) = consumer.poll(Duration::from_millis(100)).unwrap() else { continue };
        let mut cursor = batch.cursor();
        while let Some(at) = cursor.advance().unwrap() {
            let record = cursor.view(&at);
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            records.push((text(record.key), text(record.value)));
        }
    }
    records
}
