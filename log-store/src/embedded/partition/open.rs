//! Opening a partition: what interrupted work left behind goes, then the segments are found, and after a crash the end
//! of the log is verified.

use std::{collections::VecDeque, io, path::PathBuf};

use super::{Log, Partition, Producers, Tail};
use crate::{
    Error, Offset, Result,
    embedded::{
        inspect,
        log_checkpoints::{RECOVERY_POINTS, read_topic_id},
        segment::{SWAP, Segment, recovery},
        storage::{OpenMode, read_small},
    },
};

/// Kafka's own, in each partition's directory.
const SMALL_FILES: [&str; 2] = ["partition.metadata", "leader-epoch-checkpoint"];

/// What the checkpoint files say about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// Everything before it was synced.
    pub(crate) recovery_point: Offset,
    /// The log start, where it is not the base of the first segment.
    pub(crate) log_start: Option<Offset>,
    /// True if the log was closed in order: nothing needs to be verified.
    pub(crate) is_clean: bool,
    /// True if there is a checkpoint file at all: then `recovery_point` is exact, 0 included.
    pub(crate) is_checkpointed: bool,
}

impl Partition {
    pub(super) fn open(&self) -> Result<Log> {
        let (mut segments, snapshots) = self.find_files()?;
        // Segments before the log start were removed, and a power cut may have brought back some of them: the holes
        // between them are no loss of what follows.
        let start = self.known.log_start.unwrap_or_default();
        let pairs = segments.iter().zip(segments.iter().skip(1));
        let retired = pairs.take_while(|(_, next)| next.base <= start).count();
        if retired > 0 {
            self.remove_segments(&segments.drain(..retired).collect::<Vec<_>>())?;
            // The log start is then the base of a segment, and is not written down any more.
            self.sync_names()?;
        }
        let base = segments.first().map_or(Offset::ZERO, |segment| segment.base);
        // Without a checkpoint, a clean close says that there is an end, but not which.
        let has_known_end = self.known.is_clean && self.known.is_checkpointed;
        let log_end = if has_known_end { self.clean_end(&mut segments)? } else { self.recover(&mut segments)? };
        let log_start = self.known.log_start.unwrap_or(base).max(base);
        let producers = self.load_producers(&mut segments, snapshots, log_end)?;
        if let Some(first) = segments.first()
            && !self.known.is_clean
        {
            self.mend_small_files(first.base)?;
        }
        // Many partitions may be opened and not used.
        segments.iter_mut().for_each(Segment::release);
        if log_end < log_start {
            // The tail was lost, with records that are below the log start anyway.
            return self.start_anew(segments, log_start);
        }
        Ok(Log {
            leader_epoch: self.read_leader_epoch()?,
            producers,
            is_dirty: false,
            is_ended: self.known.is_clean,
            recovery_point: log_end,
            checkpointed: if self.known.is_clean { log_end } else { self.known.recovery_point.min(log_end) },
            segments,
            log_start,
            log_end,
            unsynced: Vec::new(),
            has_new_names: false,
            is_new: false,
            tail: Tail::default(),
            open_sealed: VecDeque::new(),
            has_open_files: false,
        })
    }

