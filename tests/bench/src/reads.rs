//! Reads of a store from other threads while word count works at full speed: how many, and what they cost the counting.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Instant,
};

use anyhow::ensure;
use serde::Serialize;
use streams_dsl::prelude::*;

use crate::{
    Common, Guarantee,
    application::{Bench, close, start, wait_until_done},
    number, print,
    text::push_word,
    usage::{Started, thread_cpu_ns},
    word_count::{check, load, topology},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Words in the text
    #[arg(long, default_value = "5M", value_parser = number, value_name = "N")]
    words: u64,

    /// Different words
    #[arg(long, default_value = "50k", value_parser = number, value_name = "N")]
    distinct: u64,

    /// Threads that read
    #[arg(long, default_value_t = 1, value_name = "N")]
    readers: u64,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    guarantee: Guarantee,
    threads: usize,
    readers: u64,
    words: u64,
    distinct: u64,
    gets: u64,
    /// Gets that found a count.
    found: u64,
    gets_per_second: f64,
    /// Of the readers' own time on a processor: tells what a get costs on a machine that is busy with other things.
    gets_per_cpu_second: f64,
    /// Gets that answered with less than an earlier one.
    torn: u64,
    words_per_second_alone: f64,
    words_per_second: f64,
    /// Part of the speed that was lost while others read.
    slowdown: f64,
    /// The same by the time on processors of all threads but the readers.
    slowdown_cpu: f64,
}

/// What the readers of one run did.
#[derive(Default)]
struct Reads {
    gets: AtomicU64,
    found: AtomicU64,
    torn: AtomicU64,
    cpu_ns: AtomicU64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { words, distinct, readers, common } = options;
    let (alone, cpu_alone, _) = measure(options, 0)?;
    let (seconds, cpu, reads) = measure(options, *readers)?;
    let (gets, torn) = (reads.gets.into_inner(), reads.torn.into_inner());
    let cpu_reading = reads.cpu_ns.into_inner() as f64 / 1e9;
    ensure!(torn == 0, "{torn} gets went back");
    print(
        common.json,
        &Report {
            bench: "reads",
            guarantee: common.guarantee,
            threads: common.threads,
            readers: *readers,
            words: *words,
            distinct: *distinct,
            gets,
            found: reads.found.into_inner(),
            gets_per_second: gets as f64 / seconds,
            gets_per_cpu_second: gets as f64 / cpu_reading,
            torn,
            words_per_second_alone: *words as f64 / alone,
            words_per_second: *words as f64 / seconds,
            slowdown: 1.0 - alone / seconds,
            slowdown_cpu: 1.0 - cpu_alone / (cpu - cpu_reading),
        },
    )
}

/// Counts the text while `readers` read; the seconds that took, those on processors, and what they did.
fn measure(options: &Options, readers: u64) -> anyhow::Result<(f64, f64, Reads)> {
    let bench = Bench::new(&options.common)?;
    bench.create("lines", &[])?;
    bench.create("word-counts", &[("cleanup.policy", "compact")])?;
    load(&bench, options.words, options.distinct)?;
    let streams = bench.application(topology()?)?;
    let (reads, is_done) = (Reads::default(), AtomicBool::new(false));
    let (started, usage) = (Instant::now(), Started::now());
    start(&streams)?;
    let done = std::thread::scope(|scope| {
        let reading: Vec<_> = (0..readers)
            .map(|reader| {
                scope.spawn({
                    let (streams, reads, is_done) = (&streams, &reads, &is_done);
                    move || read(streams, options.distinct, reader, reads, is_done)
                })
            })
            .collect();
        let done = wait_until_done(&streams).map(|()| started.elapsed().as_secs_f64());
        is_done.store(true, Ordering::Relaxed);
        for reader in reading {
            reader.join().map_err(|_| anyhow::anyhow!("a reader panicked"))??;
        }
        done
    });
    let (seconds, cpu) = (done?, usage.usage().cpu_seconds);
    close(&streams)?;
    check(&bench, "word-counts", options.words, options.distinct)?;
    Ok((seconds, cpu, reads))
}

/// Reads random words until all is done. Counts never fall: whoever sees one that did has seen half of a write.
fn read(streams: &Streams, distinct: u64, reader: u64, reads: &Reads, is_done: &AtomicBool) -> anyhow::Result<()> {
    let kind = QueryableStoreTypes::key_value_store::<String, i64>();
    let counts = streams.store(StoreQueryParameters::from_name_and_type("counts", kind))?;
    let spelled = |number| {
        let mut word = String::new();
        push_word(&mut word, number);
        word
    };
    let words: Vec<String> = (0..distinct).map(spelled).collect();
    let mut seen = vec![0_i64; words.len()];
    let mut random = reader.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let (mut gets, mut found, mut torn) = (0, 0, 0);
    let began = thread_cpu_ns();
    while !is_done.load(Ordering::Relaxed) {
        for _ in 0..1_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let word = usize::try_from(random % words.len() as u64)?;
            let count = counts.get(&words[word])?;
            found += u64::from(count.is_some());
            let count = count.unwrap_or(0);
            torn += u64::from(count < seen[word]);
            seen[word] = count;
        }
        gets += 1_000;
    }
    reads.gets.fetch_add(gets, Ordering::Relaxed);
    reads.found.fetch_add(found, Ordering::Relaxed);
    reads.torn.fetch_add(torn, Ordering::Relaxed);
    reads.cpu_ns.fetch_add(thread_cpu_ns().saturating_sub(began), Ordering::Relaxed);
    Ok(())
}
