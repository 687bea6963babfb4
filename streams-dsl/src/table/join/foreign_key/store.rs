//! The subscriptions of the left table, in the partition of the keys that they name.

use std::sync::Arc;

use streams_core::{
    serde::{BytesSerde, Data, Encoded, SerdeError, SharedSerde},
    state::{StoreBuilder, StoreFormat, Stores, TimestampedKeyValueStore},
};

use super::wrapper::{Subscription, SubscriptionSerde};
use crate::graph::lower::Wiring;

/// Subscriptions by [`combined_key`].
pub(super) type SubscriptionStore<K> = TimestampedKeyValueStore<Vec<u8>, Subscription<K>>;

pub(super) struct SubscriptionSpec<K> {
    name: String,
    key_serde: SharedSerde<K>,
}

impl<K: Data> SubscriptionSpec<K> {
    pub(super) fn new(name: String, key_serde: SharedSerde<K>) -> Arc<Self> {
        Arc::new(SubscriptionSpec { name, key_serde })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn build(self: &Arc<Self>, wiring: &Wiring<'_>) -> Arc<dyn StoreBuilder> {
        wiring.store(self, || {
            // The changelog records of subscriptions carry headers under either format.
            Arc::new(Stores::timestamped_key_value_store_builder::<Vec<u8>, Subscription<K>>(
                Stores::persistent_key_value_store(&*self.name),
                Arc::new(BytesSerde),
                Arc::new(SubscriptionSerde(Arc::clone(&self.key_serde))),
                StoreFormat::Headers,
            ))
        })
    }
}

/// `length of the foreign key (i32) | foreign key`: what all subscriptions to a row begin with.
pub(super) fn prefix<KO: Data>(foreign_key: &KO, serde: &SharedSerde<KO>) -> Result<Vec<u8>, SerdeError> {
    let mut bytes = vec![0; 4];
    if serde.serialize(foreign_key, &mut bytes)? == Encoded::Null {
        return Err(SerdeError::new("a foreign key that is written as null"));
    }
    let length = i32::try_from(bytes.len() - 4).map_err(SerdeError::new)?;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    Ok(bytes)
}

/// `length of the foreign key (i32) | foreign key | primary key`.
pub(super) fn combined_key<K: Data, KO: Data>(
    foreign_key: &KO,
    foreign_serde: &SharedSerde<KO>,
    primary_key: &K,
    primary_serde: &SharedSerde<K>,
) -> Result<Vec<u8>, SerdeError> {
    let mut bytes = prefix(foreign_key, foreign_serde)?;
    let _ = primary_serde.serialize(primary_key, &mut bytes)?;
    Ok(bytes)
}
