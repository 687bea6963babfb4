//! Holds all files of a log against each other: batches against their checksums, indexes against batches, producers
//! against their records, checkpoints against the ends of the partitions.
//!
//! What an interrupted write leaves behind is no damage: the next opening takes care of it, and it is noted.

mod partition;
mod producers;
mod segment;

use std::{collections::BTreeMap, path::PathBuf};

use super::topics_file;
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::TopicDescription,
    embedded::{
        log_checkpoints::{CLEAN, LOG_STARTS, RECOVERY_POINTS, is_deleted, parse_offsets},
        storage::{Directory, read_small},
        transaction,
    },
};

/// What to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole log.
    All,
    /// The partitions of a topic.
    Topic(TopicName),
    /// One partition.
    Partition(TopicPartition),
}

impl Scope {
    fn contains(&self, partition: &TopicPartition) -> bool {
        match self {
            Scope::All => true,
            Scope::Topic(topic) => partition.topic == *topic,
            Scope::Partition(one) => partition == one,
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Note,
    /// Something is not what it should be.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file or directory.
    pub file: PathBuf,
    /// The byte where it begins, where that is known.
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// How much was looked at, and how much was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Partitions with files.
    pub partitions: u64,
    /// Segments.
    pub segments: u64,
    /// Batches with a good checksum.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of these batches.
    pub bytes: u64,
    /// Findings of [`Severity::Error`].
    pub errors: u64,
    /// Findings of [`Severity::Note`].
    pub notes: u64,
    /// Who has the log open. Only what was synced at its last checkpoint could be verified then.
    pub open_elsewhere: Option<String>,
}

/// Verifies the files of a log, without changing any. Each finding goes to `report` at once. The log cannot be opened
/// meanwhile; if it is open already, what is still being written is left out.
///
/// Cost: reads everything once, about a second for a gigabyte in the system's cache.
///
/// # Errors
///
/// If files cannot be read. Damage is no error here but a [`Finding`].
pub fn verify(directory: &dyn Directory, scope: &Scope, report: &mut dyn FnMut(&Finding)) -> Result<Verified> {
    let mut check = Check { directory, report, verified: Verified::default() };
    let _lock = match directory.lock() {
        Ok(lock) => Some(lock),
        Err(Error::Locked { holder, .. }) => {
            check.verified.open_elsewhere = Some(holder);
            None
        }
        Err(error) => return Err(error),
    };
    let facts = check.read_facts()?;
    for partition in check.find_partitions(&facts, scope)? {
        check.check_partition(&partition, &facts)?;
    }
    Ok(check.verified)
}

/// What the files in the root say.
struct Facts {
    topics: Option<BTreeMap<TopicName, TopicDescription>>,
    recovery_points: BTreeMap<TopicPartition, Offset>,
    log_starts: BTreeMap<TopicPartition, Offset>,
    is_clean: bool,
}

/// A verification under way.
struct Check<'a> {
    directory: &'a dyn Directory,
    report: &'a mut dyn FnMut(&Finding),
    verified: Verified,
}

impl Check<'_> {
    fn error(&mut self, path: &str, position: impl Into<Option<u64>>, what: impl Into<String>) {
        self.found(Severity::Error, path, position.into(), what.into());
    }

    fn note(&mut self, path: &str, position: impl Into<Option<u64>>, what: impl Into<String>) {
        self.found(Severity::Note, path, position.into(), what.into());
    }

    fn found(&mut self, severity: Severity, path: &str, position: Option<u64>, what: String) {
        match severity {
            Severity::Note => self.verified.notes += 1,
            Severity::Error => self.verified.errors += 1,
        }
        (self.report)(&Finding { severity, file: self.directory.locate(path), position, what });
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        read_small(self.directory, path)
    }

    fn read_facts(&mut self) -> Result<Facts> {
        let topics = match topics_file::read(self.directory) {
            Ok(topics) => topics,
            Err(Error::Corrupt { reason, .. }) => {
                self.error(topics_file::TOPICS, None, reason);
                None
            }
            Err(error) => return Err(error),
        };
        match transaction::recover(self.directory) {
            Ok(_) => {}
            Err(Error::Corrupt { position, reason, .. }) => self.error(transaction::FILE_NAME, position, reason),
            Err(error) => return Err(error),
        }
        let by_name = |topic: TopicDescription| (topic.name.clone(), topic);
        Ok(Facts {
            topics: topics.map(|topics| topics.into_iter().map(by_name).collect()),
            recovery_points: self.read_offsets(RECOVERY_POINTS)?,
            log_starts: self.read_offsets(LOG_STARTS)?,
            is_clean: self.read(CLEAN)?.is_some(),
        })
    }

    fn read_offsets(&mut self, path: &str) -> Result<BTreeMap<TopicPartition, Offset>> {
        let Some(bytes) = self.read(path)? else { return Ok(BTreeMap::new()) };
        let offsets = parse_offsets(&bytes);
        if offsets.is_none() {
            self.error(path, None, "not a checkpoint of offsets; the next opening takes longer and replaces it");
        }
        Ok(offsets.unwrap_or_default())
    }

    /// The partitions that have a directory, or should have one.
    fn find_partitions(&mut self, facts: &Facts, scope: &Scope) -> Result<Vec<TopicPartition>> {
        let entries = self.directory.list("").map_err(|error| Error::io("list", self.directory.locate(""), error))?;
        let mut found = Vec::new();
        for entry in entries.iter().filter(|entry| entry.is_dir) {
            let id = entry.name.rsplit_once('-').and_then(|(topic, number)| {
                Some(TopicPartition::new(TopicName::new(topic).ok()?, number.parse().ok()?))
            });
            let Some(id) = id else {
                if is_deleted(&entry.name) {
                    self.note(&entry.name, None, "left behind by a deletion; the next opening removes it");
                }
                continue;
            };
            let is_known = |topics: &BTreeMap<TopicName, TopicDescription>| {
                topics.get(&id.topic).is_some_and(|topic| id.partition < topic.partitions)
            };
            if facts.topics.as_ref().is_some_and(|topics| !is_known(topics)) && scope.contains(&id) {
                self.note(&entry.name, None, "belongs to no topic of the table; the log does not use it");
            }
            found.push(id);
        }
        // With a recovery point there were records.
        found.extend(facts.recovery_points.keys().cloned());
        found.sort_unstable();
        found.dedup();
        found.retain(|id| scope.contains(id));
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
