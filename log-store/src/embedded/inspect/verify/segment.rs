//! One segment: every batch, every record, and each index entry against the batch it points to.

use super::{Check, partition::Walk};
use crate::{
    Error, Offset, Result,
    batch::{BatchHeader, Malformed, RecordBatch, TimestampType},
    embedded::inspect::{
        Aborted, OffsetEntry, SegmentReader, TimeEntry, decode_aborted, decode_offset_index, decode_time_index,
    },
};

/// The indexes of the segment, consumed as the walk comes to what they point to.
struct Indexes {
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    aborted: Vec<Aborted>,
}

impl Check<'_> {
    pub(super) fn check_segment(&mut self, walk: &mut Walk, base: Offset, is_last: bool) -> Result<()> {
        if walk.is_past_limit(base) {
            return Ok(());
        }
        let path = walk.path(base, "log");
        self.verified.segments += 1;
        if base < walk.next {
            self.error(
                &path,
                None,
                format!("begins at offset {base}, but the segment before it ends at {}", walk.next),
            );
        } else if base > walk.next && !walk.is_compacted {
            self.error(&path, None, format!("offsets {} to {base} are missing before it", walk.next));
        }
        let mut indexes = self.read_indexes(walk, base, is_last)?;
        let mut reader = SegmentReader::open(self.directory, &path)?;
        let mut decompressed = Vec::new();
        let mut aborted = Vec::new();
        loop {
            match reader.next_batch() {
                Ok(Some(found)) => {
                    let (batch, position) = (found.batch, found.position);
                    if walk.is_past_limit(batch.header.base_offset) {
                        return Ok(());
                    }
                    if let Some(damage) = found.damage {
                        self.error(&path, position, damage.to_string());
                        continue;
                    }
                    self.check_place(walk, &path, position, &batch.header)?;
                    self.check_content(walk, &path, position, &batch, &mut decompressed, &mut aborted);
                    self.check_entries(walk, base, &mut indexes, position, &batch.header);
                    walk.next = batch.header.next_offset();
                }
                Ok(None) => break,
                Err(Error::Corrupt { position, reason, .. }) => {
                    self.check_torn(walk, &path, position, &reason, is_last);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        self.check_left_over(walk, base, &indexes);
        self.check_aborted(walk, base, &indexes.aborted, &aborted);
        Ok(())
    }

    /// The indexes, in reverse: the next entry is the last one. A damaged one counts as empty.
    fn read_indexes(&mut self, walk: &Walk, base: Offset, is_last: bool) -> Result<Indexes> {
        let mut offsets = self.read_index(walk, base, "index", is_last, |bytes| decode_offset_index(base, bytes))?;
        let mut times = self.read_index(walk, base, "timeindex", is_last, |bytes| decode_time_index(base, bytes))?;
        offsets.reverse();
        times.reverse();
        // No file means that nothing was aborted.
        let aborted = self.read_index(walk, base, "txnindex", true, decode_aborted)?;
        Ok(Indexes { offsets, times, aborted })
    }

    fn read_index<E>(
        &mut self,
        walk: &Walk,
        base: Offset,
        extension: &str,
        may_be_missing: bool,
        decode: impl Fn(&[u8]) -> Result<Vec<E>, Malformed>,
    ) -> Result<Vec<E>> {
        let path = walk.path(base, extension);
        match self.read(&path)?.map(|bytes| decode(&bytes)) {
            Some(Ok(entries)) => return Ok(entries),
            Some(Err(problem)) => self.error(&path, None, format!("{problem}; it is made anew when it is used")),
            None if may_be_missing => {}
            None => self.note(&path, None, "is missing; it is made anew when it is used"),
        }
        Ok(Vec::new())
    }

    /// The place of a batch in the log.
    fn check_place(&mut self, walk: &mut Walk, path: &str, position: u64, header: &BatchHeader) -> Result<()> {
        self.check_snapshots(walk, header.base_offset)?;
        let (first, next) = (header.base_offset, walk.next);
        if first < next {
            self.error(
                path,
                position,
                format!("the batch begins at offset {first}, but the one before ends at {next}"),
            );
        } else if first > next && !walk.is_compacted {
            self.error(path, position, format!("offsets {next} to {first} are missing before the batch"));
        }
        if header.leader_epoch < walk.epoch {
            let what = format!("leader epoch {} comes after {}", header.leader_epoch, walk.epoch);
            self.error(path, position, what);
        }
        walk.epoch = walk.epoch.max(header.leader_epoch);
        Ok(())
    }

    /// What is inside a batch.
    fn check_content(
        &mut self,
        walk: &mut Walk,
        path: &str,
        position: u64,
        batch: &RecordBatch<'_>,
        decompressed: &mut Vec<u8>,
        aborted: &mut Vec<Aborted>,
    ) {
        let counted =
            count_records(batch, decompressed).and_then(|records| Ok((records, walk.producers.follow(batch)?)));
        match counted {
            Ok((records, (abort, gap))) => {
                self.verified.batches += 1;
                self.verified.records += records;
                self.verified.bytes += batch.bytes.len() as u64;
                aborted.extend(abort);
                if let Some(gap) = gap.filter(|_| !walk.is_compacted) {
                    self.error(path, position, gap);
                }
            }
            Err(problem) => self.error(path, position, problem.to_string()),
        }
    }

    /// The index entries that point to a batch, or to no batch between it and the one before.
    fn check_entries(&mut self, walk: &Walk, base: Offset, indexes: &mut Indexes, position: u64, header: &BatchHeader) {
        while let Some(entry) = indexes.offsets.pop_if(|entry| u64::from(entry.position) <= position) {
            let path = walk.path(base, "index");
            if u64::from(entry.position) < position {
                self.error(&path, None, format!("points to byte {}, where no batch begins", entry.position));
            } else if entry.offset != header.last_offset() {
                let what = format!(
                    "says offset {} for the batch at byte {position}, which ends with {}",
                    entry.offset,
                    header.last_offset()
                );
                self.error(&path, None, what);
            }
        }
        while let Some(entry) = indexes.times.pop_if(|entry| entry.offset <= header.last_offset()) {
            let path = walk.path(base, "timeindex");
            if entry.offset < header.last_offset() {
                self.error(&path, None, format!("points to offset {}, with which no batch ends", entry.offset));
            } else if header.record_count == 0 {
                let what = format!("names the batch that ends with offset {}, which has no record left", entry.offset);
                self.error(&path, None, what);
            } else if entry.timestamp != header.max_timestamp {
                let what = format!(
                    "says timestamp {} for the batch that ends with offset {}, whose greatest is {}",
                    entry.timestamp, entry.offset, header.max_timestamp
                );
                self.error(&path, None, what);
            }
        }
    }

    fn check_left_over(&mut self, walk: &Walk, base: Offset, indexes: &Indexes) {
        if let Some(entry) = indexes.offsets.last() {
            let what = format!("points to byte {}, behind the last batch", entry.position);
            self.error(&walk.path(base, "index"), None, what);
        }
        if let Some(entry) = indexes.times.last() {
            let what = format!("points to offset {}, behind the last batch", entry.offset);
            self.error(&walk.path(base, "timeindex"), None, what);
        }
    }

    /// The index of aborted transactions against those that the batches tell of.
    fn check_aborted(&mut self, walk: &Walk, base: Offset, listed: &[Aborted], seen: &[Aborted]) {
        let path = walk.path(base, "txnindex");
        for aborted in seen {
            // Compaction, or retention, may have taken the first batches of the transaction away.
            let may_be_gone = |first: Offset| first < aborted.first && (walk.is_compacted || first < walk.start);
            let is_listed = |entry: &Aborted| {
                let is_same = (entry.producer_id, entry.last) == (aborted.producer_id, aborted.last);
                is_same && (entry.first == aborted.first || may_be_gone(entry.first))
            };
            if !listed.iter().any(is_listed) {
                let what = format!(
                    "lacks the transaction of producer {} from offset {} that was aborted at {}: readers of committed \
                     records would see it",
                    aborted.producer_id, aborted.first, aborted.last
                );
                self.error(&path, None, what);
            }
        }
    }

    /// Bytes that are no batch: damage, or a torn write at the very end.
    fn check_torn(&mut self, walk: &Walk, path: &str, position: u64, reason: &str, is_last: bool) {
        if is_last && !walk.is_clean {
            let what = format!("{reason}: an unfinished write, which the next opening cuts off");
            self.note(path, position, what);
        } else {
            self.error(path, position, format!("{reason}; what follows in this file cannot be found"));
        }
    }
}

/// Reads all records; they must be what the header says.
fn count_records(batch: &RecordBatch<'_>, decompressed: &mut Vec<u8>) -> Result<u64, Malformed> {
    let mut count = 0;
    let mut max_timestamp = None;
    for record in batch.records(decompressed)? {
        let (_, record) = record?;
        count += 1;
        max_timestamp = max_timestamp.max(Some(record.timestamp));
    }
    let header = &batch.header;
    if header.timestamp_type == TimestampType::CreateTime
        && let Some(max_timestamp) = max_timestamp
        && max_timestamp.max(-1) != header.max_timestamp
    {
        let what = format!("the greatest timestamp is {max_timestamp}, the header says {}", header.max_timestamp);
        return Err(Malformed::new(what));
    }
    Ok(count)
}
