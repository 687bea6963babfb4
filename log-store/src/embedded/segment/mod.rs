//! One segment: a file of batches and its two indexes.
//!
//! Offsets in it are not smaller than its base, rise from batch to batch, and have a gap only where compaction was. Only
//! the last segment of a partition grows; once sealed, a segment changes no more.

mod index;
mod offset_index;
pub(crate) mod recovery;
mod time_index;
pub(crate) mod transaction_index;

use std::{io, path::PathBuf, sync::Arc};

pub(crate) use index::{Index, IndexEntry};
pub use offset_index::OffsetEntry;
pub use time_index::TimeEntry;

use super::storage::{Directory, OpenMode, SegmentFile};
use crate::{Error, NO_TIMESTAMP, Offset, Result, batch::BatchHeader};

/// Largest byte position and offset delta that the indexes can hold.
pub(crate) const RELATIVE_MAX: u64 = i32::MAX as u64;

/// Fewest bytes that are preallocated at a time.
const PREALLOCATED_MIN: u64 = 16 << 10;

/// Behind the names of files that compaction is writing.
pub(crate) const CLEANED: &str = ".cleaned";
/// Behind the names of files that are complete and on their way to replace others.
pub(crate) const SWAP: &str = ".swap";

/// A segment of a partition. Whoever has `&mut` is its only writer.
pub(crate) struct Segment {
    pub(crate) base: Offset,
    /// Bytes of whole batches. The file may be longer: preallocated, or with a torn batch behind.
    pub(crate) size_bytes: u64,
    directory_name: Arc<str>,
    /// Behind the names of its files while compaction makes it.
    suffix: &'static str,
    /// Its files stay open: their names are being changed.
    is_pinned: bool,
    file: Option<Arc<dyn SegmentFile>>,
    allocated_bytes: u64,
    indexes: Option<Indexes>,
    bytes_since_index: u64,
    /// Largest timestamp, and the last offset of the batch that has it; `None` until it is known.
    largest: Option<TimeEntry>,
    /// Largest timestamp of the first batch, which counts for `segment.ms`; `None` until it is known.
    first_timestamp: Option<i64>,
}

struct Indexes {
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
}

impl Segment {
    /// A new segment: its file is created, and survives a power cut once its directory is synced.
    pub(crate) fn create(directory: &dyn Directory, directory_name: &Arc<str>, base: Offset) -> Result<Self> {
        Segment::existing(directory_name, base, 0).make(directory)
    }

    /// A new segment that is to replace others, under names of its own until [`Segment::take_names`].
    pub(crate) fn create_cleaned(directory: &dyn Directory, directory_name: &Arc<str>, base: Offset) -> Result<Self> {
        let segment = Segment::existing(directory_name, base, 0);
        Segment { suffix: CLEANED, is_pinned: true, ..segment }.make(directory)
    }

    fn make(self, directory: &dyn Directory) -> Result<Self> {
        let mut segment = self;
        let path = segment.path("log");
        let create = || {
            let file = directory.open(&path, OpenMode::Create)?;
            file.truncate(0)?;
            // A power cut may have taken a segment of this name and left its index, which nobody writes where nothing is
            // aborted: it would hide what others commit.
            match directory.remove(&segment.path("txnindex")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(file),
            }
        };
        let file = create().map_err(|error| Error::io("create", directory.locate(&path), error))?;
        segment.file = Some(file);
        segment.indexes = Some(segment.empty_indexes());
        segment.largest = Some(TimeEntry { timestamp: NO_TIMESTAMP, offset: segment.base });
        Ok(segment)
    }

    /// A segment whose file is there. Nothing is read yet.
    pub(crate) fn existing(directory_name: &Arc<str>, base: Offset, size_bytes: u64) -> Self {
        Segment {
            base,
            size_bytes,
            directory_name: Arc::clone(directory_name),
            suffix: "",
            is_pinned: false,
            file: None,
            allocated_bytes: size_bytes,
            indexes: None,
            bytes_since_index: 0,
            largest: None,
            first_timestamp: None,
        }
    }

    /// Name of one of its files below the root.
    pub(crate) fn path(&self, extension: &str) -> String {
        format!("{}/{:020}.{extension}{}", self.directory_name, self.base.value(), self.suffix)
    }

