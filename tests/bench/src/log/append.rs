//! Records in and out: appended without a sync and with one for each batch, and read back.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use log_store::{
    RecordView,
    client::{ConsumerConfig, LogClient, Polled, ProducerConfig, StartAt},
    embedded::{Durability, EmbeddedLog},
};
use serde::Serialize;

use super::{Options, create, partition};
use crate::usage::Started;

#[derive(Serialize)]
pub(super) struct Report {
    append_records_per_second: f64,
    append_mib_per_second: f64,
    append_synced_records_per_second: f64,
    fetch_records_per_second: f64,
    fetch_cpu_seconds: f64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let home = options.folder()?;
    let log = options.open(home.path(), Durability::Never)?;
    create(&log, "plain", 1, &[])?;
    let appended = append(&log, "plain", options.batch, options)?;
    log.close()?;
    // Again from the files.
    let log = options.open(home.path(), Durability::Fsync)?;
    let (fetched, fetch_cpu) = fetch(&log, options)?;
    create(&log, "synced", 1, &[])?;
    let synced = append_synced(&log, options)?;
    log.close()?;
    let per_second = |seconds: f64| options.records as f64 / seconds;
    Ok(Report {
        append_records_per_second: per_second(appended),
        append_mib_per_second: per_second(appended) * options.size as f64 / f64::from(1 << 20),
        append_synced_records_per_second: per_second(synced),
        fetch_records_per_second: per_second(fetched),
        fetch_cpu_seconds: fetch_cpu,
    })
}

/// Seconds to append all records, in full batches, without a sync. The time of a record is its number.
pub(super) fn append(log: &EmbeddedLog, topic: &str, batch_bytes: usize, options: &Options) -> anyhow::Result<f64> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes, ..ProducerConfig::default() })?;
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
