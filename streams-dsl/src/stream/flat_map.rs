//! `flat_map`, `flat_map_values`: none, one or many records for each.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{graph::naming::Given, options::Named};

const FLAT_MAP: &str = "KSTREAM-FLATMAP-";
const FLAT_MAP_VALUES: &str = "KSTREAM-FLATMAPVALUES-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Replaces each record with those that `mapper(key, value)` gives, in their order, at the same time.
    ///
    /// The key may have changed, so the next operator that groups or joins by key repartitions first.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, Vec<u8>>("orders");
    /// let bytes = orders.flat_map(|order, items| items.into_iter().map(move |item| (item, order.clone())));
    /// bytes.to("items");
    /// ```
    pub fn flat_map<K2: Field, V2: Field, I, F>(&self, mapper: F) -> KStream<K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
        F: Fn(K, V) -> I + Send + Sync + 'static,
    {
        self.flat_map_node(&Given(None), mapper)
    }

    /// As [`KStream::flat_map`], with a name.
    pub fn flat_map_with<K2: Field, V2: Field, I, F>(&self, mapper: F, named: Named) -> KStream<K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
        F: Fn(K, V) -> I + Send + Sync + 'static,
    {
        self.flat_map_node(&named.given(), mapper)
    }

    fn flat_map_node<K2: Field, V2: Field, I, F>(&self, name: &Given, mapper: F) -> KStream<K2, V2>
    where
        I: IntoIterator<Item = (K2, V2)>,
        F: Fn(K, V) -> I + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let place = self.add(name, FLAT_MAP, |node| node.changing_key(), move || FlatMap(Arc::clone(&mapper)));
        Self::with_keys(place, None)
    }

    /// Replaces each value with those that `mapper(&key, value)` gives, in their order, under the same key and time.
    ///
    /// The key cannot change, so no repartition topic is ever needed after this step.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let lines = builder.stream::<(), String>("lines");
    /// let words =
    ///     lines.flat_map_values(|(), line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    /// words.to("words");
    /// ```
    pub fn flat_map_values<W: Field, I, F>(&self, mapper: F) -> KStream<K, W>
    where
        I: IntoIterator<Item = W>,
        F: Fn(&K, V) -> I + Send + Sync + 'static,
    {
        self.flat_map_values_node(&Given(None), mapper)
    }

    /// As [`KStream::flat_map_values`], with a name.
    pub fn flat_map_values_with<W: Field, I, F>(&self, mapper: F, named: Named) -> KStream<K, W>
    where
        I: IntoIterator<Item = W>,
        F: Fn(&K, V) -> I + Send + Sync + 'static,
    {
        self.flat_map_values_node(&named.given(), mapper)
    }

    fn flat_map_values_node<W: Field, I, F>(&self, name: &Given, mapper: F) -> KStream<K, W>
    where
        I: IntoIterator<Item = W>,
        F: Fn(&K, V) -> I + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let make = move || FlatMapValues(Arc::clone(&mapper));
        self.with_values(self.add(name, FLAT_MAP_VALUES, |node| node.changing_value(), make))
    }
}

struct FlatMap<F>(Arc<F>);

impl<K, V, K2, V2, I, F> Processor<K, V, K2, V2> for FlatMap<F>
where
    K: Field,
    V: Field,
    K2: Field,
    V2: Field,
    I: IntoIterator<Item = (K2, V2)>,
    F: Fn(K, V) -> I + Send + Sync,
{
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K2, V2>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        for (key, value) in (self.0)(key, value) {
            ctx.forward(Record { key, value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}

struct FlatMapValues<F>(Arc<F>);

impl<K, V, W, I, F> Processor<K, V, K, W> for FlatMapValues<F>
where
    K: Field,
    V: Field,
    W: Field,
    I: IntoIterator<Item = W>,
    F: Fn(&K, V) -> I + Send + Sync,
{
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        for value in (self.0)(&key, value) {
            ctx.forward(Record { key: key.clone(), value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}
