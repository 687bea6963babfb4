//! Settings of an embedded log.

use std::time::Duration;

/// When a record is safe from a power cut. (A crash of the process alone never loses what was appended.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Acknowledged means synced. Writers that wait at the same time share one sync, across partitions. A node without
    /// replicas has no other copy: this is the default.
    #[default]
    Fsync,
    /// Acknowledged means appended; a sync follows within this time. A power cut loses at most so much.
    Interval(Duration),
    /// Acknowledged means appended; the system writes when it likes, and a clean close syncs.
    Never,
}

/// Settings of an embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// When a record is safe from a power cut. Default: before it is acknowledged.
    pub durability: Durability,
    /// Bytes of fresh batches kept in memory, all partitions together, so that a reader close behind its writer
    /// touches no file. Those of partitions that no consumer is assigned to are not kept. Default: 64 MiB.
    pub tail_bytes_max: usize,
    /// Bytes appended and not yet synced, all partitions together, at which a producer waits for a sync (with
    /// [`Durability::Fsync`] and [`Durability::Interval`]), beside what a sync under way has in hand. Default: 64 MiB.
    pub unsynced_bytes_max: u64,
    /// Most bytes that a segment grows by on disk ahead of what is written; while it is smaller it doubles. 0 for not at
    /// all. Default: 16 MiB.
    pub preallocate_bytes: u32,
    /// Files kept open, all partitions together. More are open while more partitions wait for a sync. Default: 512, half
    /// of what many systems allow a process.
    pub open_files_max: usize,
    /// Synced bytes after which the positions up to which the log is known to be good are written down, by a thread of
    /// its own. Recovery after a crash scans about as much, and what was not synced. Where dozens of partitions are written
    /// at a time it is up to four times as much, since there this work is more. Default: 256 MiB, a fraction of a second
    /// of scanning; writers that wait for the disk feel each checkpoint.
    pub checkpoint_bytes: u64,
    /// Time between two looks for what is to be deleted or compacted; `None` leaves that to
    /// [`super::EmbeddedLog::clean`]. Default: 15 s.
    pub clean_interval: Option<Duration>,
    /// Memory for the keys of one compaction; a log with more keys takes several passes. Default: 64 MiB.
    pub cleaner_memory_bytes: usize,
    /// Bytes that compaction reads in a second; `None` is as fast as it can. Default: 100 MiB.
    pub cleaner_bytes_per_second: Option<u64>,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            durability: Durability::default(),
            tail_bytes_max: 64 << 20,
            unsynced_bytes_max: 64 << 20,
            preallocate_bytes: 16 << 20,
            open_files_max: 512,
            checkpoint_bytes: 256 << 20,
            clean_interval: Some(Duration::from_secs(15)),
            cleaner_memory_bytes: 64 << 20,
            cleaner_bytes_per_second: Some(100 << 20),
        }
    }
}
