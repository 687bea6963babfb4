//! Walks over the batches of a segment file and stops at the first that is not whole.

use std::{io, path::Path};

use super::Segment;
use crate::{
    Error, Offset, Result, TopicConfig,
    batch::{BatchHeader, HEADER_BYTES, Malformed, header},
    embedded::storage::{Directory, SegmentFile},
};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// How a scan ended.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// End of the last whole batch.
    pub(crate) position: u64,
    /// The offset after it; the scan's first expected offset if there was none.
    pub(crate) next: Offset,
    /// What is wrong with the bytes that follow, if any do.
    pub(crate) stopped: Option<Malformed>,
}

/// Which part of a file to walk over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    /// Where a batch begins.
    pub(crate) from: u64,
    /// Where the file ends.
    pub(crate) to: u64,
    /// No batch begins before this offset.
    pub(crate) first: Offset,
    /// From this offset on each batch follows the one before without a gap, since nothing was compacted there. (The
    /// checksum does not cover a batch's base offset.)
    pub(crate) gapless_from: Offset,
}

/// [`Range::gapless_from`] of a file in which compaction may have been everywhere.
pub(crate) const GAPS_ANYWHERE: Offset = Offset::new(u64::MAX);

/// Shows every whole batch (header and position) to `visit`, its checksum verified.
///
/// # Errors
///
/// If the file cannot be read, or `visit` fails. Bytes that are no batch end the scan and are no error here.
pub(crate) fn scan(
    file: &dyn SegmentFile,
    path: &Path,
    range: Range,
    mut visit: impl FnMut(&BatchHeader, &[u8], u64) -> Result<()>,
) -> Result<Scanned> {
    let mut scanned = Scanned { position: range.from, next: range.first, stopped: None };
    let mut buffer = vec![0; CHUNK.min(usize_of(range.to - range.from))];
    let (mut start, mut end) = (0, 0);
    loop {
        let left = range.to - scanned.position;
        if left == 0 {
            return Ok(scanned);
        }
        let wanted = match check(&buffer[start..end], left, scanned.next, range.gapless_from) {
            Ok(Checked::Batch(header)) => {
                let bytes = &buffer[start..start + header.len_bytes];
                visit(&header, bytes, scanned.position)?;
                start += header.len_bytes;
                scanned.position += header.len_bytes as u64;
                scanned.next = header.next_offset();
                continue;
            }
            Ok(Checked::Needs(wanted)) => wanted,
            Err(malformed) => {
                scanned.stopped = Some(malformed);
                return Ok(scanned);
            }
        };
        // Moves what is left to the front and fills up. `wanted` is at most what the file still has.
        buffer.copy_within(start..end, 0);
        (start, end) = (0, end - start);
        if buffer.len() < wanted {
            buffer.resize(wanted, 0);
        }
        let filled = buffer.len().min(usize_of(left));
        file.read_at(scanned.position + end as u64, &mut buffer[end..filled])
            .map_err(|error: io::Error| Error::io("read", path, error))?;
        end = filled;
    }
}

enum Checked {
    Batch(BatchHeader),
    /// So many bytes must be at hand to tell.
    Needs(usize),
}

