//! Window stores: rows of a key by the start of their window, retained for a time.

use log_store::{Headers, Offset, RecordView};

use super::{ChangelogSink, StateStore, Update, ValueAndTimestamp};
use crate::{Result, serde::Windowed};

/// A window store of a task.
///
/// All retained windows of a key are in memory together, so that reads of a span of time cost no more than reads of
/// one window. The store's own stream time is the greatest window start ever put; what starts at or before that time
/// minus the retention is expired: it is not read, not written, and goes away without being looked at.
///
/// A store that retains duplicates gives each put a row of its own and logs it under a sequence number that starts at 1.
pub struct WindowStore<K, V> {
    types: std::marker::PhantomData<fn() -> (K, V)>,
}

/// A window store whose values carry the time of the record that made them.
pub type TimestampedWindowStore<K, V> = WindowStore<K, ValueAndTimestamp<V>>;

impl<K: 'static, V: Clone + Send + 'static> WindowStore<K, V> {
    /// The value of `key` in the window that starts at `start`.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    pub fn get(&mut self, _key: &K, _start: i64) -> Result<Option<&V>> {
        todo!()
    }

    /// The windows of `key` that start from `from` to `to`, both included, with their starts: ascending, or descending
    /// by [`Iterator::rev`]. Duplicates come in the order in which they were put.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn fetch(&mut self, _key: &K, _from: i64, _to: i64) -> Result<impl DoubleEndedIterator<Item = (i64, &V)>> {
        Ok(std::iter::empty())
    }

    /// The windows of all keys that start from `from` to `to`, both included, ordered by start, then key.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn fetch_all(&mut self, _from: i64, _to: i64) -> Result<Vec<(Windowed<K>, V)>> {
        todo!()
    }

    /// Sets the value of `key` in the window that starts at `start`. False if that window is expired: nothing was
    /// written.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn put(&mut self, _key: &K, _start: i64, _value: V) -> Result<bool> {
        todo!()
    }

    /// Removes the window of `key` that starts at `start`. In a store that retains duplicates it removes nothing, but a
    /// tombstone under the next sequence number is logged, as Kafka Streams does. False if the window is expired.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn delete(&mut self, _key: &K, _start: i64) -> Result<bool> {
        todo!()
    }

    /// Changes a window's value in place, as [`super::KeyValueStore::update`]. `None` if the window is expired: `change`
    /// was not called.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn update<R>(&mut self, _key: &K, _start: i64, _change: impl FnOnce(&mut Option<V>) -> R) -> Result<Option<R>> {
        todo!()
    }

    /// As [`super::KeyValueStore::is_caching`].
    #[must_use]
    pub fn is_caching(&self) -> bool {
        todo!()
    }

    /// As [`super::KeyValueStore::take_updates`].
    ///
    /// # Errors
    ///
    /// If a key does not fit its serde.
    pub fn take_updates(&mut self) -> Result<Vec<Update<Windowed<K>, V>>> {
        todo!()
    }
}

impl<K: 'static, V: Clone + Send + 'static> StateStore for WindowStore<K, V> {
    fn name(&self) -> &str {
        todo!()
    }

    fn set_record_context(&mut self, _timestamp: i64, _headers: &Headers) {
        todo!()
    }

    fn dirty_bytes(&self) -> usize {
        let _ = self.types;
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
