//! `merge`: two streams as one.

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext},
};

use super::{Field, KStream, write_processor};
use crate::{
    graph::{GraphNode, Step, naming::Given},
    options::Named,
};

/// Also of the node that puts the two sides of a join together.
pub(crate) const MERGE: &str = "KSTREAM-MERGE-";

impl<K: Field, V: Field> KStream<K, V> {
    /// The records of this stream and of `other`. Within each the order stays; between them there is none.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let web = builder.stream::<String, String>("web-orders");
    /// let shop = builder.stream::<String, String>("shop-orders");
    /// web.merge(&shop).to("orders");
    /// ```
    #[must_use]
    pub fn merge(&self, other: &KStream<K, V>) -> KStream<K, V> {
        self.merge_node(&Given(None), other)
    }

    /// As [`KStream::merge`], with a name.
    #[must_use]
    pub fn merge_with(&self, other: &KStream<K, V>, named: Named) -> KStream<K, V> {
        self.merge_node(&named.given(), other)
    }

    fn merge_node(&self, name: &Given, other: &KStream<K, V>) -> KStream<K, V> {
        let mut sources = (*self.place.sources).clone();
        sources.extend(other.place.sources.iter().cloned());
        let mut graph = self.place.graph.lock();
        let name = name.or_generate(&mut graph, MERGE);
        let node = GraphNode::new(name.clone(), Step::Merge, write_processor::<K, V, K, V, _>(|| PassThrough));
        let id = graph.add(node.giving::<K, V>(), &[self.place.node, other.place.node]);
        drop(graph);
        KStream {
            place: self.place.next(id, &name).fed_by(sources),
            // Neither side's serdes need fit the other.
            key_serde: None,
            value_serde: None,
            repartition_required: self.repartition_required || other.repartition_required,
        }
    }
}

/// Passes every record on: where streams come together, and at the head of a branch.
pub(crate) struct PassThrough;

impl<K: Field, V: Field> Processor<K, V, K, V> for PassThrough {
    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, V>) -> ProcessResult {
        ctx.forward(record)
    }
}
