//! Window stores: rows of a key by the start of their window, retained for a time.

use log_store::{Headers, Offset, RecordView};

use super::{
    ChangelogSink, StateStore, Update, ValueAndTimestamp,
    builder::{StoreContext, StoreOptions},
    layer::Codec,
    stores::WindowSupplier,
    timed::{Expiry, Retention, TimedRows, TimedSub},
};
use crate::{
    Result,
    serde::{SharedSerde, Window, Windowed},
};

/// A window store of a task.
///
/// All retained windows of a key are in memory together, so that reads of a span of time cost no more than reads of
/// one window. The store's own stream time is the greatest window start ever put; what starts at or before that time
/// minus the retention is expired: it is not read, and goes away without being looked at. With an index by time, a store
/// on disk keeps windows for one millisecond longer. With caching, expired windows can be read for as long as the cache
/// has room for them. All as in Kafka Streams.
///
/// A store that retains duplicates gives each put a row of its own and logs it under a sequence number that starts at 1.
pub struct WindowStore<K, V> {
    windows: TimedRows<K, WindowRow, V>,
    size_ms: i64,
    retains_duplicates: bool,
}

/// A window store whose values carry the time of the record that made them.
pub type TimestampedWindowStore<K, V> = WindowStore<K, ValueAndTimestamp<V>>;

/// Which window of a key, and which duplicate: `start (8) | sequence number (4)` after the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WindowRow {
    start: i64,
    sequence: u32,
}

impl TimedSub for WindowRow {
    const BYTES: usize = 12;

    fn time(self) -> i64 {
        self.start
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(&self.sequence.to_be_bytes());
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (start, sequence) = bytes.split_first_chunk()?;
        let sequence = u32::from_be_bytes(sequence.try_into().ok()?);
        Some(WindowRow { start: i64::from_be_bytes(*start), sequence })
    }

    fn write_index(self, key: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.to_be_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(&self.sequence.to_be_bytes());
    }

    fn read_index(entry: &[u8]) -> Option<(Self, &[u8])> {
        let (start, rest) = entry.split_first_chunk()?;
        let (key, sequence) = rest.split_last_chunk()?;
        Some((WindowRow { start: i64::from_be_bytes(*start), sequence: u32::from_be_bytes(*sequence) }, key))
    }

    fn sequence(self) -> u32 {
        self.sequence
    }
}

impl<K: 'static, V: Clone + Send + 'static> WindowStore<K, V> {
    pub(super) fn open(
        options: &StoreOptions,
        context: &StoreContext,
        supplier: &WindowSupplier,
        key_serde: &SharedSerde<K>,
        codec: impl Codec<V> + 'static,
    ) -> Result<Self> {
        let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let indexed_on_disk = supplier.has_time_index && options.is_persistent;
        let retention = Retention {
            retention_ms: millis(supplier.retention),
            has_time_index: supplier.has_time_index,
            expiry: if indexed_on_disk { Expiry::AfterRetention } else { Expiry::AtRetention },
            refuses_by_row: !options.is_persistent,
        };
        Ok(WindowStore {
            windows: TimedRows::open(options, context, retention, key_serde, codec)?,
            size_ms: millis(supplier.window_size),
            retains_duplicates: supplier.retains_duplicates,
        })
    }

