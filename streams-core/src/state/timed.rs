//! What window and session stores share: rows of a key by time, retained for a time.
//!
//! In the backend rows lie in [`Segments`], and beside them:
//!
//! ```text
//! 3 | time and key, in the order in which all keys are read: a row's entry in the index by time, if there is one
//! 0 | 't'      the store's stream time (8), the length of its segments (8), its last sequence number (4)
//! ```

use std::collections::BTreeSet;

use log_store::RecordView;

use super::{
    Update,
    backend::{Backend, KeyRange, META},
    builder::{StoreContext, StoreOptions},
    layer::{Codec, Direction, Format, Group, LoadError, LogRow, Many, Row, RowBuffer, RowStore},
    segments::Segments,
};
use crate::{
    Result,
    serde::{Encoded, SerdeError, SharedSerde},
};

/// First byte of the entries of the index by time.
const INDEX_ROW: u8 = 3;

/// Key of the row that keeps the stream time and the last sequence number.
const TIME_KEY: &[u8] = &[META, b't'];

/// Slots looked at for each write while rows that have just expired are swept out of memory.
const SWEEP_SLOTS: u32 = 2;

/// Which row of its key: the bytes are those that follow the key in Kafka's changelog.
pub(super) trait TimedSub: Copy + Ord {
    const BYTES: usize;

    /// The time that decides on retention.
    fn time(self) -> i64;

    /// Appends the bytes.
    fn write(self, out: &mut Vec<u8>);

    /// Reads [`Self::BYTES`] bytes.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Appends the index entry without its first byte. Entries are ordered as rows of all keys are read.
    fn write_index(self, key: &[u8], out: &mut Vec<u8>);

    /// Reads an index entry without its first byte.
    fn read_index(entry: &[u8]) -> Option<(Self, &[u8])>;

    /// The greatest sequence number of rows up to this one; 0 if rows have none.
    fn sequence(self) -> u32 {
        0
    }
}

/// How long rows live, and how they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retention {
    pub(super) retention_ms: i64,
    pub(super) has_time_index: bool,
    pub(super) expiry: Expiry,
    /// Rows are refused one by one. Else, as in Kafka Streams' stores on disk, a whole segment at a time.
    pub(super) refuses_by_row: bool,
}

/// Which rows reads still see. Kafka Streams' kinds of stores differ in this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    /// A row expires when stream time is its time plus the retention.
    AtRetention,
    /// One millisecond later: window stores on disk with an index by time.
    AfterRetention,
    /// [`Expiry::AtRetention`] for reads of one key; reads of all keys see what is left in the segments that are alive:
    /// session stores on disk with an index by time.
    BySegment,
}

/// The layout of window and session stores.
pub(super) struct TimedFormat<S, V> {
    codec: Box<dyn Codec<V>>,
    retention: Retention,
    /// The greatest time ever written, or with caching handed on; `None` before the first.
    stream_time: Option<i64>,
    /// The greatest time that caching holds back.
    held_time: Option<i64>,
    /// Writes that came too late, since they were last asked for.
    refused: u64,
    /// The greatest sequence number ever given.
    pub(super) sequence: u32,
    segments: Segments,
    kind: std::marker::PhantomData<fn() -> S>,
}

impl<S: TimedSub, V> TimedFormat<S, V> {
    fn new(codec: Box<dyn Codec<V>>, retention: Retention) -> Self {
        TimedFormat {
            codec,
            retention,
            stream_time: None,
            held_time: None,
            refused: 0,
            sequence: 0,
            segments: Segments::new(retention.retention_ms),
            kind: std::marker::PhantomData,
        }
    }

    /// Reads of a key do not see rows before this time.
    fn live_from(&self) -> i64 {
        let grace = i64::from(self.retention.expiry != Expiry::AfterRetention);
        self.retained_from().map_or(i64::MIN, |time| time.saturating_add(grace))
    }

