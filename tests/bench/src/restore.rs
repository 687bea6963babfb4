//! A store that has lost its files, restored from its changelog.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use log_store::RecordView;
use serde::Serialize;
use streams_dsl::prelude::*;

use crate::{
    Common, Guarantee,
    application::{Bench, close, start, wait_until_done},
    number, print,
    rival::{self, Comparison, Expect, Work},
    usage::{Figures, Started, reset_peak},
};

/// Length of a value.
const VALUE_BYTES: usize = 100;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Keys in the store
    #[arg(long, default_value = "5M", value_parser = number, value_name = "N")]
    keys: u64,

    /// Lets Kafka Streams do the same afterwards, and prints the ratio; needs `java` and `mvn`
    #[arg(long)]
    rival: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    guarantee: Guarantee,
    partitions: u32,
    keys: u64,
    /// Records that were restored.
    records: u64,
    /// From start until the application was running.
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    comparison: Option<Comparison>,
}

/// Adds up what was restored.
#[derive(Default)]
struct Restored(Mutex<u64>);

impl RestoreListener for Restored {
    fn on_restore_end(&self, progress: &RestoreProgress) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += progress.records;
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { keys, rival, common } = options;
    let bench = Bench::new(common)?;
    bench.create("updates", &[])?;
    bench.create("out", &[])?;
    let mut writer = bench.writer("updates")?;
    let value = [b'v'; VALUE_BYTES];
    let mut key = [b'k'; 16];
    for number in 0..*keys {
        key[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        writer.send(number, RecordView::new(writer.time(number), Some(&key), Some(&value)))?;
    }
    writer.flush()?;

    let streams = bench.application(topology()?)?;
    start(&streams)?;
    wait_until_done(&streams)?;
    close(&streams)?;
    streams.clean_up()?;
    drop(streams);

    let streams = bench.application(topology()?)?;
    let restored = Arc::new(Restored::default());
    let listener: Arc<dyn RestoreListener> = Arc::<Restored>::clone(&restored);
    streams.set_restore_listener(listener);
    let _ = reset_peak();
    let started = Started::now();
    start(&streams)?;
    let usage = started.usage();
    close(&streams)?;

    let records = *restored.0.lock().ok().context("the listener panicked")?;
    ensure!(records >= *keys, "{records} records were restored, fewer than the {keys} keys");
    let work =
        Work { topology: "restore", inputs: &["updates"], output: "out", records: *keys, expect: Expect::Restored };
    let comparison = rival.then(|| rival::run(&bench, common, &work, &usage)).transpose()?;
    print(
        common.json,
        &Report {
            bench: "restore",
            guarantee: common.guarantee,
            partitions: common.partitions(),
            keys: *keys,
            records,
            figures: usage.figures(records),
            comparison,
        },
    )
}

/// A table that keeps the last value of each key.
fn topology() -> anyhow::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<Vec<u8>, Vec<u8>>("updates")
        .group_by_key()
        .reduce_with(|_, new| new, Materialized::new("values"))
        .to_stream()
        .to("out");
    Ok(builder.build()?)
}
