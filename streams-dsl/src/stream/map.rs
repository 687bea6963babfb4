//! `map`: a new key and a new value.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{graph::naming::Given, options::Named};

const MAP: &str = "KSTREAM-MAP-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Replaces each record's key and value with `mapper(key, value)`. Timestamp and headers stay.
    ///
    /// The key may have changed, so the next operator that groups or joins by key repartitions first. If only the value
    /// changes, use [`KStream::map_values`].
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let visits = builder.stream::<String, String>("visits");
    /// let visitors = visits.map(|page, visitor| (visitor, page.len() as i64));
    /// visitors.to("visitors");
    /// ```
    pub fn map<K2: Field, V2: Field, F>(&self, mapper: F) -> KStream<K2, V2>
    where
        F: Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    {
        self.map_node(&Given(None), mapper)
    }

    /// As [`KStream::map`], with a name.
    pub fn map_with<K2: Field, V2: Field, F>(&self, mapper: F, named: Named) -> KStream<K2, V2>
    where
        F: Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    {
        self.map_node(&named.given(), mapper)
    }

    fn map_node<K2: Field, V2: Field, F>(&self, name: &Given, mapper: F) -> KStream<K2, V2>
    where
        F: Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    {
        let mapper = Arc::new(mapper);
        let place = self.add(name, MAP, |node| node.changing_key(), move || Map(Arc::clone(&mapper)));
        Self::with_keys(place, None)
    }
}

struct Map<F>(Arc<F>);

impl<K, V, K2, V2, F> Processor<K, V, K2, V2> for Map<F>
where
    K: Field,
    V: Field,
    K2: Field,
    V2: Field,
    F: Fn(K, V) -> (K2, V2) + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K2, V2>) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        let (key, value) = (self.0)(key, value);
        ctx.forward(Record { key, value, timestamp, headers })
    }
}
