//! Compaction of a log in which each key was written ten times.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};
use log_store::{
    RecordView,
    client::{ConsumerConfig, Isolation, LogClient, Polled, ProducerConfig, StartAt},
    embedded::{Durability, EmbeddedLog},
};
use serde::Serialize;

use super::{Options, create, partition};
use crate::usage::Started;

/// How often each key was written.
const WRITES: u64 = 10;

#[derive(Serialize)]
pub(super) struct Report {
    /// Bytes before, by the time that it took with all syncs.
    compaction_mib_per_second: f64,
    compaction_cpu_seconds: f64,
    compaction_read_bytes: u64,
    compaction_kept_bytes: u64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let home = options.folder()?;
    let log = options.open(home.path(), Durability::Never)?;
    create(&log, "table", 1, &[("cleanup.policy", "compact"), ("segment.bytes", "8388608")])?;
    let keys = (options.records / WRITES).max(1);
    fill(&log, keys, options)?;
    log.close()?;
    // What is cleaned was synced long before.
    let log = options.open(home.path(), Durability::Never)?;
    let (started, begun) = (Started::now(), Instant::now());
    let report = log.clean()?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = started.usage().cpu_seconds;
    let left = keys_left(&log)?;
    ensure!(left == keys.min(options.records), "{left} of {keys} keys are left");
    log.close()?;
    Ok(Report {
        compaction_mib_per_second: report.bytes_read as f64 / f64::from(1 << 20) / seconds,
        compaction_cpu_seconds: cpu_seconds,
        compaction_read_bytes: report.bytes_read,
        compaction_kept_bytes: report.bytes_kept,
    })
}

fn fill(log: &EmbeddedLog, keys: u64, options: &Options) -> anyhow::Result<()> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition("table", 0)?)?;
    let value = vec![b'v'; options.size];
    for number in 0..options.records {
        let key = (number % keys).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        producer.send(handle, RecordView::new(0, Some(&key), Some(&value)))?;
    }
    Ok(producer.flush()?)
}

/// Number of keys in the log.
fn keys_left(log: &EmbeddedLog) -> anyhow::Result<u64> {
    let from = partition("table", 0)?;
    let mut consumer = log.consumer(&ConsumerConfig::default())?;
    consumer.assign(&[(from.clone(), StartAt::Beginning)])?;
    let end = consumer.end_offset(&from, Isolation::ReadCommitted)?;
    let mut found = HashSet::new();
    while consumer.position(&from).is_some_and(|position| position < end) {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(10))? else {
            bail!("the compacted log ends early")
        };
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance()? {
            found.insert(cursor.view(&record).key.map(<[u8]>::to_vec));
        }
    }
    Ok(found.len() as u64)
}
