//! Versioned key-value stores: the value of a key as of a time.

use std::collections::HashMap;

use log_store::{Headers, HeadersView, Offset, RecordView};

use super::{
    ChangelogSink, StateStore,
    backend::{Backend, KeyRange, META},
    builder::{StoreContext, StoreOptions},
    layer::{Codec, Format, LoadError, LogRow, Many, Row, RowBuffer, RowStore},
    segments::Segments,
};
use crate::{
    Result,
    serde::{Encoded, SerdeError, SharedSerde},
};

/// One version of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionedRecord<V> {
    /// The value.
    pub value: V,
    /// Time from which it is valid.
    pub timestamp: i64,
    /// Time at which the next version begins; `None` for the latest.
    pub valid_to: Option<i64>,
}

/// What a versioned put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionedPut {
    /// It is the latest version now.
    Latest,
    /// It is an older version, valid until this time.
    ValidTo(i64),
    /// It is older than the history that the store retains: nobody will read it. The changelog has it all the same, as in
    /// Kafka Streams.
    TooOld,
}

/// A versioned key-value store of a task (KIP-889). Never caching.
///
/// The store's own stream time is the greatest timestamp ever put. Writes older than it minus the history retention are
/// refused; reads as of such times find nothing unless the latest version was valid then. All versions of a key are in
/// memory together. Old versions go away without being looked at, with the segment of time in which they ended.
pub struct VersionedKeyValueStore<K, V> {
    rows: RowStore<VersionedFormat<V>>,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
    /// The key of the call under way, serialised.
    key: Vec<u8>,
    /// Puts since the last commit that came too late, the last one of each key: logged, and nothing else. Not those of keys
    /// that were put again since: compaction keeps the last record of a key, and that must be what the store has.
    refused: HashMap<Vec<u8>, Refused>,
    /// How many, since they were last asked for.
    refused_count: u64,
}

/// A put that came too late.
struct Refused {
    /// Rows that were written before it. They come before it in the changelog, too: with the time that they bring, a
    /// restore refuses it as well.
    after_rows: usize,
    /// Puts that were refused before it.
    number: u64,
    value: Option<Vec<u8>>,
    timestamp: i64,
}

impl<K: 'static, V: Clone + Send + 'static> VersionedKeyValueStore<K, V> {
    pub(super) fn open(
        options: &StoreOptions,
        context: &StoreContext,
        (history_ms, segment_ms): (i64, i64),
        key_serde: &SharedSerde<K>,
        value_serde: &SharedSerde<V>,
    ) -> Result<Self> {
        Ok(VersionedKeyValueStore {
            rows: context.open(
                options,
                VersionedFormat::new(VersionCodec(SharedSerde::clone(value_serde)), history_ms, segment_ms),
            )?,
            key_serde: SharedSerde::clone(key_serde),
            value_serde: SharedSerde::clone(value_serde),
            key: Vec::new(),
            refused: HashMap::new(),
            refused_count: 0,
        })
    }

