//! `groups`: list, describe, reset offsets, delete.

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;
use log_store::{
    Offset, TopicName, TopicPartition,
    client::{Admin, CommittedOffset, Isolation, LogClient, OffsetSpec},
    embedded::{
        inspect,
        storage::{Directory, FileDirectory},
    },
};
use serde_json::json;

use crate::{
    log::{Data, end_beside, partitions, topic_name},
    output::{Output, say},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List groups that have committed offsets. Reads the files as they are, beside a process that has the log open, too.
    #[command(after_help = "Example: logctl --data ./data groups list")]
    List,
    /// Show where a group is in each partition, and how far it lags behind. Reads the files as they are, beside a process
    /// that has the log open, too. Its members are not in the files: only that process knows them.
    #[command(after_help = "Example: logctl --data ./data --json groups describe billing | jq .lag")]
    Describe { group: String },
    /// Set the committed offsets of a group.
    #[command(after_help = "\
Examples:
  logctl --data ./data groups reset-offsets billing --topic orders --to-earliest
  logctl --data ./data groups reset-offsets billing --topic orders --partition 3 --to-offset 1000 --dry-run
  logctl --data ./data groups reset-offsets billing --topic orders --to-time 1700000000000")]
    ResetOffsets(ResetOffsets),
    /// Forget a group and its offsets.
    #[command(after_help = "Example: logctl --data ./data groups delete billing")]
    Delete { group: String },
}

#[derive(clap::Args)]
pub(crate) struct ResetOffsets {
    group: String,

    /// The topic.
    #[arg(long, value_parser = topic_name)]
    topic: TopicName,

    /// Only this partition; may be repeated.
    #[arg(long)]
    partition: Vec<u32>,

    #[command(flatten)]
    to: To,

    /// Only show what would be set.
    #[arg(long)]
    dry_run: bool,
}

/// Where the group goes on.
#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// At the first record.
    #[arg(long)]
    to_earliest: bool,

    /// After the last record.
    #[arg(long)]
    to_latest: bool,

    /// At this offset.
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<u64>,

    /// At the first record with this timestamp or a later one (milliseconds since 1970).
    #[arg(long, value_name = "MS")]
    to_time: Option<i64>,
}

pub(crate) fn run(command: &Command, data: &Data, out: &mut Output) -> anyhow::Result<()> {
    let directory = data.directory()?;
    match command {
        Command::List => list(directory, out),
        Command::Describe { group } => describe(group, directory, out),
        Command::ResetOffsets(args) => {
            let partitions = partitions(&directory, &args.topic, &args.partition)?;
            let log = data.open()?;
            reset(&mut *log.admin()?, args, partitions, out)?;
            Ok(log.close()?)
        }
        Command::Delete { group } => {
            let log = data.open()?;
            let mut admin = log.admin()?;
            known(&mut *admin, group)?;
            admin.delete_group(group)?;
            drop(admin);
            Ok(log.close()?)
        }
    }
}

fn known(admin: &mut dyn Admin, group: &str) -> anyhow::Result<()> {
    if admin.describe_group(group)?.is_none() {
        bail!(unknown(group));
    }
    Ok(())
}

fn list(directory: FileDirectory, out: &mut Output) -> anyhow::Result<()> {
    let directory: Arc<dyn Directory> = Arc::new(directory);
    for group in inspect::group_offsets(&directory)?.keys() {
        out.result(format_args!("{group}"), || json!({"group": group}))?;
    }
    Ok(())
}

fn describe(group: &str, directory: FileDirectory, out: &mut Output) -> anyhow::Result<()> {
    let directory: Arc<dyn Directory> = Arc::new(directory);
    let mut groups = inspect::group_offsets(&directory)?;
    let offsets = groups.remove(group).with_context(|| unknown(group))?;
    for (partition, committed) in &offsets {
        print(group, partition, committed, end_beside(&directory, partition)?, out)?;
    }
    say(format_args!("this is what is committed; who reads, only the process knows that has the log open"));
    Ok(())
}

fn unknown(group: &str) -> String {
    format!("unknown group {group}; `groups list` shows all")
}

fn print(
    group: &str,
    partition: &TopicPartition,
    committed: &CommittedOffset,
    end: Option<Offset>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let lag = end.map(|end| end.offsets_since(committed.offset));
    let shown = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let line = format_args!(
        "Group: {group} Topic: {} Partition: {} CurrentOffset: {} LogEndOffset: {} Lag: {}",
        partition.topic,
        partition.partition,
        committed.offset,
        shown(end.map(Offset::value)),
        shown(lag)
    );
    out.result(line, || {
        json!({
            "group": group, "topic": partition.topic.as_str(), "partition": partition.partition,
            "currentOffset": committed.offset.value(), "metadata": committed.metadata,
            "logEndOffset": end.map(Offset::value), "lag": lag,
        })
    })?;
    Ok(())
}

fn reset(
    admin: &mut dyn Admin,
    args: &ResetOffsets,
    partitions: Vec<TopicPartition>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let mut offsets = Vec::new();
    for partition in partitions {
        let offset = target(admin, &args.to, &partition)?;
        offsets.push((partition, CommittedOffset { offset, metadata: String::new() }));
    }
    if !args.dry_run {
        admin.alter_group_offsets(&args.group, &offsets)?;
    }
    for (partition, committed) in offsets {
        let line = format_args!("{} {partition} {}", args.group, committed.offset);
        out.result(line, || {
            json!({
                "group": args.group, "topic": partition.topic.as_str(), "partition": partition.partition,
                "newOffset": committed.offset.value(),
            })
        })?;
    }
    Ok(())
}

fn target(admin: &mut dyn Admin, to: &To, partition: &TopicPartition) -> anyhow::Result<Offset> {
    let mut find = |spec| admin.list_offset(partition, spec);
    let missing = "a partition has a beginning and an end";
    let earliest = find(OffsetSpec::Earliest)?.context(missing)?;
    let latest = find(OffsetSpec::Latest(Isolation::ReadUncommitted))?.context(missing)?;
    match (to.to_offset, to.to_time) {
        // As Kafka does it: what is outside becomes the nearer end.
        (Some(offset), _) => Ok(Offset::new(offset).clamp(earliest, latest)),
        (_, Some(timestamp)) => Ok(find(OffsetSpec::Timestamp(timestamp))?.unwrap_or(latest)),
        _ if to.to_earliest => Ok(earliest),
        _ => Ok(latest),
    }
}
