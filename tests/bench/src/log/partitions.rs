//! A log of ten thousand partitions with a record each: how long it takes to open, and what memory, in a process that
//! does nothing else.

use std::{
    io::{self, BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use log_store::{
    RecordView,
    client::{Isolation, LogClient, OffsetSpec, ProducerConfig},
    embedded::{EmbeddedLog, LogConfig},
};
use serde::{Deserialize, Serialize};

use super::{Options, create, open::Killed, partition};
use crate::usage::{peak_rss_bytes, rss_bytes};

const PARTITIONS: u32 = 10_000;
const TOPIC: &str = "partitions";

#[derive(Serialize)]
pub(super) struct Report {
    partitions: u32,
    partitions_clean: Opened,
    /// After its writer was killed: each partition's end is verified.
    partitions_killed: Opened,
}

/// What a process saw that opened the log, and then asked each partition for its end.
#[derive(Serialize, Deserialize)]
struct Opened {
    open_ms: f64,
    ends_ms: f64,
    /// Of the whole process, once it is open, and once each partition was asked.
    open_rss_bytes: u64,
    ends_rss_bytes: u64,
    peak_rss_bytes: u64,
}

/// A process of this bench.
#[derive(clap::Args)]
pub(crate) struct Visitor {
    /// Folder of the log
    data: PathBuf,

    /// Writes the log, says so, and closes it when its input ends; else it opens the log and tells how it went
    #[arg(long)]
    write: bool,
}

pub(crate) fn visit(options: &Visitor) -> anyhow::Result<()> {
    if options.write { write(options) } else { look(options) }
}

fn write(options: &Visitor) -> anyhow::Result<()> {
    let log = EmbeddedLog::open(&options.data, LogConfig::default())?;
    create(&log, TOPIC, PARTITIONS, &[])?;
    let mut producer = log.producer(&ProducerConfig::default())?;
    for number in 0..PARTITIONS {
        let handle = producer.open(&partition(TOPIC, number)?)?;
        producer.send(handle, RecordView::new(1, None, Some(b"one")))?;
    }
    producer.flush()?;
    println!("written");
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(producer);
    Ok(log.close()?)
}

fn look(options: &Visitor) -> anyhow::Result<()> {
    let begun = Instant::now();
    let log = EmbeddedLog::open(&options.data, LogConfig::default())?;
    let (open, open_rss_bytes) = (begun.elapsed(), rss_bytes());
    let begun = Instant::now();
    let mut admin = log.admin()?;
    for number in 0..PARTITIONS {
        let end = admin.list_offset(&partition(TOPIC, number)?, OffsetSpec::Latest(Isolation::ReadCommitted))?;
        ensure!(end.map(log_store::Offset::value) == Some(1), "partition {number} ends at {end:?}");
    }
    let (ends, ends_rss_bytes) = (begun.elapsed(), rss_bytes());
    let opened = Opened {
        open_ms: open.as_secs_f64() * 1e3,
        ends_ms: ends.as_secs_f64() * 1e3,
        open_rss_bytes,
        ends_rss_bytes,
        peak_rss_bytes: peak_rss_bytes(),
    };
    println!("{}", serde_json::to_string(&opened)?);
    Ok(log.close()?)
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    Ok(Report {
        partitions: PARTITIONS,
        partitions_clean: measure(options, false)?,
        partitions_killed: measure(options, true)?,
    })
}

fn measure(options: &Options, is_killed: bool) -> anyhow::Result<Opened> {
    let home = options.folder()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("log-visitor").arg(home.path().join("log"));
    let mut writer = Command::new(command.get_program());
    writer.args(command.get_args()).arg("--write").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut writer = Killed(writer.spawn().context("cannot start a writer")?);
    let mut said = String::new();
    BufReader::new(writer.0.stdout.take().context("the writer's standard output")?).read_line(&mut said)?;
    ensure!(said.trim() == "written", "the writer has ended");
    if !is_killed {
        drop(writer.0.stdin.take());
        ensure!(writer.0.wait()?.success(), "the writer could not close its log");
    }
    drop(writer);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start a reader")?;
    ensure!(output.status.success(), "the reader ended with {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
