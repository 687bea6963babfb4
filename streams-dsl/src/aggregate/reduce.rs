//! `reduce`: one value of all values of a key.

use streams_core::serde::Data;

use super::{KGroupedStream, REDUCE, fold::Reduced};
use crate::{options::Materialized, table::KTable};

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// Combines the values of each key: the first value as it is, then `reducer(so_far, value)`. Records with a null key
    /// or value are dropped; a null result deletes the key.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let bids = builder.stream::<String, i64>("bids");
    /// let highest = bids.group_by_key().reduce(i64::max);
    /// highest.to_stream().to("highest-bids");
    /// ```
    pub fn reduce<F>(&self, reducer: F) -> KTable<K, V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.reduce_with(reducer, Materialized::absent())
    }

    /// As [`KGroupedStream::reduce`], with a name or a store.
    pub fn reduce_with<F>(&self, reducer: F, options: impl Into<Materialized<K, V>>) -> KTable<K, V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let materialized: Materialized<K, V> = options.into().or_serdes(None, self.serdes.value.as_ref());
        self.stored(REDUCE, materialized, Reduced(reducer))
    }
}
