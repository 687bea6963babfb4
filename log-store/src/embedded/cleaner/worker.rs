//! Acts on what the policies choose. One thread: it sleeps, looks at the partitions, and works on one at a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use super::{
    compaction::Cleaned,
    keys::KEY_BYTES,
    plan::cleanable,
    retention::{Choice, choose},
    rewrite::{Limits, compact},
    throttle::Throttle,
};
use crate::{
    Error, Offset, Result, TopicPartition,
    embedded::{
        log::Inner,
        log_checkpoints::{CLEANER, Offsets, read_offsets, write_offsets},
        partition::Partition,
    },
};

/// Every so many rounds partitions are looked at, too, that nobody has used yet.
const ROUNDS_TO_ALL: u64 = 20;

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanReport {
    /// Bytes of segments that retention or a deletion of records removed.
    pub deleted_bytes: u64,
    /// Partitions that were compacted.
    pub compacted_partitions: u64,
    /// Records in them before.
    pub records_read: u64,
    /// Records in them after.
    pub records_kept: u64,
    /// Bytes in them before.
    pub bytes_read: u64,
    /// Bytes in them after.
    pub bytes_kept: u64,
}

/// The cleaner of an open log.
#[derive(Default)]
pub(crate) struct Cleaner {
    /// Held while a round is under way.
    round: Mutex<Round>,
    is_closed: Mutex<bool>,
    closed: Condvar,
}

#[derive(Default)]
struct Round {
    number: u64,
    /// Where the next compaction of each partition begins; `None` until it was read.
    first_dirty: Option<Offsets>,
    /// Partitions that could not be compacted: left alone until the log is opened again.
    failed: BTreeSet<TopicPartition>,
}

impl Cleaner {
    /// Ends the thread, and waits for the partition under way.
    pub(crate) fn close(&self) {
        *self.is_closed.lock() = true;
        self.closed.notify_all();
        drop(self.round.lock());
    }

    fn is_closed(&self) -> bool {
        *self.is_closed.lock()
    }
}

/// Starts the thread, which ends with the log.
pub(crate) fn start(log: &Arc<Inner>) {
    let Some(interval) = log.shared.config.clean_interval else { return };
    let (cleaner, log) = (Arc::clone(&log.cleaner), Arc::downgrade(log));
    let spawned = thread::Builder::new().name("log-cleaner".to_owned()).spawn(move || run(&cleaner, &log, interval));
    if let Err(error) = spawned {
        tracing::error!(%error, "cannot start the cleaner: nothing old is deleted or compacted");
    }
}

fn run(cleaner: &Cleaner, log: &Weak<Inner>, interval: Duration) {
    loop {
        {
            let mut is_closed = cleaner.is_closed.lock();
            if !*is_closed {
                cleaner.closed.wait_for(&mut is_closed, interval);
            }
            if *is_closed {
                return;
            }
        }
        let Some(log) = log.upgrade() else { return };
        if let Err(error) = log.clean(false) {
            tracing::warn!(%error, "a round of the cleaner failed; the next one tries again");
        }
        if log.shared.check().is_err() {
            return;
        }
    }
}

impl Inner {
    /// One round: deletes and compacts what is due. `is_asked` looks at every partition.
    pub(crate) fn clean(&self, is_asked: bool) -> Result<CleanReport> {
        let mut round = self.cleaner.round.lock();
        self.shared.check()?;
        round.number += 1;
        let is_for_all = is_asked || round.number.is_multiple_of(ROUNDS_TO_ALL);
        let mut partitions = self.all_partitions();
        partitions.retain(|partition| is_for_all || partition.is_open());
        let mut report = CleanReport { deleted_bytes: self.delete_old(&partitions)?, ..CleanReport::default() };
        for partition in partitions {
            if self.cleaner.is_closed() {
                break;
            }
            if !partition.config().cleanup_policy.is_compact || round.failed.contains(&partition.id) {
                continue;
            }
            match self.compact_if_due(&partition, &mut round) {
                Ok(None) | Err(Error::UnknownTopic { .. }) => {}
                Ok(Some(cleaned)) => report.add(cleaned),
                Err(error) => {
                    tracing::error!(partition = %partition.id, %error, "cannot compact; tried again when the log is reopened");
                    round.failed.insert(partition.id.clone());
                }
            }
        }
        Ok(report)
    }

    /// Deletes segments that are too old or too many, and those before the log start.
    fn delete_old(&self, partitions: &[Arc<Partition>]) -> Result<u64> {
        let mut retiring = Vec::new();
        for partition in partitions {
            let survey = match partition.survey() {
                Ok(survey) => survey,
                // It was deleted meanwhile, or is damaged and waits for an operator.
                Err(Error::UnknownTopic { .. } | Error::Corrupt { .. }) => continue,
                Err(error) => return Err(error),
            };
            let config = partition.config();
            match choose(&config, &survey.segments, survey.log_start, survey.last_stable, self.shared.now_ms()) {
                Choice::Keep => {}
                Choice::DeleteHead { segments } => {
                    partition.retire_head(segments)?;
                    retiring.push(partition);
                    if self.shared.syncer.is_behind(&self.shared.config) {
                        self.sync()?;
                    }
                }
            }
        }
        if retiring.is_empty() {
            return Ok(0);
        }
        // Before a file goes: a crash in between must not leave a log with holes.
        self.write_log_starts()?;
        retiring.into_iter().map(|partition| partition.remove_retired()).sum()
    }

    fn compact_if_due(&self, partition: &Arc<Partition>, round: &mut Round) -> Result<Option<Cleaned>> {
        let directory = &*self.shared.directory;
        let known = match &mut round.first_dirty {
            Some(known) => known,
            none => none.insert(read_offsets(directory, CLEANER)?.unwrap_or_default()),
        };
        let first_dirty = known.get(&partition.id).copied().unwrap_or(Offset::ZERO);
        let (config, now_ms) = (partition.config(), self.shared.now_ms());
        let survey = partition.survey()?;
        let found = cleanable(&config, &survey.segments, first_dirty, survey.last_stable, now_ms);
        if !found.is_some_and(|found| found.is_due) {
            return Ok(None);
        }
        // Recovery takes a gap behind the recovery point for a loss.
        self.checkpoint()?;
        let survey = partition.survey()?;
        let end = survey.last_stable.min(survey.checkpointed);
        let Some(due) = cleanable(&config, &survey.segments, first_dirty, end, now_ms) else { return Ok(None) };
        let settings = &self.shared.config;
        let mut limits = Limits {
            keys_max: (settings.cleaner_memory_bytes / KEY_BYTES).max(1),
            now_ms,
            throttle: &mut Throttle::new(settings.cleaner_bytes_per_second),
        };
        let (cleaned, next) = compact(directory, partition, &survey, due, &mut limits)?;
        tracing::info!(partition = %partition.id, before = cleaned.bytes_read, after = cleaned.bytes_kept, "compacted");
        let alive: BTreeSet<TopicPartition> = self.all_partitions().iter().map(|one| one.id.clone()).collect();
        known.retain(|name, _| alive.contains(name));
        known.insert(partition.id.clone(), next);
        write_offsets(directory, CLEANER, known)?;
        Ok(Some(cleaned))
    }
}

impl CleanReport {
    fn add(&mut self, cleaned: Cleaned) {
        self.compacted_partitions += 1;
        self.records_read += cleaned.records_read;
        self.records_kept += cleaned.records_kept;
        self.bytes_read += cleaned.bytes_read;
        self.bytes_kept += cleaned.bytes_kept;
    }
}
