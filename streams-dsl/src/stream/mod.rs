//! [`KStream`]: a stream of records, each a fact of its own.

mod branch;
mod distinct;
mod expire;
mod filter;
mod flat_map;
mod for_each;
mod group;
mod join;
mod map;
mod map_values;
pub(crate) mod merge;
mod peek;
mod print;
mod process;
pub(crate) mod repartition;
mod select_key;
mod to;
mod to_table;

use std::sync::Arc;

pub use branch::BranchedKStream;
pub use process::{FixedKeyContext, FixedKeyProcessor, FixedKeyProcessorSupplier, FixedKeyRecord};
use streams_core::{processor::Processor, serde::SharedSerde, topology::Topology};

use crate::graph::{GraphNode, Place, Step, Write, lower::Wiring, naming::Given};

/// What a key or a value must be to travel through a topology: the bytes in topics and stores need
/// [`Data`](streams_core::serde::Data) on top.
pub trait Field: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Field for T {}

/// A stream of records: each one is a fact, not an update of an earlier one.
///
/// A handle on a place in the program; clones stand at the same place. Operators do nothing by themselves, they add to
/// the program that [`StreamsBuilder::build`](crate::StreamsBuilder::build) turns into a topology.
pub struct KStream<K, V> {
    pub(crate) place: Place,
    pub(crate) key_serde: Option<SharedSerde<K>>,
    pub(crate) value_serde: Option<SharedSerde<V>>,
    /// The key may have changed: records are not where their key belongs, and the next operator that groups or joins
    /// by key sends them through a repartition topic first.
    pub(crate) repartition_required: bool,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        KStream {
            place: self.place.clone(),
            key_serde: self.key_serde.clone(),
            value_serde: self.value_serde.clone(),
            repartition_required: self.repartition_required,
        }
    }
}

impl<K: Field, V: Field> KStream<K, V> {
    /// Adds a node below this one: its name, what it is, and what makes its processor.
    pub(crate) fn add<K2: Field, V2: Field, P>(
        &self,
        name: &Given,
        prefix: &str,
        shape: impl FnOnce(GraphNode) -> GraphNode,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Place
    where
        P: Processor<K, V, K2, V2> + 'static,
    {
        let mut graph = self.place.graph.lock();
        let name = name.or_generate(&mut graph, prefix);
        let node = GraphNode::new(name.clone(), Step::Other, write_processor(make)).giving::<K2, V2>();
        let id = graph.add(shape(node), &[self.place.node]);
        drop(graph);
        self.place.next(id, &name)
    }

    /// A stream further down, of the same types.
    pub(crate) fn at(&self, place: Place) -> Self {
        KStream { place, ..self.clone() }
    }

    /// A stream further down with the same keys and other values.
    pub(crate) fn with_values<W>(&self, place: Place) -> KStream<K, W> {
        KStream {
            place,
            key_serde: self.key_serde.clone(),
            value_serde: None,
            repartition_required: self.repartition_required,
        }
    }

    /// A stream further down with other keys.
    pub(crate) fn with_keys<K2, V2>(place: Place, value_serde: Option<SharedSerde<V2>>) -> KStream<K2, V2> {
        KStream { place, key_serde: None, value_serde, repartition_required: true }
    }
}

/// Writes one processor below the parents of its node.
pub(crate) fn write_processor<K, V, K2, V2, P>(make: impl Fn() -> P + Send + Sync + 'static) -> Write
where
    K: Field,
    V: Field,
    K2: Field,
    V2: Field,
    P: Processor<K, V, K2, V2> + 'static,
{
    let make = Arc::new(make);
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let make = Arc::clone(&make);
        topology.add_processor(wiring.name(), wiring.parents(), move || make());
    })
}
