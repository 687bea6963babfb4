//! The read path, top to bottom.

use std::{path::PathBuf, sync::Arc};

use bytes::{Bytes, BytesMut};

use super::{Log, Partition};
use crate::{
    Error, Offset, Result,
    batch::{BatchHeader, HEADER_BYTES, header},
    client::{AbortedTransaction, FetchedBatch, Isolation},
    embedded::storage::SegmentFile,
};

/// Chunks below this size are gathered, so that a reader does not get single records one by one.
const SMALL_CHUNK: usize = 16 << 10;

/// Most bytes between an index entry and the batch looked for, beside one batch: the extra that is read before it.
const INDEX_GAP: usize = 4 << 10;

/// Sealed segments of one partition whose files are open at a time: a few readers at different places.
const OPEN_SEALED_MAX: usize = 4;

/// Whole batches.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) bytes: Bytes,
    /// The offset after the last batch.
    pub(crate) next: Offset,
    pub(crate) aborted: Arc<[AbortedTransaction]>,
}

impl Fetched {
    /// No batch: reading goes on at `end`.
    fn nothing_before(end: Offset) -> Self {
        Fetched { bytes: Bytes::new(), next: end, aborted: Arc::default() }
    }
}

/// Where in a file to read, found under the lock and used after it.
pub(super) struct Place {
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) path: PathBuf,
    pub(super) from: u64,
    pub(super) to: u64,
    /// The first offset that is not visible yet.
    end: Offset,
    log_end: Offset,
}

impl Place {
    /// Whether the header of the batch at `at` can be right: the checksum does not cover all of it. `least` is the end of
    /// the batch before.
    pub(super) fn check(&self, header: &BatchHeader, at: u64, least: Offset) -> Result<()> {
        if header.len_bytes as u64 > self.to - at {
            let reason = format!("batch of {} bytes is longer than the rest of the file", header.len_bytes);
            return Err(self.damaged(at, &reason));
        }
        // A wrong offset would make readers skip what follows.
        if header.base_offset < least || header.next_offset() > self.log_end {
            let reason = format!(
                "batch has offsets {} to {}, expected between {least} and {}",
                header.base_offset,
                header.last_offset(),
                self.log_end
            );
            return Err(self.damaged(at, &reason));
        }
        Ok(())
    }

    /// A batch that is not served; what follows it can be reached only by giving it up.
    #[cold]
    pub(super) fn damaged(&self, position: u64, reason: &str) -> Error {
        let reason = format!("{reason} (without a copy, `logctl delete-records` gives the damaged records up)");
        Error::Corrupt { file: self.path.clone(), position, reason }
    }
}

enum Found {
    Bytes(Fetched),
    InFile(Place),
}

impl Partition {
    /// Whole batches from the one that holds `from` on, up to `bytes_max` (but at least one). `None` if nothing from
    /// there on is visible yet. No batch, and where reading goes on, if compaction has taken all that was.
    ///
    /// # Errors
    ///
    /// [`Error::OffsetOutOfRange`]; [`Error::Corrupt`] if a checksum does not match: the batch is not handed out, and
    /// not skipped.
    pub(crate) fn fetch(
        self: &Arc<Self>,
        from: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Option<Fetched>> {
        let found = {
            let mut log = self.log()?;
            let end = log.end(isolation);
            if from < log.log_start || from > log.log_end {
                return Err(self.out_of_range(&log, from));
            }
            if from >= end {
                return Ok(None);
            }
            match from_tail(&log, from, end, bytes_max) {
                Some(mut fetched) => {
                    fetched.aborted = aborted_between(&log, from, fetched.next, isolation);
                    Found::Bytes(fetched)
                }
                None => Found::InFile(self.find(&mut log, from, end)?),
            }
        };
        let place = match found {
            Found::Bytes(fetched) => return Ok(Some(fetched)),
            Found::InFile(place) => place,
        };
        match read(&place, from, bytes_max)? {
            Some(mut fetched) => {
                if isolation == Isolation::ReadCommitted {
                    fetched.aborted = aborted_between(&*self.log()?, from, fetched.next, isolation);
                }
                Ok(Some(fetched))
            }
            // Compaction may leave a segment without a batch at or after `from`: go on in the next one.
            None => self.fetch_next_segment(from, place.end, bytes_max, isolation),
        }
    }

    /// What a consumer gets of `fetched`.
    pub(crate) fn as_batch(&self, fetched: &Fetched, start: Offset) -> FetchedBatch {
        FetchedBatch {
            partition: self.id.clone(),
            bytes: fetched.bytes.clone(),
            start,
            next: fetched.next,
            aborted: Arc::clone(&fetched.aborted),
        }
    }

    fn find(self: &Arc<Self>, log: &mut Log, offset: Offset, end: Offset) -> Result<Place> {
        let number = Self::segment_of(log, offset).expect("an offset inside the log is in a segment");
        self.find_in(log, number, offset, end)
    }

    /// Where in segment `number` to read for `offset`.
    pub(super) fn find_in(
        self: &Arc<Self>,
        log: &mut Log,
        number: usize,
        offset: Offset,
        end: Offset,
    ) -> Result<Place> {
        let directory = &*self.shared.directory;
        self.note_open_files(log);
        self.close_all_but(log, number);
        let segment = &mut log.segments[number];
        Ok(Place {
            from: segment.position_before(directory, offset)?,
            to: segment.size_bytes,
            file: segment.file(directory)?,
            path: segment.located(directory),
            end,
            log_end: log.log_end,
        })
    }

    /// Keeps the files of few sealed segments open: of `number` and those that were read last.
    fn close_all_but(&self, log: &mut Log, number: usize) {
        let base = log.segments[number].base;
        if number + 1 == log.segments.len() || log.open_sealed.contains(&base) {
            return;
        }
        log.open_sealed.push_back(base);
        if log.open_sealed.len() > OPEN_SEALED_MAX
            && let Some(oldest) = log.open_sealed.pop_front()
            && let Ok(oldest) = log.segments.binary_search_by_key(&oldest, |segment| segment.base)
        {
            log.segments[oldest].release();
        }
    }

    fn fetch_next_segment(
        self: &Arc<Self>,
        from: Offset,
        end: Offset,
        bytes_max: usize,
        isolation: Isolation,
    ) -> Result<Option<Fetched>> {
        let next = {
            let log = self.log()?;
            let number = Self::segment_of(&log, from).map_or(0, |number| number + 1);
            log.segments.get(number).map(|segment| segment.base)
        };
        match next {
            Some(next) if next >= end => Ok(Some(Fetched::nothing_before(end))),
            Some(next) if next > from => self.fetch(next, bytes_max, isolation),
            _ => Ok(None),
        }
    }
}

/// What a reader of committed records must know about these offsets.
fn aborted_between(log: &Log, from: Offset, to: Offset, isolation: Isolation) -> Arc<[AbortedTransaction]> {
    let aborted = match isolation {
        Isolation::ReadCommitted => log.producers.aborted_between(from, to),
        Isolation::ReadUncommitted => return Arc::default(),
    };
    let mut aborted = aborted
        .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first })
        .peekable();
    if aborted.peek().is_none() { Arc::default() } else { aborted.collect() }
}

