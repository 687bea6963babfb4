//! `StreamJoined`: a join of two streams.

use std::{collections::BTreeMap, sync::Arc};

use streams_core::serde::{Serde, SharedSerde};

use super::StoreType;

/// How two streams are joined.
#[derive(Clone)]
pub struct StreamJoined<K, V1, V2> {
    pub(crate) name: Option<String>,
    pub(crate) store_name: Option<String>,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V1>>,
    pub(crate) other_value_serde: Option<SharedSerde<V2>>,
    pub(crate) store_type: Option<StoreType>,
    /// Topic settings of the changelogs; `None` if nothing is logged.
    pub(crate) logging: Option<BTreeMap<String, String>>,
}

impl<K, V1, V2> StreamJoined<K, V1, V2> {
    /// The defaults: generated names, the streams' serdes, logged stores on disk.
    #[must_use]
    pub fn new() -> Self {
        StreamJoined {
            name: None,
            store_name: None,
            key_serde: None,
            value_serde: None,
            other_value_serde: None,
            store_type: None,
            logging: Some(BTreeMap::new()),
        }
    }

    /// Names the nodes (`{name}-this-windowed`, `{name}-merge`, …) and the repartition topics if they are needed
    /// (`{name}-left-repartition`, `{name}-right-repartition`).
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Names the stores: `{name}-this-join-store`, `{name}-other-join-store`, ….
    #[must_use]
    pub fn with_store_name(mut self, name: impl Into<String>) -> Self {
        self.store_name = Some(name.into());
        self
    }

    /// Writes keys with this serde.
    #[must_use]
    pub fn with_key_serde(mut self, serde: impl Serde<K>) -> Self {
        self.key_serde = Some(Arc::new(serde));
        self
    }

    /// Writes this stream's values with this serde.
    #[must_use]
    pub fn with_value_serde(mut self, serde: impl Serde<V1>) -> Self {
        self.value_serde = Some(Arc::new(serde));
        self
    }

    /// Writes the other stream's values with this serde.
    #[must_use]
    pub fn with_other_value_serde(mut self, serde: impl Serde<V2>) -> Self {
        self.other_value_serde = Some(Arc::new(serde));
        self
    }

    /// Where the stores keep their rows.
    #[must_use]
    pub fn with_store_type(mut self, store_type: StoreType) -> Self {
        self.store_type = Some(store_type);
        self
    }

    /// Logs the stores to changelog topics with these topic settings. The default, without settings.
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
}

impl<K, V1, V2> Default for StreamJoined<K, V1, V2> {
    fn default() -> Self {
        StreamJoined::new()
    }
}
