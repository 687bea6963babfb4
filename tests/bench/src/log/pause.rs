//! A consumer that stops reading while producers push at full speed: what memory that costs.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use log_store::{
    RecordView,
    client::{Consumer, ConsumerConfig, LogClient, Polled, ProducerConfig, StartAt},
    embedded::{Durability, EmbeddedLog, LogConfig},
};
use serde::Serialize;

use super::{Options, create, partition};
use crate::usage::rss_bytes;

const PRODUCERS: u32 = 4;
const BATCH_BYTES: usize = 1 << 20;
/// What the topic keeps of each partition on the disk, so that a long pause does not fill it.
const RETAINED_BYTES: &str = "268435456";
const SEGMENT_BYTES: &str = "67108864";
/// A batch of a producer is built while the one before is on its way.
const BATCHES_PER_PRODUCER: usize = 2;
/// What allocators and threads may take beside what is stated.
const UNSTATED_BYTES: u64 = 64 << 20;

#[derive(Serialize)]
pub(super) struct Report {
    pause_seconds: u64,
    pause_appended_bytes: u64,
    /// Memory of the process when the consumer stops, and the most while it does not read.
    pause_rss_before_bytes: u64,
    pause_rss_peak_bytes: u64,
    /// What the settings allow for that: fresh batches and open ones.
    pause_limit_bytes: u64,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let home = options.folder()?;
    let config = LogConfig {
        durability: Durability::Fsync,
        clean_interval: Some(Duration::from_secs(1)),
        ..LogConfig::default()
    };
    let limit = config.tail_bytes_max + PRODUCERS as usize * BATCHES_PER_PRODUCER * BATCH_BYTES;
    let log = EmbeddedLog::open(home.path(), config)?;
    let kept = [("retention.bytes", RETAINED_BYTES), ("segment.bytes", SEGMENT_BYTES)];
    create(&log, "pushed", PRODUCERS, &kept)?;
    let mut consumer = log.consumer(&ConsumerConfig::default())?;
    let all = (0..PRODUCERS).map(|number| Ok((partition("pushed", number)?, StartAt::Beginning)));
    consumer.assign(&all.collect::<anyhow::Result<Vec<_>>>()?)?;

    let stop = AtomicBool::new(false);
    let (before, peak, appended) = thread::scope(|scope| {
        let (log, stop) = (&log, &stop);
        let pushing: Vec<_> =
            (0..PRODUCERS).map(|number| scope.spawn(move || push(log, number, options.size, stop))).collect();
        let watched = watch(&mut *consumer, Duration::from_secs(options.pause_seconds));
        stop.store(true, Ordering::Relaxed);
        let mut appended = 0;
        for producer in pushing {
            appended += producer.join().ok().context("a producer panicked")??;
        }
        watched.map(|(before, peak)| (before, peak, appended))
    })?;
    drop(consumer);
    log.close()?;
    let limit = limit as u64;
    ensure!(
        peak.saturating_sub(before) <= limit + UNSTATED_BYTES,
        "memory grew from {before} to {peak} bytes while the consumer stood still; {limit} are allowed"
    );
    Ok(Report {
        pause_seconds: options.pause_seconds,
        pause_appended_bytes: appended,
        pause_rss_before_bytes: before,
        pause_rss_peak_bytes: peak,
        pause_limit_bytes: limit,
    })
}

/// Sends as fast as it can, and waits for a sync after each batch or two. Returns the bytes of the values.
fn push(log: &EmbeddedLog, number: u32, size: usize, stop: &AtomicBool) -> anyhow::Result<u64> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes: BATCH_BYTES, ..ProducerConfig::default() })?;
    let handle = producer.open(&partition("pushed", number)?)?;
    let value = vec![b'v'; size];
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..BATCH_BYTES / size.max(1) {
            producer.send(handle, RecordView::new(0, None, Some(&value)))?;
            sent += size as u64;
        }
        producer.flush()?;
    }
    Ok(sent)
}

/// Reads a little, so that the consumer has all that it needs, and then nothing for so long. Returns the memory at the
/// beginning of that, and the most.
fn watch(consumer: &mut dyn Consumer, pause: Duration) -> anyhow::Result<(u64, u64)> {
    for _ in 0..100 {
        let Polled::Batch(_) = consumer.poll(Duration::from_secs(10))? else { bail!("nothing is there to be read") };
    }
    let (begun, before) = (Instant::now(), rss_bytes());
    let mut peak = before;
    while begun.elapsed() < pause {
        thread::sleep(Duration::from_millis(20));
        peak = peak.max(rss_bytes());
    }
    Ok((before, peak))
}
