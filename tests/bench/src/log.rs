//! The log alone: append, fetch, durable appends of many producers, compaction.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, LogClient, NewTopic, OffsetSpec, Polled, ProducerConfig, StartAt},
    embedded::{Durability, EmbeddedLog, LogConfig},
};
use serde::Serialize;

use crate::{number, print, usage::Started};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records to append and to fetch
    #[arg(long, default_value = "5M", value_parser = number, value_name = "N")]
    records: u64,

    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    size: usize,

    /// Bytes of a batch
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    batch: usize,

    /// Producers that wait for a sync after each batch of theirs, at the same time
    #[arg(long, default_value_t = 64, value_name = "N")]
    producers: u32,

    /// How long they do
    #[arg(long, default_value_t = 5, value_name = "S")]
    durable_seconds: u64,

    /// Folder for the log; a folder below it is made and deleted [default: the temporary folder]
    #[arg(long, value_name = "DIR")]
    data: Option<std::path::PathBuf>,

    /// Prints one line of JSON instead of one for people
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    records: u64,
    size: usize,
    batch: usize,
    append_records_per_second: f64,
    append_mib_per_second: f64,
    append_synced_records_per_second: f64,
    fetch_records_per_second: f64,
    fetch_cpu_seconds: f64,
    producers: u32,
    durable_records_per_second: f64,
    durable_mib_per_second: f64,
    durable_p50_ms: f64,
    durable_p99_ms: f64,
    durable_max_ms: f64,
    single_append_p50_ms: f64,
    time_lookup_us: f64,
    compaction_mib_per_second: f64,
    open_clean_ms: f64,
    peak_rss_bytes: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let home = match &options.data {
        Some(data) => tempfile::tempdir_in(data)?,
        None => tempfile::tempdir()?,
    };
    let started = Started::now();
    let config = |durability| LogConfig { durability, clean_interval: None, ..LogConfig::default() };
    let open = |durability| EmbeddedLog::open(home.path().join("log"), config(durability));

    let log = open(Durability::Never)?;
    create(&log, "plain", 1, &[])?;
    let append = append(&log, "plain", options)?;
    log.close()?;
    let opening = Instant::now();
    let log = open(Durability::Fsync)?;
    let open_clean = opening.elapsed();
    let (fetch, fetch_cpu) = fetch(&log, options)?;
    let time_lookup = look_up(&log, options)?;
    create(&log, "synced", 1, &[])?;
    let synced = append_synced(&log, options)?;
    let (single, _) = durable(&log, "single", 1, 1, options)?;
    let (many, seconds) = durable(&log, "many", options.producers, BATCH_RECORDS, options)?;
    log.close()?;
    let compaction = compact(options)?;

    let per_second = |seconds: f64| options.records as f64 / seconds;
    let mib = |records: f64| records * options.size as f64 / f64::from(1 << 20);
    let durable_rate = many.len() as f64 * BATCH_RECORDS as f64 / seconds;
    print(
        options.json,
        &Report {
            bench: "log",
            records: options.records,
            size: options.size,
            batch: options.batch,
            append_records_per_second: per_second(append),
            append_mib_per_second: mib(per_second(append)),
            append_synced_records_per_second: per_second(synced),
            fetch_records_per_second: per_second(fetch),
            fetch_cpu_seconds: fetch_cpu,
            producers: options.producers,
            durable_records_per_second: durable_rate,
            durable_mib_per_second: mib(durable_rate),
            durable_p50_ms: percentile(&many, 0.5),
            durable_p99_ms: percentile(&many, 0.99),
            durable_max_ms: percentile(&many, 1.0),
            single_append_p50_ms: percentile(&single, 0.5),
            time_lookup_us: time_lookup,
            compaction_mib_per_second: compaction,
            open_clean_ms: open_clean.as_secs_f64() * 1_000.0,
            peak_rss_bytes: started.usage().peak_rss_bytes,
        },
    )
}

/// Records of one durable append, where there are many producers.
const BATCH_RECORDS: u64 = 500;

fn create(log: &EmbeddedLog, topic: &str, partitions: u32, config: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut new = NewTopic::new(TopicName::new(topic)?, partitions);
    for (name, value) in config {
        new = new.with_config(*name, *value);
    }
    Ok(log.admin()?.create_topics(&[new])?)
}

fn partition(topic: &str, number: u32) -> anyhow::Result<TopicPartition> {
    Ok(TopicPartition::new(TopicName::new(topic)?, number))
}

/// Seconds to append all records, in full batches, without a sync.
fn append(log: &EmbeddedLog, topic: &str, options: &Options) -> anyhow::Result<f64> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition(topic, 0)?)?;
    let value = vec![b'v'; options.size];
    let begun = Instant::now();
    for number in 0..options.records {
        producer.send(handle, RecordView::new(i64::try_from(number)?, None, Some(&value)))?;
    }
    producer.flush()?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(
        producer.acknowledged(handle).map(log_store::Offset::value) == Some(options.records),
        "records are missing"
    );
    Ok(seconds)
}

