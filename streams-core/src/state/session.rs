//! Session stores: rows of a key by the first and last time of their session.

use log_store::{Headers, Offset, RecordView};

use super::{ChangelogSink, StateStore, Update};
use crate::{
    Result,
    serde::{Window, Windowed},
};

/// A session store of a task. Sessions are windows with both ends included. The store's own stream time is the greatest
/// end ever put; a session that ends at or before that time minus the retention is expired.
///
/// Session stores keep plain values; under `dsl.store.format=HEADERS` the value type is
/// [`super::ValueAndTimestamp`], whose headers are kept.
pub struct SessionStore<K, V> {
    types: std::marker::PhantomData<fn() -> (K, V)>,
}

impl<K: 'static, V: Clone + Send + 'static> SessionStore<K, V> {
    /// Sessions of `key` that end at or after `earliest_end` and start at or before `latest_start`, ordered by end, then
    /// start; descending by [`Iterator::rev`].
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    pub fn find_sessions(
        &mut self,
        _key: &K,
        _earliest_end: i64,
        _latest_start: i64,
    ) -> Result<impl DoubleEndedIterator<Item = (Window, &V)>> {
        Ok(std::iter::empty())
    }

    /// Sessions of all keys that end from `from` to `to`, both included, ordered by end, start, key.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn find_sessions_ending(&mut self, _from: i64, _to: i64) -> Result<Vec<(Windowed<K>, V)>> {
        todo!()
    }

    /// The value of exactly this session.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn get(&mut self, _key: &K, _session: Window) -> Result<Option<&V>> {
        todo!()
    }

    /// Sets the value of a session. False if it is expired: nothing was written.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn put(&mut self, _key: &K, _session: Window, _value: V) -> Result<bool> {
        todo!()
    }

    /// Removes a session and returns its value.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn remove(&mut self, _key: &K, _session: Window) -> Result<Option<V>> {
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

impl<K: 'static, V: Clone + Send + 'static> StateStore for SessionStore<K, V> {
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
