//! What the cleaner does to a partition: drop the front, and put rewritten segments in the place of others.
//!
//! A crash at any point leaves the old segments or the new ones, never a mixture:
//!
//! 1. the new files are written as `.cleaned` and synced; an opening removes them;
//! 2. they become `.swap`, the file of batches last: from then on an opening finishes what follows;
//! 3. the files of the old segments go;
//! 4. the new ones lose the suffix, the file of batches last.
//!
//! Between two steps the directory is synced. The last batch of the range stays, if only as a bare header, so that the
//! new file of batches tells which old segments it replaces.

use std::{collections::HashMap, io, ops::Range, path::PathBuf, sync::Arc};

use super::{Partition, Slot};
use crate::{
    Error, Offset, Result,
    client::Isolation,
    embedded::{
        cleaner::{LastOfProducer, SegmentFacts},
        producer_state::Aborted,
        segment::{CLEANED, SWAP, Segment, recovery, transaction_index},
        storage::{OpenMode, SegmentFile},
    },
};

/// The files of a segment beside that of its batches.
const INDEXES: [&str; 3] = ["index", "timeindex", "txnindex"];

/// What the policies decide about.
pub(crate) struct Survey {
    pub(crate) segments: Vec<SegmentFacts>,
    pub(crate) log_start: Offset,
    pub(crate) last_stable: Offset,
    pub(crate) log_end: Offset,
    /// Everything before it is known to be synced even after a crash; behind it, a gap would look like a loss.
    pub(crate) checkpointed: Offset,
}

/// A sealed segment, to be read without the partition's lock.
pub(crate) struct Source {
    pub(crate) base: Offset,
    pub(crate) size_bytes: u64,
    pub(crate) file: Arc<dyn SegmentFile>,
    pub(crate) path: PathBuf,
}