/// Looks at the batch at the front of `bytes`, of which the file has `left`.
fn check(bytes: &[u8], left: u64, next: Offset, gapless_from: Offset) -> Result<Checked, Malformed> {
    if left < HEADER_BYTES as u64 {
        return Err(Malformed::new(format!("{left} bytes at the end are less than a header")));
    }
    if bytes.len() < HEADER_BYTES {
        return Ok(Checked::Needs(HEADER_BYTES));
    }
    let parsed = BatchHeader::parse(bytes)?;
    if parsed.len_bytes as u64 > left {
        return Err(Malformed::new(format!("batch of {} bytes, of which the file has {left}", parsed.len_bytes)));
    }
    if parsed.base_offset < next {
        return Err(Malformed::new(format!("batch begins at offset {}, before {next}", parsed.base_offset)));
    }
    if next < gapless_from && parsed.next_offset() > gapless_from || next >= gapless_from && parsed.base_offset > next {
        return Err(Malformed::new(format!("batch begins at offset {}, expected {next}", parsed.base_offset)));
    }
    match bytes.get(..parsed.len_bytes) {
        Some(batch) => header::verify(batch).map(Checked::Batch),
        None => Ok(Checked::Needs(parsed.len_bytes)),
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What recovery found in a segment.
#[derive(Debug)]
pub(crate) struct Recovered {
    /// The offset after its last whole batch.
    pub(crate) next: Offset,
    /// Bytes cut off behind it; zeros of a preallocation are not counted.
    pub(crate) dropped_bytes: u64,
    /// What is wrong behind it; zeros (preallocated, or a page that was lost) have a reason, too.
    pub(crate) stopped: Option<Malformed>,
}

impl Segment {
    /// After a crash: verifies every batch from `known_good` on (and that there are no gaps, as [`Range::gapless_from`]
    /// says), cuts the file behind the last whole one and makes the indexes anew from there.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if a batch before `known_good` is damaged: that was synced once, so it is no torn write, and
    /// cutting it off would lose what was acknowledged.
    pub(crate) fn recover(
        &mut self,
        directory: &dyn Directory,
        known_good: Offset,
        gapless_from: Offset,
        index_interval_bytes: u32,
        mut visit: impl FnMut(&BatchHeader, &[u8]) -> Result<()>,
    ) -> Result<Recovered> {
        let file = self.file(directory)?;
        let path = self.located(directory);
        let len = file.len().map_err(|error| Error::io("measure", &path, error))?;
        let (from, first) = self.resume_indexes(directory, &*file, known_good, len)?;
        self.size_bytes = from;
        let range = Range { from, to: len, first, gapless_from };
        let scanned = scan(&*file, &path, range, |header, bytes, position| {
            self.note(header, position, index_interval_bytes);
            visit(header, bytes)
        })?;
        if let Some(malformed) = &scanned.stopped
            && scanned.next < known_good
        {
            return Err(malformed.clone().at(path, scanned.position));
        }
        let dropped_bytes = match scanned.stopped {
            Some(_) => {
                bytes_before_zeros(&*file, scanned.position, len).map_err(|error| Error::io("read", &path, error))?
            }
            None => 0,
        };
        self.set_size(scanned.position);
        if scanned.position < len {
            file.truncate(scanned.position).map_err(|error| Error::io("cut the torn end of", &path, error))?;
        }
        // What was read may be in the system's cache only, and counts as durable from now on.
        if scanned.position < len || scanned.next > known_good {
            file.sync().map_err(|error| Error::io("sync", &path, error))?;
        }
        Ok(Recovered { next: scanned.next, dropped_bytes, stopped: scanned.stopped })
    }

    /// Makes both indexes anew from the batches. Where a batch is damaged they end; readers find the damage.
    pub(crate) fn rebuild_indexes(&mut self, directory: &dyn Directory) -> Result<()> {
        let file = self.file(directory)?;
        let path = self.located(directory);
        self.reset_indexes();
        let range = Range { from: 0, to: self.size_bytes, first: self.base, gapless_from: GAPS_ANYWHERE };
        scan(&*file, &path, range, |header, _, position| {
            self.note(header, position, TopicConfig::default().index_interval_bytes);
            Ok(())
        })?;
        self.finish_rebuild();
        // Spares the next opening the scan; if it fails, that one scans again. Synced, since a power cut that takes half of
        // it away would leave an index that looks whole.
        let store = |segment: &mut Self| -> Result<()> {
            for file in segment.store_indexes(directory)? {
                file.sync().map_err(|error| Error::io("sync", &path, error))?;
            }
            Ok(())
        };
        if let Err(error) = store(self) {
            tracing::warn!(%error, "a rebuilt index stays in memory only");
        }
        Ok(())
    }

    /// Keeps the index entries before `known_good` that the file agrees with. Returns where to scan from, and the
    /// offset to expect there.
    fn resume_indexes(
        &mut self,
        directory: &dyn Directory,
        file: &dyn SegmentFile,
        known_good: Offset,
        len: u64,
    ) -> Result<(u64, Offset)> {
        if let Some(entry) = self.open_indexes_before(directory, known_good, len)? {
            let mut bytes = [0; HEADER_BYTES];
            let position = u64::from(entry.position);
            let header = file.read_at(position, &mut bytes).ok().and_then(|()| BatchHeader::parse(&bytes).ok());
            if let Some(header) = header
                && header.last_offset() == entry.offset
            {
                return Ok((position, header.base_offset));
            }
        }
        self.reset_indexes();
        Ok((0, self.base))
    }
}

/// Number of bytes from `from` up to the last one that is not zero.
pub(crate) fn bytes_before_zeros(file: &dyn SegmentFile, from: u64, to: u64) -> io::Result<u64> {
    let mut chunk = vec![0; CHUNK];
    let mut end = to;
    while end > from {
        let begin = end.saturating_sub(CHUNK as u64).max(from);
        let bytes = &mut chunk[..usize_of(end - begin)];
        file.read_at(begin, bytes)?;
        if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            return Ok(begin + last as u64 + 1 - from);
        }
        end = begin;
    }
    Ok(0)
}
