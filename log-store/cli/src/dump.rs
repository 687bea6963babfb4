//! `dump`: what files hold, in the words of Kafka's `DumpLogSegments`.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Parser;
use log_store::{
    Error, Offset, RecordView,
    batch::{BatchHeader, MarkerKind, RecordBatch, TimestampType},
    embedded::{
        inspect::{self, Contents, FoundBatch, SegmentReader},
        storage::FileDirectory,
    },
};
use serde_json::{Value, json};

use crate::{
    output::{Output, say},
    record_text::{Format, header_json, text},
};

/// Shows what files of a log hold: batches, records, indexes, aborted transactions, producers, checkpoints.
///
/// Reads the files as they are, beside a process that has the log open, too. A damaged batch is shown with `isvalid:
/// false`; where the next one cannot be found, the dump of that file ends with an error.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  logctl dump ./data/clicks-0
  logctl dump ./data/clicks-0/00000000000000000000.log --values
  logctl dump ./data/__consumer_offsets-0 --offsets-decoder
  logctl dump ./data/clicks-0/00000000000000000042.snapshot ./data/transactions.log")]
pub(crate) struct Args {
    /// Files, or directories of partitions.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Show the records inside the batches, too.
    #[arg(long, visible_alias = "deep-iteration")]
    records: bool,

    /// Show keys, values and headers of the records, too.
    #[arg(long, visible_alias = "print-data-log")]
    values: bool,

    /// How to show keys and values.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Show the records as commits of consumer groups: the files are of `__consumer_offsets`.
    #[arg(long)]
    offsets_decoder: bool,
}

pub(crate) fn run(args: &Args, out: &mut Output) -> anyhow::Result<()> {
    let mut damaged = Ok(());
    for path in &args.files {
        let result = if path.is_dir() { dump_directory(args, path, out) } else { dump_file(args, path, out) };
        match result {
            // The other files are shown all the same.
            Err(error) if matches!(error.downcast_ref(), Some(Error::Corrupt { .. })) => {
                out.flush()?;
                if damaged.is_ok() {
                    damaged = Err(error);
                } else {
                    say(format_args!("{error:#}"));
                }
            }
            other => other?,
        }
    }
    damaged
}

fn dump_directory(args: &Args, path: &Path, out: &mut Output) -> anyhow::Result<()> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.is_file());
    files.sort();
    let mut is_any_ours = false;
    for file in files {
        match dump_file(args, &file, out) {
            Err(error) if matches!(error.downcast_ref(), Some(Error::Invalid(_))) => {}
            other => {
                other?;
                is_any_ours = true;
            }
        }
    }
    if !is_any_ours {
        bail!("{} has no files of a log", path.display());
    }
    Ok(())
}

fn dump_file(args: &Args, path: &Path, out: &mut Output) -> anyhow::Result<()> {
    fs::metadata(path).with_context(|| format!("cannot open {}", path.display()))?;
    let name = path.file_name().and_then(|name| name.to_str()).context("the name of a file of a log is text")?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = FileDirectory::new(parent)?;
    let contents = inspect::open(&directory, name)?;
    if out.is_json() {
        out.set_file(path);
    } else {
        out.bytes(format!("Dumping {}\n", path.display()).as_bytes())?;
    }
    match contents {
        Contents::Batches(reader) => dump_batches(args, reader, out),
        other => Ok(dump_small(other, out)?),
    }
}

fn dump_batches(args: &Args, mut reader: SegmentReader, out: &mut Output) -> anyhow::Result<()> {
    let mut decompressed = Vec::new();
    while let Some(found) = reader.next_batch()? {
        out.result(format_args!("{}", batch_text(&found)), || batch_json(&found))?;
        if (args.records || args.values || args.offsets_decoder) && found.damage.is_none() {
            let position = found.position;
            let dumped = dump_records(args, &found.batch, &mut decompressed, out);
            dumped.with_context(|| format!("batch at byte {position}"))?;
        }
    }
    Ok(())
}

