//! Versioned stores.

use std::any::Any;

use super::{Places, QueryableStore, sealed::Sealed};
use crate::{
    Result,
    serde::Data,
    state::{StateStore, VersionedKeyValueStore, VersionedRecord},
};

/// A versioned store as other threads read it: the stream threads that have it answer.
pub struct ReadOnlyVersionedStore<K, V> {
    places: Places,
    kind: std::marker::PhantomData<fn() -> (K, V)>,
}

impl<K, V> Sealed for VersionedKeyValueStore<K, V> {}

#[expect(private_interfaces, reason = "a sealed trait: only we call this")]
impl<K: Data, V: Clone + Send + 'static> QueryableStore for VersionedKeyValueStore<K, V> {
    type ReadOnly = ReadOnlyVersionedStore<K, V>;

    fn read_only(places: Places) -> Result<Self::ReadOnly> {
        let fits = places.ask(|store| Ok(typed::<K, V>(store).is_some()))?;
        if fits.contains(&false) {
            return Err(places.wrong_type(std::any::type_name::<Self>()));
        }
        Ok(ReadOnlyVersionedStore { places, kind: std::marker::PhantomData })
    }
}

fn typed<K: 'static, V: 'static>(store: &mut dyn StateStore) -> Option<&mut VersionedKeyValueStore<K, V>> {
    (store as &mut dyn Any).downcast_mut()
}

impl<K: Data, V: Clone + Send + 'static> ReadOnlyVersionedStore<K, V> {
    /// The latest value of `key`.
    ///
    /// # Errors
    ///
    /// [`crate::Error::InvalidStateStore`] when tasks have moved: ask
    /// [`Streams::store`](crate::runtime::Streams::store) again. Or if the files cannot be read.
    pub fn get(&self, key: &K) -> Result<Option<VersionedRecord<V>>> {
        self.get_as_of(key, i64::MAX)
    }

    /// The value of `key` as of `timestamp`.
    ///
    /// # Errors
    ///
    /// As [`ReadOnlyVersionedStore::get`].
    pub fn get_as_of(&self, key: &K, timestamp: i64) -> Result<Option<VersionedRecord<V>>> {
        let key = key.clone();
        let found = self.places.ask(move |store| {
            let Some(store) = typed::<K, V>(store) else { return Ok(None) };
            let found = store.get_as_of(&key, timestamp)?;
            Ok(found.map(|found| VersionedRecord {
                value: found.value.clone(),
                timestamp: found.timestamp,
                valid_to: found.valid_to,
            }))
        })?;
        Ok(found.into_iter().flatten().next())
    }
}
