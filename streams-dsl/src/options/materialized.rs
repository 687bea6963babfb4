//! `Materialized`: the store of a table.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use streams_core::serde::{Serde, SharedSerde};

use super::Named;
use crate::graph::{Generated, Graph, naming::Given};

/// Where a store keeps its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreType {
    /// In RocksDB: survives a restart, and may outgrow memory. The default.
    RocksDb,
    /// In memory, restored from the changelog at each start.
    InMemory,
}

/// Histories of a versioned store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Versioned {
    pub(crate) history: Duration,
    pub(crate) segment_interval: Option<Duration>,
}

/// The store of a table: name, serdes, caching, logging. Also names the operator that fills it.
///
/// ```
/// use streams_dsl::{Materialized, StoreType};
///
/// let counts: Materialized<String, i64> =
///     Materialized::new("counts").with_store_type(StoreType::InMemory).with_caching_disabled();
/// # let _ = counts;
/// ```
#[derive(Clone)]
pub struct Materialized<K, V> {
    /// False where the user said nothing at all about the store: some operators then have none.
    is_given: bool,
    pub(crate) processor: Given,
    pub(crate) store_name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    pub(crate) store_type: Option<StoreType>,
    pub(crate) caching: bool,
    /// Topic settings of the changelog; `None` if nothing is logged.
    pub(crate) logging: Option<BTreeMap<String, String>>,
    pub(crate) retention: Option<Duration>,
    pub(crate) versioned: Option<Versioned>,
}

impl<K, V> Materialized<K, V> {
    /// A store called `name`, which can be queried under that name. Its changelog is
    /// `{application.id}-{name}-changelog`.
    pub fn new(name: impl Into<String>) -> Self {
        Materialized { store_name: Some(name.into()), ..Materialized::unnamed() }
    }

    /// Settings for a store without a name of its own. It cannot be queried; operators that need no store have none.
    #[must_use]
    pub fn unnamed() -> Self {
        Materialized { is_given: true, ..Materialized::absent() }
    }

    /// A versioned store called `name`, which keeps earlier values for `history`: lookups are as of a time, and late
    /// updates find their place. On disk only, without caching.
    pub fn versioned(name: impl Into<String>, history: Duration) -> Self {
        let versioned = Some(Versioned { history, segment_interval: None });
        Materialized { versioned, ..Materialized::new(name) }
    }

    /// Nothing was said about the store.
    pub(crate) fn absent() -> Self {
        Materialized {
            is_given: false,
            processor: Given(None),
            store_name: None,
            key_serde: None,
            value_serde: None,
            store_type: None,
            caching: true,
            logging: Some(BTreeMap::new()),
            retention: None,
            versioned: None,
        }
    }

    /// Names the operator's node.
    #[must_use]
    pub fn with_processor_name(mut self, name: impl Into<String>) -> Self {
        self.processor = Given(Some(name.into()));
        self
    }

    /// Writes keys with this serde. Default: the serde of the stream or table above.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Writes values with this serde.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Where the store keeps its rows.
    #[must_use]
    pub fn with_store_type(mut self, store_type: StoreType) -> Self {
        self.store_type = Some(store_type);
        self
    }

    /// Passes on only the last update of each key at a commit. The default.
    #[must_use]
    pub fn with_caching_enabled(mut self) -> Self {
        self.caching = true;
        self
    }

    /// Passes on every update at once.
    #[must_use]
    pub fn with_caching_disabled(mut self) -> Self {
        self.caching = false;
        self
    }

    /// Logs the store to a changelog topic with these topic settings. The default, without settings.
    #[must_use]
    pub fn with_logging_enabled(mut self, config: BTreeMap<String, String>) -> Self {
        self.logging = Some(config);
        self
    }

    /// Logs nothing: what a restart loses is lost.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.logging = None;
        self
    }

    /// How long windows are kept. At least their size and grace period, which is the default.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Length of the segments in which a versioned store keeps its history. Must never change for an existing store.
    #[must_use]
    pub fn with_segment_interval(mut self, interval: Duration) -> Self {
        if let Some(versioned) = &mut self.versioned {
            versioned.segment_interval = Some(interval);
        }
        self
    }

    /// True if anything was said about the store.
    pub(crate) fn is_given(&self) -> bool {
        self.is_given
    }

    /// How long the store keeps earlier values, if it is versioned.
    pub(crate) fn history(&self) -> Option<Duration> {
        self.versioned.map(|versioned| versioned.history)
    }

    /// Whether the store is versioned; `None` if nothing was said about it.
    pub(crate) fn output_versioned(&self) -> Option<bool> {
        self.is_given.then_some(self.versioned.is_some())
    }

    /// Checks the given name, or makes one; the store is then always made.
    pub(crate) fn store_name(&self, graph: &mut Graph, prefix: &str) -> String {
        match &self.store_name {
            Some(name) => {
                graph.check_name(name);
                name.clone()
            }
            None => {
                let name = graph.new_store_name(prefix);
                if self.logging.is_some() {
                    graph.generated.push(Generated::Changelog(format!("{name}-changelog")));
                }
                graph.generated.push(Generated::Store(name.clone()));
                name
            }
        }
    }

    /// What a table that is computed from another one makes of this: its store, if it is to have one, the name of its
    /// node, and whether it says anything about being versioned.
    pub(crate) fn of_derived(&self, graph: &mut Graph, prefix: &str) -> (Option<String>, String, Option<bool>) {
        if self.is_given && self.store_name.is_none() {
            // No store comes of it, but Kafka Streams takes a name for one.
            graph.new_store_name(prefix);
        }
        if let Some(name) = &self.store_name {
            graph.check_name(name);
        }
        let name = self.processor.or_generate(graph, prefix);
        (self.store_name.clone(), name, self.output_versioned())
    }

    /// Fills in serdes that were not given.
    pub(crate) fn or_serdes(mut self, key: Option<&SharedSerde<K>>, value: Option<&SharedSerde<V>>) -> Self {
        self.key_serde = self.key_serde.or_else(|| key.cloned());
        self.value_serde = self.value_serde.or_else(|| value.cloned());
        self
    }
}

/// Nothing is said about the store: an operator that needs none has none.
impl<K, V> Default for Materialized<K, V> {
    fn default() -> Self {
        Materialized::absent()
    }
}

impl<K, V> From<Named> for Materialized<K, V> {
    fn from(name: Named) -> Self {
        Materialized { processor: name.given(), ..Materialized::absent() }
    }
}
