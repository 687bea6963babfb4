//! `TransformedValues`: a transformer of table values, its name and its stores.

use super::{Materialized, Named};

/// How a transformer of a table's values is built in.
#[derive(Clone)]
pub struct TransformedValues<K, W> {
    pub(crate) materialized: Materialized<K, W>,
    pub(crate) stores: Vec<String>,
}

impl<K, W> TransformedValues<K, W> {
    /// The defaults: generated name, no stores, a result that is in no store.
    #[must_use]
    pub fn new() -> Self {
        TransformedValues { materialized: Materialized::absent(), stores: Vec::new() }
    }

    /// Keeps the result in a store, or names the node.
    #[must_use]
    pub fn with_materialized(mut self, materialized: impl Into<Materialized<K, W>>) -> Self {
        self.materialized = materialized.into();
        self
    }

    /// Connects the transformer to these stores.
    #[must_use]
    pub fn with_state_stores<S: Into<String>>(mut self, stores: impl IntoIterator<Item = S>) -> Self {
        self.stores.extend(stores.into_iter().map(Into::into));
        self
    }
}

impl<K, W> Default for TransformedValues<K, W> {
    fn default() -> Self {
        TransformedValues::new()
    }
}

impl<K, W> From<Materialized<K, W>> for TransformedValues<K, W> {
    fn from(materialized: Materialized<K, W>) -> Self {
        TransformedValues::new().with_materialized(materialized)
    }
}

impl<K, W> From<Named> for TransformedValues<K, W> {
    fn from(named: Named) -> Self {
        TransformedValues::new().with_materialized(named)
    }
}
