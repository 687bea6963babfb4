//! `count`: how many records a key has.

use streams_core::serde::Data;

use super::{AGGREGATE, KGroupedStream, fold::Counted, stored::burn_store_name};
use crate::{options::Materialized, table::KTable};

impl<K: Data, V: Data> KGroupedStream<K, V> {
    /// The number of records of each key. Records with a null key or value are not counted.
    ///
    /// Kept in a store; each record reads and writes one row.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let words = builder.stream::<String, String>("words");
    /// let counts: KTable<String, i64> = words.group_by_key().count_with(Materialized::new("counts"));
    /// counts.to_stream().to("counts-so-far");
    /// ```
    #[must_use]
    pub fn count(&self) -> KTable<K, i64> {
        self.stored(AGGREGATE, Materialized::absent(), Counted)
    }

    /// As [`KGroupedStream::count`], with a name or a store.
    #[must_use]
    pub fn count_with(&self, options: impl Into<Materialized<K, i64>>) -> KTable<K, i64> {
        let materialized = options.into();
        burn_store_name(&mut self.place.graph.lock(), &materialized);
        self.stored(AGGREGATE, materialized, Counted)
    }
}
