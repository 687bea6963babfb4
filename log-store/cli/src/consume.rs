//! `consume`: records become lines.

use std::{collections::BTreeMap, io, sync::Arc, thread, time::Duration};

use anyhow::{Context, bail};
use clap::{Parser, ValueEnum};
use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    client::{CommittedOffset, ConsumerConfig, FetchedBatch, Isolation, SharedClient},
    embedded::{inspect::PartitionReader, storage::Directory},
    records::{ConsumerRecord, RecordConsumer, RecordConsumerConfig},
};
use regex_lite::Regex;
use serde_json::json;

use crate::{
    log::{Data, end_beside, partitions, topic_name, topics},
    output::Output,
    record_text::{Format, header_json, text},
};

/// Pause between two looks for more, when following.
const FOLLOW_PAUSE: Duration = Duration::from_millis(50);

/// So many polls of a group without a record are the end, unless following.
const GROUP_IDLE_POLLS: u32 = 4;

/// Prints the records of a topic. Reads beside a process that has the log open, and changes nothing, unless it reads for
/// a group.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  logctl --data ./data consume clicks --from-beginning --max-messages 10
  logctl --data ./data consume clicks --partition 2 --from-offset 1000 --print offset,key,value
  logctl --data ./data --json consume clicks --from-time 1700000000000 | jq .value
  logctl --data ./data consume clicks --follow
  logctl --data ./data consume 'click\\..*' --pattern --print topic,key,value
  logctl --data ./data consume clicks --group billing --max-messages 100")]
pub(crate) struct Args {
    /// The topic, or with --pattern a regular expression that matches whole names.
    #[arg(value_name = "TOPIC")]
    topic: String,

    /// TOPIC is a regular expression; all topics that match are read.
    #[arg(long)]
    pattern: bool,

    /// Go on where this group was, and commit for it what was printed. Needs the log to itself.
    #[arg(long, conflicts_with_all = ["start", "partition"])]
    group: Option<String>,

    /// Only this partition; may be repeated.
    #[arg(long)]
    partition: Vec<u32>,

    /// Start at the first record (the default, unless following).
    #[arg(long, group = "start")]
    from_beginning: bool,

    /// Start at this offset in each partition.
    #[arg(long, group = "start", value_name = "OFFSET")]
    from_offset: Option<u64>,

    /// Start at the first record with this timestamp or a later one (milliseconds since 1970).
    #[arg(long, group = "start", value_name = "MS", allow_negative_numbers = true)]
    from_time: Option<i64>,

    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,

    /// Wait for more records at the end; starts there unless told otherwise.
    #[arg(long)]
    follow: bool,

    /// What to print of a record, between tabs.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "value")]
    print: Vec<Field>,

    /// What stands between the fields.
    #[arg(long, default_value = "\t", hide_default_value = true, value_name = "TEXT")]
    separator: String,

    /// How to show keys, values and headers.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Which records to show where transactions are used.
    #[arg(long, value_enum, default_value_t = IsolationLevel::ReadUncommitted)]
    isolation_level: IsolationLevel,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum IsolationLevel {
    /// All records.
    ReadUncommitted,
    /// Records outside transactions, and those of committed ones.
    ReadCommitted,
}

pub(crate) fn run(args: &Args, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    if let Some(group) = &args.group {
        return run_group(args, group, data, out);
    }
    let directory: Arc<dyn Directory> = Arc::new(data.directory()?);
    let mut readers = Vec::new();
    for topic in matching(args, &*directory)? {
        for partition in partitions(&*directory, &topic, &args.partition)? {
            readers.push(open(args, &directory, partition)?);
        }
    }
    let mut left = args.max_messages.unwrap_or(u64::MAX);
    loop {
        let mut is_idle = true;
        for reader in &mut readers {
            if left == 0 {
                return Ok(());
            }
            let Some(batch) = reader.next_batch()? else { continue };
            is_idle = false;
            print_batch(args, &batch, &mut left, out)?;
        }
        if is_idle {
            if !args.follow {
                return Ok(());
            }
            out.flush()?;
            thread::sleep(FOLLOW_PAUSE);
        }
    }
}

/// The topics that are asked for.
fn matching(args: &Args, directory: &dyn Directory) -> anyhow::Result<Vec<TopicName>> {
    if !args.pattern {
        return Ok(vec![topic_name(&args.topic).map_err(anyhow::Error::msg)?]);
    }
    let regex = Regex::new(&format!("^(?:{})$", args.topic))
        .with_context(|| format!("{:?} is no regular expression", args.topic))?;
    let mut topics: Vec<TopicName> = topics(directory)?.into_iter().map(|topic| topic.name).collect();
    topics.retain(|topic| regex.is_match(topic.as_str()));
    if topics.is_empty() {
        bail!("no topic matches {:?}; `topics list` shows all", args.topic);
    }
    Ok(topics)
}

/// Reads as a member of a group. What is printed is committed once it is written to standard output.
fn run_group(args: &Args, group: &str, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    let log = data.open()?;
    let client: SharedClient = Arc::new(log.clone());
    let mut left = args.max_messages.unwrap_or(u64::MAX);
    let consumer =
        ConsumerConfig { group_id: group.to_owned(), isolation: args.isolation(), ..ConsumerConfig::default() };
    // One by one near the end of what was asked for: no more is handed out than is printed.
    let records_max = usize::try_from(left).unwrap_or(usize::MAX).clamp(1, 500);
    let config = RecordConsumerConfig { consumer, auto_commit: None, records_max, ..RecordConsumerConfig::default() };
    let mut consumer = RecordConsumer::new(&client, config)?;
    if args.pattern {
        consumer.subscribe_pattern(&args.topic)?;
    } else {
        consumer.subscribe(&matching(args, &data.directory()?)?)?;
    }
    // The assignment comes first, then the records that are there.
    let mut idle_polls = 0;
    while left > 0 && (args.follow || idle_polls < GROUP_IDLE_POLLS) {
        let records = consumer.poll(FOLLOW_PAUSE)?;
        idle_polls = if records.is_empty() { idle_polls + 1 } else { 0 };
        for record in records.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            let view = RecordView {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: (&record.headers).into(),
            };
            print(args, &record.partition, record.offset, &view, out)?;
        }
        out.flush()?;
        let printed = left.min(records.len() as u64);
        commit(&mut consumer, &records[..usize::try_from(printed)?])?;
        left -= printed;
    }
    drop(consumer);
    drop(client);
    Ok(log.close()?)
}

