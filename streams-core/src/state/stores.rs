//! `Stores`: the constructors of stores, named as Kafka names them.

use super::{
    ChangelogCleanup,
    builder::TypedStoreBuilder,
    key_value::{KeyValueStore, TimestampedKeyValueStore},
};
use crate::serde::SharedSerde;

/// Where a key-value store keeps its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValueSupplier {
    pub(crate) name: String,
    pub(crate) kind: KeyValueKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyValueKind {
    Persistent,
    InMemory,
    Lru { entries_max: usize },
}

impl KeyValueSupplier {
    /// The store's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Constructors of stores: a supplier says where rows are kept, a builder adds types, caching and logging.
///
/// ```
/// use streams_core::{serde::default_serde, state::Stores};
///
/// let counts = Stores::key_value_store_builder(
///     Stores::persistent_key_value_store("counts"),
///     default_serde::<String>(),
///     default_serde::<i64>(),
/// )
/// .with_caching_enabled();
/// # let _ = counts;
/// ```
#[derive(Debug)]
pub struct Stores;

impl Stores {
    /// Rows in RocksDB: survive a restart, and may outgrow memory.
    pub fn persistent_key_value_store(name: impl Into<String>) -> KeyValueSupplier {
        KeyValueSupplier { name: name.into(), kind: KeyValueKind::Persistent }
    }

    /// Rows in memory: restored from the changelog at each start.
    pub fn in_memory_key_value_store(name: impl Into<String>) -> KeyValueSupplier {
        KeyValueSupplier { name: name.into(), kind: KeyValueKind::InMemory }
    }

    /// Rows in memory, at most `entries_max`: the one that was used least recently goes first.
    pub fn lru_map(name: impl Into<String>, entries_max: usize) -> KeyValueSupplier {
        KeyValueSupplier { name: name.into(), kind: KeyValueKind::Lru { entries_max } }
    }

    /// A key-value store of plain values.
    #[must_use]
    pub fn key_value_store_builder<K: Send + 'static, V: Clone + Send + 'static>(
        supplier: KeyValueSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<KeyValueStore<K, V>> {
        let persistent = supplier.kind == KeyValueKind::Persistent;
        TypedStoreBuilder::new(supplier.name.clone(), persistent, ChangelogCleanup::Compact, move |_, _| {
            let _ = (&supplier.kind, &key_serde, &value_serde);
            todo!()
        })
    }

    /// A key-value store whose values carry the time of the record that made them. The store of every table.
    #[must_use]
    pub fn timestamped_key_value_store_builder<K: Send + 'static, V: Clone + Send + 'static>(
        supplier: KeyValueSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<TimestampedKeyValueStore<K, V>> {
        let persistent = supplier.kind == KeyValueKind::Persistent;
        TypedStoreBuilder::new(supplier.name.clone(), persistent, ChangelogCleanup::Compact, move |_, _| {
            let _ = (&supplier.kind, &key_serde, &value_serde);
            todo!()
        })
    }

    /// As [`Stores::timestamped_key_value_store_builder`], keeping headers too (`dsl.store.format=HEADERS`).
    #[must_use]
    pub fn timestamped_key_value_store_with_headers_builder<K: Send + 'static, V: Clone + Send + 'static>(
        supplier: KeyValueSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<TimestampedKeyValueStore<K, V>> {
        let persistent = supplier.kind == KeyValueKind::Persistent;
        TypedStoreBuilder::new(supplier.name.clone(), persistent, ChangelogCleanup::Compact, move |_, _| {
            let _ = (&supplier.kind, &key_serde, &value_serde);
            todo!()
        })
    }
}