    /// The value of `key` in the window that starts at `start`; in a store that retains duplicates, the first of them.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    pub fn get(&mut self, key: &K, start: i64) -> Result<Option<&V>> {
        Ok(self.fetch(key, start, start)?.next().map(|(_, value)| value))
    }

    /// The windows of `key` that start from `from` to `to`, both included, with their starts: ascending, or descending
    /// by [`Iterator::rev`]. Duplicates come in the order in which they were put.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn fetch<'a>(
        &'a mut self,
        key: &K,
        from: i64,
        to: i64,
    ) -> Result<impl DoubleEndedIterator<Item = (i64, &'a V)> + use<'a, K, V>> {
        let slot = self.windows.find(key)?;
        let (from, to) = (WindowRow { start: from, sequence: 0 }, WindowRow { start: to, sequence: u32::MAX });
        Ok(self.windows.between(slot, from, to).map(|(row, value)| (row.start, value)))
    }

    /// The windows of all keys that start from `from` to `to`, both included, ordered by start, then key.
    ///
    /// Cost: what it returns, and a look at all rows that are not in the files yet, if the store has an index by time;
    /// else all rows of the segments of time that it touches.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn fetch_all(&mut self, from: i64, to: i64) -> Result<Vec<(Windowed<K>, V)>> {
        let rows = self.windows.all_between(from, to)?;
        let size_ms = self.size_ms;
        let named =
            |(key, row, value): (K, WindowRow, V)| (Windowed::new(key, Window::of_size(row.start, size_ms)), value);
        Ok(rows.into_iter().map(named).collect())
    }

    /// Sets the value of `key` in the window that starts at `start`; in a store that retains duplicates, adds one. False
    /// if that window is expired: reads will not see it, but the changelog has it, as in Kafka Streams.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn put(&mut self, key: &K, start: i64, value: V) -> Result<bool> {
        let (slot, row, is_live) = self.find_to_write(key, start)?;
        self.windows.rows.write(slot, row, |row| *row = Some(value));
        Ok(is_live)
    }

    /// Removes the window of `key` that starts at `start`. In a store that retains duplicates it removes nothing, but a
    /// tombstone under the next sequence number is logged, as Kafka Streams does; on disk this does not even advance the
    /// store's stream time. False if the window is expired.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn delete(&mut self, key: &K, start: i64) -> Result<bool> {
        let (slot, row, is_live) = match self.retains_duplicates && self.windows.is_on_disk() {
            true => {
                let row = self.next_row(start);
                (self.windows.find(key)?, row, self.windows.is_live(row))
            }
            false => self.find_to_write(key, start)?,
        };
        self.windows.rows.write(slot, row, |row| *row = None);
        Ok(is_live)
    }

    /// Changes a window's value in place, as [`super::KeyValueStore::update`]. `None` if the window is expired: `change`
    /// was not called.
    ///
    /// # Errors
    ///
    /// As [`WindowStore::get`].
    pub fn update<R>(&mut self, key: &K, start: i64, change: impl FnOnce(&mut Option<V>) -> R) -> Result<Option<R>> {
        let (slot, row, is_live) = self.find_to_write(key, start)?;
        Ok(if is_live { Some(self.windows.rows.write(slot, row, change)) } else { None })
    }

    #[inline]
    fn next_row(&mut self, start: i64) -> WindowRow {
        let mut row = WindowRow { start, sequence: 0 };
        if self.retains_duplicates {
            let sequence = &mut self.windows.rows.format_mut().sequence;
            // Kafka's sequence numbers are positive 32-bit integers.
            *sequence = (*sequence + 1) & 0x7fff_ffff;
            row.sequence = *sequence;
        }
        row
    }

    #[inline]
    fn find_to_write(&mut self, key: &K, start: i64) -> Result<(u32, WindowRow, bool)> {
        let row = self.next_row(start);
        let (slot, is_live) = self.windows.find_to_write(key, row)?;
        if !is_live {
            self.windows.note_if_refused(row);
        }
        Ok((slot, row, is_live))
    }

    /// Drops from memory what the backend has.
    #[cfg(test)]
    pub(crate) fn evict_all(&mut self) {
        self.windows.rows.evict_all();
    }

    /// Rows in the backend, counted.
    #[cfg(test)]
    pub(crate) fn rows_in_backend(&self) -> usize {
        let mut rows = self.windows.rows.backend().scan(&[], None, super::layer::Direction::Forward).unwrap();
        let mut count = 0;
        while rows.row().is_some() {
            count += 1;
            rows.advance().unwrap();
        }
        count
    }

    /// As [`super::KeyValueStore::is_caching`].
    #[must_use]
    pub fn is_caching(&self) -> bool {
        self.windows.rows.is_caching()
    }

    /// As [`super::KeyValueStore::take_updates`], all at once.
    ///
    /// # Errors
    ///
    /// If a key does not fit its serde.
    pub fn take_updates(&mut self) -> Result<Vec<Update<Windowed<K>, V>>> {
        let size_ms = self.size_ms;
        self.windows.take_updates(|key, row| Windowed::new(key, Window::of_size(row.start, size_ms)))
    }

    /// Lets go of what caching held back, for those who pass nothing on when it is flushed.
    pub fn drop_updates(&mut self) {
        self.windows.drop_updates();
    }
}

super::forward_to_rows!(WindowStore, windows);
