//! Key-value stores.

use std::{any::Any, sync::Arc};

use super::{Consistency, Places, QueryableStore, sealed::Sealed};
use crate::{
    Result,
    runtime::queries::Published,
    serde::Data,
    state::{
        KeyValueStore, StateStore, ValueAndTimestamp,
        key_value_reader::{KeyValueReader, ReadKeyValue, Span, WithoutTimes},
        layer::Direction,
    },
};

type Readers<K, V> = Vec<Arc<dyn ReadKeyValue<K, V>>>;

/// A key-value store as other threads read it. May be shared and cloned by reference; reads of several threads do not wait
/// for each other.
pub struct ReadOnlyKeyValueStore<K, V> {
    places: Places,
    /// Of [`Consistency::LastCommit`].
    readers: Readers<K, V>,
}

impl<K, V> Sealed for KeyValueStore<K, V> {}

#[expect(private_interfaces, reason = "a sealed trait: only we call this")]
impl<K: Data, V: Clone + Send + 'static> QueryableStore for KeyValueStore<K, V> {
    type ReadOnly = ReadOnlyKeyValueStore<K, V>;

    fn read_only(mut places: Places) -> Result<Self::ReadOnly> {
        let mut readers: Readers<K, V> = Vec::new();
        for published in places.published()? {
            readers.push(reader(published).ok_or_else(|| places.wrong_type(std::any::type_name::<Self>()))?);
        }
        Ok(ReadOnlyKeyValueStore { places, readers })
    }
}

/// The reader with values of the type that is asked for.
fn reader<K: Data, V: Clone + Send + 'static>(published: Published) -> Option<Arc<dyn ReadKeyValue<K, V>>> {
    match published.downcast::<KeyValueReader<K, V>>() {
        Ok(plain) => Some(plain),
        Err(other) => {
            let timed = other.downcast::<KeyValueReader<K, ValueAndTimestamp<V>>>().ok()?;
            Some(Arc::new(WithoutTimes(timed)))
        }
    }
}

/// Calls `plain` or `timed`, whichever fits the store.
fn with_store<K: Data, V: Clone + Send + 'static, R>(
    store: &mut dyn StateStore,
    plain: impl FnOnce(&mut KeyValueStore<K, V>) -> Result<R>,
    timed: impl FnOnce(&mut KeyValueStore<K, ValueAndTimestamp<V>>) -> Result<R>,
) -> Option<Result<R>> {
    let store = store as &mut dyn Any;
    if let Some(store) = store.downcast_mut::<KeyValueStore<K, V>>() {
        return Some(plain(store));
    }
    store.downcast_mut::<KeyValueStore<K, ValueAndTimestamp<V>>>().map(timed)
}

