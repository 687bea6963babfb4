//! `Stores`: the constructors of stores, named as Kafka names them.

use std::time::Duration;

use super::{
    ChangelogCleanup, SessionStore, TimestampedWindowStore, ValueAndTimestamp, VersionedKeyValueStore, WindowStore,
    builder::TypedStoreBuilder,
    key_value::{KeyValueStore, TimestampedKeyValueStore},
    value::{HeadersCodec, PlainCodec, TimestampedCodec},
};
use crate::{Error, Result, serde::SharedSerde};

/// Where rows are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Persistent,
    InMemory,
    Lru { entries_max: usize },
}

impl Place {
    fn entries_max(self) -> Option<usize> {
        match self {
            Place::Lru { entries_max } => Some(entries_max),
            Place::Persistent | Place::InMemory => None,
        }
    }
}

/// Where a key-value store keeps its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValueSupplier {
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Where a window store keeps its rows, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowSupplier {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) retention: Duration,
    pub(crate) window_size: Duration,
    pub(crate) retains_duplicates: bool,
    pub(crate) has_time_index: bool,
}

impl WindowSupplier {
    /// Keeps an index by time, so that [`WindowStore::fetch_all`] costs what it returns: for emitting windows when they
    /// close.
    #[must_use]
    pub fn with_time_index(mut self) -> Self {
        self.has_time_index = true;
        self
    }

    /// How long a window is retained.
    #[must_use]
    pub fn retention(&self) -> Duration {
        self.retention
    }
}

/// Where a session store keeps its rows, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSupplier {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) retention: Duration,
    pub(crate) has_time_index: bool,
}

impl SessionSupplier {
    /// As [`WindowSupplier::with_time_index`], for [`SessionStore::find_sessions_ending`].
    #[must_use]
    pub fn with_time_index(mut self) -> Self {
        self.has_time_index = true;
        self
    }
}

/// Where a versioned store keeps its rows, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedSupplier {
    pub(crate) name: String,
    pub(crate) history: Duration,
    segment_interval: Option<Duration>,
}

impl VersionedSupplier {
    /// The length of the segments in which history is kept, at least 1 ms. Old versions leave the store a whole segment at
    /// a time, once all of it is older than the history retention. Default: as Kafka Streams derives it, from a third of
    /// the history retention (short ones, at least 2 s) to a 24th.
    #[must_use]
    pub fn with_segment_interval(mut self, interval: Duration) -> Self {
        self.segment_interval = Some(interval);
        self
    }

    /// History retention and length of segments, in milliseconds.
    fn millis(&self) -> (i64, i64) {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let history = millis(self.history);
        let default = match history {
            ..=60_000 => (history / 3).max(2_000),
            60_001..=300_000 => (history / 5).max(20_000),
            300_001..=3_600_000 => (history / 12).max(60_000),
            _ => (history / 24).max(300_000),
        };
        (history, self.segment_interval.map_or(default, millis).max(1))
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
        KeyValueSupplier { name: name.into(), place: Place::Persistent }
    }

    /// Rows in memory: restored from the changelog at each start.
    pub fn in_memory_key_value_store(name: impl Into<String>) -> KeyValueSupplier {
        KeyValueSupplier { name: name.into(), place: Place::InMemory }
    }

    /// Rows in memory, at most `entries_max`: the one that was used least recently goes first.
    pub fn lru_map(name: impl Into<String>, entries_max: usize) -> KeyValueSupplier {
        KeyValueSupplier { name: name.into(), place: Place::Lru { entries_max } }
    }

    /// Windows in RocksDB. `window_size` only tells where a window ends when it is read back.
    ///
    /// # Errors
    ///
    /// If the retention is shorter than the window.
    pub fn persistent_window_store(
        name: impl Into<String>,
        retention: Duration,
        window_size: Duration,
        retains_duplicates: bool,
    ) -> Result<WindowSupplier> {
        window_supplier(name.into(), Place::Persistent, retention, window_size, retains_duplicates)
    }

    /// Windows in memory, as [`Stores::persistent_window_store`].
    ///
    /// # Errors
    ///
    /// If the retention is shorter than the window.
    pub fn in_memory_window_store(
        name: impl Into<String>,
        retention: Duration,
        window_size: Duration,
        retains_duplicates: bool,
    ) -> Result<WindowSupplier> {
        window_supplier(name.into(), Place::InMemory, retention, window_size, retains_duplicates)
    }

    /// Sessions in RocksDB.
    pub fn persistent_session_store(name: impl Into<String>, retention: Duration) -> SessionSupplier {
        SessionSupplier { name: name.into(), place: Place::Persistent, retention, has_time_index: false }
    }

    /// Sessions in memory.
    pub fn in_memory_session_store(name: impl Into<String>, retention: Duration) -> SessionSupplier {
        SessionSupplier { name: name.into(), place: Place::InMemory, retention, has_time_index: false }
    }

    /// Versions in RocksDB, retained for `history`.
    pub fn persistent_versioned_key_value_store(name: impl Into<String>, history: Duration) -> VersionedSupplier {
        VersionedSupplier { name: name.into(), history, segment_interval: None }
    }

