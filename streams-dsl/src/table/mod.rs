//! [`KTable`]: the latest value of each key, and how it changes.

mod filter;
mod global;
mod group;
mod join;
mod map_values;
pub(crate) mod materialize;
pub(crate) mod source;
mod suppress;
mod to_stream;
mod transform_values;
pub(crate) mod value_getter;

use std::time::Duration;

pub use global::GlobalKTable;
use streams_core::serde::{Data, SharedSerde};
pub use transform_values::{TransformerContext, ValueTransformer};
use value_getter::GetterSupplier;

use crate::graph::{Graph, NodeId, Place, demand::Demand};

/// A table: for each key its latest value. A record is an update of its key; a null value deletes it.
///
/// Operators on tables work on updates and give tables again. Results may be kept in a store (see
/// [`Materialized`](crate::Materialized)); what is not kept is computed again when somebody looks it up.
///
/// A function whose result [is null](Data::is_null) deletes the key from the resulting table, which is possible where
/// its type says so: `KTable<K, Option<V>>`.
///
/// A handle on a place in the program; clones stand at the same place.
pub struct KTable<K, V> {
    pub(crate) place: Place,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    queryable_store_name: Option<String>,
    view: View<K, V>,
}

/// How values of a table are looked up.
pub(crate) struct View<K, V> {
    pub(crate) getter: GetterSupplier<K, V>,
    /// Stores that the lookup reads.
    pub(crate) stores: Vec<String>,
    /// How far back values can be looked up, if the table is versioned.
    pub(crate) history: Option<Duration>,
}

impl<K, V> Clone for View<K, V> {
    fn clone(&self) -> Self {
        View { getter: GetterSupplier::clone(&self.getter), stores: self.stores.clone(), history: self.history }
    }
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        KTable {
            place: self.place.clone(),
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            queryable_store_name: self.queryable_store_name.clone(),
            view: self.view.clone(),
        }
    }
}

impl<K: Data, V: Data> KTable<K, V> {
    pub(crate) fn new(
        place: Place,
        key_serde: Option<SharedSerde<K>>,
        value_serde: Option<SharedSerde<V>>,
        queryable_store_name: Option<String>,
        view: View<K, V>,
    ) -> Self {
        KTable { place, key_serde, value_serde, queryable_store_name, view }
    }

    /// The name under which the table can be queried, if it was given one.
    #[must_use]
    pub fn queryable_store_name(&self) -> Option<&str> {
        self.queryable_store_name.as_deref()
    }

    pub(crate) fn node(&self) -> NodeId {
        self.place.node
    }

    /// How values are looked up, if somebody will.
    pub(crate) fn view(&self) -> &View<K, V> {
        &self.view
    }

    /// How far back values can be looked up, if the table is versioned.
    pub(crate) fn history(&self, graph: &Graph) -> Option<Duration> {
        if graph[self.node()].output_versioned == Some(false) { None } else { self.view.history }
    }

    /// A way to look up values, which from now on the table must allow.
    pub(crate) fn lookup(&self) -> View<K, V> {
        self.place.graph.lock().demands.push(Demand::Lookup { table: self.place.node });
        self.view.clone()
    }

    /// Lets updates carry old values from now on.
    pub(crate) fn demand_old_values(&self) {
        self.place.graph.lock().demands.push(Demand::OldValues { table: self.place.node, force: true });
    }
}

/// The value as a table sees it: null is no value.
#[inline]
pub(crate) fn not_null<V: Data>(value: V) -> Option<V> {
    if value.is_null() { None } else { Some(value) }
}
