//! Session stores.

use std::any::Any;

use super::{Places, QueryableStore, sealed::Sealed};
use crate::{
    Result,
    serde::{Data, Window, Windowed},
    state::{SessionStore, StateStore},
};

/// A session store as other threads read it: the stream threads that have it answer.
pub struct ReadOnlySessionStore<K, V> {
    places: Places,
    kind: std::marker::PhantomData<fn() -> (K, V)>,
}

impl<K, V> Sealed for SessionStore<K, V> {}

#[expect(private_interfaces, reason = "a sealed trait: only we call this")]
impl<K: Data, V: Clone + Send + 'static> QueryableStore for SessionStore<K, V> {
    type ReadOnly = ReadOnlySessionStore<K, V>;

    fn read_only(places: Places) -> Result<Self::ReadOnly> {
        let fits = places.ask(|store| Ok(typed::<K, V>(store).is_some()))?;
        if fits.contains(&false) {
            return Err(places.wrong_type(std::any::type_name::<Self>()));
        }
        Ok(ReadOnlySessionStore { places, kind: std::marker::PhantomData })
    }
}

fn typed<K: 'static, V: 'static>(store: &mut dyn StateStore) -> Option<&mut SessionStore<K, V>> {
    (store as &mut dyn Any).downcast_mut()
}

impl<K: Data, V: Clone + Send + 'static> ReadOnlySessionStore<K, V> {
    /// All sessions of `key`, ordered by end, then start.
    ///
    /// # Errors
    ///
    /// [`crate::Error::InvalidStateStore`] when tasks have moved: ask
    /// [`Streams::store`](crate::runtime::Streams::store) again. Or if the files cannot be read.
    pub fn fetch(&self, key: &K) -> Result<Vec<(Window, V)>> {
        self.find_sessions(key, 0, i64::MAX)
    }

    /// Sessions of `key` that end at or after `earliest_end` and start at or before `latest_start`, ordered by end, then
    /// start.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlySessionStore::fetch`].
    pub fn find_sessions(&self, key: &K, earliest_end: i64, latest_start: i64) -> Result<Vec<(Window, V)>> {
        let key = key.clone();
        let found = self.places.ask(move |store| {
            let Some(store) = typed::<K, V>(store) else { return Ok(Vec::new()) };
            let sessions = store.find_sessions(&key, earliest_end, latest_start)?;
            Ok(sessions.map(|(window, value)| (window, value.clone())).collect())
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The value of exactly this session.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlySessionStore::fetch`].
    pub fn fetch_session(&self, key: &K, session: Window) -> Result<Option<V>> {
        let key = key.clone();
        let found = self.places.ask(move |store| {
            let Some(store) = typed::<K, V>(store) else { return Ok(None) };
            Ok(store.get(&key, session)?.cloned())
        })?;
        Ok(found.into_iter().flatten().next())
    }

    /// Sessions of all keys that end from `from` to `to`, both included.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlySessionStore::fetch`].
    pub fn find_sessions_ending(&self, from: i64, to: i64) -> Result<Vec<(Windowed<K>, V)>> {
        let found = self.places.ask(move |store| match typed::<K, V>(store) {
            Some(store) => store.find_sessions_ending(from, to),
            None => Ok(Vec::new()),
        })?;
        Ok(found.into_iter().flatten().collect())
    }
}
