//! A folder with a log and an application on it: what every benchmark runs in.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{
        Admin, ConsumerConfig, Isolation, LogClient, NewTopic, OffsetSpec, PartitionHandle, Polled, Producer,
        ProducerConfig, SharedClient, StartAt,
    },
    partition_of,
};
use streams_dsl::prelude::*;
use tempfile::TempDir;

use crate::Common;

const APPLICATION: &str = "bench";
/// How often the benchmark looks whether all is done: the error of its times.
const TICK: Duration = Duration::from_millis(5);
/// A benchmark that does not get ready within this time never will.
pub(crate) const READY_WAIT: Duration = Duration::from_secs(600);
const CLOSE_WAIT: Duration = Duration::from_secs(60);

/// A log in a folder, and what applications on it are told.
pub(crate) struct Bench {
    log: EmbeddedLog,
    common: Common,
    path: PathBuf,
    /// Goes after the log that lies in it.
    _folder: Option<TempDir>,
}

impl Bench {
    /// In a folder of its own, which goes when this goes.
    pub(crate) fn new(common: &Common) -> anyhow::Result<Self> {
        let folder = folder(common)?;
        let mut bench = Self::at(folder.path(), common)?;
        bench._folder = Some(folder);
        Ok(bench)
    }

    /// In a folder that stays: what is there already is found again.
    pub(crate) fn at(path: &Path, common: &Common) -> anyhow::Result<Self> {
        let log = EmbeddedLog::open(path.join("log"), LogConfig::default())?;
        Ok(Bench { log, common: common.clone(), path: path.to_owned(), _folder: None })
    }

    pub(crate) fn client(&self) -> SharedClient {
        Arc::new(self.log.clone())
    }

    pub(crate) fn create(&self, topic: &str, config: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut new = NewTopic::new(TopicName::new(topic)?, self.common.partitions());
        for (key, value) in config {
            new = new.with_config(*key, *value);
        }
        Ok(self.log.admin()?.create_topics(&[new])?)
    }

    pub(crate) fn partitions(&self) -> u32 {
        self.common.partitions()
    }

    /// Where to write the records of a topic.
    pub(crate) fn writer(&self, topic: &str) -> anyhow::Result<Writer> {
        let mut producer = self.log.producer(&ProducerConfig::default())?;
        let topic = TopicName::new(topic)?;
        let targets = (0..self.common.partitions())
            .map(|partition| producer.open(&TopicPartition::new(topic.clone(), partition)))
            .collect::<Result<_, _>>()?;
        let began_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        Ok(Writer { producer, targets, began_ms })
    }

    /// An application that is not started.
    pub(crate) fn application(&self, topology: Topology) -> anyhow::Result<Streams> {
        let mut config = StreamsConfig::builder(APPLICATION)
            .processing_guarantee(self.common.guarantee.into())
            .num_stream_threads(self.common.threads)
            .state_dir(self.state());
        if let Some(millis) = self.common.commit_ms {
            config = config.commit_interval(Duration::from_millis(millis));
        }
        if let Some(bytes) = self.common.cache {
            config = config.statestore_cache_max_bytes(bytes);
        }
        if let Some(bytes) = self.common.memory {
            config = config.memory_budget(bytes);
        }
        Ok(Streams::new(topology, config.build()?, self.client())?)
    }

    fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    /// Calls `each` with key and value of every record that readers of committed records see.
    pub(crate) fn read(&self, topic: &str, mut each: impl FnMut(Option<&[u8]>, Option<&[u8]>)) -> anyhow::Result<()> {
        self.records(topic, |_, record| {
            each(record.key, record.value);
            Ok(())
        })
    }

