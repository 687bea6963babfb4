//! Operators that keep state by time or by another key, from topic to topic: windows, sessions and joins.

use std::time::Duration;

use anyhow::ensure;
use log_store::RecordView;
use serde::Serialize;
use streams_dsl::prelude::*;

use crate::{
    Common, Setup,
    application::{Bench, Writer, close, start, wait_until_done},
    number, print,
    rival::{self, Comparison, Expect, Work},
    usage::{Figures, Started, reset_peak},
};

/// Records in a millisecond of event time.
const RECORDS_PER_MS: u64 = 100;
/// Keys of the windows.
const CARDS: u64 = 10_000;
const WINDOW: Duration = Duration::from_secs(10);
/// Records of one session.
const BURST: u64 = 5;
/// Keys of the sessions: each comes again after ten gaps.
const VISITORS: u64 = 20_000;
const GAP: Duration = Duration::from_millis(100);
/// How far apart records may be that belong together.
const APART: Duration = Duration::from_secs(1);
/// Rows of the table that is joined to by foreign key.
const PRODUCTS: u64 = 10_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records to process
    #[arg(long, default_value = "2M", value_parser = number, value_name = "N")]
    records: u64,

    /// Lets Kafka Streams do the same afterwards, and prints the ratio; needs `java` and `mvn`
    #[arg(long)]
    rival: bool,

    #[command(flatten)]
    common: Common,
}

/// What is measured.
#[derive(Clone, Copy)]
pub(crate) enum Operator {
    Windows,
    Sessions,
    StreamJoin,
    ForeignKeyJoin,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    #[serde(flatten)]
    setup: Setup,
    records: u64,
    results: u64,
    #[serde(flatten)]
    figures: Figures,
    #[serde(flatten)]
    comparison: Option<Comparison>,
}

pub(crate) fn run(operator: Operator, options: &Options) -> anyhow::Result<()> {
    let Options { records, rival, common } = options;
    let bench = Bench::new(common)?;
    for topic in ["left", "right", "out"] {
        bench.create(topic, &[])?;
    }
    operator.load(&bench, *records)?;
    let streams = bench.application(operator.topology()?)?;
    let _ = reset_peak();
    let started = Started::now();
    start(&streams)?;
    wait_until_done(&streams)?;
    let usage = started.usage();
    close(&streams)?;
    let results = operator.check(&bench, "out", *records)?;
    let work = Work {
        topology: operator.name(),
        inputs: &["left", "right"],
        output: "out",
        records: *records,
        expect: Expect::Results(&|topic| operator.check(&bench, topic, *records).map(drop)),
    };
    let comparison = rival.then(|| rival::run(&bench, common, &work, &usage)).transpose()?;
    print(
        common.json,
        &Report {
            bench: operator.name(),
            setup: common.setup(),
            records: *records,
            results,
            figures: usage.figures(*records),
            comparison,
        },
    )
}

/// The writers of both input topics, by key.
struct Inputs {
    left: Writer,
    right: Writer,
}

impl Inputs {
    fn left(&mut self, key: u64, value: u64, at: u64) -> anyhow::Result<()> {
        send(&mut self.left, key, value, at)
    }

    fn right(&mut self, key: u64, value: u64, at: u64) -> anyhow::Result<()> {
        send(&mut self.right, key, value, at)
    }
}

/// Sends to the partition that the default partitioner would choose. `at` counts records since the beginning.
fn send(writer: &mut Writer, key: u64, value: u64, at: u64) -> anyhow::Result<()> {
    let (key, value) = (key.to_be_bytes(), value.to_be_bytes());
    let time = writer.time(0) + (at / RECORDS_PER_MS).cast_signed();
    writer.send_by_key(RecordView::new(time, Some(&key), Some(&value)))
}

