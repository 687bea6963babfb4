//! `to_table`: a stream as the updates of a table.

use std::sync::Arc;

use streams_core::{serde::Data, topology::Topology};

use super::{
    KStream,
    repartition::{Serdes, add_repartition, place_behind},
};
use crate::{
    graph::{GraphNode, Step, TableKind, lower::Wiring},
    options::Materialized,
    table::{
        KTable, View,
        materialize::StoreSpec,
        source::{StreamToTable, TableSource},
    },
};

const TO_TABLE: &str = "KSTREAM-TOTABLE-";

impl<K: Data, V: Data> KStream<K, V> {
    /// The table of the latest values: each record is an update of its key, a null value deletes it. Records with a null
    /// key are dropped.
    ///
    /// Repartitions first if the key may have changed. The table is in a store if it is named, or if an operator after it
    /// needs one.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let changes = builder.stream::<String, Option<String>>("address-changes");
    /// let addresses = changes.to_table_with(Materialized::new("addresses"));
    /// # let _ = addresses;
    /// ```
    #[must_use]
    pub fn to_table(&self) -> KTable<K, V> {
        self.to_table_with(Materialized::absent())
    }

    /// As [`KStream::to_table`], with a name or a store.
    #[must_use]
    pub fn to_table_with(&self, options: impl Into<Materialized<K, V>>) -> KTable<K, V> {
        let materialized: Materialized<K, V> =
            options.into().or_serdes(self.key_serde.as_ref(), self.value_serde.as_ref());
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let mut graph = self.place.graph.lock();
        let name = materialized.processor.or_generate(&mut graph, TO_TABLE);
        let is_named = materialized.store_name.is_some();
        let processor_is_named = materialized.processor.0.is_some();
        let history = materialized.history();
        let store = materialized.store_name(&mut graph, TO_TABLE);
        let mut parent = self.place.clone();
        if self.repartition_required {
            let serdes = Serdes { key: key_serde.clone(), value: value_serde.clone() };
            let id = add_repartition(&mut graph, self.place.node, serdes, &name, processor_is_named);
            drop(graph);
            parent = place_behind(&self.place, id);
            graph = self.place.graph.lock();
        }
        let spec = StoreSpec::new(store.clone(), materialized);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let store = wiring.is_materialized().then(|| spec.name.clone());
            let (kept_in, sends_old_values) = (store.clone(), wiring.sends_old_values());
            topology.add_processor(wiring.name(), wiring.parents(), move || {
                StreamToTable(TableSource::<K, V>::new(kept_in.as_deref(), sends_old_values))
            });
            if store.is_some() {
                topology.add_state_store(spec.build(wiring, None), &[wiring.name()]);
            }
        });
        let node = GraphNode::new(name.clone(), Step::Other, write)
            .table(TableKind::Source { is_named })
            .versioned(Some(history.is_some()));
        let id = graph.add(node, &[parent.node]);
        drop(graph);
        let view = View::of_store(&store, history);
        KTable::new(parent.next(id, &name), key_serde, value_serde, is_named.then_some(store), view)
    }
}
