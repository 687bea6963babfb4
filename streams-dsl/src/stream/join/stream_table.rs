//! `join_table`, `left_join_table`: each record with the value of its key in a table.

use std::{sync::Arc, time::Duration};

use streams_core::{serde::Data, topology::Topology};

use super::{
    buffer::{BufferSpec, BufferedLookup},
    global_table::inner,
    lookup::LookupJoin,
};
use crate::{
    graph::{Generated, GraphNode, Step, lower::Wiring, naming::Given},
    options::Joined,
    stream::{Field, KStream, repartition::Serdes},
    table::KTable,
    window::millis,
};

const JOIN: &str = "KSTREAM-JOIN-";
const LEFT_JOIN: &str = "KSTREAM-LEFTJOIN-";

impl<K: Data, V: Data> KStream<K, V> {
    /// Joins each record with the value that the table has under its key now. Records without one are dropped, as are
    /// those with a null key or value.
    ///
    /// Repartitions first if the key may have changed; stream and table must have the same number of partitions. Updates
    /// of the table give no results. If the table is versioned, the value is the one at the record's time.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let regions = builder.table::<String, String>("region-by-user");
    /// let views = builder.stream::<String, String>("page-views");
    /// let with_region = views.join_table(&regions, |_user, page, region| format!("{page} from {region}"));
    /// with_region.to("page-views-by-region");
    /// ```
    pub fn join_table<VT: Data, W: Field, J>(&self, table: &KTable<K, VT>, joiner: J) -> KStream<K, W>
    where
        J: Fn(&K, &V, &VT) -> W + Send + Sync + 'static,
    {
        self.table_node(table, inner(joiner), Joined::new(), false)
    }

    /// As [`KStream::join_table`], with a name, serdes or a grace period.
    pub fn join_table_with<VT: Data, W: Field, J>(
        &self,
        table: &KTable<K, VT>,
        joiner: J,
        joined: Joined<K, V>,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, &VT) -> W + Send + Sync + 'static,
    {
        self.table_node(table, inner(joiner), joined, false)
    }

    /// Joins each record with the value that the table has under its key now, or with nothing. Records with a null value
    /// are dropped; those with a null key find nothing.
    pub fn left_join_table<VT: Data, W: Field, J>(&self, table: &KTable<K, VT>, joiner: J) -> KStream<K, W>
    where
        J: Fn(&K, &V, Option<&VT>) -> W + Send + Sync + 'static,
    {
        self.table_node(table, joiner, Joined::new(), true)
    }

    /// As [`KStream::left_join_table`], with a name, serdes or a grace period.
    pub fn left_join_table_with<VT: Data, W: Field, J>(
        &self,
        table: &KTable<K, VT>,
        joiner: J,
        joined: Joined<K, V>,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, Option<&VT>) -> W + Send + Sync + 'static,
    {
        self.table_node(table, joiner, joined, true)
    }

    fn table_node<VT: Data, W: Field, J>(
        &self,
        table: &KTable<K, VT>,
        joiner: J,
        joined: Joined<K, V>,
        is_left: bool,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, Option<&VT>) -> W + Send + Sync + 'static,
    {
        let serdes = Serdes { key: joined.key_serde.clone(), value: joined.value_serde.clone() };
        if self.repartition_required {
            let prefix = joined.name.clone().unwrap_or_else(|| self.place.name.to_string());
            let partitioned = self.repartition_for_join(&prefix, joined.name.is_some(), serdes);
            return partitioned.partitioned_table_node(table, joiner, joined, is_left);
        }
        self.partitioned_table_node(table, joiner, joined, is_left)
    }

    fn partitioned_table_node<VT: Data, W: Field, J>(
        &self,
        table: &KTable<K, VT>,
        joiner: J,
        joined: Joined<K, V>,
        is_left: bool,
    ) -> KStream<K, W>
    where
        J: Fn(&K, &V, Option<&VT>) -> W + Send + Sync + 'static,
    {
        let serdes = Serdes { key: joined.key_serde.clone(), value: joined.value_serde.clone() }.or(self);
        let key_serde = serdes.key.clone();
        let sources = self.place.copartition_with([&table.place]);
        let mut graph = self.place.graph.lock();
        let name = Given(joined.name.clone()).or_generate(&mut graph, if is_left { LEFT_JOIN } else { JOIN });
        let buffer = joined.grace.map(|grace| {
            let store = format!("{name}-Buffer");
            if joined.name.is_none() {
                graph.generated.push(Generated::Changelog(format!("{store}-changelog")));
                graph.generated.push(Generated::Store(store.clone()));
            }
            check_grace(&mut graph, table, grace, &name);
            BufferSpec::new(store, serdes, millis(grace))
        });
        drop(graph);
        let view = table.lookup();
        let join = LookupJoin {
            getter: view.getter,
            select: Arc::new(|key: &K, _: &V| key.clone()),
            joiner: Arc::new(joiner),
            is_left,
        };
        let stores = view.stores;
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let (join, name) = (join.clone(), wiring.name());
            match &buffer {
                None => {
                    topology.add_processor::<_, K, V, K, W>(name, wiring.parents(), move || join.processor());
                }
                Some(spec) => {
                    let buffer = Arc::clone(spec);
                    topology
                        .add_processor::<_, K, V, K, W>(name, wiring.parents(), move || {
                            BufferedLookup::new(join.processor(), &buffer)
                        })
                        .add_state_store(spec.build(wiring), &[name]);
                }
            }
            let stores: Vec<&str> = stores.iter().map(String::as_str).collect();
            topology.connect_processor_and_state_stores(name, &stores);
        });
        let mut node = GraphNode::new(name.clone(), Step::Other, write).giving::<K, W>();
        node.accepts_null_keys = is_left;
        let id = self.place.graph.lock().add(node, &[self.place.node]);
        KStream {
            place: self.place.next(id, &name).fed_by(sources),
            key_serde,
            value_serde: None,
            repartition_required: false,
        }
    }
}

/// A grace period needs a table that remembers earlier values for at least as long.
fn check_grace<K: Data, VT: Data>(graph: &mut crate::graph::Graph, table: &KTable<K, VT>, grace: Duration, name: &str) {
    match table.history(graph) {
        None => graph.refuse(format!("{name}: a grace period needs a versioned table")),
        Some(history) if history < grace => graph.refuse(format!(
            "{name}: the table's history of {history:?} is shorter than the grace period of {grace:?}"
        )),
        Some(_) => {}
    }
}
