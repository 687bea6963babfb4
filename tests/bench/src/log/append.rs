//! Records in and out: appended without a sync and with one for each batch, and read back.

use std::time::Duration;

use anyhow::{bail, ensure};
use log_store::{
    RecordView,
    client::{ConsumerConfig, LogClient, Polled, ProducerConfig, StartAt},
    embedded::{Durability, EmbeddedLog},
};
use serde::Serialize;

use super::{Options, create, partition};
use crate::usage::{Started, Usage};

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) append: Speed,
    /// With a sync for each batch.
    pub(super) append_synced: Speed,
    pub(super) fetch: Speed,
}

/// By the clock, and by the processor time of all that take part.
#[derive(Serialize)]
pub(super) struct Speed {
    pub(super) records_per_second: f64,
    pub(super) records_per_cpu_second: f64,
}

impl Speed {
    fn new(options: &Options, usage: &Usage) -> Self {
        let records = options.records as f64;
        Speed { records_per_second: records / usage.seconds, records_per_cpu_second: records / usage.cpu_seconds }
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let home = options.folder()?;
    let log = options.open(home.path(), Durability::Never)?;
    create(&log, "plain", 1, &[])?;
    let started = Started::now();
    append(&log, "plain", options.batch, options)?;
    let appended = started.usage();
    log.close()?;
    // Again from the files.
    let log = options.open(home.path(), Durability::Fsync)?;
    let fetched = fetch(&log, options)?;
    create(&log, "synced", 1, &[])?;
    let started = Started::now();
    append_synced(&log, options)?;
    let synced = started.usage();
    log.close()?;
    Ok(Report {
        append: Speed::new(options, &appended),
        append_synced: Speed::new(options, &synced),
        fetch: Speed::new(options, &fetched),
    })
}

/// Appends all records, in full batches, without a sync. The time of a record is its number.
pub(super) fn append(log: &EmbeddedLog, topic: &str, batch_bytes: usize, options: &Options) -> anyhow::Result<()> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition(topic, 0)?)?;
    let value = vec![b'v'; options.size];
    for number in 0..options.records {
        producer.send(handle, RecordView::new(i64::try_from(number)?, None, Some(&value)))?;
    }
    producer.flush()?;
    ensure!(
        producer.acknowledged(handle).map(log_store::Offset::value) == Some(options.records),
        "records are missing"
    );
    Ok(())
}

/// The same with a sync for each batch, as Kafka's `flush.messages=1`.
fn append_synced(log: &EmbeddedLog, options: &Options) -> anyhow::Result<()> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition("synced", 0)?)?;
    let value = vec![b'v'; options.size];
    let per_batch = (options.batch / (options.size + 10)).max(1) as u64;
    for number in 0..options.records {
        producer.send(handle, RecordView::new(0, None, Some(&value)))?;
        if (number + 1) % per_batch == 0 {
            producer.flush()?;
        }
    }
    Ok(producer.flush()?)
}

/// Reads all records back from the files, each one decoded.
fn fetch(log: &EmbeddedLog, options: &Options) -> anyhow::Result<Usage> {
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
    Ok(started.usage())
}
