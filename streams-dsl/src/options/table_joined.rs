//! `TableJoined`: a foreign-key join of two tables.

use std::sync::Arc;

use streams_core::StreamPartitioner;

use super::Materialized;

/// How two tables are joined on a foreign key. `K` is the key of the left table, `KO` that of the right one, `W` the
/// result.
#[derive(Clone)]
pub struct TableJoined<K, KO, W> {
    pub(crate) name: Option<String>,
    pub(crate) partitioner: Option<Arc<dyn StreamPartitioner<K, ()>>>,
    pub(crate) other_partitioner: Option<Arc<dyn StreamPartitioner<KO, ()>>>,
    pub(crate) materialized: Materialized<K, W>,
}

impl<K, KO, W> TableJoined<K, KO, W> {
    /// The defaults: generated names, default partitioning, a result that is in no store.
    #[must_use]
    pub fn new() -> Self {
        TableJoined { name: None, partitioner: None, other_partitioner: None, materialized: Materialized::absent() }
    }

    /// Names the nodes, topics and the subscription store (`{name}-subscription-registration-topic`, …).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the left table's topic is partitioned, if not by the hash of its key. Must choose exactly one partition.
    #[must_use]
    pub fn with_partitioner(mut self, partitioner: impl StreamPartitioner<K, ()> + 'static) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// How the right table's topic is partitioned, if not by the hash of its key. Must choose exactly one partition.
    #[must_use]
    pub fn with_other_partitioner(mut self, partitioner: impl StreamPartitioner<KO, ()> + 'static) -> Self {
        self.other_partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Keeps the result in a store.
    #[must_use]
    pub fn with_materialized(mut self, materialized: Materialized<K, W>) -> Self {
        self.materialized = materialized;
        self
    }
}

impl<K, KO, W> Default for TableJoined<K, KO, W> {
    fn default() -> Self {
        TableJoined::new()
    }
}

impl<K, KO, W> From<Materialized<K, W>> for TableJoined<K, KO, W> {
    fn from(materialized: Materialized<K, W>) -> Self {
        TableJoined::new().with_materialized(materialized)
    }
}
