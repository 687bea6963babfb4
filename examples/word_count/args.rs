//! The command line.

use std::path::PathBuf;

use clap::Parser;
use examples::Guarantee;

/// Counts words: exactly once, on disk, across restarts.
#[derive(Parser)]
#[command(name = "word-count")]
pub(crate) struct Args {
    /// Files and folders to count; `-` is standard input. Default: the text of this repository (every .md and .rs).
    /// Counts are added to those of earlier runs. A run that was interrupted in the middle of files and folders goes on
    /// after the last line it took, when it is started again with the same ones. A line has at most 4 MiB
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

    /// Ends standard output with one line of JSON, also after Ctrl-C (`distinct` is null then)
    #[arg(long)]
    pub(crate) json: bool,

    /// Drops the local state and restores it from the changelog
    #[arg(long)]
    pub(crate) rebuild: bool,

    /// Forgets offsets, state and results, and counts the input topic again from its beginning. To forget the lines, too,
    /// delete the data folder
    #[arg(long, conflicts_with = "rebuild")]
    pub(crate) reset: bool,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a number from 1 on".to_owned()),
        Ok(number) => Ok(number),
    }
}
