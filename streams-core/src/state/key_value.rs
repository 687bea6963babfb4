//! Key-value stores: one row for each key.

use std::{any::Any, sync::Arc};

use log_store::{Headers, Offset, RecordView};

use super::{
    ChangelogSink, StateStore, ValueAndTimestamp,
    backend::{Backend, prefix_end},
    builder::{StoreContext, StoreOptions},
    key_value_reader::KeyValueReader,
    layer::{Codec, Direction, Format, Found, LoadError, LogRow, MergedRows, Row, RowStore, Single},
    lru::Recency,
};
use crate::{
    Result,
    serde::{Encoded, SerdeError, SharedSerde},
};

/// So many held-back updates are taken at a time: few enough to be still in the processor's cache when they go on.
const UPDATES_MAX: usize = 1_000;

/// A key-value store of a task, in memory or in RocksDB.
///
/// Reads and writes are served by the write-back layer: tens of nanoseconds for a row that is in memory, one read of the
/// files for one that is not. Rows are ordered by the bytes of their serialised keys.
///
/// ```
/// use streams_core::{
///     serde::default_serde,
///     state::{StoreContext, Stores},
///     task::TaskId,
/// };
///
/// let builder = Stores::key_value_store_builder(
///     Stores::persistent_key_value_store("counts"),
///     default_serde::<String>(),
///     default_serde::<i64>(),
/// );
/// let mut counts = builder.build_typed(&StoreContext::in_memory(TaskId { subtopology: 0, partition: 0 }))?;
/// let word = "streams".to_owned();
/// for _ in 0..3 {
///     counts.update(&word, |count| *count = Some(count.unwrap_or(0) + 1))?;
/// }
/// assert_eq!(counts.get(&word)?, Some(&3));
/// # Ok::<(), streams_core::Error>(())
/// ```
pub struct KeyValueStore<K, V> {
    rows: RowStore<KeyValueFormat<V>>,
    key_serde: SharedSerde<K>,
    /// The key of the call under way, serialised.
    key: Vec<u8>,
    /// For stores of bounded size.
    recency: Option<Recency>,
}

/// A key-value store whose values carry the time of the record that made them.
pub type TimestampedKeyValueStore<K, V> = KeyValueStore<K, ValueAndTimestamp<V>>;

/// What became of one key between two flushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update<K, V> {
    /// The key.
    pub key: K,
    /// The value now; `None` if it was deleted.
    pub new: Option<V>,
    /// The value before the first of the writes that this update stands for.
    pub old: Option<V>,
    /// Time of the record that made the last of the writes.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Headers,
}

impl<K: 'static, V: Clone + Send + 'static> KeyValueStore<K, V> {
    pub(super) fn open(
        options: &StoreOptions,
        context: &StoreContext,
        entries_max: Option<usize>,
        key_serde: &SharedSerde<K>,
        codec: impl Codec<V> + 'static,
    ) -> Result<Self> {
        let rows = context.open(options, KeyValueFormat { codec: Arc::new(codec) })?;
        let recency = entries_max.map(Recency::new);
        Ok(KeyValueStore { rows, key_serde: SharedSerde::clone(key_serde), key: Vec::new(), recency })
    }

    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    #[inline]
    pub fn get(&mut self, key: &K) -> Result<Option<&V>> {
        self.serialize(key)?;
        let slot = self.find()?;
        Ok(self.rows.group(slot).0.value.as_ref())
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    ///
    /// If the key does not fit its serde.
    #[inline]
    pub fn put(&mut self, key: &K, value: V) -> Result<()> {
        self.serialize(key)?;
        let slot = self.find_to_overwrite()?;
        self.rows.write(slot, (), |row| *row = Some(value));
        self.bound_size()
    }

    /// Sets the value of `key` unless it has one, which is then returned.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    pub fn put_if_absent(&mut self, key: &K, value: V) -> Result<Option<&V>> {
        self.serialize(key)?;
        let slot = self.find()?;
        if self.rows.group(slot).0.value.is_none() {
            self.rows.write(slot, (), |row| *row = Some(value));
            self.bound_size()?;
            return Ok(None);
        }
        Ok(self.rows.group(slot).0.value.as_ref())
    }