    /// Full name of the file of batches, for messages.
    pub(crate) fn located(&self, directory: &dyn Directory) -> PathBuf {
        directory.locate(&self.path("log"))
    }

    /// The file of batches.
    pub(crate) fn file(&mut self, directory: &dyn Directory) -> Result<Arc<dyn SegmentFile>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let opened = directory.open(&self.path("log"), OpenMode::Existing);
        let file = opened.map_err(|error| Error::io("open", self.located(directory), error))?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    /// Appends `bytes`, which hold exactly the batches of `headers`. If it fails, the segment is as before, unless the
    /// second error (of taking back a half-written batch) is given, too.
    pub(crate) fn append(
        &mut self,
        directory: &dyn Directory,
        bytes: &[u8],
        headers: &[BatchHeader],
        settings: AppendSettings,
    ) -> Result<(), AppendFailure> {
        let file = self.file(directory).map_err(AppendFailure::Refused)?;
        self.largest(directory).map_err(AppendFailure::Refused)?;
        let end = self.size_bytes + bytes.len() as u64;
        let result = self.preallocate(&*file, end, settings).and_then(|()| file.write_at(self.size_bytes, bytes));
        if let Err(source) = result {
            let error = Error::io("append to", self.located(directory), source);
            let full = error.is_storage_full();
            let restored = file.truncate(self.size_bytes);
            self.allocated_bytes = self.size_bytes;
            return Err(match restored {
                Ok(()) if full => AppendFailure::Refused(error),
                _ => AppendFailure::Unknown(error),
            });
        }
        let mut position = self.size_bytes;
        for header in headers {
            self.note(header, position, settings.index_interval_bytes);
            position += header.len_bytes as u64;
        }
        self.size_bytes = end;
        Ok(())
    }

