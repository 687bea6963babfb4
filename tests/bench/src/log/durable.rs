//! Appends that are durable when they return, of one producer and of many at once, beside what the disk does.

use std::time::Duration;

use log_store::{
    RecordView,
    client::{LogClient, ProducerConfig},
    embedded::{Durability, EmbeddedLog},
};
use serde::Serialize;

use super::{
    Options, create, disk, partition,
    times::{Times, in_threads},
};

/// Records of an append of a producer that is alone.
const SINGLE: u64 = 1;

#[derive(Serialize)]
pub(super) struct Report {
    single_append_p50_ms: f64,
    /// The same without a log: one write and one sync, again and again.
    disk_single_append_p50_ms: f64,
    /// One file, written a mebibyte at a time, one sync at the end.
    disk_sequential_mib_per_second: f64,
    /// Many producers, over few partitions and each in its own.
    durable: Vec<Many>,
}

/// Producers that append at the same time.
#[derive(Serialize)]
struct Many {
    producers: u32,
    partitions: u32,
    batch_bytes: usize,
    records_per_second: f64,
    mib_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Of `disk_sequential_mib_per_second`.
    share_of_disk: f64,
    /// As many threads and files without a log: each writes to a file of its own and syncs it.
    disk_mib_per_second: f64,
    disk_p50_ms: f64,
    disk_p99_ms: f64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let home = options.folder()?;
    let time = Duration::from_secs(options.durable_seconds);
    let sequential = disk::sequential(home.path())?;
    let disk_single = disk::synced(home.path(), 1, options.size, time / 5)?;
    let log = options.open(&home.path().join("log"), Durability::Fsync)?;
    let single = appends(&log, (1, 1), SINGLE, options, time / 5)?;

    let bytes = options.durable_records as usize * (options.size + RECORD_OVERHEAD) + BATCH_OVERHEAD;
    let mib = |times: &Times| times.per_second() * bytes as f64 / f64::from(1 << 20);
    let disk = disk::synced(home.path(), options.producers, bytes, time)?;
    let few = options.durable_partitions.min(options.producers);
    let mut durable = Vec::new();
    for partitions in [few, options.producers] {
        let times = appends(&log, (options.producers, partitions), options.durable_records, options, time)?;
        durable.push(Many {
            producers: options.producers,
            partitions,
            batch_bytes: bytes,
            records_per_second: times.per_second() * options.durable_records as f64,
            mib_per_second: mib(&times),
            p50_ms: times.percentile(0.5),
            p99_ms: times.percentile(0.99),
            max_ms: times.percentile(1.0),
            share_of_disk: mib(&times) / sequential,
            disk_mib_per_second: mib(&disk),
            disk_p50_ms: disk.percentile(0.5),
            disk_p99_ms: disk.percentile(0.99),
        });
    }
    log.close()?;
    Ok(Report {
        single_append_p50_ms: single.percentile(0.5),
        disk_single_append_p50_ms: disk_single.percentile(0.5),
        disk_sequential_mib_per_second: sequential,
        durable,
    })
}

/// About what a record and a batch of some hundred of them take beside the values.
const RECORD_OVERHEAD: usize = 8;
const BATCH_OVERHEAD: usize = 61;

/// Each append of so many records, of producers that do nothing else, over so many partitions.
fn appends(
    log: &EmbeddedLog,
    (producers, partitions): (u32, u32),
    records: u64,
    options: &Options,
    time: Duration,
) -> anyhow::Result<Times> {
    let topic = format!("durable-{producers}-{partitions}");
    create(log, &topic, partitions, &[])?;
    in_threads(producers, time, |number| {
        let mut producer = log.producer(&ProducerConfig { batch_bytes: options.batch, ..ProducerConfig::default() })?;
        let handle = producer.open(&partition(&topic, number % partitions)?)?;
        let value = vec![b'v'; options.size];
        Ok(move || {
            for _ in 0..records {
                producer.send(handle, RecordView::new(0, None, Some(&value)))?;
            }
            Ok(producer.flush()?)
        })
    })
}