    /// The segments and the offsets of the snapshots in the directory, in order, after leftovers are removed.
    fn find_files(&self) -> Result<(Vec<Segment>, Vec<Offset>)> {
        let directory = &*self.shared.directory;
        let failure = |operation, error| Error::io(operation, directory.locate(&self.directory_name), error);
        let mut entries = match directory.list(&self.directory_name) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Vec::new())),
            Err(error) => return Err(failure("list", error)),
        };
        if entries.iter().any(|entry| entry.name.ends_with(SWAP)) {
            let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
            self.resume_swaps(&names)?;
            entries = directory.list(&self.directory_name).map_err(|error| failure("list", error))?;
        }
        let (mut segments, mut snapshots) = (Vec::new(), Vec::new());
        for entry in entries {
            let path = format!("{}/{}", self.directory_name, entry.name);
            if [".deleted", ".cleaned", ".tmp"].iter().any(|end| entry.name.ends_with(end)) {
                directory.remove(&path).map_err(|error| failure("remove a leftover in", error))?;
            } else if let Some(base) = entry.name.strip_suffix(".log").and_then(|name| name.parse().ok()) {
                segments.push(Segment::existing(&self.directory_name, Offset::new(base), entry.len));
            } else if let Some(at) = entry.name.strip_suffix(".snapshot").and_then(|name| name.parse().ok()) {
                snapshots.push(Offset::new(at));
            }
        }
        segments.sort_unstable_by_key(|segment| segment.base);
        snapshots.sort_unstable();
        Ok((segments, snapshots))
    }

    /// The log end after a clean close: the batches behind the last index entry tell.
    fn clean_end(&self, segments: &mut [Segment]) -> Result<Offset> {
        let directory = &*self.shared.directory;
        let Some(active) = segments.last_mut() else { return Ok(Offset::ZERO) };
        let from = active.position_before(directory, Offset::new(i64::MAX.unsigned_abs()))?;
        let path = active.located(directory);
        let gapless_from = recovery::GAPS_ANYWHERE;
        let range = recovery::Range { from, to: active.size_bytes, first: active.base, gapless_from };
        let scanned = recovery::scan(&*active.file(directory)?, &path, range, |_, _, _| Ok(()))?;
        // The checksum of a batch does not cover its offset.
        if scanned.stopped.is_none() && scanned.next != self.known.recovery_point {
            let reason = format!("the log ends at offset {}, expected {}", scanned.next, self.known.recovery_point);
            return Err(lost_end(path, scanned.position, &reason));
        }
        match scanned.stopped {
            None => Ok(scanned.next),
            // A clean close leaves nothing behind the last batch.
            Some(malformed) => Err(lost_end(path, scanned.position, &malformed.to_string())),
        }
    }

    /// Verifies from the recovery point on and cuts what is torn; later segments go with it.
    fn recover(&self, segments: &mut Vec<Segment>) -> Result<Offset> {
        let directory = &*self.shared.directory;
        let interval = self.config().index_interval_bytes;
        let known_good = self.known.recovery_point;
        // The segment that the recovery point is in, or at the end of, and all after it: one that was sealed just there has
        // got its last time behind the checkpoint.
        let first = segments.partition_point(|segment| segment.base < known_good).saturating_sub(1);
        let mut end = segments.get(first).map_or(Offset::ZERO, |segment| segment.base);
        let mut cut = None;
        let mut kept = first;
        for segment in &mut segments[first..] {
            // Behind the recovery point nothing was compacted: a gap means that the end of the segment before is lost.
            if self.known.is_checkpointed && segment.base > end && kept > first {
                cut = Some((0, format!("offsets {end} to {} are missing", segment.base)));
                break;
            }
            // The segment before could only go on where this one was gone: a power cut has brought its name back.
            if segment.base < end && kept > first {
                cut = Some((0, format!("a segment begins at {}, but the one before it ends at {end}", segment.base)));
                break;
            }
            let known_good = known_good.max(segment.base);
            let gapless_from = if self.known.is_checkpointed { known_good } else { recovery::GAPS_ANYWHERE };
            let recovered = segment.recover(directory, known_good, gapless_from, interval, |_, _| Ok(()));
            let recovered = recovered.map_err(|error| match error {
                Error::Corrupt { file, position, reason } => lost_end(file, position, &reason),
                other => other,
            })?;
            end = recovered.next;
            kept += 1;
            if let Some(reason) = recovered.stopped {
                cut = Some((recovered.dropped_bytes, reason.to_string()));
                break;
            }
        }
        let dropped = segments.split_off(kept);
        if let Some((bytes, reason)) = cut {
            let dropped_bytes = bytes + dropped.iter().map(|segment| segment.size_bytes).sum::<u64>();
            if dropped_bytes > 0 {
                tracing::warn!(partition = %self.id, %end, dropped_bytes, %reason, "cut off the end of the log, which was never synced");
            }
            self.remove_segments(&dropped)?;
            if !dropped.is_empty() {
                // Before anything is written in their place: their names must not come back.
                self.sync_names()?;
            }
        }
        for sealed in segments.iter_mut().rev().skip(1).take(kept.saturating_sub(first + 1)) {
            // The next checkpoint leaves them behind, and nobody verifies an index there: one that another power cut took
            // half away would know too early a time for the segment, and retention would delete it.
            for file in sealed.seal(directory)? {
                file.sync().map_err(|error| Error::io("sync", sealed.located(directory), error))?;
            }
        }
        // What comes before the log start is deleted, and no loss.
        if end < known_good && self.known.log_start.is_none_or(|log_start| log_start < known_good) {
            let reason = format!("the log ends at offset {end}, but everything before {known_good} was synced");
            let (file, position) = match segments.last() {
                Some(last) => (last.located(directory), last.size_bytes),
                None => (directory.locate(&self.directory_name), 0),
            };
            return Err(lost_end(file, position, &reason));
        }
        Ok(end)
    }

    /// Removes the files of segments.
    pub(super) fn remove_segments(&self, segments: &[Segment]) -> Result<()> {
        let directory = &*self.shared.directory;
        for segment in segments {
            for extension in ["index", "timeindex", "txnindex", "snapshot", "log"] {
                match directory.remove(&segment.path(extension)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(Error::io("remove", directory.locate(&segment.path(extension)), error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn start_anew(&self, segments: Vec<Segment>, at: Offset) -> Result<Log> {
        self.remove_segments(&segments)?;
        Ok(Log {
            segments: Vec::new(),
            log_start: at,
            log_end: at,
            recovery_point: at,
            checkpointed: at,
            is_dirty: false,
            is_ended: false,
            unsynced: Vec::new(),
            has_new_names: true,
            is_new: false,
            tail: Tail::default(),
            open_sealed: VecDeque::new(),
            has_open_files: false,
            producers: Producers::default(),
            leader_epoch: self.read_leader_epoch()?,
        })
    }

    /// The last epoch in `leader-epoch-checkpoint`: 0, unless the directory comes from a Kafka broker.
    fn read_leader_epoch(&self) -> Result<i32> {
        let path = format!("{}/leader-epoch-checkpoint", self.directory_name);
        let bytes = crate::embedded::storage::read_small(&*self.shared.directory, &path)?;
        let text = String::from_utf8_lossy(bytes.as_deref().unwrap_or_default()).into_owned();
        let last = text.lines().skip(2).filter_map(|line| line.split(' ').next()?.parse().ok()).last();
        Ok(last.unwrap_or(0))
    }

    /// Makes the directory and the two small files that Kafka keeps in it. They wait for a sync.
    pub(super) fn create_directory(&self, first: Offset) -> Result<()> {
        let directory = &*self.shared.directory;
        let created = directory.create_dir(&self.directory_name).and_then(|()| self.write_small_files(first));
        created.map_err(|error| Error::io("create", directory.locate(&self.directory_name), error))
    }

    fn write_small_files(&self, first: Offset) -> io::Result<()> {
        let id = crate::topic::encode_id(self.topic_id);
        let contents = [format!("version: 0\ntopic_id: {id}\n"), format!("0\n1\n0 {first}\n")];
        for (name, contents) in SMALL_FILES.iter().zip(contents) {
            let path = format!("{}/{name}", self.directory_name);
            let file = self.shared.directory.open(&path, OpenMode::Create)?;
            file.truncate(0)?;
            file.write_at(0, contents.as_bytes())?;
        }
        Ok(())
    }

    /// Makes the small files anew if a power cut came before their first sync. Both are synced with the first records, so
    /// where one is broken nothing of the partition was ever acknowledged.
    fn mend_small_files(&self, first: Offset) -> Result<()> {
        let directory = &*self.shared.directory;
        let epochs = read_small(directory, &format!("{}/{}", self.directory_name, SMALL_FILES[1]))?;
        let has_epochs = epochs.is_none_or(|bytes| inspect::decode_leader_epochs(&bytes).is_ok());
        let metadata = read_small(directory, &format!("{}/{}", self.directory_name, SMALL_FILES[0]))?;
        if has_epochs && (metadata.is_none() || read_topic_id(directory, &self.directory_name)?.is_some()) {
            return Ok(());
        }
        let mended = self.write_small_files(first).and_then(|()| self.sync_small_files());
        mended.map_err(|error| Error::io("mend", directory.locate(&self.directory_name), error))?;
        self.sync_names()
    }

    /// Syncs what [`Partition::create_directory`] has made. Not held open until then: thousands of partitions may be new.
    pub(super) fn sync_small_files(&self) -> io::Result<()> {
        for name in SMALL_FILES {
            self.shared.directory.open(&format!("{}/{name}", self.directory_name), OpenMode::Existing)?.sync()?;
        }
        Ok(())
    }
}

/// What was synced cannot be found any more: nobody but the owner can decide to go on without it.
fn lost_end(file: PathBuf, position: u64, reason: &str) -> Error {
    let reason = format!(
        "{reason}: acknowledged records are missing from here on (to go on without them, delete the file \
         `{RECOVERY_POINTS}`, and the next opening keeps what comes before)"
    );
    Error::Corrupt { file, position, reason }
}
