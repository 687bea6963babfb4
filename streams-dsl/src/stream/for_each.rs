//! `for_each`: the end of a stream, in your own code.

use std::sync::Arc;

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream};
use crate::{graph::naming::Given, options::Named};

const FOR_EACH: &str = "KSTREAM-FOREACH-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Ends the stream: each record goes to `action`.
    ///
    /// After a failure records may come again: what `action` does outside is done at least once.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("orders").for_each(|order, item| println!("{order}: {item}"));
    /// ```
    pub fn for_each<F>(&self, action: F)
    where
        F: Fn(K, V) + Send + Sync + 'static,
    {
        self.for_each_node(&Given(None), action);
    }

    /// As [`KStream::for_each`], with a name.
    pub fn for_each_with<F>(&self, action: F, named: Named)
    where
        F: Fn(K, V) + Send + Sync + 'static,
    {
        self.for_each_node(&named.given(), action);
    }

    fn for_each_node<F>(&self, name: &Given, action: F)
    where
        F: Fn(K, V) + Send + Sync + 'static,
    {
        let action = Arc::new(action);
        self.add::<(), (), _>(name, FOR_EACH, |node| node, move || ForEach(Arc::clone(&action)));
    }
}

struct ForEach<F>(Arc<F>);

impl<K, V, F> Processor<K, V, (), ()> for ForEach<F>
where
    K: Field,
    V: Field,
    F: Fn(K, V) + Send + Sync,
{
    #[inline]
    fn process(&mut self, record: Record<K, V>, _ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        (self.0)(record.key, record.value);
        Ok(())
    }
}
