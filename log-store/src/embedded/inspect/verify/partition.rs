//! One partition: its segments in a row, and the small files beside them.

use std::io;

use super::{Check, Facts, producers::Producers};
use crate::{
    Error, Offset, Result, TopicPartition,
    embedded::{
        inspect::{decode_leader_epochs, segment_name},
        log_checkpoints::read_topic_id,
        producer_state::snapshot,
    },
};

/// What the walk along a partition has seen so far.
pub(super) struct Walk {
    /// Name of the directory.
    pub(super) directory: String,
    /// Base of the first segment.
    pub(super) start: Offset,
    /// No batch begins before this offset.
    pub(super) next: Offset,
    /// Compaction leaves gaps between batches, and takes batches away from a producer's sequence.
    pub(super) is_compacted: bool,
    /// Batches from here on are still being written.
    pub(super) limit: Option<Offset>,
    /// The log was closed in order: nothing is torn.
    pub(super) is_clean: bool,
    /// The latest leader epoch.
    pub(super) epoch: i32,
    pub(super) producers: Producers,
    /// Producer snapshots that the walk has not come to, the next one last.
    snapshots: Vec<Offset>,
}

impl Walk {
    pub(super) fn path(&self, base: Offset, extension: &str) -> String {
        format!("{}/{:020}.{extension}", self.directory, base.value())
    }

    pub(super) fn is_past_limit(&self, offset: Offset) -> bool {
        self.limit.is_some_and(|limit| offset >= limit)
    }
}

impl Check<'_> {
    pub(super) fn check_partition(&mut self, id: &TopicPartition, facts: &Facts) -> Result<()> {
        let directory = id.to_string();
        let recovery_point = facts.recovery_points.get(id).copied().unwrap_or_default();
        let entries = match self.directory.list(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.error(&directory, None, format!("is missing: offsets up to {recovery_point} were synced"));
                return Ok(());
            }
            Err(error) => return Err(Error::io("list", self.directory.locate(&directory), error)),
        };
        self.verified.partitions += 1;
        let topic = facts.topics.as_ref().and_then(|topics| topics.get(&id.topic));
        let policy = topic.and_then(|topic| topic.config.get("cleanup.policy"));
        let mut walk = Walk {
            start: Offset::ZERO,
            next: Offset::ZERO,
            // Of a topic that we do not know, anything may be.
            is_compacted: topic.is_none() || policy.is_some_and(|policy| policy.contains("compact")),
            limit: self.verified.open_elsewhere.is_some().then_some(recovery_point),
            is_clean: facts.is_clean,
            epoch: i32::MIN,
            producers: Producers::default(),
            snapshots: Vec::new(),
            directory,
        };
        let mut segments = Vec::new();
        for entry in &entries {
            let path = format!("{}/{}", walk.directory, entry.name);
            match segment_name(&entry.name) {
                Some((base, "log")) => segments.push(base),
                Some((base, "snapshot")) => walk.snapshots.push(base),
                Some(_) => {}
                None if [".deleted", ".cleaned", ".swap", ".tmp"].iter().any(|end| entry.name.ends_with(end)) => {
                    self.note(&path, None, "left behind by an interrupted cleaning; the next opening takes care of it");
                }
                None => {}
            }
        }
        segments.sort_unstable();
        walk.snapshots.sort_unstable_by(|a, b| b.cmp(a));
        self.check_metadata(&walk, topic.map(|topic| topic.topic_id), segments.is_empty())?;

        walk.start = segments.first().copied().unwrap_or_default();
        walk.next = walk.start;
        for (index, base) in segments.iter().enumerate() {
            self.check_segment(&mut walk, *base, index + 1 == segments.len())?;
        }
        if walk.limit.is_none() {
            self.check_end(&mut walk, recovery_point, facts.log_starts.get(id).copied())?;
        }
        Ok(())
    }

    fn check_metadata(&mut self, walk: &Walk, topic_id: Option<[u8; 16]>, is_empty: bool) -> Result<()> {
        let path = format!("{}/partition.metadata", walk.directory);
        match (self.read(&path)?, read_topic_id(self.directory, &walk.directory)?) {
            (_, Some(stored)) if topic_id.is_some_and(|expected| stored != expected) => {
                self.error(&path, None, "is of another topic of the same name");
            }
            (Some(_), None) if walk.is_clean && !is_empty => self.error(&path, None, "holds no topic id"),
            // A crash while the partition was made: the next opening or the first append makes it anew.
            (Some(_), None) => self.note(&path, None, "holds no topic id"),
            _ => {}
        }
        let path = format!("{}/leader-epoch-checkpoint", walk.directory);
        if let Some(bytes) = self.read(&path)?
            && let Err(problem) = decode_leader_epochs(&bytes)
        {
            if walk.is_clean && !is_empty {
                self.error(&path, None, problem.to_string());
            } else {
                self.note(&path, None, problem.to_string());
            }
        }
        Ok(())
    }

    /// Compares the snapshots up to `offset` with the producers seen so far.
    pub(super) fn check_snapshots(&mut self, walk: &mut Walk, offset: Offset) -> Result<()> {
        while let Some(at) = walk.snapshots.pop_if(|at| *at <= offset) {
            let path = walk.path(at, "snapshot");
            let Some(bytes) = self.read(&path)? else { continue };
            match snapshot::decode(&bytes) {
                Ok(entries) => {
                    for problem in walk.producers.compare(&entries, walk.is_compacted) {
                        self.error(&path, None, problem);
                    }
                }
                Err(reason) => self.error(&path, None, reason),
            }
        }
        Ok(())
    }

    fn check_end(&mut self, walk: &mut Walk, recovery_point: Offset, log_start: Option<Offset>) -> Result<()> {
        let end = walk.next;
        self.check_snapshots(walk, end)?;
        if let Some(at) = walk.snapshots.pop() {
            let what = format!("is of offset {at}, but the log ends at {end}");
            self.note(&walk.path(at, "snapshot"), None, what);
        }
        if end < recovery_point && log_start.is_none_or(|log_start| log_start < recovery_point) {
            let what = format!("the log ends at offset {end}, but everything before {recovery_point} was synced");
            self.error(&walk.directory, None, what);
        }
        if let Some(log_start) = log_start.filter(|log_start| *log_start > end) {
            self.note(&walk.directory, None, format!("the log starts at offset {log_start}, behind its end {end}"));
        }
        Ok(())
    }
}
