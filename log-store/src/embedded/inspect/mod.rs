//! The files of a log as they lie there, read without opening the log: what an operator's tools need.
//!
//! * [`open`] reads one file, whatever kind it is.
//! * [`PartitionReader`] reads the records of a partition.
//! * [`group_offsets`] reads what consumer groups have committed.
//! * [`verify`] holds all files against each other.
//!
//! Nothing is written, and nothing that is read is trusted.

mod files;
mod groups;
mod partition_reader;
mod segment_reader;
mod verify;

use std::{collections::BTreeMap, path::PathBuf};

pub use files::{LeaderEpoch, decode_aborted, decode_leader_epochs, decode_offset_index, decode_time_index};
pub use groups::{DecodedOffset, decode_group_record, group_offsets};
pub use partition_reader::PartitionReader;
pub use segment_reader::{FoundBatch, SegmentReader};
pub use verify::{Finding, Scope, Severity, Verified, verify};

use super::{
    log_checkpoints::{CLEAN, LOG_STARTS, META, RECOVERY_POINTS, parse_offsets},
    producer_state::snapshot,
    storage::{Directory, read_small},
    topics_file, transaction,
};
pub use super::{
    producer_state::{Aborted, ProducerEntry},
    segment::{OffsetEntry, TimeEntry},
};
use crate::{Error, Offset, Result, TopicPartition, client::TopicDescription};

/// What is in a file.
#[derive(Debug)]
pub enum Contents {
    /// `.log`: record batches, read one by one.
    Batches(SegmentReader),
    /// `.index`.
    OffsetIndex(Vec<OffsetEntry>),
    /// `.timeindex`.
    TimeIndex(Vec<TimeEntry>),
    /// `.txnindex`: transactions that were aborted.
    Aborted(Vec<Aborted>),
    /// `.snapshot`: the producers.
    Producers(Vec<ProducerEntry>),
    /// `leader-epoch-checkpoint`.
    LeaderEpochs(Vec<LeaderEpoch>),
    /// One of the checkpoints with an offset for each partition.
    Offsets(BTreeMap<TopicPartition, Offset>),
    /// `topics`: the table of topics.
    Topics(Vec<TopicDescription>),
    /// `transactions.log`: what is committed and may have markers missing.
    Decisions {
        /// Transactional id, producer id and epoch of each such transaction, sorted.
        committed: Vec<(String, i64, i16)>,
        /// Producer ids below this one may be in use.
        next_producer_id: i64,
    },
    /// One of the small files of lines that speak for themselves.
    Text(String),
}

/// Reads the file at `path` below `directory`; its name says what it is.
///
/// # Errors
///
/// `Invalid` for a name that no file of a log has, `Corrupt` with the place of the damage, `Io`.
pub fn open(directory: &dyn Directory, path: &str) -> Result<Contents> {
    let name = path.rsplit('/').next().unwrap_or(path);
    // `.log.deleted`, `.log.cleaned` and `.log.swap` have the same content.
    let name = [".deleted", ".cleaned", ".swap"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
    if let Some((base, extension)) = segment_name(name) {
        return open_of_segment(directory, path, base, extension);
    }
    let bytes = read(directory, path)?;
    let damaged = |reason: &str| corrupt(directory, path, reason);
    match name {
        RECOVERY_POINTS | LOG_STARTS | "replication-offset-checkpoint" | "cleaner-offset-checkpoint" => {
            let offsets = parse_offsets(&bytes).ok_or_else(|| damaged("not a checkpoint of offsets"))?;
            Ok(Contents::Offsets(offsets))
        }
        "leader-epoch-checkpoint" => {
            Ok(Contents::LeaderEpochs(decode_leader_epochs(&bytes).map_err(|problem| damaged(&problem.to_string()))?))
        }
        topics_file::TOPICS => Ok(Contents::Topics(topics_file::read(directory)?.unwrap_or_default())),
        transaction::FILE_NAME => {
            let recovered = transaction::recover(directory)?.unwrap_or_default();
            let committed = recovered.committed.iter();
            let mut committed: Vec<_> =
                committed.map(|(one, id)| (id.to_string(), one.producer_id, one.epoch)).collect();
            committed.sort_unstable();
            Ok(Contents::Decisions { committed, next_producer_id: recovered.next_producer_id })
        }
        META | CLEAN | "partition.metadata" => {
            Ok(Contents::Text(String::from_utf8(bytes).map_err(|_| damaged("not a text"))?))
        }
        _ => Err(Error::Invalid(format!("{} is no file of a log", directory.locate(path).display()))),
    }
}

fn open_of_segment(directory: &dyn Directory, path: &str, base: Offset, extension: &str) -> Result<Contents> {
    if extension == "log" {
        return Ok(Contents::Batches(SegmentReader::open(directory, path)?));
    }
    let bytes = read(directory, path)?;
    let contents = match extension {
        "index" => decode_offset_index(base, &bytes).map(Contents::OffsetIndex),
        "timeindex" => decode_time_index(base, &bytes).map(Contents::TimeIndex),
        "txnindex" => decode_aborted(&bytes).map(Contents::Aborted),
        _ => {
            return snapshot::decode(&bytes)
                .map(Contents::Producers)
                .map_err(|reason| corrupt(directory, path, &reason));
        }
    };
    contents.map_err(|problem| corrupt(directory, path, &problem.to_string()))
}

/// The base offset and the extension of a segment's file.
pub(crate) fn segment_name(name: &str) -> Option<(Offset, &str)> {
    let (base, extension) = name.split_once('.')?;
    let is_one = base.len() == 20 && ["log", "index", "timeindex", "txnindex", "snapshot"].contains(&extension);
    let base = is_one.then(|| base.parse::<u64>().ok())??;
    Some((Offset::new(base), extension))
}

fn read(directory: &dyn Directory, path: &str) -> Result<Vec<u8>> {
    let missing = || Error::io("open", directory.locate(path), std::io::ErrorKind::NotFound.into());
    read_small(directory, path)?.ok_or_else(missing)
}

fn corrupt(directory: &dyn Directory, path: &str, reason: &str) -> Error {
    let file: PathBuf = directory.locate(path);
    Error::Corrupt { file, position: 0, reason: reason.to_owned() }
}
