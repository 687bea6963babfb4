//! Versioned key-value stores: the value of a key as of a time.

use log_store::{Headers, Offset, RecordView};

use super::{ChangelogSink, StateStore};
use crate::Result;

/// One version of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedRecord<V> {
    /// The value.
    pub value: V,
    /// Time from which it is valid.
    pub timestamp: i64,
    /// Time at which the next version begins; `None` for the latest.
    pub valid_to: Option<i64>,
}

/// What a versioned put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionedPut {
    /// It is the latest version now.
    Latest,
    /// It is an older version, valid until this time.
    ValidTo(i64),
    /// It is older than the history that the store retains: nothing was written.
    TooOld,
}

/// A versioned key-value store of a task (KIP-889). Never caching.
///
/// The store's own stream time is the greatest timestamp ever put. Writes older than it minus the history retention are
/// refused; reads as of such times find nothing unless the latest version was valid then.
pub struct VersionedKeyValueStore<K, V> {
    types: std::marker::PhantomData<fn() -> (K, V)>,
}

impl<K: 'static, V: Clone + Send + 'static> VersionedKeyValueStore<K, V> {
    /// Sets the value of `key` from `timestamp` on; `None` says that it has none from then on.
    ///
    /// # Errors
    ///
    /// If the files cannot be read, or the key or value does not fit its serde.
    pub fn put(&mut self, _key: &K, _value: Option<V>, _timestamp: i64) -> Result<VersionedPut> {
        todo!()
    }

    /// The latest value of `key`.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn get(&mut self, _key: &K) -> Result<Option<VersionedRecord<&V>>> {
        todo!()
    }

    /// The value of `key` as of `timestamp`.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn get_as_of(&mut self, _key: &K, _timestamp: i64) -> Result<Option<VersionedRecord<&V>>> {
        todo!()
    }

    /// Removes the value of `key` from `timestamp` on, and returns the one that was valid then.
    ///
    /// # Errors
    ///
    /// As [`VersionedKeyValueStore::put`].
    pub fn delete(&mut self, _key: &K, _timestamp: i64) -> Result<Option<VersionedRecord<V>>> {
        todo!()
    }
}

impl<K: 'static, V: Clone + Send + 'static> StateStore for VersionedKeyValueStore<K, V> {
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
