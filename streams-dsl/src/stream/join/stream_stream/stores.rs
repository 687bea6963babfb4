//! The stores of a join of two streams: one window store for each side, and one for records that found no match yet.

use std::{collections::BTreeMap, sync::Arc};

use streams_core::{
    serde::{Data, SharedSerde},
    state::{StoreBuilder, StoreFormat, Stores},
};

use super::{
    Kind, Names, OUTER_SHARED, OUTER_THIS,
    outer_store::{UnmatchedKeySerde, UnmatchedSerde},
};
use crate::{
    graph::{Generated, Graph, lower::Wiring},
    options::{StoreType, StreamJoined},
    stream::repartition::Serdes,
    table::materialize::{logged, serde_or_default},
    window::{JoinWindows, duration},
};

pub(super) struct JoinStores<K, V1, V2> {
    pub(super) this: Arc<WindowSpec<K, V1>>,
    pub(super) other: Arc<WindowSpec<K, V2>>,
    /// For left and outer joins.
    pub(super) unmatched: Option<Arc<UnmatchedSpec<K, V1, V2>>>,
}

impl<K: Data, V1: Data, V2: Data> JoinStores<K, V1, V2> {
    pub(super) fn new(
        graph: &mut Graph,
        names: &Names,
        joined: &StreamJoined<K, V1, V2>,
        windows: JoinWindows,
        (this, other): (Serdes<K, V1>, Serdes<K, V2>),
        kind: Kind,
    ) -> Self {
        let base = joined.store_name.as_deref();
        let name = |generated: &str, suffix: &str| match base {
            Some(base) => format!("{base}{suffix}-store"),
            None => format!("{generated}-store"),
        };
        let settings = Settings { store_type: joined.store_type, logging: joined.logging.clone(), windows };
        let this_name = name(&names.this_generated, names.this_suffix);
        let other_name = name(&names.other_generated, names.other_suffix);
        let (shared_suffix, this_prefix) = match kind {
            Kind::Outer => ("-outer-shared-join", OUTER_THIS.len()),
            // As long as the prefix of left joins.
            Kind::Inner | Kind::Left => ("-left-shared-join", super::JOIN_THIS.len()),
        };
        let shared_name = name(&format!("{OUTER_SHARED}{}", &names.this_generated[this_prefix..]), shared_suffix);
        let unmatched = (kind != Kind::Inner).then(|| {
            Arc::new(UnmatchedSpec {
                name: shared_name,
                key_serde: this.key.clone(),
                value_serde: this.value.clone(),
                other_value_serde: other.value.clone(),
                settings: settings.clone(),
            })
        });
        let stores = JoinStores {
            this: Arc::new(WindowSpec { name: this_name, serdes: this, settings: settings.clone() }),
            other: Arc::new(WindowSpec { name: other_name, serdes: other, settings }),
            unmatched,
        };
        match base {
            Some(base) => graph.check_name(base),
            None => stores.note_generated(graph, joined.logging.is_some()),
        }
        stores
    }

    fn note_generated(&self, graph: &mut Graph, is_logged: bool) {
        let shared = self.unmatched.iter().map(|spec| spec.name.as_str());
        for name in [self.this.name.as_str(), &self.other.name].into_iter().chain(shared) {
            if is_logged {
                graph.generated.push(Generated::Changelog(format!("{name}-changelog")));
            }
            graph.generated.push(Generated::Store(name.to_owned()));
        }
    }
}

#[derive(Clone)]
struct Settings {
    store_type: Option<StoreType>,
    logging: Option<BTreeMap<String, String>>,
    windows: JoinWindows,
}

/// The store of one side: its records, as long as others can find them.
pub(super) struct WindowSpec<K, V> {
    name: String,
    serdes: Serdes<K, V>,
    settings: Settings,
}

impl<K: Data, V: Data> WindowSpec<K, V> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || {
            let windows = self.settings.windows;
            let (retention, size) = (duration(windows.retention_ms()), duration(windows.size_ms()));
            let supplier = match self.settings.store_type.unwrap_or(StoreType::RocksDb) {
                StoreType::RocksDb => Stores::persistent_window_store(&*self.name, retention, size, true),
                StoreType::InMemory => Stores::in_memory_window_store(&*self.name, retention, size, true),
            };
            // The changelog records of joins carry headers under either format.
            let builder = Stores::timestamped_window_store_builder(
                supplier.expect("the retention of a join is its window and more"),
                serde_or_default(self.serdes.key.as_ref()),
                serde_or_default(self.serdes.value.as_ref()),
                StoreFormat::Headers,
            );
            Arc::new(logged(builder, self.settings.logging.as_ref(), None))
        })
    }
}

/// The store of records that found no match yet.
pub(super) struct UnmatchedSpec<K, V1, V2> {
    name: String,
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V1>>,
    other_value_serde: Option<SharedSerde<V2>>,
    settings: Settings,
}

impl<K: Data, V1: Data, V2: Data> UnmatchedSpec<K, V1, V2> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || {
            let supplier = match self.settings.store_type.unwrap_or(StoreType::RocksDb) {
                StoreType::RocksDb => Stores::persistent_key_value_store(&*self.name),
                StoreType::InMemory => Stores::in_memory_key_value_store(&*self.name),
            };
            let values = UnmatchedSerde {
                left: serde_or_default(self.value_serde.as_ref()),
                right: serde_or_default(self.other_value_serde.as_ref()),
            };
            let builder = Stores::key_value_store_builder(
                supplier,
                Arc::new(UnmatchedKeySerde(serde_or_default(self.key_serde.as_ref()))),
                Arc::new(values),
            );
            Arc::new(logged(builder, self.settings.logging.as_ref(), None))
        })
    }
}
