//! Window stores.

use std::any::Any;

use super::{Places, QueryableStore, sealed::Sealed};
use crate::{
    Result,
    serde::{Data, Windowed},
    state::{StateStore, ValueAndTimestamp, WindowStore},
};

/// A window store as other threads read it: the stream threads that have it answer.
pub struct ReadOnlyWindowStore<K, V> {
    places: Places,
    kind: std::marker::PhantomData<fn() -> (K, V)>,
}

impl<K, V> Sealed for WindowStore<K, V> {}

#[expect(private_interfaces, reason = "a sealed trait: only we call this")]
impl<K: Data, V: Clone + Send + 'static> QueryableStore for WindowStore<K, V> {
    type ReadOnly = ReadOnlyWindowStore<K, V>;

    fn read_only(places: Places) -> Result<Self::ReadOnly> {
        let fits = places.ask(|store| Ok(with_store::<K, V, _>(store, |_| Ok(()), |_| Ok(())).is_some()))?;
        if fits.contains(&false) {
            return Err(places.wrong_type(std::any::type_name::<Self>()));
        }
        Ok(ReadOnlyWindowStore { places, kind: std::marker::PhantomData })
    }
}

/// Calls `plain` or `timed`, whichever fits the store.
fn with_store<K: Data, V: Clone + Send + 'static, R>(
    store: &mut dyn StateStore,
    plain: impl FnOnce(&mut WindowStore<K, V>) -> Result<R>,
    timed: impl FnOnce(&mut WindowStore<K, ValueAndTimestamp<V>>) -> Result<R>,
) -> Option<Result<R>> {
    let store = store as &mut dyn Any;
    if let Some(store) = store.downcast_mut::<WindowStore<K, V>>() {
        return Some(plain(store));
    }
    store.downcast_mut::<WindowStore<K, ValueAndTimestamp<V>>>().map(timed)
}

impl<K: Data, V: Clone + Send + 'static> ReadOnlyWindowStore<K, V> {
    /// The value of `key` in the window that starts at `start`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::InvalidStateStore`] when tasks have moved: ask
    /// [`Streams::store`](crate::runtime::Streams::store) again. Or if the files cannot be read.
    pub fn fetch(&self, key: &K, start: i64) -> Result<Option<V>> {
        Ok(self.fetch_range(key, start, start)?.into_iter().next().map(|(_, value)| value))
    }

    /// The windows of `key` that start from `from` to `to`, both included, with their starts, ascending.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyWindowStore::fetch`].
    pub fn fetch_range(&self, key: &K, from: i64, to: i64) -> Result<Vec<(i64, V)>> {
        let key = key.clone();
        let found = self.places.ask(move |store| {
            let plain = |store: &mut WindowStore<K, V>| {
                Ok(store.fetch(&key, from, to)?.map(|(start, value)| (start, value.clone())).collect::<Vec<_>>())
            };
            let timed = |store: &mut WindowStore<K, ValueAndTimestamp<V>>| {
                let windows = store.fetch(&key, from, to)?;
                Ok(windows.map(|(start, found)| (start, found.value.clone())).collect::<Vec<_>>())
            };
            with_store(store, plain, timed).transpose()
        })?;
        Ok(found.into_iter().flatten().flatten().collect())
    }

    /// The windows of all keys that start from `from` to `to`, both included: task after task, within a task by start,
    /// then key.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyWindowStore::fetch`].
    pub fn fetch_all(&self, from: i64, to: i64) -> Result<Vec<(Windowed<K>, V)>> {
        let found = self.places.ask(move |store| {
            let plain = |store: &mut WindowStore<K, V>| store.fetch_all(from, to);
            let timed = |store: &mut WindowStore<K, ValueAndTimestamp<V>>| {
                Ok(store.fetch_all(from, to)?.into_iter().map(|(key, found)| (key, found.value)).collect())
            };
            with_store(store, plain, timed).transpose()
        })?;
        Ok(found.into_iter().flatten().flatten().collect())
    }

    /// All windows that are retained, as [`ReadOnlyWindowStore::fetch_all`].
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyWindowStore::fetch`].
    pub fn all(&self) -> Result<Vec<(Windowed<K>, V)>> {
        self.fetch_all(0, i64::MAX)
    }
}