    /// Sets the value of `key` from `timestamp` on; `None` says that it has none from then on.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    pub fn put(&mut self, key: &K, value: Option<V>, timestamp: i64) -> Result<VersionedPut> {
        self.serialize(key)?;
        if timestamp < self.rows.format().horizon() {
            self.refuse(timestamp, value.as_ref())?;
            return Ok(VersionedPut::TooOld);
        }
        self.put_bytes(value, timestamp, false)
    }

    /// The latest value of `key`.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn get(&mut self, key: &K) -> Result<Option<VersionedRecord<&V>>> {
        self.get_as_of(key, i64::MAX)
    }

    /// The value of `key` as of `timestamp`.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn get_as_of(&mut self, key: &K, timestamp: i64) -> Result<Option<VersionedRecord<&V>>> {
        self.serialize(key)?;
        let slot = self.rows.find_or_load(&self.key)?;
        let horizon = self.rows.format().horizon();
        let rows = &self.rows.group(slot).rows;
        let before = rows.partition_point(|(from, _)| *from <= timestamp);
        let there = rows[..before].iter().rev().find_map(|(from, row)| Some((*from, row.value.as_ref()?)));
        let Some((from, version)) = there else { return Ok(None) };
        if version.valid_to.is_some() && timestamp < horizon {
            return Ok(None);
        }
        let valid_to = version.valid_to;
        Ok(version.value.as_ref().map(|value| VersionedRecord { value, timestamp: from, valid_to }))
    }

    /// The versions of `key` that were valid at some time from `from` to `to`, both included, in the order of time. Times
    /// at which it had no value leave gaps. A version is found until its segment has expired, which may be after
    /// [`Self::get_as_of`] has stopped finding it.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn get_between<'a>(
        &'a mut self,
        key: &K,
        from: i64,
        to: i64,
    ) -> Result<impl DoubleEndedIterator<Item = VersionedRecord<&'a V>> + use<'a, K, V>> {
        self.serialize(key)?;
        let slot = self.rows.find_or_load(&self.key)?;
        let format = self.rows.format();
        let is_history = to >= format.horizon();
        let rows = self.rows.group(slot).rows.iter();
        Ok(rows.filter_map(move |(timestamp, row)| {
            let Version { value, valid_to, .. } = row.value.as_ref()?;
            let is_known = valid_to.is_none_or(|end| is_history && end > from && !format.is_gone(end));
            let value = value.as_ref().filter(|_| is_known && *timestamp <= to)?;
            Some(VersionedRecord { value, timestamp: *timestamp, valid_to: *valid_to })
        }))
    }

    /// Removes the value of `key` from `timestamp` on, and returns the one that was valid then.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn delete(&mut self, key: &K, timestamp: i64) -> Result<Option<VersionedRecord<V>>> {
        if timestamp < self.rows.format().horizon() {
            self.serialize(key)?;
            self.refuse(timestamp, None)?;
            return Ok(None);
        }
        let deleted = self.get_as_of(key, timestamp)?.map(|record| VersionedRecord {
            value: record.value.clone(),
            timestamp: record.timestamp,
            valid_to: record.valid_to,
        });
        self.put_bytes(None, timestamp, false)?;
        Ok(deleted)
    }

    /// Drops from memory what the backend has.
    #[cfg(test)]
    pub(crate) fn evict_all(&mut self) {
        self.rows.evict_all();
    }

    fn serialize(&mut self, key: &K) -> Result<()> {
        self.key.clear();
        match self.key_serde.serialize(key, &mut self.key) {
            Ok(Encoded::Bytes) => Ok(()),
            Ok(Encoded::Null) => Err(self.rows.serde_error("key", &SerdeError::new("it is null"))),
            Err(error) => Err(self.rows.serde_error("key", &error)),
        }
    }

    /// Notes a put of the serialised key that came too late.
    fn refuse(&mut self, timestamp: i64, value: Option<&V>) -> Result<()> {
        self.refused_count += 1;
        if !self.rows.is_logged() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let encoded = value.map_or(Ok(Encoded::Null), |value| self.value_serde.serialize(value, &mut bytes));
        let encoded = encoded.map_err(|error| self.rows.serde_error("value", &error))?;
        let refused = Refused {
            after_rows: self.rows.dirty_count(),
            number: self.refused_count,
            value: (encoded == Encoded::Bytes).then_some(bytes),
            timestamp,
        };
        self.refused.insert(self.key.clone(), refused);
        Ok(())
    }

    /// Puts a version of the serialised key.
    fn put_bytes(&mut self, value: Option<V>, timestamp: i64, is_restored: bool) -> Result<VersionedPut> {
        if timestamp < self.rows.format().horizon() {
            return Ok(VersionedPut::TooOld);
        }
        self.rows.format_mut().advance(timestamp);
        if !self.refused.is_empty() {
            self.refused.remove(&self.key);
        }
        let slot = self.rows.find_or_load(&self.key)?;
        self.drop_expired(slot);
        let around = Around::of(&self.rows.group(slot).rows, timestamp);
        let valid_to = around.next.map(|(from, _)| from);
        let is_marked = around.marks(value.is_some());
        // A deletion of the latest version at its own time, of which history does not know, leaves no trace in Kafka
        // Streams: an older version that comes then is the latest.
        let is_traceless = value.is_none() && !is_marked;
        self.change(slot, timestamp, Change { is_restored, is_logged: true }, |row| {
            let stored_in = row.as_ref().and_then(|version| version.stored_in);
            *row = (!is_traceless).then_some(Version { value, valid_to, is_marked, stored_in });
        });
        let implied = Change { is_restored, is_logged: false };
        if let Some(before) = around.before
            && (around.same.is_none() || is_traceless)
        {
            self.change(slot, before, implied, |row| {
                if let Some(version) = row {
                    version.valid_to = (!is_traceless).then_some(timestamp);
                }
            });
        }
        if let Some((next, false)) = around.next {
            self.change(slot, next, implied, |row| {
                if let Some(version) = row {
                    version.is_marked = true;
                }
            });
        }
        Ok(valid_to.map_or(VersionedPut::Latest, VersionedPut::ValidTo))
    }

    fn change(&mut self, slot: u32, from: i64, how: Change, change: impl FnOnce(&mut Option<Version<V>>)) {
        match how {
            Change { is_restored: true, .. } => self.rows.write_restored(slot, from, change),
            Change { is_logged: true, .. } => self.rows.write(slot, from, change),
            _ => self.rows.write_unlogged(slot, from, change),
        }
    }

    /// Drops versions that nobody can ask for any more. They are the first ones.
    fn drop_expired(&mut self, slot: u32) {
        let format = self.rows.format();
        let live_from = format.segments.start_of(format.segments.of(format.horizon()));
        let is_expired = |row: &Row<Version<V>>| {
            let valid_to = row.value.as_ref().and_then(|version| version.valid_to);
            valid_to.is_some_and(|end| end < live_from) && !row.is_pending()
        };
        if self.rows.group(slot).rows.first().is_some_and(|(_, row)| is_expired(row)) {
            self.rows.tidy(slot, |group| {
                let expired = group.rows.iter().position(|(_, row)| !is_expired(row)).unwrap_or(group.rows.len());
                group.rows.drain(..expired);
            });
        }
    }

    fn restore_record(&mut self, offset: Offset, record: &RecordView<'_>) -> Result<()> {
        let Some(key) = record.key else {
            return Err(self.rows.store_error(format!("the changelog record at offset {offset} has no key")));
        };
        let value = match record.value {
            None => None,
            Some(bytes) => {
                let value = self.value_serde.deserialize(Some(bytes));
                Some(value.map_err(|error| self.rows.serde_error("changelog's value", &error))?)
            }
        };
        self.key.clear();
        self.key.extend_from_slice(key);
        self.put_bytes(value, record.timestamp, true)?;
        self.rows.restored_in_memory(offset.next())
    }
}

