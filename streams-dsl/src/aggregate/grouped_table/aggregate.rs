//! Aggregation of a regrouped table: what goes out is subtracted, what comes in is added.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::Data,
};

use crate::table::{
    materialize::{Kept, TableStore},
    not_null,
};

/// How values leave and enter a group.
pub(super) trait Regroup<K, V, T>: Send + Sync + 'static {
    /// The aggregate after `value` came in; `None` if the group was empty.
    fn add(&self, key: &K, value: V, so_far: Option<T>) -> T;

    /// The aggregate after `value` went out.
    fn subtract(&self, key: &K, value: V, so_far: T) -> T;
}

/// `aggregate` and `count`.
pub(super) struct Changes<I, A, S> {
    pub(super) initializer: I,
    pub(super) adder: A,
    pub(super) subtractor: S,
}

impl<K, V, T, I, A, S> Regroup<K, V, T> for Changes<I, A, S>
where
    I: Fn() -> T + Send + Sync + 'static,
    A: Fn(&K, V, T) -> T + Send + Sync + 'static,
    S: Fn(&K, V, T) -> T + Send + Sync + 'static,
{
    fn add(&self, key: &K, value: V, so_far: Option<T>) -> T {
        (self.adder)(key, value, so_far.unwrap_or_else(&self.initializer))
    }

    fn subtract(&self, key: &K, value: V, so_far: T) -> T {
        (self.subtractor)(key, value, so_far)
    }
}

/// `reduce`.
pub(super) struct Reduced<A, S> {
    pub(super) adder: A,
    pub(super) subtractor: S,
}

impl<K, V, A, S> Regroup<K, V, V> for Reduced<A, S>
where
    A: Fn(V, V) -> V + Send + Sync + 'static,
    S: Fn(V, V) -> V + Send + Sync + 'static,
{
    fn add(&self, _key: &K, value: V, so_far: Option<V>) -> V {
        match so_far {
            Some(so_far) => (self.adder)(so_far, value),
            None => value,
        }
    }

    fn subtract(&self, _key: &K, value: V, so_far: V) -> V {
        (self.subtractor)(so_far, value)
    }
}

/// Keeps the aggregates of all groups.
pub(super) struct TableAggregate<K, T, R> {
    pub(super) changes: Arc<R>,
    pub(super) kept: Kept<K, T>,
}

impl<K, V, T, R> Processor<K, Change<V>, K, Change<T>> for TableAggregate<K, T, R>
where
    K: Data,
    V: Data,
    T: Data,
    R: Regroup<K, V, T>,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, Change<T>>) -> ProcessResult {
        self.kept.init(ctx)
    }

    fn process(&mut self, record: Record<K, Change<V>>, ctx: &mut ProcessorContext<'_, K, Change<T>>) -> ProcessResult {
        let Record { key, value: change, timestamp, headers } = record;
        if key.is_null() {
            return Err("the key of a group must not be null".into());
        }
        let store: TableStore<K, T> = self.kept.store();
        let stored = store.get(ctx, &key)?;
        let mut newest = timestamp;
        if let Some(row) = &stored
            && (change.old.is_some() || change.new.is_some())
        {
            newest = newest.max(row.timestamp);
        }
        let before = stored.map(|row| row.value);
        let old = if self.kept.sends_old_values() { before.clone() } else { None };
        let left = match (change.old, before) {
            (Some(removed), Some(before)) => not_null(self.changes.subtract(&key, removed, before)),
            (_, before) => before,
        };
        let new = match change.new {
            Some(added) => not_null(self.changes.add(&key, added, left)),
            None => left,
        };
        self.kept.put(ctx, Record { key, value: Change::new(new, old), timestamp: newest, headers })
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, Change<T>>) -> ProcessResult {
        self.kept.flush(ctx)
    }
}
