//! What is left of a batch: the rules of compaction, batch by batch. Decides and rewrites; touches no file.
//!
//! A record stays if it is the last of its key. A tombstone stays `delete.retention.ms` longer than it is needed, so
//! that every reader sees it; so does the marker of a transaction of which nothing is left. Records of aborted
//! transactions go at once. Offsets never change, and a batch that carries the last sequence number of a producer stays
//! as a bare header.

use std::{cell::Cell, collections::HashMap, ops::AddAssign};

use super::{
    keys::LastOffsets,
    transactions::{MarkerUse, TransactionTracker},
};
use crate::{
    Error, Offset, Result,
    batch::{BatchHeader, BatchRewriter, Malformed, RecordBatch, Retained},
    embedded::producer_state::Aborted,
};

/// The last trace of a producer: its epoch, and the last offset of its data if it wrote any in that epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastOfProducer {
    pub(crate) epoch: i16,
    pub(crate) data: Option<Offset>,
}

/// What is given for one compaction of one partition.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) now_ms: i64,
    /// `delete.retention.ms`.
    pub(crate) delete_retention_ms: i64,
    pub(crate) log_end: Offset,
    /// Producers that are still known.
    pub(crate) producers: HashMap<i64, LastOfProducer>,
}

/// Records and bytes, before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) records_read: u64,
    pub(crate) records_kept: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_kept: u64,
}

impl AddAssign for Cleaned {
    fn add_assign(&mut self, other: Self) {
        self.records_read += other.records_read;
        self.records_kept += other.records_kept;
        self.bytes_read += other.bytes_read;
        self.bytes_kept += other.bytes_kept;
    }
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) kept: Kept,
    /// An entry for the index of aborted transactions of the new segment.
    pub(crate) aborted: Option<Aborted>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Whole,
    Rewritten(bytes::BytesMut),
    Nothing,
}

/// Enters the keys of a batch. False if the map is full: it speaks for what is before this batch then.
pub(crate) fn enter(
    map: &mut LastOffsets,
    tracker: &mut TransactionTracker,
    batch: &RecordBatch<'_>,
    decompressed: &mut Vec<u8>,
) -> Result<bool> {
    let header = &batch.header;
    map.begin(header.base_offset);
    if header.is_control {
        tracker.end(header, batch.marker().map_err(unreadable)?);
    } else if !tracker.is_aborted(header) {
        let start = map.end();
        for record in batch.records(decompressed).map_err(unreadable)? {
            let (offset, record) = record.map_err(unreadable)?;
            if let Some(key) = record.key
                && offset >= start
                && !map.put(key, offset, record.value.is_none())
            {
                return Ok(false);
            }
        }
    }
    map.complete_to(header.next_offset());
    Ok(true)
}

fn unreadable(malformed: Malformed) -> Error {
    Error::Invalid(format!("compaction of a malformed batch: {malformed}"))
}

/// Rewrites the batches of one partition, oldest first.
pub(crate) struct BatchCleaner<'a> {
    rules: &'a Rules,
    map: &'a LastOffsets,
    tracker: TransactionTracker,
    rewriter: BatchRewriter,
    pub(crate) cleaned: Cleaned,
}

impl<'a> BatchCleaner<'a> {
    pub(crate) fn new(rules: &'a Rules, map: &'a LastOffsets) -> Self {
        BatchCleaner {
            rules,
            map,
            tracker: TransactionTracker::default(),
            rewriter: BatchRewriter::new(),
            cleaned: Cleaned::default(),
        }
    }

    /// Adds aborted transactions that end in what comes next.
    pub(crate) fn add_aborted(&mut self, aborted: impl IntoIterator<Item = Aborted>) {
        self.tracker.add_aborted(aborted);
    }

    /// Decides about the next batch.
    ///
    /// # Errors
    ///
    /// If the batch cannot be read.
    pub(crate) fn clean(&mut self, batch: &RecordBatch<'_>) -> Result<Outcome> {
        self.decide(batch).map_err(unreadable)
    }