    /// Reads of all keys do not see rows before this time; nobody sees those before this and [`Self::live_from`].
    fn kept_from(&self) -> i64 {
        match (self.retention.expiry, self.retained_from()) {
            (Expiry::BySegment, Some(time)) => self.segments.start_of(self.segments.of(time)),
            _ => self.live_from(),
        }
    }

    fn retained_from(&self) -> Option<i64> {
        self.stream_time.map(|time| time.saturating_sub(self.retention.retention_ms))
    }

    /// Time has come to `time`. True if a segment has expired by that.
    #[inline]
    fn advance(&mut self, time: i64) -> bool {
        if self.stream_time.is_some_and(|now| now >= time) {
            return false;
        }
        let before = self.segments.of(self.kept_from());
        self.stream_time = Some(time);
        self.segments.of(self.kept_from()) > before
    }

    /// Counts a write that came too late.
    fn note_if_refused(&mut self, time: i64) {
        let Some(retained_from) = self.retained_from() else { return };
        let is_refused = match self.retention.refuses_by_row {
            true => time <= retained_from,
            false => self.segments.of(time) < self.segments.of(retained_from),
        };
        self.refused += u64::from(is_refused);
    }

    /// Takes a row of the backend apart.
    fn read_row(row: &[u8]) -> Option<(S, &[u8])> {
        let (key, sub) = Segments::split(row, S::BYTES)?;
        Some((S::read(sub)?, key))
    }

    /// Reads rows of the backend, of all keys, with times from `from` to `to`.
    fn stored_between(&self, backend: &dyn Backend, from: i64, to: i64, found: &mut BTreeSet<Vec<u8>>) -> Result<()> {
        let mut index = Vec::new();
        if self.retention.has_time_index {
            let first = [&[INDEX_ROW][..], &from.max(0).to_be_bytes()].concat();
            // The greatest time has no next one; no row of the index is at it either way.
            let end = [&[INDEX_ROW][..], &to.saturating_add(1).max(0).to_be_bytes()].concat();
            let mut rows = backend.scan(&first, Some(&end), Direction::Forward)?;
            while let Some((row, _)) = rows.row() {
                if S::read_index(&row[1..]).is_some_and(|(sub, _)| (from..=to).contains(&sub.time())) {
                    found.insert(row[1..].to_vec());
                }
                rows.advance()?;
            }
            return Ok(());
        }
        for segment in self.segments.stored_between(self.segments.of(from), self.segments.of(to)) {
            let (first, end) = Segments::range_of(segment);
            let mut rows = backend.scan(&first, Some(&end), Direction::Forward)?;
            while let Some((row, _)) = rows.row() {
                if let Some((sub, key)) = Self::read_row(row)
                    && (from..=to).contains(&sub.time())
                {
                    index.clear();
                    sub.write_index(key, &mut index);
                    found.insert(index.clone());
                }
                rows.advance()?;
            }
        }
        Ok(())
    }
}

impl<S: TimedSub, V> Format for TimedFormat<S, V> {
    type Value = V;
    type Sub = S;
    type Group = Many<S, V>;

    fn codec(&self) -> &dyn Codec<V> {
        &*self.codec
    }

    fn row_key(&self, key: &[u8], sub: S, _value: Option<&V>, out: &mut Vec<u8>) {
        Segments::write_group(self.segments.of(sub.time()), key, out);
        sub.write(out);
    }

    fn log_key(&self, key: &[u8], sub: S, out: &mut Vec<u8>) {
        out.extend_from_slice(key);
        sub.write(out);
    }

