//! Session stores: rows of a key by the first and last time of their session.

use log_store::{Headers, Offset, RecordView};

use super::{
    ChangelogSink, StateStore, Update,
    builder::{StoreContext, StoreOptions},
    layer::Codec,
    stores::SessionSupplier,
    timed::{Expiry, Retention, TimedRows, TimedSub},
};
use crate::{
    Result,
    serde::{SharedSerde, Window, Windowed},
};

/// A session store of a task. Sessions are windows with both ends included. The store's own stream time is the greatest
/// end ever put; a session that ends at or before that time minus the retention is expired: it is not read, except by
/// [`SessionStore::find_sessions_ending`] in a store on disk that has an index by time, until the segment of time that it
/// ended in has expired. With caching, expired sessions can be read for as long as the cache has room for them. All as in
/// Kafka Streams.
///
/// Session stores keep plain values; under `dsl.store.format=HEADERS` the value type is
/// [`super::ValueAndTimestamp`], whose headers are kept.
pub struct SessionStore<K, V> {
    sessions: TimedRows<K, SessionRow, V>,
}

/// Which session of a key: `end (8) | start (8)` after the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionRow {
    end: i64,
    start: i64,
}

impl SessionRow {
    fn window(self) -> Window {
        Window::new(self.start, self.end)
    }
}

impl From<Window> for SessionRow {
    fn from(window: Window) -> Self {
        SessionRow { end: window.end, start: window.start }
    }
}

impl TimedSub for SessionRow {
    const BYTES: usize = 16;

    fn time(self) -> i64 {
        self.end
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.end.to_be_bytes());
        out.extend_from_slice(&self.start.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (end, start) = bytes.split_first_chunk()?;
        Some(SessionRow { end: i64::from_be_bytes(*end), start: i64::from_be_bytes(start.try_into().ok()?) })
    }

    fn write_index(self, key: &[u8], out: &mut Vec<u8>) {
        self.write(out);
        out.extend_from_slice(key);
    }

    fn read_index(entry: &[u8]) -> Option<(Self, &[u8])> {
        let (times, key) = entry.split_at_checked(Self::BYTES)?;
        Some((Self::read(times)?, key))
    }
}

impl<K: 'static, V: Clone + Send + 'static> SessionStore<K, V> {
    pub(super) fn open(
        options: &StoreOptions,
        context: &StoreContext,
        supplier: &SessionSupplier,
        key_serde: &SharedSerde<K>,
        codec: impl Codec<V> + 'static,
    ) -> Result<Self> {
        let indexed_on_disk = supplier.has_time_index && options.is_persistent;
        let retention = Retention {
            retention_ms: i64::try_from(supplier.retention.as_millis()).unwrap_or(i64::MAX),
            has_time_index: supplier.has_time_index,
            expiry: if indexed_on_disk { Expiry::BySegment } else { Expiry::AtRetention },
            refuses_by_row: !options.is_persistent,
        };
        Ok(SessionStore { sessions: TimedRows::open(options, context, retention, key_serde, codec)? })
    }

    /// Sessions of `key` that end at or after `earliest_end` and start at or before `latest_start`, ordered by end, then
    /// start; descending by [`Iterator::rev`].
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    pub fn find_sessions<'a>(
        &'a mut self,
        key: &K,
        earliest_end: i64,
        latest_start: i64,
    ) -> Result<impl DoubleEndedIterator<Item = (Window, &'a V)> + use<'a, K, V>> {
        let slot = self.sessions.find(key)?;
        let from = SessionRow { end: earliest_end, start: i64::MIN };
        let to = SessionRow { end: i64::MAX, start: i64::MAX };
        let sessions = self.sessions.between(slot, from, to);
        let sessions = sessions.filter(move |(row, _)| row.start <= latest_start);
        Ok(sessions.map(|(row, value)| (row.window(), value)))
    }

    /// Sessions of all keys that end from `from` to `to`, both included, ordered by end, key; in a store on disk that has an
    /// index by time, by end, start, key. Cost: as [`super::WindowStore::fetch_all`].
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn find_sessions_ending(&mut self, from: i64, to: i64) -> Result<Vec<(Windowed<K>, V)>> {
        let rows = self.sessions.all_between(from, to)?;
        Ok(rows.into_iter().map(|(key, row, value)| (Windowed::new(key, row.window()), value)).collect())
    }

    /// The value of exactly this session.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn get(&mut self, key: &K, session: Window) -> Result<Option<&V>> {
        let slot = self.sessions.find(key)?;
        let row = SessionRow::from(session);
        let found = self.sessions.between(slot, row, row).next();
        Ok(found.map(|(_, value)| value))
    }

    /// Sets the value of a session; `None` removes it, and counts as a write that comes too late where
    /// [`SessionStore::remove`] does not. False if it is expired: reads will not see it, but the changelog has it, as in Kafka
    /// Streams.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn put(&mut self, key: &K, session: Window, value: impl Into<Option<V>>) -> Result<bool> {
        let row = session.into();
        let (slot, is_live) = self.sessions.find_to_write(key, row)?;
        if !is_live {
            self.sessions.note_if_refused(row);
        }
        self.sessions.rows.write(slot, row, |row| *row = value.into());
        Ok(is_live)
    }

    /// Removes a session and returns its value. The changelog gets a tombstone even if there was none.
    ///
    /// # Errors
    ///
    /// As [`SessionStore::find_sessions`].
    pub fn remove(&mut self, key: &K, session: Window) -> Result<Option<V>> {
        let row = session.into();
        let (slot, is_live) = self.sessions.find_to_write(key, row)?;
        let removed = self.sessions.rows.write(slot, row, Option::take);
        Ok(removed.filter(|_| is_live))
    }

    /// Drops from memory what the backend has.
    #[cfg(test)]
    pub(crate) fn evict_all(&mut self) {
        self.sessions.rows.evict_all();
    }

    /// As [`super::KeyValueStore::is_caching`].
    #[must_use]
    pub fn is_caching(&self) -> bool {
        self.sessions.rows.is_caching()
    }

    /// As [`super::KeyValueStore::take_updates`], all at once.
    ///
    /// # Errors
    ///
    /// If a key does not fit its serde.
    pub fn take_updates(&mut self) -> Result<Vec<Update<Windowed<K>, V>>> {
        self.sessions.take_updates(|key, row| Windowed::new(key, row.window()))
    }
}

super::forward_to_rows!(SessionStore, sessions);
