//! `filter`, `filter_not`: only some of the records.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{
    graph::naming::{self, Given},
    options::Named,
};

impl<K: Field, V: Field> KStream<K, V> {
    /// Keeps the records for which `predicate(&key, &value)` is true. Nulls are shown to the predicate like any value.
    ///
    /// Keys stay as they are, so nothing has to be repartitioned after it.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let payments = builder.stream::<String, i64>("payments");
    /// payments.filter(|_card, cents| *cents >= 100_000).to("large-payments");
    /// ```
    pub fn filter<F>(&self, predicate: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(&Given(None), true, predicate)
    }

    /// As [`KStream::filter`], with a name.
    pub fn filter_with<F>(&self, predicate: F, named: Named) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(&named.given(), true, predicate)
    }

    /// Drops the records for which `predicate(&key, &value)` is true.
    pub fn filter_not<F>(&self, predicate: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(&Given(None), false, predicate)
    }

    /// As [`KStream::filter_not`], with a name.
    pub fn filter_not_with<F>(&self, predicate: F, named: Named) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        self.filter_node(&named.given(), false, predicate)
    }

    fn filter_node<F>(&self, name: &Given, keep: bool, predicate: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) -> bool + Send + Sync + 'static,
    {
        let predicate = Arc::new(predicate);
        let make = move || Filter { predicate: Arc::clone(&predicate), keep };
        self.at(self.add(name, naming::FILTER, |node| node, make))
    }
}

struct Filter<F> {
    predicate: Arc<F>,
    /// The answer that lets a record pass.
    keep: bool,
}

impl<K, V, F> Processor<K, V, K, V> for Filter<F>
where
    K: Field,
    V: Field,
    F: Fn(&K, &V) -> bool + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        if (self.predicate)(&record.key, &record.value) == self.keep { ctx.forward(record) } else { Ok(()) }
    }
}
