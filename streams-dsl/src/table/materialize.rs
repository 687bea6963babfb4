//! The store of a table: how it is made, read and written, and how its updates go on.

use std::{collections::BTreeMap, sync::Arc};

use log_store::Headers;
use streams_core::{
    Change, Record,
    processor::{ProcessResult, ProcessorContext, StoreHandle},
    serde::{Data, SharedSerde, default_serde},
    state::{
        StoreBuilder, Stores, TimestampedKeyValueStore, TypedStoreBuilder, ValueAndTimestamp, VersionedKeyValueStore,
        VersionedPut, VersionedRecord,
    },
};

use crate::{
    config::TopologyConfig,
    graph::lower::Wiring,
    options::{Materialized, StoreType},
};

/// What a key-value table's store is to be.
pub(crate) struct StoreSpec<K, V> {
    pub(crate) name: String,
    materialized: Materialized<K, V>,
}

impl<K: Data, V: Data> StoreSpec<K, V> {
    pub(crate) fn new(name: String, materialized: Materialized<K, V>) -> Arc<Self> {
        Arc::new(StoreSpec { name, materialized })
    }

    /// The store itself; `source_topic` takes the place of a changelog.
    pub(crate) fn build(self: &Arc<Self>, wiring: &Wiring<'_>, source_topic: Option<&str>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || self.make(wiring.config, source_topic))
    }

    fn make(&self, config: &TopologyConfig, source_topic: Option<&str>) -> Arc<dyn StoreBuilder> {
        let asked = &self.materialized;
        let key = serde_or_default(asked.key_serde.as_ref());
        let value = serde_or_default(asked.value_serde.as_ref());
        if let Some(versioned) = asked.versioned {
            let supplier = Stores::persistent_versioned_key_value_store(&*self.name, versioned.history);
            let supplier = match versioned.segment_interval {
                Some(interval) => supplier.with_segment_interval(interval),
                None => supplier,
            };
            let builder = Stores::versioned_key_value_store_builder(supplier, key, value);
            return Arc::new(logged(builder, asked.logging.as_ref(), source_topic));
        }
        let store_type = asked.store_type.unwrap_or(StoreType::RocksDb);
        let supplier = match store_type {
            StoreType::RocksDb => Stores::persistent_key_value_store(&*self.name),
            StoreType::InMemory => Stores::in_memory_key_value_store(&*self.name),
        };
        let builder = Stores::timestamped_key_value_store_builder(supplier, key, value, config.format_of(store_type));
        let builder = if asked.caching { builder.with_caching_enabled() } else { builder };
        Arc::new(logged(builder, asked.logging.as_ref(), source_topic))
    }
}

/// The builder with a changelog of its own, with its source topic in that place, or with neither.
pub(crate) fn logged<S>(
    builder: TypedStoreBuilder<S>,
    logging: Option<&BTreeMap<String, String>>,
    source_topic: Option<&str>,
) -> TypedStoreBuilder<S> {
    match (source_topic, logging) {
        (Some(topic), _) => builder.with_source_topic_as_changelog(topic),
        (None, Some(config)) => builder.with_logging_enabled(config.clone()),
        (None, None) => builder.with_logging_disabled(),
    }
}

/// Serdes of a store, or those of its types.
pub(crate) fn serde_or_default<T: Data>(serde: Option<&SharedSerde<T>>) -> SharedSerde<T> {
    serde.cloned().unwrap_or_else(default_serde::<T>)
}

/// A table's store in the hands of a processor.
pub(crate) enum TableStore<K, V> {
    /// Values with their time.
    Timestamped(StoreHandle<TimestampedKeyValueStore<K, V>>),
    /// Values with their history.
    Versioned(StoreHandle<VersionedKeyValueStore<K, V>>),
}

impl<K, V> Clone for TableStore<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for TableStore<K, V> {}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The value is the newest of its key.
    Latest,
    /// It found its place in the key's history.
    Earlier,
    /// It is older than the history: nothing was written.
    Not,
}

impl<K: Data, V: Data> TableStore<K, V> {
    /// The store called `name`, of whichever kind it is.
    pub(crate) fn find<KOut, VOut>(ctx: &mut ProcessorContext<'_, KOut, VOut>, name: &str) -> ProcessResult<Self> {
        match ctx.store_handle(name) {
            Ok(store) => Ok(TableStore::Versioned(store)),
            Err(_) => ctx.store_handle(name).map(TableStore::Timestamped),
        }
    }

    pub(crate) fn is_versioned(self) -> bool {
        matches!(self, TableStore::Versioned(_))
    }

    fn is_caching<KOut, VOut>(self, ctx: &mut ProcessorContext<'_, KOut, VOut>) -> bool {
        match self {
            TableStore::Timestamped(store) => ctx.store(store).is_caching(),
            TableStore::Versioned(_) => false,
        }
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &K,
    ) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        Ok(match self {
            TableStore::Timestamped(store) => ctx.store(store).get(key)?.cloned(),
            TableStore::Versioned(store) => ctx.store(store).get(key)?.map(of_version),
        })
    }

    /// The value that `key` had at `timestamp`.
    pub(crate) fn get_as_of<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &K,
        timestamp: i64,
    ) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        match self {
            TableStore::Timestamped(_) => Err("only a versioned table can be asked for earlier values".into()),
            TableStore::Versioned(store) => Ok(ctx.store(store).get_as_of(key, timestamp)?.map(of_version)),
        }
    }

    /// Writes a value, or a deletion.
    #[inline]
    pub(crate) fn put<KOut, VOut>(
        self,
        ctx: &mut ProcessorContext<'_, KOut, VOut>,
        key: &K,
        value: Option<V>,
        timestamp: i64,
        headers: &Headers,
    ) -> ProcessResult<Written> {
        match self {
            TableStore::Timestamped(store) => {
                let row = value.map(|value| ValueAndTimestamp { value, timestamp, headers: headers.clone() });
                ctx.store(store).update(key, |slot| *slot = row)?;
                Ok(Written::Latest)
            }
            TableStore::Versioned(store) => Ok(match ctx.store(store).put(key, value, timestamp)? {
                VersionedPut::Latest => Written::Latest,
                VersionedPut::ValidTo(_) => Written::Earlier,
                VersionedPut::TooOld => Written::Not,
            }),
        }
    }
}