impl Operator {
    fn name(self) -> &'static str {
        match self {
            Operator::Windows => "windows",
            Operator::Sessions => "sessions",
            Operator::StreamJoin => "stream-join",
            Operator::ForeignKeyJoin => "foreign-key-join",
        }
    }

    fn load(self, bench: &Bench, records: u64) -> anyhow::Result<()> {
        let mut inputs = Inputs { left: bench.writer("left")?, right: bench.writer("right")? };
        for number in 0..records {
            match self {
                Operator::Windows => inputs.left(number % CARDS, 1, number)?,
                Operator::Sessions => inputs.left(number / BURST % VISITORS, 1, number)?,
                Operator::StreamJoin if number % 2 == 0 => inputs.left(number / 2, number / 2, number)?,
                Operator::StreamJoin => inputs.right(number / 2, number / 2, number)?,
                Operator::ForeignKeyJoin if number < PRODUCTS => inputs.right(number, number + 1, 0)?,
                Operator::ForeignKeyJoin => inputs.left(number, number % PRODUCTS, number)?,
            }
        }
        if matches!(self, Operator::Windows | Operator::Sessions) {
            // Long after all windows: it closes them. Its own stays open.
            for partition in 0..bench.partitions() {
                let time = inputs.left.time(0) + (records / RECORDS_PER_MS).cast_signed() + 60_000;
                let (key, value) = (u64::MAX.to_be_bytes(), 1_u64.to_be_bytes());
                inputs.left.send(u64::from(partition), RecordView::new(time, Some(&key), Some(&value)))?;
            }
        }
        inputs.left.flush()?;
        inputs.right.flush()
    }

    fn topology(self) -> anyhow::Result<Topology> {
        let builder = StreamsBuilder::new();
        let closed = || Suppressed::until_window_closes(BufferConfig::unbounded());
        match self {
            Operator::Windows => builder
                .stream::<u64, u64>("left")
                .group_by_key()
                .windowed_by(TimeWindows::of_size_with_no_grace(WINDOW))
                .count()
                .suppress_until_window_closes(closed())
                .to_stream()
                .flat_map(|card, count| count.map(|count| (card.key, count)))
                .to("out"),
            Operator::Sessions => builder
                .stream::<u64, u64>("left")
                .group_by_key()
                .windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(GAP))
                .count()
                .suppress_until_window_closes(closed())
                .to_stream()
                .flat_map(|visitor, count| count.map(|count| (visitor.key, count)))
                .to("out"),
            Operator::StreamJoin => builder
                .stream::<u64, u64>("left")
                .join(
                    &builder.stream::<u64, u64>("right"),
                    |_, left, right| left.cast_signed() + right.cast_signed(),
                    JoinWindows::of_time_difference_with_no_grace(APART),
                )
                .to("out"),
            Operator::ForeignKeyJoin => builder
                .table::<u64, u64>("left")
                .join_foreign_key(
                    &builder.table::<u64, u64>("right"),
                    |_, product| Some(*product),
                    |_, _, price| price.cast_signed(),
                )
                .to_stream()
                .to("out"),
        }
        Ok(builder.build()?)
    }

    /// Compares the results with what they have to be; how many there are.
    fn check(self, bench: &Bench, topic: &str, records: u64) -> anyhow::Result<u64> {
        let (mut results, mut sum, mut broken) = (0_u64, 0_i64, 0_u64);
        let mut prices = vec![0_i64; usize::try_from(records)?];
        let fixed = |bytes: Option<&[u8]>| bytes.and_then(|bytes| Some(i64::from_be_bytes(bytes.try_into().ok()?)));
        bench.read(topic, |key, value| {
            results += 1;
            match (fixed(key), fixed(value)) {
                (Some(order), Some(price)) if matches!(self, Operator::ForeignKeyJoin) => {
                    match usize::try_from(order).ok().and_then(|order| prices.get_mut(order)) {
                        Some(known) => sum += price - std::mem::replace(known, price),
                        None => broken += 1,
                    }
                }
                (Some(_), Some(value)) => sum += value,
                _ => broken += 1,
            }
        })?;
        let (least, expected) = match self {
            Operator::Windows => (records.min(CARDS), records),
            Operator::Sessions => (records.div_ceil(BURST), records),
            Operator::StreamJoin => (records / 2, (0..records / 2).map(|number| 2 * number).sum()),
            Operator::ForeignKeyJoin => {
                (records.saturating_sub(PRODUCTS), (PRODUCTS..records).map(|number| number % PRODUCTS + 1).sum())
            }
        };
        ensure!(broken == 0, "{broken} results cannot be read");
        ensure!(results >= least, "{results} results, expected {least} at least");
        ensure!(sum == expected.cast_signed(), "the results come to {sum}, expected {expected}");
        Ok(results)
    }
}
