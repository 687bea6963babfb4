//! `stats`: what topics hold, counted.

use std::sync::Arc;

use clap::Parser;
use log_store::{
    TopicName, TopicPartition,
    client::Isolation,
    embedded::{inspect::PartitionReader, storage::Directory},
};
use serde_json::json;

use crate::{
    log::{Data, partitions, topic_name, topics},
    output::Output,
};

/// Counts segments, bytes and records of each partition. Reads beside a process that has the log open.
#[derive(Parser)]
#[command(after_help = "\
START is the first offset that is kept; FIRST TIME and LAST TIME are the smallest and the greatest timestamp of a record.

Examples:
  logctl --data ./data stats
  logctl --data ./data --json stats clicks | jq .records")]
pub(crate) struct Args {
    /// The topics; all if none is named.
    #[arg(value_parser = topic_name)]
    topics: Vec<TopicName>,
}

/// What one partition holds.
#[derive(Default)]
struct Counts {
    segments: u64,
    bytes: u64,
    batches: u64,
    records: u64,
    start_offset: u64,
    end_offset: u64,
    first_timestamp: Option<i64>,
    last_timestamp: Option<i64>,
}

pub(crate) fn run(args: &Args, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    let directory: Arc<dyn Directory> = Arc::new(data.directory()?);
    let names = match args.topics.as_slice() {
        [] => topics(&*directory)?.into_iter().map(|topic| topic.name).collect(),
        names => names.to_vec(),
    };
    if !out.is_json() {
        let columns =
            ["PARTITION", "SEGMENTS", "BYTES", "BATCHES", "RECORDS", "START", "END", "FIRST TIME", "LAST TIME"];
        let [name, rest @ ..] = columns;
        out.bytes(format!("{name:<32}{}\n", rest.map(|column| format!(" {column:>14}")).concat()).as_bytes())?;
    }
    for topic in names {
        for partition in partitions(&*directory, &topic, &[])? {
            let counts = count(&directory, &partition)?;
            print(&partition, &counts, out)?;
        }
    }
    Ok(())
}

fn count(directory: &Arc<dyn Directory>, partition: &TopicPartition) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    // A partition that was never written to has no directory.
    for entry in directory.list(&partition.to_string()).unwrap_or_default() {
        if entry.name.ends_with(".log") {
            counts.segments += 1;
        }
    }
    let from = log_store::Offset::ZERO;
    let mut reader = PartitionReader::new(Arc::clone(directory), partition.clone(), from, Isolation::ReadUncommitted)?;
    while let Some(batch) = reader.next_batch()? {
        counts.batches += 1;
        counts.bytes += batch.bytes.len() as u64;
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance()? {
            counts.records += 1;
            let timestamp = cursor.view(&record).timestamp;
            counts.first_timestamp = Some(counts.first_timestamp.map_or(timestamp, |first| first.min(timestamp)));
            counts.last_timestamp = counts.last_timestamp.max(Some(timestamp));
        }
    }
    counts.start_offset = reader.log_start()?.value();
    counts.end_offset = reader.position().value().max(counts.start_offset);
    Ok(counts)
}

fn print(partition: &TopicPartition, counts: &Counts, out: &mut Output) -> std::io::Result<()> {
    let start = counts.start_offset;
    let time = |timestamp: Option<i64>| timestamp.map_or("-".to_owned(), |timestamp| timestamp.to_string());
    let numbers = [counts.segments, counts.bytes, counts.batches, counts.records, start, counts.end_offset];
    let numbers = numbers.map(|number| format!(" {number:>14}")).concat();
    let times = [counts.first_timestamp, counts.last_timestamp].map(|one| format!(" {:>14}", time(one))).concat();
    out.result(format_args!("{:<32}{numbers}{times}", partition.to_string()), || {
        json!({
            "topic": partition.topic.as_str(), "partition": partition.partition, "segments": counts.segments,
            "bytes": counts.bytes, "batches": counts.batches, "records": counts.records, "startOffset": start,
            "endOffset": counts.end_offset, "firstTimestamp": counts.first_timestamp,
            "lastTimestamp": counts.last_timestamp,
        })
    })
}
