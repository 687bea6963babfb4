//! Word count, the whole path: topic of lines → words → repartition topic → counts in RocksDB with a changelog → topic.

use std::{collections::HashMap, time::Instant};

use anyhow::ensure;
use log_store::RecordView;
use serde::Serialize;
use streams_dsl::prelude::*;

use crate::{
    Common, Setup,
    application::{Bench, close, start, wait_until_done},
    number, print,
    rival::{self, Comparison, Expect, Work},
    text::{WORDS_PER_LINE, Words, push_word},
    usage::{Started, reset_peak},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Words in the text
    #[arg(long, default_value = "5M", value_parser = number, value_name = "N")]
    words: u64,

    /// Different words
    #[arg(long, default_value = "50k", value_parser = number, value_name = "N")]
    distinct: u64,

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
    words: u64,
    lines: u64,
    distinct: u64,
    /// Records that the application read: lines, and words from the repartition topic.
    records: u64,
    /// Until the application was running.
    ready_ms: f64,
    /// From start until the last count was committed.
    seconds: f64,
    words_per_second: f64,
    cpu_seconds: f64,
    words_per_cpu_second: f64,
    peak_rss_bytes: u64,
    bytes_written: u64,
    /// Writing the lines, which is not part of the other figures.
    load_seconds: f64,
    #[serde(flatten)]
    comparison: Option<Comparison>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { words, distinct, rival, common } = options;
    let bench = Bench::new(common)?;
    bench.create("lines", &[])?;
    bench.create("word-counts", &[("cleanup.policy", "compact")])?;
    let loading = Instant::now();
    let lines = load(&bench, *words, *distinct)?;
    let load_seconds = loading.elapsed().as_secs_f64();

    let streams = bench.application(topology()?)?;
    // Not everywhere; the peak is then that of the whole run.
    let _ = reset_peak();
    let started = Started::now();
    let ready = start(&streams)?;
    wait_until_done(&streams)?;
    let usage = started.usage();
    close(&streams)?;

    let distinct = check(&bench, "word-counts", *words, *distinct)?;
    let work = Work {
        topology: "word-count",
        inputs: &["lines"],
        output: "word-counts",
        records: *words,
        expect: Expect::Results(&|topic| check(&bench, topic, *words, distinct).map(drop)),
    };
    let comparison = rival.then(|| rival::run(&bench, common, &work, &usage)).transpose()?;
    print(
        common.json,
        &Report {
            bench: "word-count",
            setup: common.setup(),
            words: *words,
            lines,
            distinct,
            records: lines + words,
            ready_ms: ready.as_secs_f64() * 1e3,
            seconds: usage.seconds,
            words_per_second: *words as f64 / usage.seconds,
            cpu_seconds: usage.cpu_seconds,
            words_per_cpu_second: *words as f64 / usage.cpu_seconds,
            peak_rss_bytes: usage.peak_rss_bytes,
            bytes_written: usage.bytes_written,
            load_seconds,
            comparison,
        },
    )
}

pub(crate) fn topology() -> anyhow::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<(), String>("lines")
        .flat_map_values(|(), line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .group_by(|(), word| word.clone())
        .count_with(Materialized::new("counts"))
        .to_stream()
        .to("word-counts");
    Ok(builder.build()?)
}

/// Writes the text; how many lines it has.
pub(crate) fn load(bench: &Bench, words: u64, distinct: u64) -> anyhow::Result<u64> {
    let mut writer = bench.writer("lines")?;
    let mut line = String::new();
    let mut lines = 0;
    let mut drawn = Words::new(words, distinct).peekable();
    while drawn.peek().is_some() {
        line.clear();
        for word in drawn.by_ref().take(WORDS_PER_LINE as usize) {
            if !line.is_empty() {
                line.push(' ');
            }
            push_word(&mut line, word);
        }
        writer.send(lines, RecordView::new(writer.time(lines), None, Some(line.as_bytes())))?;
        lines += 1;
    }
    writer.flush()?;
    Ok(lines)
}

/// Compares the last count of each word with a plain count; how many different words there are.
pub(crate) fn check(bench: &Bench, topic: &str, words: u64, distinct: u64) -> anyhow::Result<u64> {
    let drawn = Words::new(words, distinct);
    let distinct = drawn.distinct();
    let mut expected = vec![0_i64; usize::try_from(distinct)?];
    for word in drawn {
        expected[usize::try_from(word)?] += 1;
    }
    let mut found: HashMap<Vec<u8>, i64> = HashMap::with_capacity(expected.len());
    let mut broken = 0_u64;
    bench.read(topic, |word, count| {
        match (word, count.and_then(|count| Some(i64::from_be_bytes(count.try_into().ok()?)))) {
            (Some(word), Some(count)) => match found.get_mut(word) {
                Some(known) => *known = count,
                None => drop(found.insert(word.to_vec(), count)),
            },
            _ => broken += 1,
        }
    })?;
    ensure!(broken == 0, "{broken} results are no counts");
    ensure!(found.len() == expected.len(), "{} different words were counted, not {}", found.len(), expected.len());
    let mut spelled = String::new();
    for (number, expected) in expected.iter().enumerate() {
        spelled.clear();
        push_word(&mut spelled, number as u64);
        let count = found.get(spelled.as_bytes());
        ensure!(count == Some(expected), "{spelled:?} was counted {count:?} times, not {expected}");
    }
    Ok(distinct)
}
