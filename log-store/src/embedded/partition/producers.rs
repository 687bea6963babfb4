//! What a partition knows of its producers, kept in step with its batches and found again when it is opened: the
//! newest snapshot that fits, and the batches behind it.

use std::io;

use super::{Log, Partition};
use crate::{
    Error, Offset, Result,
    batch::{BatchHeader, Malformed, RecordBatch},
    embedded::{
        producer_state::{Aborted, OpenTransaction, ProducerStates, Stamp, TransactionEnd, Verdict},
        segment::{Segment, recovery, transaction_index},
        storage::{OpenMode, SegmentFile, read_small, write_atomically},
    },
};

/// How long a producer is remembered that writes nothing and has no transaction open (`producer.id.expiration.ms`).
const PRODUCER_AGE_MAX_MS: i64 = 24 * 60 * 60 * 1000;

/// Snapshots kept beside those at the beginning of segments: the newest, and one more in case that is damaged.
const SNAPSHOTS_KEPT: usize = 2;

/// What is known of the producers up to the log end.
#[derive(Default)]
pub(super) struct Producers {
    pub(super) states: ProducerStates,
    /// Aborted transactions of all segments, in the order of their markers.
    aborted: Vec<Aborted>,
    /// Offsets at which there is a snapshot file, in order.
    snapshots: Vec<Offset>,
}

impl Producers {
    /// Aborted transactions that touch offsets from `from` up to `to`.
    pub(super) fn aborted_between(&self, from: Offset, to: Offset) -> impl Iterator<Item = &Aborted> {
        let first = self.aborted.partition_point(|aborted| aborted.last < from);
        self.aborted[first..].iter().filter(move |aborted| aborted.first < to)
    }

    /// Puts `aborted` in the place of the entries with markers in `range`: its segments were compacted.
    pub(super) fn replace_aborted(&mut self, range: &std::ops::Range<Offset>, aborted: &[Aborted]) {
        self.aborted.retain(|entry| !range.contains(&entry.last));
        self.aborted.extend_from_slice(aborted);
        self.aborted.sort_unstable_by_key(|entry| entry.last);
    }

    /// Forgets what lies before the log.
    pub(super) fn forget_before(&mut self, offset: Offset) {
        self.aborted.retain(|aborted| aborted.last >= offset);
    }
}

impl Partition {
    /// What an earlier run left: the transactions that are open here, and the greatest producer id (-1 without any).
    pub(crate) fn producers_left(&self) -> Result<(Vec<OpenTransaction>, i64)> {
        let log = self.log()?;
        let states = &log.producers.states;
        Ok((states.open_transactions().collect(), states.last_offsets().map(|(id, ..)| id).max().unwrap_or(-1)))
    }

    /// Decides about batches before they are appended. `Duplicate` only if there is a single one.
    pub(super) fn check_producers(&self, log: &Log, batches: &[u8], headers: &[BatchHeader]) -> Result<Verdict> {
        let mut verdict = Verdict::Append;
        let mut position = 0;
        for header in headers {
            let bytes = &batches[position..position + header.len_bytes];
            position += header.len_bytes;
            if !header.has_producer() {
                continue;
            }
            if header.is_control {
                let batch = RecordBatch { header: *header, bytes };
                let refused =
                    |malformed: Malformed| Error::Invalid(format!("append of a malformed marker: {malformed}"));
                if let Some(marker) = batch.marker().map_err(refused)? {
                    log.producers.states.check_marker(&TransactionEnd {
                        producer_id: header.producer_id,
                        epoch: header.producer_epoch,
                        kind: marker.kind,
                        coordinator_epoch: marker.coordinator_epoch,
                    })?;
                }
            } else if let duplicate @ Verdict::Duplicate { .. } =
                log.producers.states.check(&self.id, &Stamp::of(header))?
                && headers.len() == 1
            {
                verdict = duplicate;
            }
        }
        Ok(verdict)
    }

    /// Takes in batches that are in the log now.
    pub(super) fn follow_producers(&self, log: &mut Log, batches: &[u8], headers: &[BatchHeader]) -> Result<()> {
        let mut position = 0;
        for header in headers {
            let bytes = &batches[position..position + header.len_bytes];
            position += header.len_bytes;
            if header.has_producer() {
                let aborted = log.producers.states.replay(&RecordBatch { header: *header, bytes });
                let aborted = aborted.map_err(|malformed| malformed.at(&*self.directory_name, 0))?;
                if let Some(aborted) = aborted {
                    log.producers.aborted.push(aborted);
                    self.write_aborted(log, 1)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the last `fresh` entries of the active segment's index of aborted transactions.
    fn write_aborted(&self, log: &mut Log, fresh: usize) -> Result<()> {
        let directory = &*self.shared.directory;
        let Some(active) = log.segments.last() else { return Ok(()) };
        let first = log.producers.aborted.partition_point(|aborted| aborted.last < active.base);
        let own = &log.producers.aborted[first..];
        let path = active.path("txnindex");
        transaction_index::write(directory, &path, own.len() - fresh, &own[own.len() - fresh..])?;
        let file = directory.open(&path, OpenMode::Existing);
        log.unsynced.push(file.map_err(|error| Error::io("open", directory.locate(&path), error))?);
        log.has_new_names = true;
        Ok(())
    }

    /// Writes the producers' states at the log end to a file, which is returned to be synced.
    pub(super) fn take_snapshot(&self, log: &mut Log) -> Result<std::sync::Arc<dyn SegmentFile>> {
        let directory = &*self.shared.directory;
        let at = log.log_end;
        log.producers.states.expire(self.shared.now_ms(), PRODUCER_AGE_MAX_MS);
        let bytes = log.producers.states.encode_snapshot();
        let path = self.snapshot_path(at);
        let write = || -> io::Result<_> {
            let file = directory.open(&path, OpenMode::Create)?;
            file.truncate(0)?;
            file.write_at(0, &bytes)?;
            Ok(file)
        };
        let file = write().map_err(|error| {
            // The disk may be full, and the log go on without it: a half of it is of no use.
            let _ = directory.remove(&path);
            Error::io("write", directory.locate(&path), error)
        })?;
        let snapshots = &mut log.producers.snapshots;
        if snapshots.last() != Some(&at) {
            snapshots.push(at);
        }
        log.has_new_names = true;
        Ok(file)
    }

    /// Removes snapshots that no opening will want.
    pub(super) fn drop_old_snapshots(&self, log: &mut Log) -> Result<()> {
        let newest = log.producers.snapshots.len().saturating_sub(SNAPSHOTS_KEPT);
        let mut number = 0;
        let Log { producers, segments, .. } = log;
        let mut outcome = Ok(());
        producers.snapshots.retain(|at| {
            number += 1;
            let is_kept = number > newest || segments.iter().any(|segment| segment.base == *at);
            if !is_kept && outcome.is_ok() {
                outcome = self.remove_snapshot(*at);
            }
            is_kept
        });
        outcome
    }

    fn remove_snapshot(&self, at: Offset) -> Result<()> {
        let path = self.snapshot_path(at);
        match self.shared.directory.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.shared.directory.locate(&path), error))
            }
            _ => Ok(()),
        }
    }