/// Why a row changes.
#[derive(Clone, Copy)]
struct Change {
    is_restored: bool,
    is_logged: bool,
}

/// What lies around the place of a put.
struct Around {
    /// Where the version before begins, if the put ends it.
    before: Option<i64>,
    /// Its version is no deletion.
    before_has_value: bool,
    /// The version at the put's own time: whether it is marked.
    same: Option<bool>,
    /// The version after: where it begins, and whether it is marked.
    next: Option<(i64, bool)>,
}

impl Around {
    fn of<V>(rows: &[(i64, Row<Version<V>>)], timestamp: i64) -> Self {
        let at = rows.partition_point(|(from, _)| *from < timestamp);
        // Rows without a version are known to be absent.
        let there = |(from, row): &'_ (i64, Row<Version<V>>)| {
            row.value.as_ref().map(|version| (*from, version.value.is_some(), version.is_marked))
        };
        let before = rows[..at].iter().rev().find_map(there);
        let mut after = rows[at..].iter().filter_map(there).peekable();
        let same = after.next_if(|(from, ..)| *from == timestamp);
        Around {
            before: before.map(|(from, ..)| from),
            before_has_value: before.is_some_and(|(_, has_value, _)| has_value),
            same: same.map(|(_, _, is_marked)| is_marked),
            next: after.next().map(|(from, _, is_marked)| (from, is_marked)),
        }
    }

    /// True if history knows of the put's time, because some version ends there: one that the put ends, a deletion that
    /// is put when there is no value, or an older version that came later.
    fn marks(&self, has_value: bool) -> bool {
        match (self.next, self.same) {
            (Some(_), _) => true,
            (None, Some(is_marked)) => is_marked,
            (None, None) => self.before_has_value || !has_value,
        }
    }
}

/// One version in memory.
#[derive(Clone)]
pub(super) struct Version<V> {
    /// `None`: from here on the key has no value.
    value: Option<V>,
    /// Where the next version begins.
    valid_to: Option<i64>,
    /// History knows of the time at which it begins. Matters for the latest version only; a deletion is always marked.
    is_marked: bool,
    /// The segment in which the backend has it.
    stored_in: Option<i64>,
}

/// The segment of latest versions: it never expires.
const LATEST: i64 = i64::MAX;

