//! The log alone: append, fetch, look-ups by time, durable appends of many producers, compaction, opening, many
//! partitions, a consumer that stands still.

mod append;
mod compaction;
mod disk;
mod durable;
mod look_up;
pub(crate) mod open;
pub(crate) mod partitions;
mod pause;
mod rival;
mod times;

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use log_store::{
    TopicName, TopicPartition,
    client::{LogClient, NewTopic},
    embedded::{Durability, EmbeddedLog, LogConfig},
};
use serde::Serialize;
use tempfile::TempDir;

use crate::{number, print, usage::Started};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Measures only these parts [default: all but `partitions`, which takes minutes on a slow disk]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,

    /// Records to append and to fetch, to look up and to compact
    #[arg(long, default_value = "5M", value_parser = number, value_name = "N")]
    records: u64,

    /// Bytes of a value
    #[arg(long, default_value_t = 100, value_name = "BYTES")]
    size: usize,

    /// Bytes of a batch
    #[arg(long, default_value_t = 1 << 20, value_name = "BYTES")]
    batch: usize,

    /// Producers that wait for a sync after each batch of theirs, at the same time
    #[arg(long, default_value_t = 64, value_name = "N")]
    producers: u32,

    /// Records in each of these batches
    #[arg(long, default_value_t = 150, value_name = "N")]
    durable_records: u64,

    /// Partitions that they share; measured, too, with one for each
    #[arg(long, default_value_t = 8, value_name = "N")]
    durable_partitions: u32,

    /// How long they do
    #[arg(long, default_value_t = 5, value_name = "S")]
    durable_seconds: u64,

    /// How long the consumer stands still
    #[arg(long, default_value_t = 10, value_name = "S")]
    pause_seconds: u64,

    /// Lets Kafka's own ProducerPerformance and ConsumerPerformance append and fetch the same afterwards, and prints the
    /// ratios; needs `java` and `mvn`
    #[arg(long)]
    rival: bool,

    /// Folder for the log; a folder below it is made and deleted [default: the temporary folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// Prints one line of JSON instead of one for people
    #[arg(long)]
    json: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Records in and out, without a sync and with one for each batch
    Append,
    /// The offset of a time
    LookUp,
    /// Producers that wait for the disk
    Durable,
    /// The last value of each key
    Compaction,
    /// A gigabyte, after a close and after a kill
    Open,
    /// Ten thousand partitions, after a close and after a kill
    Partitions,
    /// Memory while a consumer stands still and producers go on
    Pause,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    records: u64,
    size: usize,
    batch: usize,
    #[serde(flatten)]
    append: Option<append::Report>,
    #[serde(flatten)]
    look_up: Option<look_up::Report>,
    #[serde(flatten)]
    durable: Option<durable::Report>,
    #[serde(flatten)]
    compaction: Option<compaction::Report>,
    #[serde(flatten)]
    open: Option<open::Report>,
    #[serde(flatten)]
    partitions: Option<partitions::Report>,
    #[serde(flatten)]
    pause: Option<pause::Report>,
    #[serde(flatten)]
    comparison: Option<rival::Comparison>,
    peak_rss_bytes: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let started = Started::now();
    let is_asked = |part| options.only.contains(&part) || options.only.is_empty() && part != Part::Partitions;
    let append = is_asked(Part::Append).then(|| append::run(options)).transpose()?;
    let comparison = match &append {
        Some(ours) if options.rival => Some(rival::run(options, ours)?),
        _ => None,
    };
    let report = Report {
        bench: "log",
        records: options.records,
        size: options.size,
        batch: options.batch,
        append,
        comparison,
        look_up: is_asked(Part::LookUp).then(|| look_up::run(options)).transpose()?,
        durable: is_asked(Part::Durable).then(|| durable::run(options)).transpose()?,
        compaction: is_asked(Part::Compaction).then(|| compaction::run(options)).transpose()?,
        open: is_asked(Part::Open).then(|| open::run(options)).transpose()?,
        partitions: is_asked(Part::Partitions).then(|| partitions::run(options)).transpose()?,
        pause: is_asked(Part::Pause).then(|| pause::run(options)).transpose()?,
        peak_rss_bytes: started.usage().peak_rss_bytes,
    };
    print(options.json, &report)
}

impl Options {
    /// A folder that goes when it is dropped.
    fn folder(&self) -> anyhow::Result<TempDir> {
        Ok(match &self.data {
            Some(data) => tempfile::tempdir_in(data)?,
            None => tempfile::tempdir()?,
        })
    }

    /// A log that nobody cleans, as fast as it can when it is told to.
    fn open(&self, folder: &Path, durability: Durability) -> anyhow::Result<EmbeddedLog> {
        let config =
            LogConfig { durability, clean_interval: None, cleaner_bytes_per_second: None, ..LogConfig::default() };
        Ok(EmbeddedLog::open(folder, config)?)
    }
}

fn create(log: &EmbeddedLog, topic: &str, partitions: u32, config: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut new = NewTopic::new(TopicName::new(topic)?, partitions);
    for (name, value) in config {
        new = new.with_config(*name, *value);
    }
    Ok(log.admin()?.create_topics(&[new])?)
}

fn partition(topic: &str, number: u32) -> anyhow::Result<TopicPartition> {
    Ok(TopicPartition::new(TopicName::new(topic)?, number))
}
