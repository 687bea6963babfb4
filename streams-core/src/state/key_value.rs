//! Key-value stores: one row for each key.

use log_store::{Headers, Offset, RecordView};

use super::{ChangelogSink, StateStore, ValueAndTimestamp};
use crate::{Result, serde::SharedSerde};

/// A key-value store of a task, in memory or in RocksDB.
///
/// Reads and writes are served by the write-back layer: tens of nanoseconds for a row that is in memory, one read of the
/// files for one that is not. Rows are ordered by the bytes of their serialised keys.
pub struct KeyValueStore<K, V> {
    name: String,
    key_serde: SharedSerde<K>,
    value_serde: SharedSerde<V>,
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
    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    #[inline]
    pub fn get(&mut self, _key: &K) -> Result<Option<&V>> {
        todo!()
    }

    /// Sets the value of `key`.
    ///
    /// # Errors
    ///
    /// If the key does not fit its serde.
    #[inline]
    pub fn put(&mut self, _key: &K, _value: V) -> Result<()> {
        todo!()
    }

    /// Sets the value of `key` unless it has one, which is then returned.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    pub fn put_if_absent(&mut self, _key: &K, _value: V) -> Result<Option<&V>> {
        todo!()
    }

    /// Removes `key` and returns its value.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    pub fn delete(&mut self, _key: &K) -> Result<Option<V>> {
        todo!()
    }

    /// Changes the value of `key` in place: one lookup instead of a get and a put, and nothing is cloned. What `change`
    /// leaves in the option is the new value, `None` deletes the row. The row counts as written in any case.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`].
    #[inline]
    pub fn update<R>(&mut self, _key: &K, _change: impl FnOnce(&mut Option<V>) -> R) -> Result<R> {
        todo!()
    }

    /// Rows from `from` to `to`, both included, `None` for an open end, in ascending order of the serialised keys.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::get`]; also each row of the iterator.
    pub fn range(&mut self, _from: Option<&K>, _to: Option<&K>) -> Result<Rows<'_, K, V>> {
        todo!()
    }

    /// As [`KeyValueStore::range`], in descending order.
    ///
    /// # Errors
    ///
    /// As [`KeyValueStore::range`].
    pub fn reverse_range(&mut self, _from: Option<&K>, _to: Option<&K>) -> Result<Rows<'_, K, V>> {
        todo!()
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
    pub fn prefix_scan(&mut self, _prefix: &[u8]) -> Result<Rows<'_, K, V>> {
        todo!()
    }

    /// About how many rows there are.
    #[must_use]
    pub fn approximate_num_entries(&self) -> u64 {
        todo!()
    }

    /// True if the store was built with caching: whoever writes it forwards in `flush` what [`Self::take_updates`]
    /// gives, and nothing at once.
    #[must_use]
    pub fn is_caching(&self) -> bool {
        todo!()
    }

    /// What caching held back: each key written since the last call once, in the order of their first writes. Empty
    /// without caching.
    ///
    /// # Errors
    ///
    /// If a key does not fit its serde.
    pub fn take_updates(&mut self) -> Result<Vec<Update<K, V>>> {
        todo!()
    }
}

/// Rows of a range, merged from memory and files.
pub struct Rows<'a, K, V> {
    store: &'a mut KeyValueStore<K, V>,
}

impl<K, V> Iterator for Rows<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = &self.store;
        todo!()
    }
}

impl<K: 'static, V: Clone + Send + 'static> StateStore for KeyValueStore<K, V> {
    fn name(&self) -> &str {
        &self.name
    }

    fn dirty_bytes(&self) -> usize {
        let _ = (&self.key_serde, &self.value_serde);
        todo!()
    }

    fn write_changelog(&mut self, _sink: &mut dyn ChangelogSink) -> Result<()> {
        todo!()
    }

    fn committed(&mut self, _changelog_end: Option<Offset>) -> Result<()> {
        todo!()
    }

    fn rollback(&mut self) -> Result<()> {
        todo!()
    }

    fn checkpoint(&self) -> Option<Offset> {
        todo!()
    }

    fn restore(&mut self, _offset: Offset, _record: RecordView<'_>) -> Result<()> {
        todo!()
    }

    fn restored(&mut self, _next: Offset) -> Result<()> {
        todo!()
    }

    fn reset(&mut self, _reason: &str) -> Result<()> {
        todo!()
    }

    fn flush(&mut self) -> Result<()> {
        todo!()
    }

    fn close(&mut self) -> Result<()> {
        todo!()
    }
}