    /// A key-value store of plain values.
    #[must_use]
    pub fn key_value_store_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: KeyValueSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<KeyValueStore<K, V>> {
        let persistent = supplier.place == Place::Persistent;
        TypedStoreBuilder::new(supplier.name.clone(), persistent, ChangelogCleanup::Compact, move |options, context| {
            let codec = PlainCodec(SharedSerde::clone(&value_serde));
            KeyValueStore::open(options, context, supplier.place.entries_max(), &key_serde, codec)
        })
    }

    /// A key-value store whose values carry the time of the record that made them: the store of every table.
    #[must_use]
    pub fn timestamped_key_value_store_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: KeyValueSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
        format: StoreFormat,
    ) -> TypedStoreBuilder<TimestampedKeyValueStore<K, V>> {
        let persistent = supplier.place == Place::Persistent;
        TypedStoreBuilder::new(supplier.name.clone(), persistent, ChangelogCleanup::Compact, move |options, context| {
            let codec = TimestampedCodec { serde: SharedSerde::clone(&value_serde), format };
            KeyValueStore::open(options, context, supplier.place.entries_max(), &key_serde, codec)
        })
    }

    /// A window store of plain values: what joins keep.
    #[must_use]
    pub fn window_store_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: WindowSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<WindowStore<K, V>> {
        let persistent = supplier.place == Place::Persistent;
        let cleanup = window_cleanup(&supplier);
        TypedStoreBuilder::new(supplier.name.clone(), persistent, cleanup, move |options, context| {
            let codec = PlainCodec(SharedSerde::clone(&value_serde));
            WindowStore::open(options, context, &supplier, &key_serde, codec)
        })
    }

    /// A window store whose values carry the time of the record that made them: what aggregations keep.
    #[must_use]
    pub fn timestamped_window_store_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: WindowSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
        format: StoreFormat,
    ) -> TypedStoreBuilder<TimestampedWindowStore<K, V>> {
        let persistent = supplier.place == Place::Persistent;
        let cleanup = window_cleanup(&supplier);
        TypedStoreBuilder::new(supplier.name.clone(), persistent, cleanup, move |options, context| {
            let codec = TimestampedCodec { serde: SharedSerde::clone(&value_serde), format };
            WindowStore::open(options, context, &supplier, &key_serde, codec)
        })
    }

    /// A session store of plain values.
    #[must_use]
    pub fn session_store_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: SessionSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<SessionStore<K, V>> {
        let persistent = supplier.place == Place::Persistent;
        let cleanup = ChangelogCleanup::CompactDelete { retention: supplier.retention };
        TypedStoreBuilder::new(supplier.name.clone(), persistent, cleanup, move |options, context| {
            let codec = PlainCodec(SharedSerde::clone(&value_serde));
            SessionStore::open(options, context, &supplier, &key_serde, codec)
        })
    }

    /// A session store that keeps headers (`dsl.store.format=HEADERS`). The time of a value is not kept, and reads as -1
    /// once the value came from the files: it is the end of its session.
    #[must_use]
    pub fn session_store_with_headers_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: SessionSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<SessionStore<K, ValueAndTimestamp<V>>> {
        let persistent = supplier.place == Place::Persistent;
        let cleanup = ChangelogCleanup::CompactDelete { retention: supplier.retention };
        TypedStoreBuilder::new(supplier.name.clone(), persistent, cleanup, move |options, context| {
            let codec = HeadersCodec(SharedSerde::clone(&value_serde));
            SessionStore::open(options, context, &supplier, &key_serde, codec)
        })
    }

    /// A versioned key-value store.
    #[must_use]
    pub fn versioned_key_value_store_builder<K: 'static, V: Clone + Send + 'static>(
        supplier: VersionedSupplier,
        key_serde: SharedSerde<K>,
        value_serde: SharedSerde<V>,
    ) -> TypedStoreBuilder<VersionedKeyValueStore<K, V>> {
        let cleanup = ChangelogCleanup::CompactWithLag { history: supplier.history };
        let (history_ms, segment_ms) = supplier.millis();
        TypedStoreBuilder::new(supplier.name, true, cleanup, move |options, context| {
            VersionedKeyValueStore::open(options, context, (history_ms, segment_ms), &key_serde, &value_serde)
        })
    }
}

/// What a timestamped row keeps beside value and time (`dsl.store.format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreFormat {
    /// Nothing.
    #[default]
    Default,
    /// The headers of the record that made it.
    Headers,
}

fn window_supplier(
    name: String,
    place: Place,
    retention: Duration,
    window_size: Duration,
    retains_duplicates: bool,
) -> Result<WindowSupplier> {
    if retention < window_size {
        return Err(Error::Config(format!(
            "the retention of window store {name} must be no smaller than its window size, got {retention:?} and \
             {window_size:?}"
        )));
    }
    Ok(WindowSupplier { name, place, retention, window_size, retains_duplicates, has_time_index: false })
}

fn window_cleanup(supplier: &WindowSupplier) -> ChangelogCleanup {
    let retention = supplier.retention;
    if supplier.retains_duplicates {
        ChangelogCleanup::Delete { retention }
    } else {
        ChangelogCleanup::CompactDelete { retention }
    }
}