    /// Removes `key` and returns its value. The changelog gets a tombstone even if there was none.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    pub fn delete(&mut self, key: &K) -> Result<Option<V>> {
        self.serialize(key)?;
        let slot = self.find()?;
        if let Some(recency) = &mut self.recency {
            recency.forget(&self.key);
        }
        Ok(self.rows.write(slot, (), Option::take))
    }

    /// Changes the value of `key` in place: one lookup instead of a get and a put, and nothing is cloned. What `change`
    /// leaves in the option is the new value, `None` deletes the row. The row counts as written in any case.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    #[inline]
    pub fn update<R>(&mut self, key: &K, change: impl FnOnce(&mut Option<V>) -> R) -> Result<R> {
        self.serialize(key)?;
        let slot = self.find()?;
        let result = self.rows.write(slot, (), change);
        self.bound_size()?;
        Ok(result)
    }

    /// Sets the value of `key` to what `next` makes of the one it has; `None` deletes the row. One lookup instead of a get
    /// and a put. If `next` panics nothing has changed.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    #[inline]
    pub fn compute<R>(&mut self, key: &K, next: impl FnOnce(Option<&V>) -> (Option<V>, R)) -> Result<R> {
        self.serialize(key)?;
        let slot = self.find()?;
        let (value, result) = next(self.rows.group(slot).0.value.as_ref());
        self.rows.write(slot, (), |row| *row = value);
        self.bound_size()?;
        Ok(result)
    }

    /// Rows from `from` to `to`, both included, `None` for an open end, in ascending order of the serialised keys.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`]; also each row of the iterator.
    pub fn range(&mut self, from: Option<&K>, to: Option<&K>) -> Result<Rows<'_, K, V>> {
        self.rows_between(from, to, Direction::Forward)
    }

    /// As [`KeyValueStore::range`], in descending order.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::range`].
    pub fn reverse_range(&mut self, from: Option<&K>, to: Option<&K>) -> Result<Rows<'_, K, V>> {
        self.rows_between(from, to, Direction::Backward)
    }

    /// All rows, in ascending order of the serialised keys.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::range`].
    pub fn all(&mut self) -> Result<Rows<'_, K, V>> {
        self.range(None, None)
    }

    /// All rows, in descending order.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::range`].
    pub fn reverse_all(&mut self) -> Result<Rows<'_, K, V>> {
        self.reverse_range(None, None)
    }

    /// Rows whose serialised key begins with `prefix`, in ascending order.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::range`].
    pub fn prefix_scan(&mut self, prefix: &[u8]) -> Result<Rows<'_, K, V>> {
        self.rows_of(prefix, prefix_end(prefix).as_deref(), Direction::Forward)
    }

    /// About how many rows there are.
    #[must_use]
    pub fn approximate_num_entries(&self) -> u64 {
        self.rows.approximate_rows()
    }

    /// True if the store was built with caching: whoever writes it forwards in `flush` what [`Self::take_updates`]
    /// gives, and nothing at once.
    #[must_use]
    #[inline]
    pub fn is_caching(&self) -> bool {
        self.rows.is_caching()
    }

    /// What caching held back: each key written since it was last taken once, in the order of their first writes, a
    /// thousand at a time: call it until nothing is left. Empty without caching. What is not taken before a commit is lost.
    ///
    /// # Errors
    ///
    /// If a key does not fit its serde.
    pub fn take_updates(&mut self) -> Result<Vec<Update<K, V>>> {
        let key_serde = SharedSerde::clone(&self.key_serde);
        self.rows.take_updates(UPDATES_MAX, |key, ()| key_serde.deserialize(Some(key)))
    }

    /// Drops from memory what the backend has.
    #[cfg(test)]
    pub(crate) fn evict_all(&mut self) {
        self.rows.evict_all();
    }

    #[inline]
    fn serialize(&mut self, key: &K) -> Result<()> {
        self.key.clear();
        match self.key_serde.serialize(key, &mut self.key) {
            Ok(Encoded::Bytes) => Ok(()),
            Ok(Encoded::Null) => Err(self.rows.serde_error("key", &SerdeError::new("it is null"))),
            Err(error) => Err(self.rows.serde_error("key", &error)),
        }
    }

    /// The slot of the serialised key, read from the backend if need be.
    #[inline]
    fn find(&mut self) -> Result<u32> {
        let slot = self.rows.find_or_load(&self.key)?;
        if let Some(recency) = &mut self.recency
            && self.rows.group(slot).0.value.is_some()
        {
            recency.used(&self.key);
        }
        Ok(slot)
    }

    /// The slot of the serialised key; what was there before need not be known unless it goes downstream.
    #[inline]
    fn find_to_overwrite(&mut self) -> Result<u32> {
        if self.rows.is_caching() || self.recency.is_some() {
            return self.find();
        }
        Ok(self.rows.find_or_insert(&self.key))
    }

    /// Deletes what was used least recently from a store of bounded size.
    #[inline]
    fn bound_size(&mut self) -> Result<()> {
        match &mut self.recency {
            None => Ok(()),
            Some(recency) => {
                let slot = self.rows.find_or_load(&self.key)?;
                match self.rows.group(slot).0.value {
                    Some(_) => recency.used(&self.key),
                    None => recency.forget(&self.key),
                }
                while let Some(key) = recency.surplus() {
                    let slot = self.rows.find_or_load(&key)?;
                    self.rows.write(slot, (), |row| *row = None);
                }
                Ok(())
            }
        }
    }

    fn rows_between(&mut self, from: Option<&K>, to: Option<&K>, direction: Direction) -> Result<Rows<'_, K, V>> {
        let mut bounds = [Vec::new(), Vec::new()];
        if let Some(from) = from {
            self.serialize(from)?;
            bounds[0].clone_from(&self.key);
        }
        if let Some(to) = to {
            self.serialize(to)?;
            bounds[1].clone_from(&self.key);
            // The least key after it, so that it is included.
            bounds[1].push(0);
        }
        let [first, end] = bounds;
        self.rows_of(&first, to.map(|_| &end[..]), direction)
    }

    fn rows_of(&mut self, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Result<Rows<'_, K, V>> {
        let rows = MergedRows::new(&mut self.rows, from, to, direction)?;
        Ok(Rows { rows, key_serde: &self.key_serde })
    }
}