    fn snapshot_path(&self, at: Offset) -> String {
        format!("{}/{:020}.snapshot", self.directory_name, at.value())
    }

    /// Finds out about the producers when the partition is opened. `snapshots` are the snapshot files there are.
    pub(super) fn load_producers(
        &self,
        segments: &mut [Segment],
        mut snapshots: Vec<Offset>,
        log_end: Offset,
    ) -> Result<Producers> {
        let directory = &*self.shared.directory;
        let (mut aborted, mut damaged) = (Vec::new(), None);
        for segment in segments.iter() {
            let (entries, is_whole) = transaction_index::read(directory, &segment.path("txnindex"))?;
            aborted.extend(entries.into_iter().filter(|entry| entry.last >= segment.base));
            if !is_whole {
                damaged.get_or_insert(segment.base);
            }
        }
        // What is behind the end was cut off, and will be written anew with other contents. After a crash only what is
        // before the recovery point is sure to be synced: of batches behind it, the index may have lost an entry.
        // And a damaged index is made anew from its batches.
        let trusted = if self.known.is_clean { log_end } else { log_end.min(self.known.recovery_point) };
        let trusted = damaged.map_or(trusted, |base| trusted.min(base));
        for stray in snapshots.extract_if(.., |at| *at > trusted).collect::<Vec<_>>() {
            self.remove_snapshot(stray)?;
        }
        let mut from = segments.first().map_or(log_end, |segment| segment.base);
        let mut states = ProducerStates::default();
        while let Some(at) = snapshots.last().copied() {
            let bytes = read_small(directory, &self.snapshot_path(at))?.unwrap_or_default();
            match ProducerStates::decode_snapshot(&bytes) {
                Ok(found) => {
                    (states, from) = (found, from.max(at));
                    break;
                }
                Err(reason) => {
                    let file = directory.locate(&self.snapshot_path(at));
                    tracing::warn!(file = %file.display(), reason, "removing a damaged snapshot of producers");
                    self.remove_snapshot(at)?;
                    snapshots.pop();
                }
            }
        }
        let mut producers = Producers { states, aborted, snapshots };
        if from < log_end || damaged.is_some() || producers.aborted.iter().any(|aborted| aborted.last >= from) {
            self.replay_from(segments, &mut producers, from, damaged.is_some())?;
        }
        Ok(producers)
    }

    /// Takes in the batches from `from` on and makes the indexes of their segments anew.
    fn replay_from(
        &self,
        segments: &mut [Segment],
        producers: &mut Producers,
        from: Offset,
        is_damaged: bool,
    ) -> Result<()> {
        let directory = &*self.shared.directory;
        let known = producers.aborted.len();
        producers.aborted.retain(|aborted| aborted.last < from);
        let is_wrong = is_damaged || producers.aborted.len() < known;
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for segment in &mut segments[first..] {
            let path = segment.located(directory);
            let range = recovery::Range {
                from: segment.position_before(directory, from)?,
                to: segment.size_bytes,
                first: segment.base,
                gapless_from: recovery::GAPS_ANYWHERE,
            };
            let file = segment.file(directory)?;
            let scanned = recovery::scan(&*file, &path, range, |header, bytes, position| {
                if header.base_offset >= from {
                    let aborted = producers.states.replay(&RecordBatch { header: *header, bytes });
                    producers.aborted.extend(aborted.map_err(|malformed| malformed.at(&path, position))?);
                }
                Ok(())
            })?;
            if let Some(malformed) = scanned.stopped {
                return Err(malformed.at(path, scanned.position));
            }
            let first = producers.aborted.partition_point(|aborted| aborted.last < segment.base);
            if first < producers.aborted.len() || is_wrong {
                // Durable: from here on a snapshot may say that these batches need not be read again.
                let bytes = transaction_index::encode(&producers.aborted[first..]);
                write_atomically(directory, &segment.path("txnindex"), &bytes)?;
            }
        }
        Ok(())
    }
}