    fn decide(&mut self, batch: &RecordBatch<'_>) -> Result<Outcome, Malformed> {
        let header = &batch.header;
        let (kept, aborted) = if header.is_control { self.control(batch)? } else { (self.data(batch)?, None) };
        let (records_kept, bytes_kept) = match &kept {
            Kept::Whole => (header.record_count, header.len_bytes),
            Kept::Rewritten(bytes) => (BatchHeader::parse(bytes)?.record_count, bytes.len()),
            Kept::Nothing => (0, 0),
        };
        self.cleaned += Cleaned {
            records_read: u64::from(header.record_count),
            records_kept: u64::from(records_kept),
            bytes_read: header.len_bytes as u64,
            bytes_kept: bytes_kept as u64,
        };
        Ok(Outcome { kept, aborted })
    }

    fn control(&mut self, batch: &RecordBatch<'_>) -> Result<(Kept, Option<Aborted>), Malformed> {
        let header = &batch.header;
        match self.tracker.end(header, batch.marker()?) {
            MarkerUse::Needed(aborted) => Ok((Kept::Whole, aborted)),
            MarkerUse::Spent if header.record_count == 0 => Ok((self.emptied(header), None)),
            MarkerUse::Spent => match header.delete_horizon() {
                Some(horizon) if horizon <= self.rules.now_ms => Ok((self.emptied(header), None)),
                Some(_) => Ok((Kept::Whole, None)),
                None => {
                    let horizon = self.rules.now_ms.saturating_add(self.rules.delete_retention_ms);
                    Ok((self.retain(batch, Some(horizon), |_, _, _| true)?, None))
                }
            },
        }
    }

    fn data(&mut self, batch: &RecordBatch<'_>) -> Result<Kept, Malformed> {
        let header = &batch.header;
        if self.tracker.is_aborted(header) {
            return Ok(self.emptied(header));
        }
        // What is part of a transaction was perhaps taken for aborted when the keys were read.
        let is_noted = !header.is_transactional;
        match self.map.count(header.base_offset..header.next_offset()).filter(|_| is_noted) {
            Some(0) => return Ok(self.emptied(header)),
            Some(last) if last == header.record_count && !self.map.has_tombstones() => return Ok(Kept::Whole),
            _ => {}
        }
        let tombstones_go = header.delete_horizon().is_some_and(|horizon| horizon <= self.rules.now_ms);
        let map = self.map;
        let has_tombstone = Cell::new(false);
        let keep = |offset: Offset, key: Option<&[u8]>, is_tombstone: bool| {
            let keep = if offset >= map.end() {
                true
            } else {
                key.is_some_and(|key| if is_noted { map.is_last(key, offset) } else { map.is_last_by_key(key, offset) })
                    && !(is_tombstone && tombstones_go)
            };
            has_tombstone.set(has_tombstone.get() || keep && is_tombstone);
            keep
        };
        let kept = self.retain(batch, None, keep)?;
        if has_tombstone.get() && !header.has_delete_horizon {
            // The first compaction that keeps a tombstone says until when.
            let horizon = self.rules.now_ms.saturating_add(self.rules.delete_retention_ms);
            return self.retain(batch, Some(horizon), keep);
        }
        Ok(kept)
    }

    fn retain(
        &mut self,
        batch: &RecordBatch<'_>,
        delete_horizon: Option<i64>,
        mut keep: impl FnMut(Offset, Option<&[u8]>, bool) -> bool,
    ) -> Result<Kept, Malformed> {
        let keep = |offset, record: &crate::RecordView<'_>| keep(offset, record.key, record.value.is_none());
        match self.rewriter.retain(batch, delete_horizon, keep)? {
            Retained::All => Ok(Kept::Whole),
            Retained::Some(bytes) => Ok(Kept::Rewritten(bytes)),
            Retained::None => Ok(self.emptied(&batch.header)),
        }
    }

    /// A batch without records: gone, unless it is the last trace of a producer, or the end of the log.
    fn emptied(&self, header: &BatchHeader) -> Kept {
        let is_last_of_producer = header.has_producer()
            && self.rules.producers.get(&header.producer_id).is_some_and(|last| match last.data {
                Some(offset) => header.last_offset() == offset,
                None => header.is_control && header.producer_epoch == last.epoch,
            });
        if !is_last_of_producer && header.next_offset() != self.rules.log_end {
            return Kept::Nothing;
        }
        if header.record_count == 0 { Kept::Whole } else { Kept::Rewritten(BatchRewriter::empty(header)) }
    }
}

#[cfg(test)]
mod tests;