/// Key of the row that keeps the stream time (8) and the length of the segments (8).
const TIME_KEY: &[u8] = &[META, b't'];

/// The layout of versioned stores: a version lies in the segment of the time at which it ends. The row's key ends with
/// the time at which it begins (8); its value is `end (8) | flags (1) | value`, without the value for a deletion. Flags: 1
/// there is a value, 2 it is marked.
pub(super) struct VersionedFormat<V> {
    codec: Box<dyn Codec<Version<V>>>,
    history_ms: i64,
    stream_time: Option<i64>,
    segments: Segments,
}

/// Flags of a row.
const HAS_VALUE: u8 = 1;
const MARKED: u8 = 2;

struct VersionCodec<V>(SharedSerde<V>);

impl<V: 'static> Codec<Version<V>> for VersionCodec<V> {
    fn encode_row(&self, version: &Version<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&version.valid_to.unwrap_or(LATEST).to_be_bytes());
        let mark = if version.is_marked { MARKED } else { 0 };
        out.push(mark | if version.value.is_some() { HAS_VALUE } else { 0 });
        if let Some(value) = &version.value
            && self.0.serialize(value, out)? == Encoded::Null
            && let Some(flag) = out.last_mut()
        {
            // A value that is written as null is none: the flag was the last byte.
            *flag &= !HAS_VALUE;
        }
        Ok(Encoded::Bytes)
    }

    fn decode_row(&self, row: &[u8]) -> Result<Version<V>, SerdeError> {
        let Some((end, [flags, value @ ..])) = row.split_first_chunk() else {
            return Err(SerdeError::new(format!("a row of {} bytes is no version", row.len())));
        };
        let end = i64::from_be_bytes(*end);
        let value = if flags & HAS_VALUE == 0 { None } else { Some(self.0.deserialize(Some(value))?) };
        let valid_to = (end != LATEST).then_some(end);
        Ok(Version { value, valid_to, is_marked: flags & MARKED != 0, stored_in: None })
    }

    fn encode_log(&self, version: &Version<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        version.value.as_ref().map_or(Ok(Encoded::Null), |value| self.0.serialize(value, out))
    }

    fn log_to_row(&self, value: &[u8], _record: &RecordView<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(&LATEST.to_be_bytes());
        out.push(HAS_VALUE);
        out.extend_from_slice(value);
    }
}

impl<V> VersionedFormat<V> {
    fn new(codec: impl Codec<Version<V>> + 'static, history_ms: i64, segment_ms: i64) -> Self {
        let segments = Segments::of_length(segment_ms);
        VersionedFormat { codec: Box::new(codec), history_ms, stream_time: None, segments }
    }

    /// Writes and reads of history before this time are refused.
    fn horizon(&self) -> i64 {
        self.stream_time.map_or(i64::MIN, |time| time.saturating_sub(self.history_ms))
    }

    /// True if the segment of versions that end at `valid_to` has expired.
    fn is_gone(&self, valid_to: i64) -> bool {
        self.segments.of(valid_to) < self.segments.of(self.horizon())
    }

    fn advance(&mut self, time: i64) {
        self.stream_time = self.stream_time.max(Some(time));
    }

    fn segment_of(&self, valid_to: Option<i64>) -> i64 {
        valid_to.map_or(LATEST, |time| self.segments.of(time))
    }

    fn key_in(segment: i64, key: &[u8], from: i64, out: &mut Vec<u8>) {
        Segments::write_group(segment, key, out);
        out.extend_from_slice(&from.to_be_bytes());
    }
}

impl<V> Format for VersionedFormat<V> {
    type Value = Version<V>;
    type Sub = i64;
    type Group = Many<i64, Version<V>>;

    fn codec(&self) -> &dyn Codec<Version<V>> {
        &*self.codec
    }

    fn row_key(&self, key: &[u8], from: i64, version: Option<&Version<V>>, out: &mut Vec<u8>) {
        Self::key_in(self.segment_of(version.and_then(|version| version.valid_to)), key, from, out);
    }

    fn moved_from(&self, key: &[u8], from: i64, version: &Version<V>, out: &mut Vec<u8>) -> bool {
        let segment = version.stored_in.filter(|segment| *segment != self.segment_of(version.valid_to));
        if let Some(segment) = segment {
            Self::key_in(segment, key, from, out);
        }
        segment.is_some()
    }

    fn stored(&self, version: &mut Version<V>) {
        version.stored_in = Some(self.segment_of(version.valid_to));
    }