fn dump_records(
    args: &Args,
    batch: &RecordBatch<'_>,
    decompressed: &mut Vec<u8>,
    out: &mut Output,
) -> anyhow::Result<()> {
    let header = batch.header;
    let time = time_name(header.timestamp_type);
    let mut line = String::new();
    for record in batch.records(decompressed)? {
        let (offset, record) = record?;
        let size = |part: Option<&[u8]>| part.map_or(-1, |part| part.len() as i64);
        let headers = record.headers.to_headers();
        let delta = offset.offsets_since(header.base_offset);
        let sequence =
            (header.base_sequence >= 0).then(|| (u64::from(header.base_sequence.unsigned_abs()) + delta) & 0x7fff_ffff);
        let marker = if header.is_control { batch.marker().ok().flatten() } else { None };
        if out.is_json() {
            let mut object = json!({
                "offset": offset.value(), "timestamp": record.timestamp, "timestampType": time,
                "keySize": size(record.key), "valueSize": size(record.value), "sequence": sequence,
                "headerKeys": headers.as_slice().iter().map(|header| &header.key[..]).collect::<Vec<_>>(),
            });
            if let Some(marker) = marker {
                object["endTxnMarker"] = marker_name(marker.kind).into();
                object["coordinatorEpoch"] = marker.coordinator_epoch.into();
            }
            if let Some(commit) = commit_of(args, &record) {
                object["commit"] = commit;
            } else if args.values {
                object["key"] = args.format.json(record.key);
                object["value"] = args.format.json(record.value);
                object["headers"] = headers.as_slice().iter().map(|one| header_json(one, args.format)).collect();
            }
            out.json(&object)?;
            continue;
        }
        line.clear();
        let (key_size, value_size) = (size(record.key), size(record.value));
        write!(line, "| offset: {offset} {time}: {} keySize: {key_size} valueSize: {value_size}", record.timestamp)?;
        if let Some(sequence) = sequence {
            write!(line, " sequence: {sequence}")?;
        }
        if let Some(marker) = marker {
            let kind = marker_name(marker.kind);
            write!(line, " endTxnMarker: {kind} coordinatorEpoch: {}", marker.coordinator_epoch)?;
        }
        let keys: Vec<_> = headers.as_slice().iter().map(|header| &header.key[..]).collect();
        write!(line, " headerKeys: [{}]", keys.join(","))?;
        if let Some(commit) = commit_of(args, &record) {
            write!(line, " commit: {commit}")?;
        } else if args.values {
            let shown = |part: Option<&[u8]>| part.map_or("null".to_owned(), |part| text(&args.format.show(part)));
            write!(line, " key: {} payload: {}", shown(record.key), shown(record.value))?;
        }
        out.result(format_args!("{line}"), || Value::Null)?;
    }
    Ok(())
}

/// What a record says of a group, if it was asked for.
fn commit_of(args: &Args, record: &RecordView<'_>) -> Option<Value> {
    let decoded = args.offsets_decoder.then(|| inspect::decode_group_record(record.key, record.value))??;
    let (topic, partition) = (decoded.partition.topic.to_string(), decoded.partition.partition);
    let committed = decoded.committed.map(|at| json!({"offset": at.offset.value(), "metadata": at.metadata}));
    Some(json!({"group": decoded.group, "topic": topic, "partition": partition, "committed": committed}))
}

fn batch_text(found: &FoundBatch<'_>) -> String {
    let header = &found.batch.header;
    format!(
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} producerEpoch: {} \
         partitionLeaderEpoch: {} isTransactional: {} isControl: {} deleteHorizonMs: {} position: {} {}: {} size: {} \
         magic: 2 compresscodec: {} crc: {} isvalid: {}",
        header.base_offset,
        header.last_offset(),
        header.record_count,
        header.base_sequence,
        header.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        header.is_transactional,
        header.is_control,
        header.delete_horizon().map_or("none".to_owned(), |horizon| horizon.to_string()),
        found.position,
        time_name(header.timestamp_type),
        header.max_timestamp,
        header.len_bytes,
        header.compression.name(),
        header.checksum,
        found.damage.is_none(),
    )
}

fn batch_json(found: &FoundBatch<'_>) -> Value {
    let header: &BatchHeader = &found.batch.header;
    json!({
        "baseOffset": header.base_offset.value(), "lastOffset": header.last_offset().value(),
        "count": header.record_count, "baseSequence": header.base_sequence, "lastSequence": header.last_sequence(),
        "producerId": header.producer_id, "producerEpoch": header.producer_epoch,
        "partitionLeaderEpoch": header.leader_epoch, "isTransactional": header.is_transactional,
        "isControl": header.is_control, "deleteHorizonMs": header.delete_horizon(), "position": found.position,
        "timestampType": time_name(header.timestamp_type), "maxTimestamp": header.max_timestamp,
        "size": header.len_bytes, "compresscodec": header.compression.name(), "crc": header.checksum,
        "isvalid": found.damage.is_none(),
    })
}