/// From memory: a whole chunk by reference, or several small ones gathered.
fn from_tail(log: &Log, from: Offset, end: Offset, bytes_max: usize) -> Option<Fetched> {
    let mut chunks = log.tail.from(from)?.take_while(|chunk| chunk.base < end);
    let first = chunks.next()?;
    let aborted = Arc::default();
    if first.bytes.len() >= SMALL_CHUNK || first.bytes.len() >= bytes_max || first.next >= end {
        return Some(Fetched { bytes: first.bytes.clone(), next: first.next, aborted });
    }
    let mut gathered = BytesMut::with_capacity(first.bytes.len());
    gathered.extend_from_slice(&first.bytes);
    let mut next = first.next;
    for chunk in chunks {
        if gathered.len() + chunk.bytes.len() > bytes_max.min(4 * SMALL_CHUNK) {
            break;
        }
        gathered.extend_from_slice(&chunk.bytes);
        next = chunk.next;
    }
    Some(Fetched { bytes: gathered.freeze(), next, aborted })
}

/// From the file: whole batches, their checksums verified; none if what is left is not visible yet. `None` if the file
/// ends before `from`.
fn read(place: &Place, from: Offset, bytes_max: usize) -> Result<Option<Fetched>> {
    let mut begin = place.from;
    let mut wanted = bytes_max.saturating_add(INDEX_GAP);
    loop {
        let left = usize::try_from(place.to - begin).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(None);
        }
        let mut buffer = BytesMut::zeroed(wanted.min(left));
        let read = place.file.read_at(begin, &mut buffer);
        read.map_err(|error| Error::io("read", &place.path, error))?;
        // Batches before the one that is looked for are stepped over by their headers.
        let (mut start, mut position) = (0, 0);
        let mut next = None;
        let mut needed = HEADER_BYTES;
        let mut is_past_end = false;
        let mut least = Offset::ZERO;
        while let Some(rest) = buffer.get(position..).filter(|rest| rest.len() >= HEADER_BYTES) {
            let at = begin + position as u64;
            let header = match BatchHeader::parse(rest) {
                Ok(header) => header,
                // What comes before the damage is served; who reads on is told.
                Err(_) if next.is_some() => break,
                Err(malformed) => return Err(place.damaged(at, &malformed.to_string())),
            };
            place.check(&header, at, least)?;
            least = header.next_offset();
            if header.next_offset() <= from {
                position += header.len_bytes;
                start = position;
                continue;
            }
            if header.base_offset >= place.end {
                is_past_end = true;
                break;
            }
            let Some(batch) = rest.get(..header.len_bytes) else {
                needed = header.len_bytes;
                break;
            };
            if position - start + batch.len() > bytes_max && next.is_some() {
                break;
            }
            match header::verify(batch) {
                Ok(_) => {}
                Err(_) if next.is_some() => break,
                Err(malformed) => return Err(place.damaged(at, &malformed.to_string())),
            }
            next = Some(header.next_offset());
            position += header.len_bytes;
        }
        if let Some(next) = next {
            let bytes = buffer.freeze().slice(start..position);
            return Ok(Some(Fetched { bytes, next, aborted: Arc::default() }));
        }
        if is_past_end {
            // Compaction has taken all that was visible: whoever waits for `end` is there.
            return Ok(Some(Fetched::nothing_before(place.end)));
        }
        if start == 0 && buffer.len() >= needed.min(left) && needed <= wanted {
            let reason = format!("{left} bytes at the end are less than a batch");
            return Err(place.damaged(begin, &reason));
        }
        // Not there yet: a large batch, or a long way from the index entry.
        begin += start as u64;
        wanted = needed.max(bytes_max.saturating_add(INDEX_GAP));
    }
}
