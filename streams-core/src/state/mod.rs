//! State stores.

use std::any::Any;

/// A store of one task. Every kind of store, ours or yours, is behind this trait.
pub trait StateStore: Any + Send {
    /// Its name in the topology.
    fn name(&self) -> &str;
}

/// Makes the store of each task. What the topology holds.
pub trait StoreBuilder: Send + Sync {
    /// Name of the store.
    fn name(&self) -> &str;
}
