//! One error for the crate.

use std::path::PathBuf;

/// Any error: what user code may answer with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong in the engine, with what, where, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A topology that cannot run. All violations are listed.
    #[error("the topology is not valid:\n  - {}", .0.join("\n  - "))]
    Topology(Vec<String>),

    /// A setting that cannot be.
    #[error("{0}")]
    Config(String),

    /// The log refused or failed.
    #[error(transparent)]
    Log(#[from] log_store::Error),

    /// A record that could not be read as the types of its source.
    #[error(
        "{topic}-{partition}, offset {offset}: cannot deserialize the {part} at source {node}: {reason}; mend the types or \
         serdes of the source, or let a deserialization exception handler leave the record out"
    )]
    Deserialization {
        /// Topic of the record.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: i64,
        /// "key" or "value".
        part: &'static str,
        /// The source node.
        node: String,
        /// What the serde said.
        reason: String,
    },

    /// User code failed or panicked on a record.
    #[error(
        "processor {node} of task {task} failed on {topic}-{partition}, offset {offset}: {reason}; mend it and start again, \
         or let a processing exception handler leave the record out"
    )]
    Processing {
        /// The node.
        node: String,
        /// The task.
        task: String,
        /// Topic of the record that entered the topology.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: i64,
        /// What it said.
        reason: String,
    },

    /// A result that could not be written.
    #[error(
        "cannot produce to {topic} from node {node}: {reason}; mend it and start again, or let a production exception \
         handler leave the record out"
    )]
    Production {
        /// Where it was going.
        topic: String,
        /// The sink.
        node: String,
        /// Why not.
        reason: String,
    },

    /// A state store failed.
    #[error(
        "store {store} in {}: {reason}; mend the cause and start again: what its files lack is restored from the changelog",
        directory.display()
    )]
    Store {
        /// The store.
        store: String,
        /// Its directory.
        directory: PathBuf,
        /// What failed.
        reason: String,
    },

    /// A store that other threads cannot read (now): it does not exist, is not ready, or has moved elsewhere.
    #[error("store {store} cannot be read: {reason}")]
    InvalidStateStore {
        /// The store.
        store: String,
        /// Why, and what to do.
        reason: String,
    },

    /// The state directory was written by another shape of the topology.
    #[error("{0}")]
    Incompatible(String),

    /// A call that the application's state does not allow.
    #[error("{0}")]
    IllegalState(String),
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
