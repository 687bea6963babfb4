//! Looking up a table's values: in its store, or computed from the tables before it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use streams_core::{
    processor::{ProcessResult, ProcessorContext},
    serde::Data,
    state::ValueAndTimestamp,
};

use super::{View, materialize::TableStore};

/// The task as a lookup sees it: stores and time, but nobody to forward to.
pub(crate) type Lookup<'a> = ProcessorContext<'a, Infallible, Infallible>;

/// Looks up a table's values for one processor.
pub(crate) trait ValueGetter<K, V>: Send {
    /// Finds the stores. Called once, before the first lookup.
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult;

    /// The value of `key` now.
    fn get(&mut self, ctx: &mut Lookup<'_>, key: &K) -> ProcessResult<Option<ValueAndTimestamp<V>>>;

    /// Shows `read` the value of `key` now: as [`ValueGetter::get`], but a value that lies in a store is not copied.
    fn read(&mut self, ctx: &mut Lookup<'_>, key: &K, read: &mut dyn FnMut(Option<&V>)) -> ProcessResult {
        let row = self.get(ctx, key)?;
        read(row.as_ref().map(|row| &row.value));
        Ok(())
    }

    /// The value that `key` had at `timestamp`. Only for versioned tables.
    fn get_as_of(
        &mut self,
        _ctx: &mut Lookup<'_>,
        _key: &K,
        _timestamp: i64,
    ) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        Err("this table keeps no earlier values".into())
    }

    /// True if earlier values can be looked up. Most tables keep none.
    fn is_versioned(&self) -> bool {
        false
    }
}

/// Makes the lookup of each processor.
pub(crate) type GetterSupplier<K, V> = Arc<dyn Fn() -> Box<dyn ValueGetter<K, V>> + Send + Sync>;

impl<K: Data, V: Data> View<K, V> {
    /// Values as they lie in the store `name`, which keeps them for so long if it is versioned.
    pub(crate) fn of_store(name: &str, history: Option<Duration>) -> Self {
        let stores = vec![name.to_owned()];
        let name: Arc<str> = name.into();
        View { getter: Arc::new(move || Box::new(InStore { name: Arc::clone(&name), store: None })), stores, history }
    }

    /// Values computed from those of another table.
    pub(crate) fn computed<V0, F>(parent: &View<K, V0>, compute: F) -> Self
    where
        V0: Data,
        F: Fn(&mut Lookup<'_>, &K, Option<ValueAndTimestamp<V0>>) -> Option<ValueAndTimestamp<V>>
            + Send
            + Sync
            + Clone
            + 'static,
    {
        let getter = Arc::clone(&parent.getter);
        View {
            getter: Arc::new(move || Box::new(Computed { parent: getter(), compute: compute.clone() })),
            stores: parent.stores.clone(),
            history: parent.history,
        }
    }
}

/// Values of a table that is in a store.
struct InStore<K, V> {
    name: Arc<str>,
    store: Option<TableStore<K, V>>,
}

impl<K: Data, V: Data> InStore<K, V> {
    fn store(&self) -> TableStore<K, V> {
        self.store.expect("found when the processor was initialised")
    }
}

impl<K: Data, V: Data> ValueGetter<K, V> for InStore<K, V> {
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.store = Some(TableStore::find(ctx, &self.name)?);
        Ok(())
    }

    #[inline]
    fn get(&mut self, ctx: &mut Lookup<'_>, key: &K) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        self.store().get(ctx, key)
    }

    #[inline]
    fn read(&mut self, ctx: &mut Lookup<'_>, key: &K, read: &mut dyn FnMut(Option<&V>)) -> ProcessResult {
        match self.store() {
            TableStore::Timestamped(store) => read(ctx.store(store).get(key)?.map(|row| &row.value)),
            versioned => read(versioned.get(ctx, key)?.as_ref().map(|row| &row.value)),
        }
        Ok(())
    }

    fn get_as_of(
        &mut self,
        ctx: &mut Lookup<'_>,
        key: &K,
        timestamp: i64,
    ) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        self.store().get_as_of(ctx, key, timestamp)
    }

    fn is_versioned(&self) -> bool {
        self.store().is_versioned()
    }
}

/// Values computed on the fly.
struct Computed<K, V0, F> {
    parent: Box<dyn ValueGetter<K, V0>>,
    compute: F,
}

impl<K, V0, V, F> ValueGetter<K, V> for Computed<K, V0, F>
where
    F: Fn(&mut Lookup<'_>, &K, Option<ValueAndTimestamp<V0>>) -> Option<ValueAndTimestamp<V>> + Send,
{
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.parent.init(ctx)
    }

    fn get(&mut self, ctx: &mut Lookup<'_>, key: &K) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        let value = self.parent.get(ctx, key)?;
        Ok((self.compute)(ctx, key, value))
    }

    fn get_as_of(
        &mut self,
        ctx: &mut Lookup<'_>,
        key: &K,
        timestamp: i64,
    ) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        let value = self.parent.get_as_of(ctx, key, timestamp)?;
        Ok((self.compute)(ctx, key, value))
    }

    fn is_versioned(&self) -> bool {
        self.parent.is_versioned()
    }
}
