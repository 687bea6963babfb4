//! One error for the crate: the variant carries the facts, [`Error::kind`] says what to do.

use std::{io, path::PathBuf};

use crate::{Offset, TopicPartition};

/// What went wrong in a log, with what, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The requested offset was removed by retention, or does not exist yet.
    #[error(
        "{partition}: offset {requested} is outside the log [{log_start}, {log_end}); reset the position to one of the ends"
    )]
    OffsetOutOfRange {
        /// The partition that was asked.
        partition: TopicPartition,
        /// The offset that was asked for.
        requested: Offset,
        /// The first offset that is still kept.
        log_start: Offset,
        /// The offset that the next record will get.
        log_end: Offset,
    },

    /// A batch on disk or in memory does not hold what its header says.
    #[error("corrupt batch at byte {position} of {}: {reason}; bring it back from a copy (`logctl verify` tells all that is damaged)", file.display())]
    Corrupt {
        /// The segment file (or another name of the source of the bytes).
        file: PathBuf,
        /// Byte position of the batch in it.
        position: u64,
        /// What does not fit.
        reason: String,
    },

    /// A topic or partition that does not exist.
    #[error("unknown topic or partition: {name}; create it first, or check the spelling")]
    UnknownTopic {
        /// The topic, or `topic-partition`.
        name: String,
    },

    /// A topic that exists already.
    #[error("topic {name} exists already")]
    TopicExists {
        /// The topic.
        name: String,
    },

    /// A request that can never succeed as it is.
    #[error("{0}")]
    Invalid(String),

    /// A newer producer with the same transactional id has taken over, or the transaction timed out.
    #[error("producer of {transactional_id:?} is fenced: epoch {ours} is older than {current}; close it")]
    ProducerFenced {
        /// The transactional id that was taken over.
        transactional_id: String,
        /// Epoch of this producer.
        ours: i16,
        /// Epoch now in force.
        current: i16,
    },

    /// A batch that does not follow the last one of its producer.
    #[error("{partition}: producer {producer_id} sent sequence {got}, expected {expected}")]
    OutOfOrderSequence {
        /// Where it was sent.
        partition: TopicPartition,
        /// The producer.
        producer_id: i64,
        /// Its sequence number.
        got: i32,
        /// The sequence number that would have followed.
        expected: i32,
    },

    /// The member is no longer part of its consumer group's generation.
    #[error("member {member:?} of group {group:?} has been fenced: {reason}")]
    MemberFenced {
        /// The group.
        group: String,
        /// The member.
        member: String,
        /// Why.
        reason: String,
    },

    /// An earlier write or sync failed; nothing more is acknowledged until the log is reopened and verified.
    #[error("the log is closed to writes by an earlier failure ({reason}); mend the cause and reopen it")]
    Poisoned {
        /// The first failure.
        reason: String,
    },

    /// Another process has the directory open.
    #[error("{} is in use by another process ({holder}); stop it, or choose another directory", directory.display())]
    Locked {
        /// The data directory.
        directory: PathBuf,
        /// What is known of the holder (a process id).
        holder: String,
    },

    /// The wait for buffer space or an answer was longer than allowed.
    #[error("timed out after {waited_ms} ms: {what}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        waited_ms: u64,
    },

    /// The operating system refused.
    #[error("cannot {operation} {}: {source}{}", path.display(), way_out_of_refusal(source))]
    Io {
        /// What was tried ("append to", "open", …).
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What the caller can do about an [`Error`]. Adding a kind is a design decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Try the same call again, perhaps later.
    Retry,
    /// The request is wrong: change it.
    Invalid,
    /// This handle is finished: reopen, and read back what is durable.
    Reopen,
    /// Bytes on disk are damaged.
    Corrupt,
}

impl Error {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::TimedOut { .. } => ErrorKind::Retry,
            // Nothing was written; once there is space the same call may succeed.
            Error::Io { .. } if self.is_storage_full() => ErrorKind::Retry,
            Error::OffsetOutOfRange { .. }
            | Error::UnknownTopic { .. }
            | Error::TopicExists { .. }
            | Error::Invalid(_)
            | Error::Locked { .. } => ErrorKind::Invalid,
            Error::ProducerFenced { .. }
            | Error::OutOfOrderSequence { .. }
            | Error::MemberFenced { .. }
            | Error::Poisoned { .. }
            | Error::Io { .. } => ErrorKind::Reopen,
            Error::Corrupt { .. } => ErrorKind::Corrupt,
        }
    }

    /// True if the disk (or a quota) is full.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
    }

    /// An [`Error::Io`] with its facts.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { operation, path: path.into(), source }
    }
}

/// What can be done about a refusal of the operating system, where the refusal itself does not say it.
fn way_out_of_refusal(refusal: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, FileTooLarge, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    /// Too many open files, of the process and of the system.
    const EMFILE: [i32; 2] = [24, 23];
    match refusal.kind() {
        StorageFull | QuotaExceeded => "; make room there and try again: nothing that was acknowledged is lost",
        FileTooLarge => "; raise the limit on the size of files",
        PermissionDenied => "; give this user the right to read and write there, or choose another directory",
        ReadOnlyFilesystem | NotADirectory | AlreadyExists => "; choose another directory",
        _ if refusal.raw_os_error().is_some_and(|code| EMFILE.contains(&code)) => {
            "; raise the limit on open files (`ulimit -n`)"
        }
        _ => "",
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
