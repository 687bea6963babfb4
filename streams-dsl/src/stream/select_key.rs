//! `select_key`: a new key for the same value.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{
    graph::{Place, naming::Given},
    options::Named,
};

const KEY_SELECT: &str = "KSTREAM-KEY-SELECT-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Gives each record the key `mapper(&key, &value)`. Value, timestamp and headers stay.
    ///
    /// The next operator that groups or joins by key repartitions first.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// let by_customer = orders.select_key(|_order, customer| customer.clone());
    /// by_customer.to("orders-by-customer");
    /// ```
    pub fn select_key<K2: Field, F>(&self, mapper: F) -> KStream<K2, V>
    where
        F: Fn(&K, &V) -> K2 + Send + Sync + 'static,
    {
        Self::with_keys(self.select_key_node(&Given(None), mapper), self.value_serde.clone())
    }

    /// As [`KStream::select_key`], with a name.
    pub fn select_key_with<K2: Field, F>(&self, mapper: F, named: Named) -> KStream<K2, V>
    where
        F: Fn(&K, &V) -> K2 + Send + Sync + 'static,
    {
        Self::with_keys(self.select_key_node(&named.given(), mapper), self.value_serde.clone())
    }

    pub(super) fn select_key_node<K2: Field, F>(&self, name: &Given, mapper: F) -> Place
    where
        F: Fn(&K, &V) -> K2 + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        self.add(name, KEY_SELECT, |node| node.changing_key(), move || SelectKey(Arc::clone(&mapper)))
    }
}

struct SelectKey<F>(Arc<F>);

impl<K, V, K2, F> Processor<K, V, K2, V> for SelectKey<F>
where
    K: Field,
    V: Field,
    K2: Field,
    F: Fn(&K, &V) -> K2 + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K2, V>) -> ProcessResult {
        let key = (self.0)(&record.key, &record.value);
        ctx.forward(record.with_key(key))
    }
}
