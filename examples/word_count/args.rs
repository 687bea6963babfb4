//! The command line.

use std::{
    env,
    path::{Path, PathBuf},
};

use clap::{Parser, ValueEnum};
use streams_dsl::prelude::ProcessingGuarantee;

/// Counts words: exactly once, on disk, across restarts.
#[derive(Parser)]
#[command(name = "word-count")]
pub(crate) struct Args {
    /// Files and folders to count; `-` is standard input. Default: the text of this repository (every .md and .rs)
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) input: Option<Vec<PathBuf>>,

    /// How many of the most frequent words are shown
    #[arg(long, default_value_t = 20, value_name = "N")]
    pub(crate) top: usize,

    /// Stream threads
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = positive)]
    pub(crate) threads: usize,

    /// Partitions of the topics; only the first run on a data folder can choose [default: as many as threads]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) partitions: Option<u32>,

    /// What a crash may do to the counts
    #[arg(long, value_enum, default_value_t = Guarantee::ExactlyOnce)]
    pub(crate) guarantee: Guarantee,

    /// Topics are on Apache Kafka instead of in the data folder (wants `cargo run --features kafka`)
    #[arg(long, value_name = "HOST:PORT,…")]
    pub(crate) bootstrap_servers: Option<String>,

    /// Folder of topics and state [default: word-count in the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Ends standard output with one line of JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Drops the local state and restores it from the changelog
    #[arg(long)]
    pub(crate) rebuild: bool,

    /// Forgets offsets, state and results, and counts the input topic again from its beginning
    #[arg(long, conflicts_with = "rebuild")]
    pub(crate) reset: bool,
}

/// What a crash may do to the counts.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Guarantee {
    /// Nothing
    #[value(alias = "exactly_once_v2", alias = "exactly_once", alias = "eos")]
    ExactlyOnce,
    /// Words that were being counted may be counted twice
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

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Where programs of this user keep data, by the custom of the system.
pub(crate) fn user_data_folder() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let below = |base: PathBuf, path: &str| base.join(Path::new(path));
    let data = if cfg!(windows) {
        set("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        set("HOME").map(|home| below(home, "Library/Application Support"))
    } else {
        set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| below(home, ".local/share")))
    };
    data.map(|data| data.join("kafka-streams-rs"))
}