/// Commits what was printed.
fn commit(consumer: &mut RecordConsumer, printed: &[ConsumerRecord]) -> anyhow::Result<()> {
    let mut offsets: BTreeMap<TopicPartition, CommittedOffset> = BTreeMap::new();
    for record in printed {
        let committed = CommittedOffset { offset: record.offset.next(), metadata: String::new() };
        offsets.insert(record.partition.clone(), committed);
    }
    if !offsets.is_empty() {
        consumer.commit_offsets(&offsets.into_iter().collect::<Vec<_>>())?;
    }
    Ok(())
}

impl Args {
    fn isolation(&self) -> Isolation {
        match self.isolation_level {
            IsolationLevel::ReadUncommitted => Isolation::ReadUncommitted,
            IsolationLevel::ReadCommitted => Isolation::ReadCommitted,
        }
    }
}

/// A reader that stands where the arguments say.
fn open(args: &Args, directory: &Arc<dyn Directory>, id: TopicPartition) -> anyhow::Result<PartitionReader> {
    let start = match (args.from_offset, args.from_time) {
        (Some(offset), _) => Offset::new(offset),
        (_, Some(timestamp)) => offset_at(directory, &id, timestamp)?,
        _ if args.follow && !args.from_beginning => end_beside(directory, &id)?.unwrap_or_default(),
        _ => Offset::ZERO,
    };
    Ok(PartitionReader::new(Arc::clone(directory), id, start, args.isolation())?)
}

/// The first record that is as late as `timestamp`, or the end.
fn offset_at(directory: &Arc<dyn Directory>, id: &TopicPartition, timestamp: i64) -> anyhow::Result<Offset> {
    let mut reader = PartitionReader::new(Arc::clone(directory), id.clone(), Offset::ZERO, Isolation::ReadUncommitted)?;
    reader.seek_to_time(timestamp)?;
    Ok(reader.position())
}

fn print_batch(args: &Args, batch: &FetchedBatch, left: &mut u64, out: &mut Output) -> anyhow::Result<()> {
    let mut cursor = batch.cursor();
    while *left > 0
        && let Some(at) = cursor.advance()?
    {
        print(args, &batch.partition, at.offset, &cursor.view(&at), out)?;
        *left -= 1;
    }
    Ok(())
}

fn print(
    args: &Args,
    partition: &TopicPartition,
    offset: Offset,
    record: &RecordView<'_>,
    out: &mut Output,
) -> io::Result<()> {
    if out.is_json() {
        print_json(args, partition, offset, record, out)
    } else {
        print_text(args, partition, offset, record, out)
    }
}

fn print_text(
    args: &Args,
    partition: &TopicPartition,
    offset: Offset,
    record: &RecordView<'_>,
    out: &mut Output,
) -> io::Result<()> {
    for (index, field) in args.print.iter().enumerate() {
        if index > 0 {
            out.bytes(args.separator.as_bytes())?;
        }
        let shown = |part: Option<&[u8]>| part.map_or(b"null".to_vec(), |part| args.format.show(part).into_owned());
        let bytes = match field {
            Field::Topic => partition.topic.as_str().as_bytes().to_vec(),
            Field::Partition => partition.partition.to_string().into_bytes(),
            Field::Offset => offset.to_string().into_bytes(),
            Field::Timestamp => record.timestamp.to_string().into_bytes(),
            Field::Key => shown(record.key),
            Field::Value => shown(record.value),
            Field::Headers => headers_text(args, record).into_bytes(),
        };
        out.bytes(&bytes)?;
    }
    out.bytes(b"\n")
}

fn headers_text(args: &Args, record: &RecordView<'_>) -> String {
    let headers = record.headers.to_headers();
    let shown = headers.as_slice().iter().map(|header| {
        let value = header.value.as_deref().map_or("null".to_owned(), |value| text(&args.format.show(value)));
        format!("{}:{value}", header.key)
    });
    shown.collect::<Vec<_>>().join(",")
}

fn print_json(
    args: &Args,
    partition: &TopicPartition,
    offset: Offset,
    record: &RecordView<'_>,
    out: &mut Output,
) -> io::Result<()> {
    let headers = record.headers.to_headers();
    let headers: Vec<_> = headers.as_slice().iter().map(|header| header_json(header, args.format)).collect();
    out.json(&json!({
        "topic": partition.topic.as_str(), "partition": partition.partition, "offset": offset.value(),
        "timestamp": record.timestamp, "key": args.format.json(record.key), "value": args.format.json(record.value),
        "headers": headers,
    }))
}