impl Partition {
    /// True if somebody used it since the log was opened.
    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.slot.lock(), Slot::Open(_))
    }

    /// What there is.
    pub(crate) fn survey(self: &Arc<Self>) -> Result<Survey> {
        let directory = &*self.shared.directory;
        let mut log = self.log()?;
        self.note_open_files(&mut log);
        let mut segments = Vec::with_capacity(log.segments.len());
        for segment in &mut log.segments {
            let timestamp_max = if segment.size_bytes > 0 { segment.age_timestamp(directory)? } else { None };
            segments.push(SegmentFacts { base: segment.base, size_bytes: segment.size_bytes, timestamp_max });
        }
        Ok(Survey {
            segments,
            log_start: log.log_start,
            last_stable: log.end(Isolation::ReadCommitted),
            log_end: log.log_end,
            checkpointed: log.checkpointed,
        })
    }

    /// Moves the log start behind the first `segments`. Their files go with [`Partition::remove_retired`], once the log
    /// start is written down: then no crash brings back a part of them.
    pub(crate) fn retire_head(self: &Arc<Self>, segments: usize) -> Result<()> {
        let mut log = self.log()?;
        if segments >= log.segments.len() {
            self.note_open_files(&mut log);
            self.roll(&mut log)?;
            // The sealed files stay open up to the next sync.
            let newly = !std::mem::replace(&mut log.is_dirty, true);
            self.shared.syncer.note(self, newly, 0);
        }
        let Some(first) = log.segments.get(segments).map(|segment| segment.base) else { return Ok(()) };
        log.log_start = log.log_start.max(first);
        Ok(())
    }

    /// Removes the segments before the log start. Returns their bytes.
    pub(crate) fn remove_retired(&self) -> Result<u64> {
        let retired: Vec<Segment> = {
            let log = self.log()?;
            let next = log.segments.iter().skip(1);
            let pairs = log.segments.iter().zip(next).take_while(|(_, next)| next.base <= log.log_start);
            pairs.map(|(old, _)| Segment::existing(&self.directory_name, old.base, old.size_bytes)).collect()
        };
        if retired.is_empty() {
            return Ok(0);
        }
        self.remove_segments(&retired)?;
        self.sync_names()?;
        let mut log = self.log()?;
        log.segments.drain(..retired.len());
        let start = log.segments.first().map_or(log.log_end, |segment| segment.base);
        log.producers.forget_before(start);
        Ok(retired.iter().map(|segment| segment.size_bytes).sum())
    }

    /// The sealed segments with bases in `range`.
    pub(crate) fn sources(&self, range: &Range<Offset>) -> Result<Vec<Source>> {
        let directory = &*self.shared.directory;
        let mut log = self.log()?;
        let Some((_, sealed)) = log.segments.split_last_mut() else { return Ok(Vec::new()) };
        let inside = sealed.iter_mut().filter(|segment| range.contains(&segment.base));
        inside
            .map(|segment| {
                Ok(Source {
                    base: segment.base,
                    size_bytes: segment.size_bytes,
                    file: segment.file(directory)?,
                    path: segment.located(directory),
                })
            })
            .collect()
    }

    /// The last trace of every producer that is known.
    pub(crate) fn last_traces(&self) -> Result<HashMap<i64, LastOfProducer>> {
        let log = self.log()?;
        let traces = log.producers.states.last_offsets();
        Ok(traces.map(|(id, epoch, data)| (id, LastOfProducer { epoch, data })).collect())
    }

    /// Aborted transactions that touch `range`.
    pub(crate) fn aborted_in(&self, range: &Range<Offset>) -> Result<Vec<Aborted>> {
        Ok(self.log()?.producers.aborted_between(range.start, range.end).copied().collect())
    }

    /// An empty segment that is to replace those from `base` on.
    pub(crate) fn cleaned_segment(&self, base: Offset) -> Result<Segment> {
        Segment::create_cleaned(&*self.shared.directory, &self.directory_name, base)
    }

    /// Puts `cleaned`, with all that is left of them, in the place of the segments with bases in `range`. `aborted` are
    /// the transactions that its index must know.
    pub(crate) fn replace(&self, mut cleaned: Segment, aborted: &[Aborted], range: &Range<Offset>) -> Result<()> {
        let directory = &*self.shared.directory;
        let base = cleaned.base;
        // 1
        let mut files = cleaned.seal(directory)?;
        let index = self.name_of(base, "txnindex", CLEANED);
        transaction_index::write(directory, &index, 0, aborted)?;
        files.push(directory.open(&index, OpenMode::Existing).map_err(|error| self.cannot("open", error))?);
        for file in files {
            file.sync().map_err(|error| self.cannot("sync the cleaned files of", error))?;
        }
        self.sync_names()?;
        cleaned.take_names(directory)?;
        // 2
        self.rename_files(base, &INDEXES, CLEANED, SWAP)?;
        // Whether it happened is unknown if it fails.
        self.rename_files(base, &["log"], CLEANED, SWAP).inspect_err(|error| self.shared.poison(&error.to_string()))?;
        let old: Vec<Offset> = {
            let mut log = self.log()?;
            let begin = log.segments.partition_point(|segment| segment.base < range.start);
            let end = log.segments.partition_point(|segment| segment.base < range.end);
            // From here on nobody looks up an old file by its name; who reads one has it open.
            let old: Vec<Segment> = log.segments.splice(begin..end, [cleaned]).collect();
            log.producers.replace_aborted(range, aborted);
            old.iter().map(|segment| segment.base).collect()
        };
        // A swap that is begun is finished, now or by the next opening.
        self.finish_swap(base, &old).inspect_err(|error| self.shared.poison(&error.to_string()))?;
        let mut log = self.log()?;
        if let Some(segment) = log.segments.iter_mut().find(|segment| segment.base == base) {
            segment.unpin();
        }
        Ok(())
    }

    /// Steps 3 and 4. What is done already is passed over: a crash may have come in between.
    fn finish_swap(&self, base: Offset, old: &[Offset]) -> Result<()> {
        for other in old.iter().filter(|other| **other != base) {
            for extension in INDEXES.into_iter().chain(["log"]) {
                self.remove_if_there(&self.name_of(*other, extension, ""))?;
            }
        }
        self.rename_files(base, &INDEXES, SWAP, "")?;
        self.rename_files(base, &["log"], SWAP, "")
    }

    /// When the partition is opened: finishes the swaps that a crash interrupted, among the files of these names.
    pub(super) fn resume_swaps(&self, names: &[String]) -> Result<()> {
        let swapped: Vec<Offset> = names.iter().filter_map(|name| offset_of(name, ".log.swap")).collect();
        for &base in &swapped {
            let end = self.end_of_swap(base)?;
            let bases = names.iter().filter_map(|name| offset_of(name, ".log"));
            let old: Vec<Offset> = bases.filter(|other| (base..end).contains(other)).collect();
            self.finish_swap(base, &old)?;
        }
        // Without the file of batches, step 2 was not done.
        let undecided = |name: &&String| {
            name.ends_with(SWAP) && !swapped.iter().any(|base| name.starts_with(&format!("{:020}.", base.value())))
        };
        for name in names.iter().filter(undecided) {
            self.remove_if_there(&format!("{}/{name}", self.directory_name))?;
        }
        self.sync_names()
    }

    /// The offset after the last batch in a file that was swapped: it was synced before it got its name.
    fn end_of_swap(&self, base: Offset) -> Result<Offset> {
        let path = self.name_of(base, "log", SWAP);
        let located = self.shared.directory.locate(&path);
        let failure = |error| Error::io("read", &located, error);
        let file = self.shared.directory.open(&path, OpenMode::Existing).map_err(failure)?;
        let to = file.len().map_err(failure)?;
        let range = recovery::Range { from: 0, to, first: base, gapless_from: recovery::GAPS_ANYWHERE };
        let scanned = recovery::scan(&*file, &located, range, |_, _, _| Ok(()))?;
        match scanned.stopped {
            None => Ok(scanned.next),
            Some(malformed) => Err(malformed.at(located, scanned.position)),
        }
    }

    fn rename_files(&self, base: Offset, extensions: &[&str], from: &str, to: &str) -> Result<()> {
        for extension in extensions {
            let renamed =
                self.shared.directory.rename(&self.name_of(base, extension, from), &self.name_of(base, extension, to));
            match renamed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.cannot("rename in", error)),
                _ => {}
            }
        }
        self.sync_names()
    }

    fn remove_if_there(&self, path: &str) -> Result<()> {
        match self.shared.directory.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.cannot("remove from", error)),
            _ => Ok(()),
        }
    }

    fn name_of(&self, base: Offset, extension: &str, suffix: &str) -> String {
        format!("{}/{:020}.{extension}{suffix}", self.directory_name, base.value())
    }

    pub(super) fn sync_names(&self) -> Result<()> {
        self.shared.directory.sync_dir(&self.directory_name).map_err(|error| self.cannot("sync", error))
    }

    fn cannot(&self, operation: &'static str, error: io::Error) -> Error {
        Error::io(operation, self.shared.directory.locate(&self.directory_name), error)
    }
}

fn offset_of(name: &str, end: &str) -> Option<Offset> {
    name.strip_suffix(end)?.parse().ok().map(Offset::new)
}