    /// Calls `each` with partition and record, for every record that readers of committed records see.
    pub(crate) fn records(
        &self,
        topic: &str,
        mut each: impl FnMut(u32, RecordView<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut admin = self.log.admin()?;
        let topic = TopicName::new(topic)?;
        let partitions = admin.describe_topic(&topic)?.with_context(|| format!("no topic {topic}"))?.partitions;
        let mut left = HashMap::new();
        for number in 0..partitions {
            let partition = TopicPartition::new(topic.clone(), number);
            let offset = |admin: &mut dyn Admin, spec| admin.list_offset(&partition, spec);
            let start = offset(&mut *admin, OffsetSpec::Earliest)?;
            if let Some(end) =
                offset(&mut *admin, OffsetSpec::Latest(Isolation::ReadCommitted))?.filter(|end| Some(*end) > start)
            {
                left.insert(partition, end);
            }
        }
        let mut consumer = self.log.consumer(&ConsumerConfig::default())?;
        consumer.assign(&left.keys().map(|partition| (partition.clone(), StartAt::Beginning)).collect::<Vec<_>>())?;
        while !left.is_empty() {
            let Polled::Batch(batch) = consumer.poll(Duration::from_secs(1))? else { continue };
            let mut records = batch.cursor();
            while let Some(at) = records.advance()? {
                each(batch.partition.partition, records.view(&at))?;
            }
            if left.get(&batch.partition).is_some_and(|end| batch.next >= *end) {
                left.remove(&batch.partition);
            }
        }
        Ok(())
    }
}

impl Drop for Bench {
    /// Before the folder goes: a thread of an application that has ended may hold the log a moment longer.
    fn drop(&mut self) {
        if let Err(error) = self.log.clone().close() {
            eprintln!("warning: the log was not closed in order: {error}");
        }
    }
}

/// A new folder below the one that was asked for.
pub(crate) fn folder(common: &Common) -> anyhow::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("streams-bench-");
    match &common.data {
        Some(data) => builder.tempdir_in(data).with_context(|| format!("cannot use {}", data.display())),
        None => Ok(builder.tempdir()?),
    }
}

/// Writes records to the partitions of one topic.
pub(crate) struct Writer {
    producer: Box<dyn Producer>,
    targets: Vec<PartitionHandle>,
    /// Event time of the first record.
    began_ms: i64,
}

impl Writer {
    /// Event time of record `number`: a thousand records in each millisecond from now on. Retention deletes what is old.
    pub(crate) fn time(&self, number: u64) -> i64 {
        self.began_ms + (number / 1_000).cast_signed()
    }

    /// Sends to partition `number` modulo their count.
    pub(crate) fn send(&mut self, number: u64, record: RecordView<'_>) -> anyhow::Result<()> {
        let target = self.targets[(number % self.targets.len() as u64) as usize];
        Ok(self.producer.send(target, record)?)
    }

    /// Sends to the partition of the record's key.
    pub(crate) fn send_by_key(&mut self, record: RecordView<'_>) -> anyhow::Result<()> {
        let partition = partition_of(record.key.unwrap_or_default(), u32::try_from(self.targets.len())?);
        self.send(u64::from(partition), record)
    }

    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.producer.flush()?)
    }
}

/// Starts the application and waits until it works; the time that took.
pub(crate) fn start(streams: &Streams) -> anyhow::Result<Duration> {
    let started = Instant::now();
    streams.start()?;
    streams.wait_for(State::Running, READY_WAIT)?;
    Ok(started.elapsed())
}

/// Waits until every input is processed and committed.
pub(crate) fn wait_until_done(streams: &Streams) -> anyhow::Result<()> {
    loop {
        if let Some(error) = streams.error() {
            bail!("the application stopped: {error}");
        }
        if streams.lags()?.iter().all(|partition| partition.lag == 0) {
            return Ok(());
        }
        std::thread::sleep(TICK);
    }
}

pub(crate) fn close(streams: &Streams) -> anyhow::Result<()> {
    if !streams.close(CLOSE_WAIT) {
        bail!("the application did not close within {} s", CLOSE_WAIT.as_secs());
    }
    match streams.error() {
        Some(error) => bail!("the application stopped: {error}"),
        None => Ok(()),
    }
}
