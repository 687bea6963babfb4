//! From a time to the first record that is as late.
//!
//! The indexes lead to a batch or a few before it. Batches whose greatest timestamp is too early are stepped over; in the
//! others only the heads of the records are read, a window at a time, up to the record that is looked for. So a look-up
//! costs at most a walk over one batch, however large. Checksums are left to whoever reads the records.

use std::sync::Arc;

use super::{Log, Partition, fetch::Place};
use crate::{
    Error, Offset, Result,
    batch::{BatchHeader, Compression, Found, HEAD_BYTES_MAX, HEADER_BYTES, RecordBatch, RecordReader, header},
};

/// Bytes read at once: they stay in the cache that is nearest to the processor.
const WINDOW: usize = 16 << 10;

impl Partition {
    /// The first record that is as late as `timestamp`.
    pub(crate) fn offset_for_time(self: &Arc<Self>, timestamp: i64) -> Result<Option<Offset>> {
        let mut from = Offset::ZERO;
        loop {
            let Some(begin) = self.begin(&mut *self.log()?, from, timestamp)? else { return Ok(None) };
            let mut search = Search { place: &begin.place, first: begin.first, timestamp, window: Vec::new(), at: 0 };
            if let Some(offset) = search.run()? {
                return Ok(Some(offset));
            }
            // What is as late was deleted from the front of the log, or compacted.
            let Some(following) = begin.following else { return Ok(None) };
            from = following;
        }
    }

    /// The first segment from `from` on that may hold a record as late as `timestamp`.
    fn begin(self: &Arc<Self>, log: &mut Log, from: Offset, timestamp: i64) -> Result<Option<Begin>> {
        let from = from.max(log.log_start);
        for number in Self::segment_of(log, from).unwrap_or(0)..log.segments.len() {
            if let Some(before) = log.segments[number].offset_before_time(&*self.shared.directory, timestamp)? {
                let (first, end) = (before.max(from), log.log_end);
                let place = self.find_in(log, number, first, end)?;
                let following = log.segments.get(number + 1).map(|segment| segment.base);
                return Ok(Some(Begin { place, first, following }));
            }
        }
        Ok(None)
    }
}

/// Where a search begins.
struct Begin {
    place: Place,
    /// No record before it is an answer.
    first: Offset,
    /// Where it goes on if the segment has no answer.
    following: Option<Offset>,
}

/// A search in one segment.
struct Search<'a> {
    place: &'a Place,
    first: Offset,
    timestamp: i64,
    /// A part of the file, from `at` on.
    window: Vec<u8>,
    at: u64,
}

impl Search<'_> {
    fn run(&mut self) -> Result<Option<Offset>> {
        let mut at = self.place.from;
        let mut least = Offset::ZERO;
        while at < self.place.to {
            let parsed = BatchHeader::parse(self.read(at, HEADER_BYTES)?);
            let header = parsed.map_err(|malformed| self.place.damaged(at, &malformed.to_string()))?;
            self.place.check(&header, at, least)?;
            least = header.next_offset();
            let may_hold =
                header.max_timestamp >= self.timestamp && header.last_offset() >= self.first && !header.is_control;
            if may_hold && let Some(offset) = self.search_batch(&header, at)? {
                return Ok(Some(offset));
            }
            at += header.len_bytes as u64;
        }
        Ok(None)
    }

    fn search_batch(&mut self, header: &BatchHeader, at: u64) -> Result<Option<Offset>> {
        let (place, first, least) = (self.place, self.first, self.timestamp);
        let is_wanted = |offset: Offset, timestamp: i64| offset >= first && timestamp >= least;
        let damaged = |problem: crate::batch::Malformed| place.damaged(at, &problem.to_string());
        if header.compression != Compression::None {
            let bytes = &self.read(at, header.len_bytes)?[..header.len_bytes];
            let batch = RecordBatch { header: header::verify(bytes).map_err(damaged)?, bytes };
            for record in batch.records(&mut Vec::new()).map_err(damaged)? {
                let (offset, record) = record.map_err(damaged)?;
                if is_wanted(offset, record.timestamp) {
                    return Ok(Some(offset));
                }
            }
            return Ok(None);
        }
        let (records_at, payload_bytes) = (at + HEADER_BYTES as u64, header.len_bytes - HEADER_BYTES);
        let mut reader = RecordReader::new(header);
        loop {
            let left = payload_bytes - reader.position();
            let window = self.read(records_at + reader.position() as u64, HEAD_BYTES_MAX.min(left))?;
            let window = &window[..window.len().min(left)];
            match reader.find(window, payload_bytes, is_wanted).map_err(damaged)? {
                Found::At(offset) => return Ok(Some(offset)),
                Found::Further => {}
                Found::Nothing => return Ok(None),
            }
        }
    }

    /// The file from `at` on: at least `wanted` bytes, or all that are left.
    fn read(&mut self, at: u64, wanted: usize) -> Result<&[u8]> {
        let left = usize::try_from(self.place.to - at).unwrap_or(usize::MAX);
        let begin = at.checked_sub(self.at).and_then(|begin| usize::try_from(begin).ok()).unwrap_or(usize::MAX);
        if self.window.get(begin..).is_none_or(|rest| rest.len() < wanted.min(left)) {
            self.window.resize(wanted.max(WINDOW).min(left), 0);
            let read = self.place.file.read_at(at, &mut self.window);
            read.map_err(|error| Error::io("read", &self.place.path, error))?;
            self.at = at;
            return Ok(&self.window);
        }
        Ok(&self.window[begin..])
    }
}
