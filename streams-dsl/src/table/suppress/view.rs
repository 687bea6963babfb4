//! Values of a suppressed table: what those after the buffer know, not what waits in it.

use std::sync::Arc;

use streams_core::{
    processor::{ProcessResult, StoreHandle},
    serde::Data,
    state::ValueAndTimestamp,
};

use super::buffer::{BufferSpec, SuppressBuffer};
use crate::table::{
    View,
    value_getter::{Lookup, ValueGetter},
};

/// Time of a value that was there before the buffer saw an update of it.
const UNKNOWN: i64 = -1;

/// How the values of a suppressed table are looked up.
pub(super) fn suppressed_view<K: Data, V: Data>(parent: &View<K, V>, spec: &BufferSpec<K, V>) -> View<K, V> {
    let (name, getter): (Arc<str>, _) = (spec.name().into(), Arc::clone(&parent.getter));
    let mut stores = vec![spec.name().to_owned()];
    stores.extend(parent.stores.iter().cloned());
    View {
        getter: Arc::new(move || Box::new(SuppressedValues { name: Arc::clone(&name), store: None, parent: getter() })),
        stores,
        history: None,
    }
}

struct SuppressedValues<K, V> {
    name: Arc<str>,
    store: Option<StoreHandle<SuppressBuffer<K, V>>>,
    parent: Box<dyn ValueGetter<K, V>>,
}

impl<K: Data, V: Data> ValueGetter<K, V> for SuppressedValues<K, V> {
    fn init(&mut self, ctx: &mut Lookup<'_>) -> ProcessResult {
        self.parent.init(ctx)?;
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn get(&mut self, ctx: &mut Lookup<'_>, key: &K) -> ProcessResult<Option<ValueAndTimestamp<V>>> {
        let store = self.store.expect("found when the processor was initialised");
        match ctx.store(store).prior(key)? {
            Some(prior) => Ok(prior.map(|value| ValueAndTimestamp::new(value, UNKNOWN))),
            None => self.parent.get(ctx, key),
        }
    }
}
