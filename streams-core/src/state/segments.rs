//! Segments of time: rows that expire together lie together in the backend, and are dropped as one range, unseen.
//!
//! ```text
//! 2 | segment (8) | length of key (4) | key | which row of the key
//! ```

use std::collections::BTreeSet;

use super::{
    backend::{Backend, GROUP_ROW, KeyRange},
    layer::{Direction, RowBuffer},
};
use crate::Result;

/// Segments are no shorter than this, as in Kafka Streams.
const LENGTH_MIN_MS: i64 = 60_000;

/// Bytes before the key of a row.
const HEADER: usize = 13;

/// The segments that have rows in the backend.
pub(super) struct Segments {
    length_ms: i64,
    stored: BTreeSet<i64>,
}

impl Segments {
    /// Segments for rows that live for `retention_ms`: two to three are alive at a time.
    pub(super) fn new(retention_ms: i64) -> Self {
        Segments::of_length((retention_ms / 2).max(LENGTH_MIN_MS))
    }

    /// Segments of this length.
    pub(super) fn of_length(length_ms: i64) -> Self {
        Segments { length_ms: length_ms.max(1), stored: BTreeSet::new() }
    }

    /// Their length, which must stay the same for as long as there are rows.
    pub(super) fn length_ms(&self) -> i64 {
        self.length_ms
    }

    /// The segment of a time.
    pub(super) fn of(&self, time: i64) -> i64 {
        time.div_euclid(self.length_ms)
    }

    /// The first time of a segment.
    pub(super) fn start_of(&self, segment: i64) -> i64 {
        segment.saturating_mul(self.length_ms)
    }

    /// Segments in the backend from `first` to `last`, both included.
    pub(super) fn stored_between(&self, first: i64, last: i64) -> impl Iterator<Item = i64> {
        self.stored.range(first..).copied().take_while(move |segment| *segment <= last)
    }

    /// Appends what the rows of `key` in a segment begin with.
    pub(super) fn write_group(segment: i64, key: &[u8], out: &mut Vec<u8>) {
        out.push(GROUP_ROW);
        out.extend_from_slice(&segment.to_be_bytes());
        out.extend_from_slice(&u32::try_from(key.len()).expect("a key is below 4 GiB").to_be_bytes());
        out.extend_from_slice(key);
    }

    /// Splits a row's key into the key and `sub_bytes` bytes that say which row of it.
    pub(super) fn split(row: &[u8], sub_bytes: usize) -> Option<(&[u8], &[u8])> {
        let (key, sub) = row.split_at_checked(row.len().checked_sub(sub_bytes)?)?;
        Some((key.get(HEADER..)?, sub))
    }

    fn in_row(row: &[u8]) -> Option<i64> {
        let (kind, rest) = row.split_first()?;
        let segment = rest.first_chunk().copied().map(i64::from_be_bytes);
        segment.filter(|_| *kind == GROUP_ROW)
    }

    /// Finds the segments that the backend has, `length_ms` long: one look for each. The length may differ from the one
    /// that today's retention would give.
    pub(super) fn find(&mut self, backend: &dyn Backend, length_ms: Option<i64>) -> Result<()> {
        self.stored.clear();
        self.length_ms = length_ms.filter(|length| *length > 0).unwrap_or(self.length_ms);
        let mut from = vec![GROUP_ROW];
        loop {
            let rows = backend.scan(&from, Some(&[GROUP_ROW + 1]), Direction::Forward)?;
            let Some(segment) = rows.row().and_then(|(row, _)| Self::in_row(row)) else { return Ok(()) };
            self.stored.insert(segment);
            let Some(next) = segment.checked_add(1) else { return Ok(()) };
            from.truncate(1);
            from.extend_from_slice(&next.to_be_bytes());
        }
    }

    /// Notes the segments of rows that are about to be written.
    pub(super) fn note(&mut self, rows: &RowBuffer) {
        let mut last = None;
        for (row, _) in rows.iter() {
            let segment = Self::in_row(row);
            if segment != last {
                self.stored.extend(segment);
                last = segment;
            }
        }
    }

    /// Forgets the segments before `first_live`; the range that they occupy, if there are any.
    pub(super) fn expire(&mut self, first_live: i64) -> Option<KeyRange> {
        let live = self.stored.split_off(&first_live);
        let expired = std::mem::replace(&mut self.stored, live);
        expired.first().map(|first| (Self::start_key(*first), Self::start_key(first_live)))
    }

    /// Where the rows of a segment lie.
    pub(super) fn range_of(segment: i64) -> KeyRange {
        (Self::start_key(segment), Self::start_key(segment.saturating_add(1)))
    }

    fn start_key(segment: i64) -> Vec<u8> {
        [&[GROUP_ROW][..], &segment.to_be_bytes()].concat()
    }
}