/// Rows of a range, merged from memory and files.
pub struct Rows<'a, K, V> {
    rows: MergedRows<'a, KeyValueFormat<V>>,
    key_serde: &'a SharedSerde<K>,
}

impl<K: 'static, V: Clone + Send + 'static> Iterator for Rows<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key_serde, store) = (self.key_serde, self.rows.store());
        self.rows.next(|key, value| {
            let key = key_serde.deserialize(Some(key)).map_err(|error| store.serde_error("stored key", &error))?;
            let value = match value {
                Found::InMemory(value) => value.clone(),
                Found::Stored(bytes) => {
                    store.codec().decode_row(bytes).map_err(|error| store.serde_error("stored value", &error))?
                }
            };
            Ok((key, value))
        })
    }
}

impl<K: 'static, V: Clone + Send + 'static> StateStore for KeyValueStore<K, V> {
    fn name(&self) -> &str {
        self.rows.name()
    }

    #[inline]
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

    fn needs_flush(&self) -> bool {
        self.rows.needs_flush()
    }

    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
        self.rows.write_changelog(sink)
    }

    fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()> {
        self.rows.committed(changelog_end)
    }

    fn rollback(&mut self) -> Result<()> {
        if let Some(recency) = &mut self.recency {
            *recency = recency.emptied();
        }
        self.rows.rollback()
    }

    fn checkpoint(&self) -> Option<Offset> {
        self.rows.checkpoint()
    }

    fn restore(&mut self, offset: Offset, record: RecordView<'_>) -> Result<()> {
        if let (Some(recency), Some(key)) = (&mut self.recency, record.key) {
            match record.value {
                Some(_) => recency.used(key),
                None => recency.forget(key),
            }
        }
        self.rows.restore(offset, &record)
    }

    fn restored(&mut self, next: Offset) -> Result<()> {
        self.rows.restored(next)
    }

    fn reset(&mut self, reason: &str) -> Result<()> {
        if let Some(recency) = &mut self.recency {
            *recency = recency.emptied();
        }
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

    fn publish(&mut self) -> Result<Option<Arc<dyn Any + Send + Sync>>> {
        let view = self.rows.publish()?;
        let (name, key_serde) = (self.name().to_owned(), SharedSerde::clone(&self.key_serde));
        let reader = KeyValueReader { name, view, key_serde, codec: Arc::clone(&self.rows.format().codec) };
        Ok(Some(Arc::new(reader)))
    }
}

/// First byte of a key-value row in the backend, before the key: what is less belongs to the backend.
pub(super) const ROW: u8 = 1;

/// The layout of key-value stores.
pub(super) struct KeyValueFormat<V> {
    codec: Arc<dyn Codec<V>>,
}

impl<V> Format for KeyValueFormat<V> {
    type Value = V;
    type Sub = ();
    type Group = Single<V>;

    fn codec(&self) -> &dyn Codec<V> {
        &*self.codec
    }

    fn row_key(&self, key: &[u8], (): (), _value: Option<&V>, out: &mut Vec<u8>) {
        out.push(ROW);
        out.extend_from_slice(key);
    }

    fn log_key(&self, key: &[u8], (): (), out: &mut Vec<u8>) {
        out.extend_from_slice(key);
    }

    fn read_log<'k>(&self, record: &RecordView<'k>) -> Option<LogRow<'k, ()>> {
        record.key.map(|key| LogRow { key, sub: () })
    }

    fn load(&self, backend: &dyn Backend, key: &[u8], scratch: &mut Vec<u8>) -> Result<Single<V>, LoadError> {
        self.row_key(key, (), None, scratch);
        let key_length = scratch.len();
        let is_present = backend.get(scratch)?;
        let value = &scratch[key_length..];
        let row = if is_present { Some(self.codec.decode_row(value)?) } else { None };
        Ok(Single(Row::clean(row, value.len())))
    }
}
