//! `join_global`, `left_join_global`: each record with the value of a global table.

use std::sync::Arc;

use streams_core::{serde::Data, topology::Topology};

use super::lookup::LookupJoin;
use crate::{
    graph::{GraphNode, Step, lower::Wiring, naming::Given},
    options::Named,
    stream::{Field, KStream},
    table::GlobalKTable,
};

/// Kafka Streams calls inner joins of this kind so too.
const LEFT_JOIN: &str = "KSTREAM-LEFTJOIN-";

impl<K: Data, V: Data> KStream<K, V> {
    /// Joins each record with the value that the global table has under `selector(&key, &value)`. Records without one
    /// are dropped, as are those with a null value or a null selected key.
    ///
    /// Nothing is repartitioned: every instance holds the whole table. Updates of the table give no results.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let rates = builder.global_table::<String, f64>("exchange-rates");
    /// let prices_by_currency = builder.stream::<String, f64>("prices");
    /// let euros = prices_by_currency.join_global(&rates, |currency, _| currency.clone(), |_, price, rate| price * rate);
    /// euros.to("prices-in-euros");
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    pub fn join_global<KG: Data, VG: Data, W: Field, S, J>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: S,
        joiner: J,
    ) -> KStream<K, W>
    where
        S: Fn(&K, &V) -> KG + Send + Sync + 'static,
        J: Fn(&K, &V, &VG) -> W + Send + Sync + 'static,
    {
        self.global_node(&Given(None), table, selector, inner(joiner), false)
    }

    /// As [`KStream::join_global`], with a name.
    pub fn join_global_with<KG: Data, VG: Data, W: Field, S, J>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: S,
        joiner: J,
        named: Named,
    ) -> KStream<K, W>
    where
        S: Fn(&K, &V) -> KG + Send + Sync + 'static,
        J: Fn(&K, &V, &VG) -> W + Send + Sync + 'static,
    {
        self.global_node(&named.given(), table, selector, inner(joiner), false)
    }

    /// Joins each record with the value that the global table has under `selector(&key, &value)`, or with nothing.
    /// Records with a null value are dropped.
    pub fn left_join_global<KG: Data, VG: Data, W: Field, S, J>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: S,
        joiner: J,
    ) -> KStream<K, W>
    where
        S: Fn(&K, &V) -> KG + Send + Sync + 'static,
        J: Fn(&K, &V, Option<&VG>) -> W + Send + Sync + 'static,
    {
        self.global_node(&Given(None), table, selector, joiner, true)
    }

    /// As [`KStream::left_join_global`], with a name.
    pub fn left_join_global_with<KG: Data, VG: Data, W: Field, S, J>(
        &self,
        table: &GlobalKTable<KG, VG>,
        selector: S,
        joiner: J,
        named: Named,
    ) -> KStream<K, W>
    where
        S: Fn(&K, &V) -> KG + Send + Sync + 'static,
        J: Fn(&K, &V, Option<&VG>) -> W + Send + Sync + 'static,
    {
        self.global_node(&named.given(), table, selector, joiner, true)
    }

    fn global_node<KG: Data, VG: Data, W: Field, S, J>(
        &self,
        name: &Given,
        table: &GlobalKTable<KG, VG>,
        selector: S,
        joiner: J,
        is_left: bool,
    ) -> KStream<K, W>
    where
        S: Fn(&K, &V) -> KG + Send + Sync + 'static,
        J: Fn(&K, &V, Option<&VG>) -> W + Send + Sync + 'static,
    {
        let join = LookupJoin {
            getter: Arc::clone(&table.view().getter),
            select: Arc::new(selector),
            joiner: Arc::new(joiner),
            is_left,
        };
        let mut graph = self.place.graph.lock();
        let name = name.or_generate(&mut graph, LEFT_JOIN);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let join = join.clone();
            topology.add_processor::<_, K, V, K, W>(wiring.name(), wiring.parents(), move || join.processor());
        });
        let mut node = GraphNode::new(name.clone(), Step::Other, write).giving::<K, W>();
        node.accepts_null_keys = is_left;
        let id = graph.add(node, &[self.place.node]);
        drop(graph);
        self.with_values(self.place.next(id, &name))
    }
}

/// The joiner of an inner join, which is never asked without a value.
pub(super) fn inner<K, V, VT, W>(
    joiner: impl Fn(&K, &V, &VT) -> W + Send + Sync + 'static,
) -> impl Fn(&K, &V, Option<&VT>) -> W + Send + Sync + 'static {
    move |key: &K, value: &V, table: Option<&VT>| {
        joiner(key, value, table.expect("an inner join finds a value before it joins"))
    }
}
