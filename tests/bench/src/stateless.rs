//! Filter and map, from topic to topic: what a record costs that no store remembers.

use anyhow::ensure;
use log_store::RecordView;
use serde::Serialize;
use streams_dsl::prelude::*;

use crate::{
    Common, Setup,
    application::{Bench, close, start, wait_until_done},
    number, print,
    rival::{self, Comparison, Expect, Work},
    usage::{Figures, Started, reset_peak},
};

/// Length of a value.
const VALUE_BYTES: usize = 100;
/// One record in so many is dropped by the filter.
const DROPPED: u64 = 10;
/// Records in a run of one partition.
const RUN: u64 = 1_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records to process
    #[arg(long, default_value = "10M", value_parser = number, value_name = "N")]
    records: u64,

    /// Lets Kafka Streams do the same afterwards, and prints the ratio; needs `java` and `mvn`
    #[arg(long)]
    rival: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    #[serde(flatten)]
    setup: Setup,
    records: u64,
    ready_ms: f64,
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    comparison: Option<Comparison>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { records, rival, common } = options;
    let bench = Bench::new(common)?;
    bench.create("in", &[])?;
    bench.create("out", &[])?;
    let mut writer = bench.writer("in")?;
    let mut value = [b'v'; VALUE_BYTES];
    for number in 0..*records {
        value[..8].copy_from_slice(&number.to_be_bytes());
        writer.send(number / RUN, RecordView::new(writer.time(number), Some(&number.to_be_bytes()), Some(&value)))?;
    }
    writer.flush()?;

    let builder = StreamsBuilder::new();
    builder
        .stream::<i64, Vec<u8>>("in")
        .filter(|key, _| !key.cast_unsigned().is_multiple_of(DROPPED))
        .map_values(|_, mut value| {
            value.rotate_left(1);
            value
        })
        .to("out");
    let streams = bench.application(builder.build()?)?;
    let _ = reset_peak();
    let started = Started::now();
    let ready = start(&streams)?;
    wait_until_done(&streams)?;
    let usage = started.usage();
    close(&streams)?;

    check(&bench, "out", *records)?;
    let work = Work {
        topology: "stateless",
        inputs: &["in"],
        output: "out",
        records: *records,
        expect: Expect::Results(&|topic| check(&bench, topic, *records)),
    };
    let comparison = rival.then(|| rival::run(&bench, common, &work, &usage)).transpose()?;
    print(
        common.json,
        &Report {
            bench: "stateless",
            setup: common.setup(),
            records: *records,
            ready_ms: ready.as_secs_f64() * 1e3,
            figures: usage.figures(*records),
            comparison,
        },
    )
}

/// Compares the results with what they have to be.
fn check(bench: &Bench, topic: &str, records: u64) -> anyhow::Result<()> {
    let (mut found, mut sum, mut wrong) = (0_u64, 0_u64, 0_u64);
    bench.read(topic, |key, value| {
        let number = key.and_then(|key| Some(u64::from_be_bytes(key.try_into().ok()?)));
        let bytes = value.filter(|value| value.len() == VALUE_BYTES);
        let carried = bytes.map(|value| [&[value[VALUE_BYTES - 1]], &value[..7]].concat());
        match (number, carried) {
            (Some(number), Some(carried)) if carried == number.to_be_bytes() => sum = sum.wrapping_add(number),
            _ => wrong += 1,
        }
        found += 1;
    })?;
    let kept = (0..records).filter(|number| !number.is_multiple_of(DROPPED));
    let (expected, expected_sum) = kept.fold((0_u64, 0_u64), |(n, sum), number| (n + 1, sum.wrapping_add(number)));
    ensure!(
        (found, sum, wrong) == (expected, expected_sum, 0),
        "{found} records came out, {wrong} of them wrong; expected {expected}"
    );
    Ok(())
}