/// The kinds of file that are small enough to be read at once.
fn dump_small(contents: Contents, out: &mut Output) -> std::io::Result<()> {
    let number = |offset: Option<Offset>| offset.map_or(-1, Offset::as_i64);
    match contents {
        Contents::Batches(_) => {}
        Contents::OffsetIndex(entries) => {
            for entry in entries {
                out.result(
                    format_args!("offset: {} position: {}", entry.offset, entry.position),
                    || json!({"offset": entry.offset.value(), "position": entry.position}),
                )?;
            }
        }
        Contents::TimeIndex(entries) => {
            for entry in entries {
                out.result(
                    format_args!("timestamp: {} offset: {}", entry.timestamp, entry.offset),
                    || json!({"timestamp": entry.timestamp, "offset": entry.offset.value()}),
                )?;
            }
        }
        Contents::Aborted(entries) => {
            for entry in entries {
                let line = format_args!(
                    "producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
                    entry.producer_id, entry.first, entry.last, entry.last_stable
                );
                out.result(line, || {
                    json!({"producerId": entry.producer_id, "firstOffset": entry.first.value(),
                           "lastOffset": entry.last.value(), "lastStableOffset": entry.last_stable.value()})
                })?;
            }
        }
        Contents::Producers(entries) => {
            for entry in entries {
                let line = format_args!(
                    "producerId: {} producerEpoch: {} coordinatorEpoch: {} currentTxnFirstOffset: {} lastTimestamp: {} \
                     lastSequence: {} lastOffset: {} offsetDelta: {}",
                    entry.producer_id,
                    entry.epoch,
                    entry.coordinator_epoch,
                    number(entry.transaction_first),
                    entry.timestamp,
                    entry.last_sequence,
                    number(entry.last_offset),
                    entry.offset_delta
                );
                out.result(line, || {
                    json!({"producerId": entry.producer_id, "producerEpoch": entry.epoch,
                           "coordinatorEpoch": entry.coordinator_epoch,
                           "currentTxnFirstOffset": number(entry.transaction_first),
                           "lastTimestamp": entry.timestamp, "lastSequence": entry.last_sequence,
                           "lastOffset": number(entry.last_offset), "offsetDelta": entry.offset_delta})
                })?;
            }
        }
        Contents::LeaderEpochs(epochs) => {
            for epoch in epochs {
                out.result(
                    format_args!("epoch: {} startOffset: {}", epoch.epoch, epoch.start),
                    || json!({"epoch": epoch.epoch, "startOffset": epoch.start.value()}),
                )?;
            }
        }
        Contents::Offsets(offsets) => {
            for (partition, offset) in offsets {
                let (topic, number) = (partition.topic.as_str(), partition.partition);
                out.result(
                    format_args!("topic: {topic} partition: {number} offset: {offset}"),
                    || json!({"topic": topic, "partition": number, "offset": offset.value()}),
                )?;
            }
        }
        Contents::Topics(topics) => {
            for topic in topics {
                crate::topics::print(&topic, out)?;
            }
        }
        Contents::Decisions { committed, next_producer_id } => {
            out.result(
                format_args!("nextProducerId: {next_producer_id}"),
                || json!({"nextProducerId": next_producer_id}),
            )?;
            for (id, producer_id, epoch) in committed {
                let line =
                    format_args!("transactionalId: {id} producerId: {producer_id} producerEpoch: {epoch} COMMIT");
                out.result(line, || {
                    json!({"transactionalId": id, "producerId": producer_id, "producerEpoch": epoch, "state": "COMMIT"})
                })?;
            }
        }
        Contents::Text(text) => {
            for line in text.lines() {
                out.result(format_args!("{line}"), || json!({"line": line}))?;
            }
        }
    }
    Ok(())
}

fn time_name(timestamp_type: TimestampType) -> &'static str {
    match timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

fn marker_name(kind: MarkerKind) -> &'static str {
    match kind {
        MarkerKind::Abort => "ABORT",
        MarkerKind::Commit => "COMMIT",
    }
}
