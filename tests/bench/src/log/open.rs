//! Opening a log of a gigabyte: after a close in order, and after its writer was killed in the middle of its work.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use log_store::{
    RecordView,
    client::{Isolation, LogClient, OffsetSpec, ProducerConfig},
    embedded::{EmbeddedLog, LogConfig},
};
use serde::Serialize;

use super::{Options, create, partition};
use crate::usage::bytes_read;

/// What the first writer writes before it may be killed.
const BYTES: u64 = 1 << 30;
/// What each of the others writes.
const MORE_BYTES: u64 = 64 << 20;
const VALUE_BYTES: u64 = 1_000;
/// Bytes that a writer sends between two flushes, which are what it tells of.
const FLUSH_BYTES: u64 = 8 << 20;
const KILLS: u64 = 5;
const OPENINGS: usize = 9;

const TOPIC: &str = "open";

/// Told in the worst case of some.
#[derive(Serialize)]
pub(super) struct Report {
    open_log_bytes: u64,
    open_clean_ms: f64,
    open_killed_ms: f64,
    /// Bytes that were read for the slowest opening after a kill.
    open_killed_read_bytes: u64,
}

/// Writes to a log until it is killed, and prints how many records are durable.
#[derive(clap::Args)]
pub(crate) struct Writer {
    /// Folder of the log
    data: PathBuf,
}

pub(crate) fn write(options: &Writer) -> anyhow::Result<()> {
    let log = EmbeddedLog::open(&options.data, LogConfig::default())?;
    let to = partition(TOPIC, 0)?;
    if log.admin()?.describe_topic(&to.topic)?.is_none() {
        create(&log, TOPIC, 1, &[])?;
    }
    let mut producer = log.producer(&ProducerConfig::default())?;
    let handle = producer.open(&to)?;
    let value = [b'v'; VALUE_BYTES as usize];
    loop {
        for number in 0..FLUSH_BYTES / VALUE_BYTES {
            producer.send(handle, RecordView::new(i64::try_from(number)?, None, Some(&value)))?;
        }
        producer.flush()?;
        println!("{}", producer.acknowledged(handle).context("records are acknowledged after a flush")?);
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<Report> {
    let home = options.folder()?;
    let path = home.path().join("log");
    let (mut killed, mut read) = (Duration::ZERO, 0);
    for number in 0..KILLS {
        let acknowledged = write_and_kill(&path, number)?;
        let before = bytes_read();
        let (log, took) = open(&path, acknowledged)?;
        if took > killed {
            (killed, read) = (took, bytes_read() - before);
        }
        log.close()?;
    }
    let mut clean = Duration::ZERO;
    for _ in 0..OPENINGS {
        let (log, took) = open(&path, 0)?;
        clean = clean.max(took);
        log.close()?;
    }
    Ok(Report {
        open_log_bytes: log_bytes(&path)?,
        open_clean_ms: clean.as_secs_f64() * 1_000.0,
        open_killed_ms: killed.as_secs_f64() * 1_000.0,
        open_killed_read_bytes: read,
    })
}

/// Lets a writer write its part and kills it. Returns how many records it has told to be durable.
fn write_and_kill(path: &Path, number: u64) -> anyhow::Result<u64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("log-writer").arg(path).stdout(Stdio::piped());
    let mut writer = Killed(command.spawn().context("cannot start a writer")?);
    let said = writer.0.stdout.take().context("the writer's standard output")?;
    let mut lines = BufReader::new(said).lines();
    let flushes = if number == 0 { BYTES / FLUSH_BYTES } else { MORE_BYTES / FLUSH_BYTES };
    let mut acknowledged = 0;
    for _ in 0..flushes {
        acknowledged = lines.next().context("the writer has ended")??.parse()?;
    }
    // Somewhere in the middle of the next flush.
    thread::sleep(Duration::from_millis(7 * number));
    drop(writer);
    // What it has said before it was killed counts.
    for line in lines {
        acknowledged = line?.parse().unwrap_or(acknowledged);
    }
    Ok(acknowledged)
}

/// Opens the log and asks for the end of its partition, which must hold what was acknowledged.
fn open(path: &Path, acknowledged: u64) -> anyhow::Result<(EmbeddedLog, Duration)> {
    let begun = Instant::now();
    let log = EmbeddedLog::open(path, LogConfig::default())?;
    let end = log.admin()?.list_offset(&partition(TOPIC, 0)?, OffsetSpec::Latest(Isolation::ReadCommitted))?;
    let took = begun.elapsed();
    let end = end.map_or(0, log_store::Offset::value);
    ensure!(end >= acknowledged, "{acknowledged} records were durable, {end} are there");
    Ok((log, took))
}

fn log_bytes(path: &Path) -> anyhow::Result<u64> {
    let folder = path.join(partition(TOPIC, 0)?.to_string());
    let sizes = fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len()));
    sizes.sum::<std::io::Result<u64>>().context("cannot measure the log")
}

/// A process that does not outlive its owner.
pub(super) struct Killed(pub(super) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
