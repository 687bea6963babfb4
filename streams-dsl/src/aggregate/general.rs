//! `aggregate`: anything that can be folded.

use streams_core::serde::Data;

use super::{AGGREGATE, KGroupedStream, fold::Aggregated};
use crate::{options::Materialized, table::KTable};

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// Folds the values of each key into an aggregate of another type: `initializer()` to begin with, then
    /// `aggregator(&key, &value, so_far)`. Records with a null key or value are dropped; a null result deletes the key.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let payments = builder.stream::<String, i64>("payments");
    /// let spent: KTable<String, f64> =
    ///     payments.group_by_key().aggregate(|| 0.0, |_card, cents, sum| sum + *cents as f64 / 100.0);
    /// spent.to_stream().to("spent");
    /// ```
    pub fn aggregate<A: Data, I, F>(&self, initializer: I, aggregator: F) -> KTable<K, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, aggregator, Materialized::absent())
    }

    /// As [`KGroupedStream::aggregate`], with a name or a store.
    pub fn aggregate_with<A: Data, I, F>(
        &self,
        initializer: I,
        aggregator: F,
        options: impl Into<Materialized<K, A>>,
    ) -> KTable<K, A>
    where
        I: Fn() -> A + Send + Sync + 'static,
        F: Fn(&K, &V, A) -> A + Send + Sync + 'static,
    {
        self.stored(AGGREGATE, options.into(), Aggregated { initializer, aggregator })
    }
}