impl<K: Data, V: Clone + Send + 'static> ReadOnlyKeyValueStore<K, V> {
    /// The value of `key`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::InvalidStateStore`] when tasks have moved: ask
    /// [`Streams::store`](crate::runtime::Streams::store) again. Or if the files cannot be read.
    pub fn get(&self, key: &K) -> Result<Option<V>> {
        self.places.check()?;
        if self.places.consistency == Consistency::LastCommit {
            for reader in &self.readers {
                if let Some(value) = reader.get(key)? {
                    return Ok(Some(value));
                }
            }
            return Ok(None);
        }
        let key = key.clone();
        let found = self.places.ask(move |store| {
            let plain = |store: &mut KeyValueStore<K, V>| Ok(store.get(&key)?.cloned());
            let timed = |store: &mut KeyValueStore<K, ValueAndTimestamp<V>>| {
                Ok(store.get(&key)?.map(|found| found.value.clone()))
            };
            with_store(store, plain, timed).transpose()
        })?;
        Ok(found.into_iter().flatten().flatten().next())
    }

    /// The rows from one key to another, both included; `None` for no bound. Task after task; within a task in the order
    /// of the serialised keys. Read in pages, each of one commit.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyKeyValueStore::get`].
    pub fn range(&self, from: Option<&K>, to: Option<&K>) -> Result<KeyValueRows<'_, K, V>> {
        self.scan(from, to, Direction::Forward)
    }

    /// As [`ReadOnlyKeyValueStore::range`], from the last row of a task to the first.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyKeyValueStore::get`].
    pub fn reverse_range(&self, from: Option<&K>, to: Option<&K>) -> Result<KeyValueRows<'_, K, V>> {
        self.scan(from, to, Direction::Backward)
    }

    /// All rows.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyKeyValueStore::get`].
    pub fn all(&self) -> Result<KeyValueRows<'_, K, V>> {
        self.range(None, None)
    }

    /// All rows, from the last row of a task to the first.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyKeyValueStore::get`].
    pub fn reverse_all(&self) -> Result<KeyValueRows<'_, K, V>> {
        self.reverse_range(None, None)
    }

    /// The rows whose serialised keys begin with `prefix`.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyKeyValueStore::get`].
    pub fn prefix_scan(&self, prefix: &[u8]) -> Result<KeyValueRows<'_, K, V>> {
        let direct = |_: &dyn ReadKeyValue<K, V>| Ok(Span::of_prefix(prefix));
        let owned = prefix.to_vec();
        self.rows(direct, move |store| {
            let plain = |store: &mut KeyValueStore<K, V>| store.prefix_scan(&owned)?.collect();
            let timed = |store: &mut KeyValueStore<K, ValueAndTimestamp<V>>| {
                store.prefix_scan(&owned)?.map(|row| row.map(|(key, found)| (key, found.value))).collect()
            };
            with_store(store, plain, timed).transpose()
        })
    }

    /// About how many rows there are.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyKeyValueStore::get`].
    pub fn approximate_num_entries(&self) -> Result<u64> {
        self.places.check()?;
        self.readers.iter().map(|reader| reader.approximate_rows()).sum()
    }

    fn scan(&self, from: Option<&K>, to: Option<&K>, direction: Direction) -> Result<KeyValueRows<'_, K, V>> {
        let bounds = (from.cloned(), to.cloned());
        let direct = |reader: &dyn ReadKeyValue<K, V>| reader.span(from, to, direction);
        self.rows(direct, move |store| {
            let (from, to) = (bounds.0.as_ref(), bounds.1.as_ref());
            let plain = |store: &mut KeyValueStore<K, V>| match direction {
                Direction::Forward => store.range(from, to)?.collect(),
                Direction::Backward => store.reverse_range(from, to)?.collect(),
            };
            let timed = |store: &mut KeyValueStore<K, ValueAndTimestamp<V>>| {
                let rows = match direction {
                    Direction::Forward => store.range(from, to)?,
                    Direction::Backward => store.reverse_range(from, to)?,
                };
                rows.map(|row| row.map(|(key, found)| (key, found.value))).collect()
            };
            with_store(store, plain, timed).transpose()
        })
    }

    fn rows(
        &self,
        span: impl Fn(&dyn ReadKeyValue<K, V>) -> Result<Span>,
        ask: impl Fn(&mut dyn StateStore) -> Result<Option<Vec<(K, V)>>> + Clone + Send + 'static,
    ) -> Result<KeyValueRows<'_, K, V>> {
        self.places.check()?;
        let mut rows = KeyValueRows { spans: Vec::new(), page: Vec::new().into_iter() };
        if self.places.consistency == Consistency::LastCommit {
            for reader in &self.readers {
                rows.spans.push((&**reader, span(&**reader)?));
            }
            rows.spans.reverse();
        } else {
            rows.page = self.places.ask(ask)?.into_iter().flatten().flatten().collect::<Vec<_>>().into_iter();
        }
        Ok(rows)
    }
}

/// Rows of a range.
pub struct KeyValueRows<'a, K, V> {
    /// What is not read yet, the next one last.
    spans: Vec<(&'a dyn ReadKeyValue<K, V>, Span)>,
    page: std::vec::IntoIter<(K, V)>,
}

impl<K, V> Iterator for KeyValueRows<'_, K, V> {
    type Item = Result<(K, V)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok(row));
            }
            let (reader, span) = self.spans.pop()?;
            match reader.page(span) {
                Ok(rows) => {
                    self.page = rows.rows.into_iter();
                    self.spans.extend(rows.rest.map(|rest| (reader, rest)));
                }
                Err(error) => {
                    self.spans.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}
