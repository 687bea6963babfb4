//! End-to-end measurements, one line of JSON each. Results are always checked: a fast wrong answer is an error.
//!
//! The ordinary profile is the optimised one: `cargo run -p streams-bench -- word-count --json`.

mod application;
mod crash;
mod latency;
mod log;
mod memory;
mod operators;
mod reads;
mod restore;
mod rival;
mod stateless;
mod text;
mod usage;
mod word_count;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use streams_core::ProcessingGuarantee;
use tracing_subscriber::EnvFilter;

use crate::operators::Operator;

/// Measures the engine on the embedded log, from topic to topic.
#[derive(Parser)]
#[command(name = "streams-bench")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Lines → words → repartition topic → counts in RocksDB → topic
    WordCount(word_count::Options),
    /// Filter and map, from topic to topic
    Stateless(stateless::Options),
    /// Reads of a store from other threads while words are counted
    Reads(reads::Options),
    /// A store without its files, from the changelog
    Restore(restore::Options),
    /// `kill -9` again and again: what is lost, repeated or wrong, and how soon it runs again
    Crash(crash::Options),
    /// From the moment a record is due until a reader of committed records has its result
    Latency(latency::Options),
    /// Many stores and many keys: how much memory the process holds beside its budget
    Memory(memory::Options),
    /// The log alone: append, fetch, look-ups by time, durable appends, compaction, opening
    Log(log::Options),
    /// Writes a log until it is killed; `log` starts and kills it
    #[command(hide = true)]
    LogWriter(log::open::Writer),
    /// Writes or opens a log of many partitions for `log`
    #[command(hide = true)]
    LogVisitor(log::partitions::Visitor),
    /// Counts by key in windows of time, each told once when it closes
    Windows(operators::Options),
    /// Counts by key in sessions, each told once when it closes
    Sessions(operators::Options),
    /// Two streams, joined within a second
    StreamJoin(operators::Options),
    /// Two tables, joined by foreign key
    ForeignKeyJoin(operators::Options),
}

/// What every benchmark can be told.
#[derive(Args, Clone)]
struct Common {
    /// What a crash may do to results
    #[arg(long, value_enum, default_value_t = Guarantee::ExactlyOnce)]
    guarantee: Guarantee,

    /// Stream threads
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,

    /// Partitions of the topics [default: as many as threads]
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,

    /// Milliseconds between commits [default: what suits the log]
    #[arg(long, alias = "commit-interval-ms", value_name = "MS")]
    commit_ms: Option<u64>,

    /// Bytes that caching stores hold back before they pass updates on; 0 passes each one [default: 10 MiB]
    #[arg(long, value_name = "BYTES")]
    cache: Option<usize>,

    /// Bytes that state may occupy in memory [default: 256 MiB]
    #[arg(long, value_name = "BYTES")]
    memory: Option<usize>,

    /// Folder for topics and state; a folder below it is made and deleted [default: the temporary folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Prints one line of JSON instead of one for people
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Guarantee {
    /// Each record counts once
    #[value(alias = "exactly_once_v2", alias = "exactly_once", alias = "eos")]
    ExactlyOnce,
    /// A crash may count records twice
    #[value(alias = "at_least_once", alias = "alos")]
    AtLeastOnce,
}

impl From<Guarantee> for ProcessingGuarantee {
    fn from(guarantee: Guarantee) -> Self {
        match guarantee {
            Guarantee::ExactlyOnce => ProcessingGuarantee::ExactlyOnceV2,
            Guarantee::AtLeastOnce => ProcessingGuarantee::AtLeastOnce,
        }
    }
}

/// What every run on stream threads was told: the beginning of its report.
#[derive(Serialize)]
struct Setup {
    guarantee: Guarantee,
    threads: usize,
    partitions: u32,
}

impl Common {
    fn setup(&self) -> Setup {
        Setup { guarantee: self.guarantee, threads: self.threads, partitions: self.partitions() }
    }

    fn partitions(&self) -> u32 {
        self.partitions.unwrap_or(u32::try_from(self.threads).unwrap_or(u32::MAX))
    }
}

/// A number that may end in k or M.
fn number(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let number: u64 = digits.replace('_', "").parse().map_err(|_| format!("{text:?} is no number"))?;
    number.checked_mul(unit).ok_or_else(|| format!("{text} is too much"))
}

/// Prints a result.
fn print(is_json: bool, result: &impl Serialize) -> anyhow::Result<()> {
    if is_json {
        println!("{}", serde_json::to_string(result)?);
    } else {
        println!("{}", serde_json::to_string_pretty(result)?);
    }
    Ok(())
}

fn main() -> ExitCode {
    // Standard output belongs to the figures.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match Cli::parse().bench {
        Bench::WordCount(options) => word_count::run(&options),
        Bench::Stateless(options) => stateless::run(&options),
        Bench::Reads(options) => reads::run(&options),
        Bench::Restore(options) => restore::run(&options),
        Bench::Crash(options) => crash::run(&options),
        Bench::Latency(options) => latency::run(&options),
        Bench::Memory(options) => memory::run(&options),
        Bench::Log(options) => log::run(&options),
        Bench::LogWriter(options) => log::open::write(&options),
        Bench::LogVisitor(options) => log::partitions::visit(&options),
        Bench::Windows(options) => operators::run(Operator::Windows, &options),
        Bench::Sessions(options) => operators::run(Operator::Sessions, &options),
        Bench::StreamJoin(options) => operators::run(Operator::StreamJoin, &options),
        Bench::ForeignKeyJoin(options) => operators::run(Operator::ForeignKeyJoin, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