/// The same with a sync for each batch, as Kafka's `flush.messages=1`.
fn append_synced(log: &EmbeddedLog, options: &Options) -> anyhow::Result<f64> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition("synced", 0)?)?;
    let value = vec![b'v'; options.size];
    let per_batch = (options.batch / (options.size + 10)).max(1) as u64;
    let begun = Instant::now();
    for number in 0..options.records {
        producer.send(handle, RecordView::new(0, None, Some(&value)))?;
        if (number + 1) % per_batch == 0 {
            producer.flush()?;
        }
    }
    producer.flush()?;
    Ok(begun.elapsed().as_secs_f64())
}

/// Seconds, and processor seconds, to read all records back from the files, each one decoded.
fn fetch(log: &EmbeddedLog, options: &Options) -> anyhow::Result<(f64, f64)> {
    let from = partition("plain", 0)?;
    let mut consumer = log.consumer(&ConsumerConfig::default())?;
    consumer.assign(&[(from, StartAt::Beginning)])?;
    let (started, mut records, mut bytes) = (Started::now(), 0, 0);
    while records < options.records {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(10))? else {
            bail!("{records} records are there")
        };
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance()? {
            bytes += cursor.view(&record).value.map_or(0, <[u8]>::len) as u64;
            records += 1;
        }
    }
    ensure!(bytes == records * options.size as u64, "{bytes} bytes in {records} records");
    let usage = started.usage();
    Ok((usage.seconds, usage.cpu_seconds))
}

/// Microseconds to find the offset of a time, all over the log.
fn look_up(log: &EmbeddedLog, options: &Options) -> anyhow::Result<f64> {
    const LOOK_UPS: u64 = 2_000;
    let (of, mut admin) = (partition("plain", 0)?, log.admin()?);
    let begun = Instant::now();
    for number in 0..LOOK_UPS {
        let time = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % options.records;
        let found = admin.list_offset(&of, OffsetSpec::Timestamp(i64::try_from(time)?))?;
        ensure!(found.map(log_store::Offset::value) == Some(time), "{found:?} at time {time}");
    }
    Ok(begun.elapsed().as_secs_f64() * 1e6 / LOOK_UPS as f64)
}

/// Milliseconds of each durable append, of producers that do nothing else, and how long they did.
fn durable(
    log: &EmbeddedLog,
    topic: &str,
    producers: u32,
    records: u64,
    options: &Options,
) -> anyhow::Result<(Vec<f64>, f64)> {
    create(log, topic, producers, &[])?;
    let all = Mutex::new(Vec::new());
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.durable_seconds);
    let one = |number: u32| -> anyhow::Result<()> {
        let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
        let handle = producer.open(&partition(topic, number)?)?;
        let (value, mut times) = (vec![b'v'; options.size], Vec::new());
        while Instant::now() < end {
            let begun = Instant::now();
            for _ in 0..records {
                producer.send(handle, RecordView::new(0, None, Some(&value)))?;
            }
            producer.flush()?;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut times);
        Ok(())
    };
    thread::scope(|scope| {
        let one = &one;
        let running: Vec<_> = (0..producers).map(|number| scope.spawn(move || one(number))).collect();
        running.into_iter().try_for_each(|thread| thread.join().ok().context("a producer panicked")?)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    times.sort_unstable_by(f64::total_cmp);
    Ok((times, seconds))
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
}

/// MiB that compaction reads in a second, of a log in which each key is written ten times.
fn compact(options: &Options) -> anyhow::Result<f64> {
    let home = match &options.data {
        Some(data) => tempfile::tempdir_in(data)?,
        None => tempfile::tempdir()?,
    };
    let config = LogConfig {
        durability: Durability::Never,
        clean_interval: None,
        cleaner_bytes_per_second: None,
        ..LogConfig::default()
    };
    let log = Arc::new(EmbeddedLog::open(home.path(), config)?);
    create(&log, "table", 1, &[("cleanup.policy", "compact"), ("segment.bytes", "8388608")])?;
    let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition("table", 0)?)?;
    let value = vec![b'v'; options.size];
    let keys = (options.records / 10).max(1);
    for number in 0..options.records {
        let key = (number % keys).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        producer.send(handle, RecordView::new(0, Some(&key), Some(&value)))?;
    }
    producer.flush()?;
    drop(producer);
    let begun = Instant::now();
    let report = log.clean()?;
    let seconds = begun.elapsed().as_secs_f64();
    // The last value of each key is there, and little else beside the segment that is written to.
    let mut consumer = log.consumer(&ConsumerConfig::default())?;
    let from = partition("table", 0)?;
    consumer.assign(&[(from.clone(), StartAt::Beginning)])?;
    let end = consumer.end_offset(&from, Isolation::ReadCommitted)?;
    let mut found = std::collections::HashSet::new();
    while consumer.position(&from).is_some_and(|position| position < end) {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(10))? else {
            bail!("the compacted log ends early")
        };
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance()? {
            found.insert(cursor.view(&record).key.map(<[u8]>::to_vec));
        }
    }
    ensure!(found.len() as u64 == keys.min(options.records), "{} of {keys} keys are left", found.len());
    Ok(report.bytes_read as f64 / f64::from(1 << 20) / seconds)
}