    fn preallocate(&mut self, file: &dyn SegmentFile, end: u64, settings: AppendSettings) -> io::Result<()> {
        if end > self.allocated_bytes && settings.preallocate_bytes > 0 {
            // A segment doubles, so that thousands of small ones do not fill the disk with nothing.
            let step = end.clamp(PREALLOCATED_MIN, PREALLOCATED_MIN.max(u64::from(settings.preallocate_bytes)));
            let target = (end + step).next_multiple_of(PREALLOCATED_MIN).min(settings.segment_bytes.max(end));
            match file.preallocate(target) {
                Ok(()) => self.allocated_bytes = target,
                // Whether the batch itself fits is for the write to say.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Updates indexes and timestamps for a batch at `position`. The indexes are open.
    fn note(&mut self, header: &BatchHeader, position: u64, interval_bytes: u32) {
        let last = header.last_offset();
        self.first_timestamp.get_or_insert(header.max_timestamp);
        let largest = self.largest.get_or_insert(TimeEntry { timestamp: NO_TIMESTAMP, offset: self.base });
        // A batch that compaction has emptied bears the time of records that are gone. An entry of the index names a
        // record that is there: Kafka's own tools hold us to it.
        if header.record_count > 0 && header.max_timestamp > largest.timestamp {
            *largest = TimeEntry { timestamp: header.max_timestamp, offset: last };
        }
        let largest = *largest;
        if self.bytes_since_index > u64::from(interval_bytes)
            && let Some(indexes) = &mut self.indexes
        {
            indexes.offsets.push(OffsetEntry { offset: last, position: position as u32 });
            indexes.push_time(largest);
            self.bytes_since_index = 0;
        }
        self.bytes_since_index += header.len_bytes as u64;
    }

    /// A position at or before the batch that holds `offset`, a few kilobytes away from it at most.
    pub(crate) fn position_before(&mut self, directory: &dyn Directory, offset: Offset) -> Result<u64> {
        let size = self.size_bytes;
        let floor = self.indexes(directory)?.offsets.floor(directory, offset.as_i64())?;
        // An entry outside the file: the scan from the beginning is slow and right.
        Ok(floor.map(|entry| u64::from(entry.position)).filter(|position| *position < size).unwrap_or(0))
    }

    /// An offset at or before the first record that is as late as `timestamp`, if the segment has one.
    pub(crate) fn offset_before_time(&mut self, directory: &dyn Directory, timestamp: i64) -> Result<Option<Offset>> {
        if self.largest(directory)?.timestamp < timestamp {
            return Ok(None);
        }
        let base = self.base;
        let floor = self.indexes(directory)?.times.floor(directory, timestamp.saturating_sub(1))?;
        // Everything up to the entry's offset is as early as the entry or earlier.
        Ok(Some(floor.map_or(base, |entry| entry.offset.next())))
    }

    /// Its largest timestamp, with the last offset of the batch that has it.
    pub(crate) fn largest(&mut self, directory: &dyn Directory) -> Result<TimeEntry> {
        if let Some(largest) = self.largest {
            return Ok(largest);
        }
        let last = self.indexes(directory)?.times.last();
        let largest = last.unwrap_or(TimeEntry { timestamp: NO_TIMESTAMP, offset: self.base });
        // A rebuilt index has set it already, to what it found behind the last entry.
        Ok(*self.largest.get_or_insert(largest))
    }

    /// The time that counts for retention: the largest of its records. Without a record left it is that of the first batch,
    /// which compaction has emptied: else such a segment would never be old, and keep all that follow it. `None` if neither
    /// has a time.
    pub(crate) fn age_timestamp(&mut self, directory: &dyn Directory) -> Result<Option<i64>> {
        let largest = self.largest(directory)?.timestamp;
        let known = if largest >= 0 { Some(largest) } else { self.first_timestamp(directory)? };
        Ok(known.filter(|timestamp| *timestamp >= 0))
    }

    /// Largest timestamp of the first batch; `None` in an empty segment.
    pub(crate) fn first_timestamp(&mut self, directory: &dyn Directory) -> Result<Option<i64>> {
        if self.first_timestamp.is_none() && self.size_bytes > 0 {
            let mut bytes = [0; crate::batch::HEADER_BYTES];
            let path = self.located(directory);
            let file = self.file(directory)?;
            file.read_at(0, &mut bytes).map_err(|error| Error::io("read", &path, error))?;
            let header = BatchHeader::parse(&bytes).map_err(|malformed| malformed.at(path, 0))?;
            self.first_timestamp = Some(header.max_timestamp);
        }
        Ok(self.first_timestamp)
    }

    /// True if another batch would not fit into an index of `index_bytes`.
    pub(crate) fn indexes_are_full(&self, index_bytes: u32) -> bool {
        let room = |size: usize| u64::from(index_bytes) / size as u64;
        self.indexes.as_ref().is_some_and(|indexes| {
            indexes.offsets.len() >= room(OffsetEntry::SIZE) || indexes.times.len() + 1 >= room(TimeEntry::SIZE)
        })
    }

    /// Ends the segment: the last time entry, both indexes in their files, the file of batches cut to its length.
    /// Returns the files to be synced.
    pub(crate) fn seal(&mut self, directory: &dyn Directory) -> Result<Vec<Arc<dyn SegmentFile>>> {
        let largest = self.largest(directory)?;
        if self.size_bytes > 0 {
            self.indexes(directory)?.push_time(largest);
        }
        let mut files = self.store_indexes(directory)?;
        let file = self.file(directory)?;
        if self.allocated_bytes != self.size_bytes {
            file.truncate(self.size_bytes)
                .map_err(|error| Error::io("cut to its length", self.located(directory), error))?;
            self.allocated_bytes = self.size_bytes;
        }
        files.push(file);
        Ok(files)
    }

    /// Writes the indexes to their files, which are returned to be synced.
    pub(crate) fn store_indexes(&mut self, directory: &dyn Directory) -> Result<Vec<Arc<dyn SegmentFile>>> {
        let indexes = self.indexes(directory)?;
        Ok(vec![indexes.offsets.store(directory)?, indexes.times.store(directory)?])
    }

    /// Closes its files until they are needed again.
    pub(crate) fn release(&mut self) {
        if self.is_pinned {
            return;
        }
        self.file = None;
        if let Some(indexes) = &mut self.indexes {
            indexes.offsets.release();
            indexes.times.release();
        }
    }

    /// From now on its files are about to get the names of an ordinary segment. They are opened under the old ones, and
    /// stay open until it is unpinned.
    pub(crate) fn take_names(&mut self, directory: &dyn Directory) -> Result<()> {
        self.file(directory)?;
        self.suffix = "";
        let (offsets, times) = (self.path("index"), self.path("timeindex"));
        if let Some(indexes) = &mut self.indexes {
            indexes.offsets.take_path(directory, offsets)?;
            indexes.times.take_path(directory, times)?;
        }
        Ok(())
    }

    /// Its files have their names.
    pub(crate) fn unpin(&mut self) {
        self.is_pinned = false;
    }

    /// Opens the indexes with their entries before `offset`; `None` if there is none, or no usable index. After a crash
    /// entries behind that may be anything.
    fn open_indexes_before(
        &mut self,
        directory: &dyn Directory,
        offset: Offset,
        file_bytes: u64,
    ) -> Result<Option<OffsetEntry>> {
        let offsets = Index::open(directory, self.path("index"), self.base, |_: &OffsetEntry| true)?;
        let times = Index::open(directory, self.path("timeindex"), self.base, |_: &TimeEntry| true)?;
        let (Some(mut offsets), Some(mut times)) = (offsets, times) else { return Ok(None) };
        // A lost page reads as zeros.
        let base = self.base;
        offsets.pop_while(directory, |entry| {
            entry.offset >= offset || entry.offset <= base || u64::from(entry.position) >= file_bytes
        })?;
        let Some(last) = offsets.last() else { return Ok(None) };
        times.pop_while(directory, |entry| entry.offset > last.offset || entry.timestamp <= 0)?;
        self.largest = Some(times.last().unwrap_or(TimeEntry { timestamp: NO_TIMESTAMP, offset: base }));
        self.first_timestamp = None;
        self.bytes_since_index = 0;
        self.indexes = Some(Indexes { offsets, times });
        Ok(Some(last))
    }

    /// Empty indexes, to be filled by a scan from the beginning.
    fn reset_indexes(&mut self) {
        self.indexes = Some(self.empty_indexes());
        self.largest = Some(TimeEntry { timestamp: NO_TIMESTAMP, offset: self.base });
        self.first_timestamp = None;
        self.bytes_since_index = 0;
    }

    /// Ends a scan that began with [`Segment::reset_indexes`] in a sealed segment.
    fn finish_rebuild(&mut self) {
        if let (Some(indexes), Some(largest)) = (&mut self.indexes, self.largest) {
            indexes.push_time(largest);
        }
    }

    /// Takes the length that a scan found.
    fn set_size(&mut self, size_bytes: u64) {
        self.size_bytes = size_bytes;
        self.allocated_bytes = size_bytes;
    }

    fn empty_indexes(&self) -> Indexes {
        Indexes {
            offsets: Index::new(self.path("index"), self.base),
            times: Index::new(self.path("timeindex"), self.base),
        }
    }

    fn indexes(&mut self, directory: &dyn Directory) -> Result<&mut Indexes> {
        if self.indexes.is_none() {
            let (base, size) = (self.base, self.size_bytes);
            let offsets = Index::open(directory, self.path("index"), base, |entry: &OffsetEntry| {
                u64::from(entry.position) < size && entry.offset > base
            })?;
            let times = Index::open(directory, self.path("timeindex"), base, |entry: &TimeEntry| {
                entry.timestamp >= 0 && entry.offset >= base
            })?;
            match (offsets, times) {
                // Times are noted where offsets are, and once more when the segment is sealed.
                (Some(offsets), Some(times)) if size == 0 || (1..=offsets.len() + 1).contains(&times.len()) => {
                    self.indexes = Some(Indexes { offsets, times });
                }
                // A segment of emptied batches has no time, and looks like one whose index was lost.
                (Some(offsets), Some(times)) if offsets.len() + times.len() == 0 => self.rebuild_indexes(directory)?,
                _ => {
                    tracing::warn!(segment = %self.located(directory).display(), "rebuilding a missing or damaged index");
                    self.rebuild_indexes(directory)?;
                }
            }
        }
        Ok(self.indexes.as_mut().expect("set above"))
    }
}

/// What of the topic's and the log's settings an append needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendSettings {
    pub(crate) index_interval_bytes: u32,
    pub(crate) preallocate_bytes: u32,
    pub(crate) segment_bytes: u64,
}

/// How an append failed.
#[derive(Debug)]
pub(crate) enum AppendFailure {
    /// Nothing was written.
    Refused(Error),
    /// The file is in an unknown state.
    Unknown(Error),
}

impl Indexes {
    fn push_time(&mut self, entry: TimeEntry) {
        let last = self.times.last().map_or(NO_TIMESTAMP, |last| last.timestamp);
        if entry.timestamp > last {
            self.times.push(entry);
        }
    }
}