    fn read_log<'k>(&self, record: &RecordView<'k>) -> Option<LogRow<'k, S>> {
        let key = record.key?;
        let split = key.len().checked_sub(S::BYTES)?;
        Some(LogRow { sub: S::read(&key[split..])?, key: &key[..split] })
    }

    fn load(&self, backend: &dyn Backend, key: &[u8], scratch: &mut Vec<u8>) -> Result<Many<S, V>, LoadError> {
        let kept_from = self.kept_from();
        let mut group = Many::default();
        for segment in self.segments.stored_between(self.segments.of(kept_from), i64::MAX) {
            scratch.clear();
            Segments::write_group(segment, key, scratch);
            let mut rows = backend.scan_group(scratch)?;
            while let Some((row, value)) = rows.row() {
                if let Some((sub, _)) = Self::read_row(row)
                    && sub.time() >= kept_from
                {
                    let decoded = self.codec.decode_row(value)?;
                    group.rows.push((sub, Row::clean(Some(decoded), value.len())));
                }
                rows.advance()?;
            }
        }
        group.rows.sort_unstable_by_key(|(sub, _)| *sub);
        Ok(group)
    }

    fn restores(&mut self, row: &LogRow<'_, S>, is_deletion: bool) -> bool {
        self.sequence = self.sequence.max(row.sub.sequence());
        let is_numbered = row.sub.sequence() > 0;
        if is_deletion && is_numbered && !self.retention.refuses_by_row {
            // It deleted nothing, and the store did not take it for an event.
            return false;
        }
        self.advance(row.sub.time());
        !self.is_expired(row.sub)
    }

    fn is_expired(&self, sub: S) -> bool {
        sub.time() < self.kept_from()
    }

    fn old_value(&self, sub: S, old: Option<V>) -> Option<V> {
        old.filter(|_| sub.time() >= self.live_from())
    }

    fn handed_on(&mut self, sub: S) {
        self.advance(sub.time());
        self.note_if_refused(sub.time());
    }

    fn committed(&mut self) {
        // What is still held back is handed on by that: nobody wanted it.
        self.stream_time = self.stream_time.max(self.held_time.take());
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    fn before_apply(&mut self, rows: &mut RowBuffer) -> Vec<KeyRange> {
        self.segments.note(rows);
        let Some(stream_time) = self.stream_time else { return Vec::new() };
        let (time, length) = (stream_time.to_be_bytes(), self.segments.length_ms().to_be_bytes());
        rows.push_bytes(TIME_KEY, Some(&[&time[..], &length, &self.sequence.to_be_bytes()].concat()));
        let first_live = self.segments.of(self.kept_from());
        let mut dropped: Vec<KeyRange> = self.segments.expire(first_live).into_iter().collect();
        if !dropped.is_empty() && self.retention.has_time_index {
            let end = self.segments.start_of(first_live).max(0);
            dropped.push((vec![INDEX_ROW], [&[INDEX_ROW][..], &end.to_be_bytes()].concat()));
        }
        dropped
    }

    fn index_row(&self, key: &[u8], sub: S, out: &mut Vec<u8>) -> bool {
        if self.retention.has_time_index {
            out.push(INDEX_ROW);
            sub.write_index(key, out);
        }
        self.retention.has_time_index
    }

    fn opened(&mut self, backend: &dyn Backend) -> Result<()> {
        let mut row = TIME_KEY.to_vec();
        let is_known = backend.get(&mut row)?;
        let state = row[TIME_KEY.len()..].split_first_chunk().filter(|_| is_known);
        let (time, rest) = state.map(|(time, rest)| (i64::from_be_bytes(*time), rest)).unzip();
        let (length, sequence) = rest.and_then(<[u8]>::split_first_chunk).unzip();
        self.stream_time = time;
        self.held_time = None;
        self.sequence = sequence.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        self.segments.find(backend, length.copied().map(i64::from_be_bytes))
    }
}

/// The rows of a window or session store, under typed keys.
pub(super) struct TimedRows<K, S: TimedSub, V> {
    pub(super) rows: RowStore<TimedFormat<S, V>>,
    key_serde: SharedSerde<K>,
    /// The key of the call under way, serialised.
    key: Vec<u8>,
    /// The next slot to look at for rows that have expired; none is left at the end of the slots.
    sweep: u32,
}