    fn log_key(&self, key: &[u8], _from: i64, out: &mut Vec<u8>) {
        out.extend_from_slice(key);
    }

    fn log_timestamp(&self, from: i64, _version: Option<&Version<V>>) -> Option<i64> {
        Some(from)
    }

    fn read_log<'k>(&self, record: &RecordView<'k>) -> Option<LogRow<'k, i64>> {
        record.key.map(|key| LogRow { key, sub: record.timestamp })
    }

    fn load(&self, backend: &dyn Backend, key: &[u8], scratch: &mut Vec<u8>) -> Result<Self::Group, LoadError> {
        let mut group = Many::default();
        for segment in self.segments.stored_between(self.segments.of(self.horizon()), LATEST) {
            scratch.clear();
            Segments::write_group(segment, key, scratch);
            let mut rows = backend.scan_group(scratch)?;
            while let Some((row, value)) = rows.row() {
                let from = Segments::split(row, 8).and_then(|(_, from)| from.try_into().ok()).map(i64::from_be_bytes);
                let mut version = self.codec.decode_row(value)?;
                version.stored_in = Some(segment);
                if let Some(from) = from {
                    group.rows.push((from, Row::clean(Some(version), value.len())));
                }
                rows.advance()?;
            }
        }
        group.rows.sort_unstable_by_key(|(from, _)| *from);
        Ok(group)
    }

    fn before_apply(&mut self, rows: &mut RowBuffer) -> Vec<KeyRange> {
        self.segments.note(rows);
        let Some(stream_time) = self.stream_time else { return Vec::new() };
        let (time, length) = (stream_time.to_be_bytes(), self.segments.length_ms().to_be_bytes());
        rows.push_bytes(TIME_KEY, Some(&[time, length].concat()));
        self.segments.expire(self.segments.of(self.horizon())).into_iter().collect()
    }

    fn opened(&mut self, backend: &dyn Backend) -> Result<()> {
        let mut row = TIME_KEY.to_vec();
        let is_known = backend.get(&mut row)?;
        let state = row[TIME_KEY.len()..].split_first_chunk().filter(|_| is_known);
        let (time, length) = state.map(|(time, rest)| (i64::from_be_bytes(*time), rest)).unzip();
        self.stream_time = time;
        let length = length.and_then(|bytes| bytes.try_into().ok()).map(i64::from_be_bytes);
        self.segments.find(backend, length)
    }
}

impl<K: 'static, V: Clone + Send + 'static> StateStore for VersionedKeyValueStore<K, V> {
    fn name(&self) -> &str {
        self.rows.name()
    }

    fn set_record_context(&mut self, timestamp: i64, headers: &Headers) {
        self.rows.set_context(timestamp, headers);
    }

    fn expect_keys(&mut self, keys: &mut dyn Iterator<Item = &[u8]>) {
        self.rows.expect_keys(keys);
    }

    fn dirty_bytes(&self) -> usize {
        self.rows.dirty_bytes()
    }

    fn needs_commit(&self) -> bool {
        self.rows.needs_commit()
    }

    fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused_count)
    }

    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_unstable_by_key(|(_, put)| (put.after_rows, put.number));
        let mut refused = refused.into_iter().peekable();
        self.rows.write_changelog_between(sink, |rows, sink| {
            while let Some((key, put)) = refused.next_if(|(_, put)| put.after_rows <= rows) {
                sink.log(key, put.value.as_deref(), put.timestamp, HeadersView::EMPTY)?;
            }
            Ok(())
        })
    }

    fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()> {
        self.refused.clear();
        self.rows.committed(changelog_end)
    }

    fn rollback(&mut self) -> Result<()> {
        self.refused.clear();
        self.rows.rollback()
    }

    fn checkpoint(&self) -> Option<Offset> {
        self.rows.checkpoint()
    }

    fn restore(&mut self, offset: Offset, record: RecordView<'_>) -> Result<()> {
        self.restore_record(offset, &record)
    }

    fn restored(&mut self, next: Offset) -> Result<()> {
        self.rows.restored_in_memory(next)
    }

    fn reset(&mut self, reason: &str) -> Result<()> {
        self.refused.clear();
        self.rows.reset(reason)
    }

    fn flush(&mut self) -> Result<()> {
        self.rows.flush()
    }

    fn save(&mut self) -> Result<()> {
        self.rows.save()
    }

    fn close(&mut self) -> Result<()> {
        self.rows.close()
    }
}
