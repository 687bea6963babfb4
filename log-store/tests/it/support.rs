//! What the scenarios need of the API: open, write, read. They know only data.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use log_store::{
    Offset, RecordView, Result, TopicName, TopicPartition,
    client::{
        ConsumerConfig, FetchedBatch, Isolation, LogClient, NewTopic, OffsetReset, Polled, Producer, ProducerConfig,
        StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{Faults, MemoryDirectory},
    },
};
use proptest::{prelude::*, test_runner::RngSeed};

/// Partition `number` of topic `topic`.
pub(crate) fn partition(topic: &str, number: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), number)
}

/// A log in memory.
pub(crate) fn open_in(directory: &MemoryDirectory) -> EmbeddedLog {
    EmbeddedLog::open_in(Arc::new(directory.clone()), LogConfig::default()).unwrap()
}

/// Creates a topic with settings.
pub(crate) fn create(log: &EmbeddedLog, topic: &str, partitions: u32, config: &[(&str, &str)]) {
    let mut new = NewTopic::new(TopicName::new(topic).unwrap(), partitions);
    for (name, value) in config {
        new = new.with_config(*name, *value);
    }
    log.admin().unwrap().create_topics(&[new]).unwrap();
}

/// A producer with default settings.
pub(crate) fn producer(log: &EmbeddedLog) -> Box<dyn Producer> {
    log.producer(&ProducerConfig::default()).unwrap()
}

/// Sends values to one partition, a flush after each; the timestamp is the value's place.
pub(crate) fn produce(log: &EmbeddedLog, to: &TopicPartition, values: &[&str]) -> Result<()> {
    let mut producer = producer(log);
    let handle = producer.open(to)?;
    for (index, value) in values.iter().enumerate() {
        producer.send(handle, RecordView::new(index as i64, None, Some(value.as_bytes())))?;
        producer.flush()?;
    }
    Ok(())
}

/// Hands out all batches that are there now, to a reader of committed records.
pub(crate) fn each_batch(log: &EmbeddedLog, from: &TopicPartition, mut see: impl FnMut(&FetchedBatch)) {
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(from.clone(), StartAt::Beginning)]).unwrap();
    let end = consumer.end_offset(from, Isolation::ReadCommitted).unwrap();
    while consumer.position(from).unwrap() < end {
        match consumer.poll(Duration::from_secs(5)).unwrap() {
            Polled::Batch(batch) => see(&batch),
            other => panic!("{other:?} before the end {end} of {from}"),
        }
    }
}

/// Numbers by chance, the same for the same seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }
}

/// All values from `start` on that are there now.
pub(crate) fn read_from(log: &EmbeddedLog, from: &TopicPartition, start: StartAt) -> Result<Vec<String>> {
    let config = ConsumerConfig { offset_reset: OffsetReset::None, ..ConsumerConfig::default() };
    let mut consumer = log.consumer(&config)?;
    consumer.assign(&[(from.clone(), start)])?;
    let end = consumer.end_offset(from, Isolation::ReadCommitted)?;
    let mut values = Vec::new();
    while consumer.position(from).unwrap_or(end) < end {
        if let Polled::Batch(batch) = consumer.poll(Duration::from_secs(5))? {
            let mut cursor = batch.cursor();
            while let Some(record) = cursor.advance()? {
                let view = cursor.view(&record);
                values.push(String::from_utf8(view.value.unwrap_or_default().to_vec()).unwrap());
            }
        }
    }
    Ok(values)
}

/// All values.
pub(crate) fn read(log: &EmbeddedLog, from: &TopicPartition) -> Vec<String> {
    read_from(log, from, StartAt::Beginning).unwrap()
}

/// An offset.
pub(crate) fn at(offset: u64) -> StartAt {
    StartAt::Offset(Offset::new(offset))
}

/// How a disk fails: what it does wrong, and after how many more calls of that kind (bytes, for a full one).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failing {
    /// What a sync should have made durable stays in doubt.
    Sync(u64),
    /// Half of the bytes are written.
    Write(u64),
    Read(u64),
    /// So many bytes fit, all files together.
    Full(u64),
}

impl Failing {
    pub(crate) fn faults(self) -> Faults {
        let usual = Faults::default();
        match self {
            Failing::Sync(after) => Faults { failing_sync: Some(after), ..usual },
            Failing::Write(after) => Faults { failing_write: Some(after), ..usual },
            Failing::Read(after) => Faults { failing_read: Some(after), ..usual },
            Failing::Full(bytes) => Faults { capacity_bytes: Some(bytes), ..usual },
        }
    }

    /// One of them for each number.
    pub(crate) fn by_number(number: u64) -> Self {
        let after = number / 4 % 16;
        match number % 4 {
            0 => Failing::Sync(after),
            1 => Failing::Write(after),
            2 => Failing::Read(after),
            _ => Failing::Full(after * 2_000),
        }
    }
}

/// Any of them.
pub(crate) fn failing() -> impl Strategy<Value = Failing> {
    (0..64_u64).prop_map(Failing::by_number)
}

/// How a model test runs: `usual` cases, the same each time; or as many as `MODEL_CASES` says, from a seed that is printed
/// and that `MODEL_SEED` repeats.
pub(crate) fn model_config(usual: u32) -> ProptestConfig {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let by_chance = || if is_longer_run() { seed_by_chance() } else { 1 };
    let seed = number("MODEL_SEED").unwrap_or_else(by_chance);
    println!("MODEL_SEED={seed}");
    let cases = number("MODEL_CASES").and_then(|cases| cases.try_into().ok()).unwrap_or(usual);
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

/// True if somebody asks for another run of the model tests than the usual one.
pub(crate) fn is_longer_run() -> bool {
    std::env::var_os("MODEL_CASES").is_some() || std::env::var_os("MODEL_SEED").is_some()
}

fn seed_by_chance() -> u64 {
    RandomState::new().hash_one(0)
}