fn of_version<V: Clone>(version: VersionedRecord<&V>) -> ValueAndTimestamp<V> {
    ValueAndTimestamp::new(version.value.clone(), version.timestamp)
}

/// What becomes of the value of one key.
pub(crate) struct Computed<V> {
    pub(crate) new: Option<V>,
    /// The value before, where downstream asks for it.
    pub(crate) old: Option<V>,
    pub(crate) timestamp: i64,
}

/// The store of a table together with the way of its updates downstream: at once, or from the cache at a commit.
pub(crate) struct Kept<K, V> {
    name: Arc<str>,
    sends_old_values: bool,
    opened: Option<(TableStore<K, V>, bool)>,
}

impl<K: Data, V: Data> Kept<K, V> {
    pub(crate) fn new(name: &str, sends_old_values: bool) -> Self {
        Kept { name: name.into(), sends_old_values, opened: None }
    }

    pub(crate) fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        let store = TableStore::find(ctx, &self.name)?;
        self.opened = Some((store, store.is_caching(ctx)));
        Ok(())
    }

    #[inline]
    pub(crate) fn store(&self) -> TableStore<K, V> {
        self.opened.expect("found when the processor was initialised").0
    }

    #[inline]
    pub(crate) fn sends_old_values(&self) -> bool {
        self.sends_old_values
    }

    /// Writes `record`'s new value and passes the update on, unless the cache does so later.
    #[inline]
    pub(crate) fn put(
        &self,
        ctx: &mut ProcessorContext<'_, K, Change<V>>,
        record: Record<K, Change<V>>,
    ) -> ProcessResult {
        let (store, is_caching) = self.opened.expect("found when the processor was initialised");
        // Without anybody to tell, the value moves into the store instead of being copied.
        if is_caching || !ctx.has_children() {
            store.put(ctx, &record.key, record.value.new, record.timestamp, &Headers::new())?;
            return Ok(());
        }
        let written = store.put(ctx, &record.key, record.value.new.clone(), record.timestamp, &Headers::new())?;
        self.forward(ctx, record, written)
    }

    /// Writes what `next` makes of the value of `key`, with one lookup where the store allows it. Leaves in `told` what goes
    /// downstream, if anything does before the next commit.
    #[inline]
    pub(crate) fn compute(
        &self,
        ctx: &mut ProcessorContext<'_, K, Change<V>>,
        key: &K,
        told: &mut Option<(Change<V>, i64, Written)>,
        next: impl FnOnce(Option<&ValueAndTimestamp<V>>) -> Computed<V>,
    ) -> ProcessResult {
        let (store, is_caching) = self.opened.expect("found when the processor was initialised");
        // Without anybody to tell, the value moves into the store instead of being copied.
        let is_told = !is_caching && ctx.has_children();
        match store {
            TableStore::Timestamped(store) => ctx.store(store).compute(key, |row| {
                let Computed { new, old, timestamp } = next(row);
                if is_told {
                    *told = Some((Change::new(new.clone(), old), timestamp, Written::Latest));
                }
                (new.map(|value| ValueAndTimestamp::new(value, timestamp)), ())
            })?,
            TableStore::Versioned(_) => {
                let Computed { new, old, timestamp } = next(store.get(ctx, key)?.as_ref());
                let change = is_told.then(|| Change::new(new.clone(), old));
                let written = store.put(ctx, key, new, timestamp, &Headers::new())?;
                *told = change.map(|change| (change, timestamp, written));
            }
        }
        Ok(())
    }

    /// Passes on what was `written` already, unless the cache does so later.
    #[inline]
    pub(crate) fn forward(
        &self,
        ctx: &mut ProcessorContext<'_, K, Change<V>>,
        mut record: Record<K, Change<V>>,
        written: Written,
    ) -> ProcessResult {
        let (_, is_caching) = self.opened.expect("found when the processor was initialised");
        if is_caching || written == Written::Not {
            return Ok(());
        }
        if !self.sends_old_values {
            record.value.old = None;
        }
        record.value.is_latest = written == Written::Latest;
        ctx.forward(record)
    }

    /// True if updates wait in the cache for the next commit.
    #[inline]
    pub(crate) fn is_caching(&self) -> bool {
        self.opened.is_some_and(|(_, is_caching)| is_caching)
    }

    /// Passes on what the cache held back.
    pub(crate) fn flush(&self, ctx: &mut ProcessorContext<'_, K, Change<V>>) -> ProcessResult {
        let Some((TableStore::Timestamped(store), true)) = self.opened else { return Ok(()) };
        loop {
            let updates = ctx.store(store).take_updates()?;
            if updates.is_empty() {
                return Ok(());
            }
            for update in updates {
                let old = update.old.map(|row| row.value);
                let (new, timestamp) = match update.new {
                    Some(row) => (Some(row.value), row.timestamp),
                    None => (None, update.timestamp),
                };
                let old = if self.sends_old_values { old } else { None };
                let record =
                    Record { key: update.key, value: Change::new(new, old), timestamp, headers: update.headers };
                ctx.forward(record)?;
            }
        }
    }
}