impl<K: 'static, S: TimedSub + 'static, V: Clone + Send + 'static> TimedRows<K, S, V> {
    pub(super) fn open(
        options: &StoreOptions,
        context: &StoreContext,
        retention: Retention,
        key_serde: &SharedSerde<K>,
        codec: impl Codec<V> + 'static,
    ) -> Result<Self> {
        let rows = context.open(options, TimedFormat::new(Box::new(codec), retention))?;
        Ok(TimedRows { rows, key_serde: SharedSerde::clone(key_serde), key: Vec::new(), sweep: u32::MAX })
    }

    /// The slot of `key`, with all its live rows.
    #[inline]
    pub(super) fn find(&mut self, key: &K) -> Result<u32> {
        self.key.clear();
        match self.key_serde.serialize(key, &mut self.key) {
            Ok(Encoded::Bytes) => {}
            Ok(Encoded::Null) => return Err(self.rows.serde_error("key", &SerdeError::new("it is null"))),
            Err(error) => return Err(self.rows.serde_error("key", &error)),
        }
        self.rows.find_or_load(&self.key)
    }

    /// The slot of `key` for a write at `sub`, and whether reads will see what is written there.
    #[inline]
    pub(super) fn find_to_write(&mut self, key: &K, sub: S) -> Result<(u32, bool)> {
        let is_caching = self.rows.is_caching();
        let format = self.rows.format_mut();
        let is_live = if is_caching {
            format.held_time = format.held_time.max(Some(sub.time()));
            true
        } else {
            if format.advance(sub.time()) {
                self.sweep = 0;
            }
            sub.time() >= format.live_from()
        };
        let slot = self.find(key)?;
        if !self.keeps_expired() {
            self.drop_expired(slot);
            if self.sweep < self.rows.slots() {
                self.sweep_on();
            }
        }
        Ok((slot, is_live))
    }

    /// True if reads see `sub` once it is written.
    pub(super) fn is_live(&self, sub: S) -> bool {
        self.rows.is_caching() || sub.time() >= self.rows.format().live_from()
    }

    /// True if the rows outlive a restart in files.
    pub(super) fn is_on_disk(&self) -> bool {
        !self.rows.format().retention.refuses_by_row
    }

    /// Counts a write that came too late. Caching counts when it hands it on.
    #[inline]
    pub(super) fn note_if_refused(&mut self, sub: S) {
        if !self.rows.is_caching() {
            self.rows.format_mut().note_if_refused(sub.time());
        }
    }

    /// What was written through the cache stays readable for as long as the cache has room for it, expired or not: as
    /// in Kafka Streams, whose caches know nothing of retention.
    #[inline]
    fn keeps_expired(&self) -> bool {
        self.rows.is_caching() && self.rows.bytes() <= self.rows.held_bytes_max()
    }

    /// The visible rows of a slot from `from` to `to`.
    pub(super) fn between(&self, slot: u32, from: S, to: S) -> impl DoubleEndedIterator<Item = (S, &V)> {
        let live_from = if self.rows.is_caching() { i64::MIN } else { self.rows.format().live_from() };
        let group = self.rows.group(slot);
        let rows = match group.lower_bound(from) {
            first if from <= to => &group.rows[first..],
            _ => &[],
        };
        let end = rows.partition_point(|(sub, _)| *sub <= to);
        let live = move |(sub, row): &'_ (S, Row<V>)| sub.time() >= live_from && row.value.is_some();
        rows[..end].iter().filter(move |row| live(row)).filter_map(|(sub, row)| Some((*sub, row.value.as_ref()?)))
    }

    /// Rows of all keys with times from `from` to `to`, ordered by time, then key; with [`Expiry::BySegment`] in the order
    /// of the index.
    pub(super) fn all_between(&mut self, from: i64, to: i64) -> Result<Vec<(K, S, V)>> {
        let kept_from = from.max(self.rows.format().kept_from());
        let is_caching = self.rows.is_caching();
        let from = if is_caching { from } else { kept_from };
        if from > to {
            return Ok(Vec::new());
        }
        let mut found = BTreeSet::new();
        let mut entry = Vec::new();
        let mut add = |key: &[u8], sub: S| {
            entry.clear();
            sub.write_index(key, &mut entry);
            if !found.contains(&entry) {
                found.insert(entry.clone());
            }
        };
        let in_range = |sub: &S| (from..=to).contains(&sub.time());
        let retention = self.rows.format().retention;
        let is_all_in_memory = self.rows.is_complete() && (is_caching || !retention.has_time_index);
        if is_all_in_memory || is_caching {
            for slot in 0..self.rows.slots() {
                for (sub, _) in self.rows.slot(slot).into_iter().flat_map(|group| &group.rows) {
                    if in_range(sub) {
                        add(self.rows.key_of(slot), *sub);
                    }
                }
            }
        } else {
            for (slot, sub) in self.rows.pending().filter(|(_, sub)| in_range(sub)) {
                add(self.rows.key_of(slot), sub);
            }
        }
        if !is_all_in_memory && kept_from <= to {
            self.rows.format().stored_between(self.rows.backend(), kept_from, to, &mut found)?;
        }
        let mut entries: Vec<(S, &[u8])> = found.iter().filter_map(|entry| S::read_index(entry)).collect();
        if retention.expiry != Expiry::BySegment {
            entries.sort_by_key(|(sub, key)| (sub.time(), *key));
        }
        let mut rows = Vec::with_capacity(entries.len());
        for (sub, key) in entries {
            let slot = self.rows.find_or_load(key)?;
            if let Some(value) = self.rows.group(slot).row(sub).and_then(|row| row.value.clone()) {
                rows.push((self.read_key(key)?, sub, value));
            }
        }
        Ok(rows)
    }

    pub(super) fn read_key(&self, bytes: &[u8]) -> Result<K> {
        self.key_serde.deserialize(Some(bytes)).map_err(|error| self.rows.serde_error("stored key", &error))
    }

    /// What caching held back.
    pub(super) fn take_updates<T>(&mut self, name: impl Fn(K, S) -> T) -> Result<Vec<Update<T, V>>> {
        let key_serde = SharedSerde::clone(&self.key_serde);
        let kept_from = self.rows.format().kept_from();
        let updates = self.rows.take_updates(usize::MAX, |key, sub| Ok(name(key_serde.deserialize(Some(key))?, sub)));
        self.sweep_since(kept_from);
        updates
    }

    /// Hands on what caching held back without a listener.
    pub(super) fn drop_updates(&mut self) {
        let kept_from = self.rows.format().kept_from();
        self.rows.drop_updates();
        self.sweep_since(kept_from);
    }

    fn sweep_since(&mut self, kept_from: i64) {
        self.rows.format_mut().held_time = None;
        if self.rows.format().kept_from() > kept_from {
            self.sweep = 0;
        }
    }

    /// Drops rows of a slot that have expired. They are the first ones.
    #[inline]
    fn drop_expired(&mut self, slot: u32) {
        let kept_from = self.rows.format().kept_from();
        if self.rows.group(slot).rows.first().is_some_and(|(sub, row)| sub.time() < kept_from && !row.is_pending()) {
            self.rows.tidy(slot, |group| {
                let live = |(sub, row): &(S, Row<V>)| sub.time() >= kept_from || row.is_pending();
                let expired = group.rows.iter().position(live).unwrap_or(group.rows.len());
                group.rows.drain(..expired);
            });
        }
    }

    /// Looks at a few slots more for rows that have expired.
    #[cold]
    fn sweep_on(&mut self) {
        let end = self.sweep.saturating_add(SWEEP_SLOTS).min(self.rows.slots());
        for slot in self.sweep..end {
            if self.rows.slot(slot).is_some() {
                self.drop_expired(slot);
                if self.rows.group(slot).rows.is_empty() && self.rows.key_of(slot) != self.key {
                    self.rows.forget(slot);
                }
            }
        }
        self.sweep = if end < self.rows.slots() { end } else { u32::MAX };
    }
}
