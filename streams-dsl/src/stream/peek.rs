//! `peek`: a look at each record in passing.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{graph::naming::Given, options::Named};

const PEEK: &str = "KSTREAM-PEEK-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Shows each record to `action` and passes it on.
    ///
    /// After a failure records may be shown again: what `action` does outside is done at least once.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// orders.peek(|order, item| println!("{order}: {item}")).to("seen-orders");
    /// ```
    pub fn peek<F>(&self, action: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        self.peek_node(&Given(None), action)
    }

    /// As [`KStream::peek`], with a name.
    pub fn peek_with<F>(&self, action: F, named: Named) -> KStream<K, V>
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        self.peek_node(&named.given(), action)
    }

    fn peek_node<F>(&self, name: &Given, action: F) -> KStream<K, V>
    where
        F: Fn(&K, &V) + Send + Sync + 'static,
    {
        let action = Arc::new(action);
        self.at(self.add(name, PEEK, |node| node, move || Peek(Arc::clone(&action))))
    }
}

struct Peek<F>(Arc<F>);

impl<K, V, F> Processor<K, V, K, V> for Peek<F>
where
    K: Field,
    V: Field,
    F: Fn(&K, &V) + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        (self.0)(&record.key, &record.value);
        ctx.forward(record)
    }
}
