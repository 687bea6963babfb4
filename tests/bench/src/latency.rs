//! How long a record takes from one end to the other, at an even rate: from the moment it is due to be sent until a
//! reader of committed records has the result that it caused. A stall of the application, or of this benchmark, counts
//! against every record that was due meanwhile (no coordinated omission).

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, Polled, StartAt},
};
use serde::Serialize;
use streams_core::runtime::Metric;
use streams_dsl::prelude::*;

use crate::{
    Common, Setup,
    application::{Bench, Writer, close, start},
    crash::mix,
    number, print,
    usage::{Started, reset_peak},
};

/// Keys that are counted.
const KEYS: u64 = 10_000;
/// Length of a value.
const VALUE_BYTES: usize = 100;
/// Time between two flushes of records that are due (Kafka's `linger.ms`).
const LINGER: Duration = Duration::from_millis(1);
/// A result that has not come so long after the last record never will.
const LATE_MAX: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records a second
    #[arg(long, default_value = "100k", value_parser = number, value_name = "N")]
    rate: u64,

    /// Seconds that are measured
    #[arg(long, default_value_t = 10, value_name = "N")]
    seconds: u64,

    /// Seconds before, which are not
    #[arg(long, default_value_t = 3, value_name = "N")]
    warmup: u64,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    #[serde(flatten)]
    setup: Setup,
    commit_ms: Option<u64>,
    rate: u64,
    records: u64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// How late the latest record was handed to the producer: the benchmark's own share.
    sender_behind_ms: f64,
    commits_per_second: f64,
    mean_commit_ms: f64,
    /// Processors that were busy, sender and reader included.
    cpus: f64,
    peak_rss_bytes: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { rate, seconds, warmup, common } = options;
    let mut common = common.clone();
    // Every record has its result.
    common.cache = Some(common.cache.unwrap_or(0));
    let bench = Bench::new(&common)?;
    bench.create("in", &[])?;
    bench.create("out", &[])?;
    let streams = bench.application(topology()?)?;
    start(&streams)?;
    let (all, unmeasured) = (rate * (warmup + seconds), rate * warmup);
    let (behind_ns, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut writer = bench.writer("in")?;
    let _ = reset_peak();
    let (began, usage) = (Instant::now(), Started::now());
    let (sent, received) = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&bench, began, all, &is_over));
        let sent = send(&mut writer, began, *rate, all, unmeasured, &behind_ns);
        if sent.is_err() {
            is_over.store(true, Ordering::Relaxed);
        }
        (sent, receiver.join())
    });
    sent?;
    let results = received.map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    let usage = usage.usage();
    let (commits, commit_ns) = (streams.metric(Metric::CommitTotal), streams.metric(Metric::CommitNs));
    close(&streams)?;
    ensure!(results.len() as u64 == all, "{} results came of {all} records", results.len());

    let measured_from = Duration::from_secs(*warmup);
    let due_in_time = results.iter().filter(|result| result.due >= measured_from);
    let mut latencies: Vec<Duration> = due_in_time.map(|result| result.came.saturating_sub(result.due)).collect();
    latencies.sort_unstable();
    let part = |share: f64| {
        let place = (latencies.len() as f64 * share).ceil() as usize;
        let found = latencies.get(place.saturating_sub(1).min(latencies.len().saturating_sub(1)));
        found.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    };
    print(
        common.json,
        &Report {
            bench: "latency",
            setup: common.setup(),
            commit_ms: common.commit_ms,
            rate: *rate,
            records: latencies.len() as u64,
            p50_ms: part(0.5),
            p99_ms: part(0.99),
            p999_ms: part(0.999),
            max_ms: part(1.0),
            sender_behind_ms: behind_ns.into_inner() as f64 / 1e6,
            commits_per_second: commits as f64 / usage.seconds,
            mean_commit_ms: commit_ns as f64 / 1e6 / commits.max(1) as f64,
            cpus: usage.cpu_seconds / usage.seconds,
            peak_rss_bytes: usage.peak_rss_bytes,
        },
    )
}

/// Counts per key, and passes on the moment that the newest record was due.
fn topology() -> anyhow::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<Vec<u8>, Vec<u8>>("in")
        .group_by_key()
        .aggregate_with(
            || vec![0; 16],
            |_, value, mut before: Vec<u8>| {
                before[..8].copy_from_slice(&value[..8]);
                let count = before.last_chunk().map_or(0, |count| u64::from_be_bytes(*count));
                before[8..].copy_from_slice(&(count + 1).to_be_bytes());
                before
            },
            Materialized::new("counts"),
        )
        .to_stream()
        .to("out");
    Ok(builder.build()?)
}

/// Sends each record when it is due, and notes how late the latest was.
fn send(
    writer: &mut Writer,
    began: Instant,
    rate: u64,
    all: u64,
    unmeasured: u64,
    behind_ns: &AtomicU64,
) -> anyhow::Result<()> {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("{:016x}", mix(key))).collect();
    let mut value = [b'v'; VALUE_BYTES];
    let mut sent = 0;
    while sent < all {
        let now = began.elapsed();
        let due = u64::try_from(now.as_nanos() * u128::from(rate) / 1_000_000_000)?.min(all);
        for number in sent..due {
            let at = due_at(number, rate);
            if number >= unmeasured {
                let behind = began.elapsed().saturating_sub(at);
                behind_ns.fetch_max(u64::try_from(behind.as_nanos())?, Ordering::Relaxed);
            }
            let key = &keys[usize::try_from(mix(number) % KEYS)?];
            value[..8].copy_from_slice(&u64::try_from(at.as_nanos())?.to_be_bytes());
            writer.send_by_key(RecordView::new(writer.time(number), Some(key.as_bytes()), Some(&value)))?;
        }
        if due > sent {
            writer.flush()?;
        }
        sent = due;
        thread::sleep((now + LINGER).saturating_sub(began.elapsed()));
    }
    Ok(())
}

/// When a record is due, after the beginning.
fn due_at(number: u64, rate: u64) -> Duration {
    Duration::from_nanos(u64::try_from(u128::from(number) * 1_000_000_000 / u128::from(rate)).unwrap_or(u64::MAX))
}

/// One result: when its record was due, and when it was seen.
struct Outcome {
    due: Duration,
    came: Duration,
}

/// Reads until `all` results have come, or none for a long time.
fn receive(bench: &Bench, began: Instant, all: u64, is_over: &AtomicBool) -> anyhow::Result<Vec<Outcome>> {
    let config = ConsumerConfig { isolation: Isolation::ReadCommitted, ..ConsumerConfig::default() };
    let mut consumer = bench.client().consumer(&config)?;
    let topic = TopicName::new("out")?;
    let partitions = (0..bench.partitions())
        .map(|partition| (TopicPartition::new(topic.clone(), partition), StartAt::Beginning))
        .collect::<Vec<_>>();
    consumer.assign(&partitions)?;
    let mut results = Vec::with_capacity(usize::try_from(all)?);
    let mut last = Instant::now();
    while (results.len() as u64) < all && last.elapsed() < LATE_MAX && !is_over.load(Ordering::Relaxed) {
        let Polled::Batch(batch) = consumer.poll(Duration::from_millis(100))? else { continue };
        last = Instant::now();
        let came = last - began;
        let mut records = batch.cursor();
        while let Some(at) = records.advance()? {
            let due = records.view(&at).value.and_then(<[u8]>::first_chunk).context("a result without its time")?;
            results.push(Outcome { due: Duration::from_nanos(u64::from_be_bytes(*due)), came });
        }
    }
    Ok(results)
}
