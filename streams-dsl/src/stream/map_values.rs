//! `map_values`: a new value under the same key.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{graph::naming::Given, options::Named};

const MAP_VALUES: &str = "KSTREAM-MAPVALUES-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Replaces each value with `mapper(&key, value)`. Key, timestamp, headers and order stay.
    ///
    /// The key cannot change, so no repartition topic is ever needed after this step.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks");
    /// let lengths = clicks.map_values(|_user, page| page.len() as i64);
    /// lengths.to("lengths");
    /// ```
    pub fn map_values<W: Field, F>(&self, mapper: F) -> KStream<K, W>
    where
        F: Fn(&K, V) -> W + Send + Sync + 'static,
    {
        self.map_values_node(&Given(None), mapper)
    }

    /// As [`KStream::map_values`], with a name.
    pub fn map_values_with<W: Field, F>(&self, mapper: F, named: Named) -> KStream<K, W>
    where
        F: Fn(&K, V) -> W + Send + Sync + 'static,
    {
        self.map_values_node(&named.given(), mapper)
    }

    fn map_values_node<W: Field, F>(&self, name: &Given, mapper: F) -> KStream<K, W>
    where
        F: Fn(&K, V) -> W + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let make = move || MapValues(Arc::clone(&mapper));
        self.with_values(self.add(name, MAP_VALUES, |node| node.changing_value(), make))
    }
}

struct MapValues<F>(Arc<F>);

impl<K, V, W, F> Processor<K, V, K, W> for MapValues<F>
where
    K: Field,
    V: Field,
    W: Field,
    F: Fn(&K, V) -> W + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        let value = (self.0)(&key, value);
        ctx.forward(Record { key, value, timestamp, headers })
    }
}
