//! `process`, `process_values`: processors of your own in a stream.

mod fixed_key;

use std::sync::Arc;

use fixed_key::Fixed;
pub use fixed_key::{FixedKeyContext, FixedKeyProcessor, FixedKeyProcessorSupplier, FixedKeyRecord};
use streams_core::{
    state::StoreBuilder,
    topology::{ProcessorSupplier, Topology},
};

use super::{Field, KStream};
use crate::{
    graph::{GraphNode, Place, Step, lower::Wiring, naming::Given},
    options::Processed,
};

const PROCESSOR: &str = "KSTREAM-PROCESSOR-";
const PROCESS_VALUES: &str = "KSTREAM-PROCESSVALUES-";

impl<K: Field, V: Field> KStream<K, V> {
    /// Sends the records through a processor of your own, with stores and punctuations.
    ///
    /// The key may have changed, so the next operator that groups or joins by key repartitions first. If it cannot
    /// change, use [`KStream::process_values`].
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// /// Passes on every second record.
    /// #[derive(Default)]
    /// struct EverySecond(u64);
    ///
    /// impl Processor<String, i64, String, i64> for EverySecond {
    ///     fn process(
    ///         &mut self,
    ///         record: Record<String, i64>,
    ///         ctx: &mut ProcessorContext<'_, String, i64>,
    ///     ) -> ProcessResult {
    ///         self.0 += 1;
    ///         if self.0 % 2 == 0 { ctx.forward(record) } else { Ok(()) }
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("samples").process(EverySecond::default).to("half-the-samples");
    /// ```
    pub fn process<K2: Field, V2: Field, S>(&self, supplier: S) -> KStream<K2, V2>
    where
        S: ProcessorSupplier<K, V, K2, V2>,
    {
        self.process_with(supplier, Processed::new())
    }

    /// As [`KStream::process`], with a name or stores.
    pub fn process_with<K2: Field, V2: Field, S>(&self, supplier: S, options: impl Into<Processed>) -> KStream<K2, V2>
    where
        S: ProcessorSupplier<K, V, K2, V2>,
    {
        let place = self.process_node(PROCESSOR, options.into(), supplier);
        Self::with_keys(place, None)
    }

    /// Sends the records through a processor of your own that keeps their keys.
    ///
    /// The key cannot change, so no repartition topic is ever needed after this step.
    ///
    /// ```
    /// # use streams_dsl::{FixedKeyContext, FixedKeyProcessor, FixedKeyRecord, prelude::*};
    /// /// Numbers the records.
    /// #[derive(Default)]
    /// struct Number(i64);
    ///
    /// impl FixedKeyProcessor<String, String, i64> for Number {
    ///     fn process(
    ///         &mut self,
    ///         record: FixedKeyRecord<String, String>,
    ///         ctx: &mut FixedKeyContext<'_, '_, String, i64>,
    ///     ) -> ProcessResult {
    ///         self.0 += 1;
    ///         ctx.forward(record.with_value(self.0))
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, String>("orders").process_values(Number::default).to("order-numbers");
    /// ```
    pub fn process_values<W: Field, S>(&self, supplier: S) -> KStream<K, W>
    where
        S: FixedKeyProcessorSupplier<K, V, W>,
    {
        self.process_values_with(supplier, Processed::new())
    }

    /// As [`KStream::process_values`], with a name or stores.
    pub fn process_values_with<W: Field, S>(&self, supplier: S, options: impl Into<Processed>) -> KStream<K, W>
    where
        S: FixedKeyProcessorSupplier<K, V, W>,
    {
        self.with_values(self.process_node(PROCESS_VALUES, options.into(), Fixed(supplier)))
    }

    fn process_node<K2: Field, V2: Field, S>(&self, prefix: &str, options: Processed, supplier: S) -> Place
    where
        S: ProcessorSupplier<K, V, K2, V2>,
    {
        let supplier = Arc::new(supplier);
        let mut graph = self.place.graph.lock();
        // The one operator of Kafka Streams whose given name does not advance the counter.
        let name = match &options.name {
            Some(name) => {
                graph.check_name(name);
                name.clone()
            }
            None => Given(None).or_generate(&mut graph, prefix),
        };
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let stores: Vec<&str> = options.stores.iter().map(String::as_str).collect();
            topology
                .add_processor(wiring.name(), wiring.parents(), Shared(Arc::clone(&supplier)))
                .connect_processor_and_state_stores(wiring.name(), &stores);
        });
        // Not marked as changing key or value, as in Kafka Streams by default: `merge.repartition.topics` looks past it.
        let node = GraphNode::new(name.clone(), Step::Other, write).giving::<K2, V2>();
        let id = graph.add(node, &[self.place.node]);
        drop(graph);
        self.place.next(id, &name)
    }
}

/// A supplier that several topologies share.
struct Shared<S>(Arc<S>);

impl<S, K, V, K2, V2> ProcessorSupplier<K, V, K2, V2> for Shared<S>
where
    S: ProcessorSupplier<K, V, K2, V2>,
{
    type Processor = S::Processor;

    fn get(&self) -> S::Processor {
        self.0.get()
    }

    fn stores(&self) -> Vec<Arc<dyn StoreBuilder>> {
        self.0.stores()
    }
}
