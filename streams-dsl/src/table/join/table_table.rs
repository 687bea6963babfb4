//! `join`, `left_join`, `outer_join`: the values of one key in two tables.

mod processor;
mod view;

use std::sync::Arc;

use processor::{JoinTable, Merge, Rules};
use streams_core::{Change, serde::Data, topology::Topology};
use view::joined_view;

use crate::{
    graph::{GraphNode, Step, TableKind, lower::Wiring},
    options::Materialized,
    table::{KTable, View, materialize::StoreSpec},
};

const MERGE: &str = "KTABLE-MERGE-";
const JOIN_THIS: &str = "KTABLE-JOINTHIS-";
const JOIN_OTHER: &str = "KTABLE-JOINOTHER-";

/// Which keys are in the result: those in both tables, in the left one, or in either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Inner,
    Left,
    Outer,
}

impl<K: Data, V: Data> KTable<K, V> {
    /// The table of `joiner(&key, &value, &other_value)` for the keys that are in both tables.
    ///
    /// An update of either table updates the result. Both must have the same number of partitions. Their values are
    /// looked up in their stores, which they get if they have none.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let names = builder.table::<String, String>("names");
    /// let emails = builder.table::<String, String>("emails");
    /// let contacts = names.join(&emails, |_id, name, email| format!("{name} <{email}>"));
    /// contacts.to_stream().to("contacts");
    /// ```
    pub fn join<V2: Data, W: Data, J>(&self, other: &KTable<K, V2>, joiner: J) -> KTable<K, W>
    where
        J: Fn(&K, &V, &V2) -> W + Send + Sync + 'static,
    {
        self.join_with(other, joiner, Materialized::absent())
    }

    /// As [`KTable::join`], with a name, or with a store for the result.
    pub fn join_with<V2: Data, W: Data, J>(
        &self,
        other: &KTable<K, V2>,
        joiner: J,
        options: impl Into<Materialized<K, W>>,
    ) -> KTable<K, W>
    where
        J: Fn(&K, &V, &V2) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, this: Option<&V>, other: Option<&V2>| {
            let both = this.zip(other).expect("an inner join has both values");
            joiner(key, both.0, both.1)
        };
        self.join_node(other, joiner, options.into(), Kind::Inner)
    }

    /// The table of `joiner(&key, &value, other_value)` for the keys of this table, with nothing where the other has
    /// none.
    pub fn left_join<V2: Data, W: Data, J>(&self, other: &KTable<K, V2>, joiner: J) -> KTable<K, W>
    where
        J: Fn(&K, &V, Option<&V2>) -> W + Send + Sync + 'static,
    {
        self.left_join_with(other, joiner, Materialized::absent())
    }

    /// As [`KTable::left_join`], with a name, or with a store for the result.
    pub fn left_join_with<V2: Data, W: Data, J>(
        &self,
        other: &KTable<K, V2>,
        joiner: J,
        options: impl Into<Materialized<K, W>>,
    ) -> KTable<K, W>
    where
        J: Fn(&K, &V, Option<&V2>) -> W + Send + Sync + 'static,
    {
        let joiner = move |key: &K, this: Option<&V>, other: Option<&V2>| {
            joiner(key, this.expect("a left join has a left value"), other)
        };
        self.join_node(other, joiner, options.into(), Kind::Left)
    }

    /// The table of `joiner(&key, value, other_value)` for the keys that are in either table, with nothing where one has
    /// none.
    pub fn outer_join<V2: Data, W: Data, J>(&self, other: &KTable<K, V2>, joiner: J) -> KTable<K, W>
    where
        J: Fn(&K, Option<&V>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        self.outer_join_with(other, joiner, Materialized::absent())
    }

    /// As [`KTable::outer_join`], with a name, or with a store for the result.
    pub fn outer_join_with<V2: Data, W: Data, J>(
        &self,
        other: &KTable<K, V2>,
        joiner: J,
        options: impl Into<Materialized<K, W>>,
    ) -> KTable<K, W>
    where
        J: Fn(&K, Option<&V>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        self.join_node(other, joiner, options.into(), Kind::Outer)
    }

    fn join_node<V2: Data, W: Data, J>(
        &self,
        other: &KTable<K, V2>,
        joiner: J,
        materialized: Materialized<K, W>,
        kind: Kind,
    ) -> KTable<K, W>
    where
        J: Fn(&K, Option<&V>, Option<&V2>) -> W + Send + Sync + 'static,
    {
        let joiner = Arc::new(joiner);
        let materialized = materialized.or_serdes(self.key_serde.as_ref(), None);
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let history = materialized.history();
        let mut graph = self.place.graph.lock();
        // Unlike other operators, a join has a store as soon as anything is said about one.
        let store = materialized.is_given().then(|| materialized.store_name(&mut graph, MERGE));
        let named = materialized.processor.clone();
        let merge = named.or_generate(&mut graph, MERGE);
        drop(graph);
        let sources = self.place.copartition_with([&other.place]);
        if kind != Kind::Inner {
            self.demand_old_values();
        }
        if kind == Kind::Outer {
            other.demand_old_values();
        }
        let (this_view, other_view) = (self.lookup(), other.lookup());
        let mut graph = self.place.graph.lock();
        let this_name = named.suffixed_or_generate(&mut graph, "-join-this", JOIN_THIS);
        let other_name = named.suffixed_or_generate(&mut graph, "-join-other", JOIN_OTHER);
        let view = match &store {
            Some(store) => View::of_store(store, history),
            None => joined_view(&this_view, &other_view, Arc::clone(&joiner), kind),
        };
        let spec = store.clone().map(|name| StoreSpec::new(name, materialized));
        let (this_id, other_id) = (self.node(), other.node());
        let (this_place, other_place) = (self.place.name.to_string(), other.place.name.to_string());
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let sends_old_values = wiring.sends_old_values();
            let rules = Rules::of_this(kind, sends_old_values, wiring.is_versioned(this_id));
            let (getter, join) = (Arc::clone(&other_view.getter), Arc::clone(&joiner));
            topology.add_processor::<_, K, Change<V>, K, Change<W>>(&*this_name, &[&this_place], move || {
                let join = Arc::clone(&join);
                let join = move |key: &K, this: Option<&V>, other: Option<&V2>| join(key, this, other);
                JoinTable::new(getter(), join, rules)
            });
            let rules = Rules::of_other(kind, sends_old_values, wiring.is_versioned(other_id));
            let (getter, join) = (Arc::clone(&this_view.getter), Arc::clone(&joiner));
            topology.add_processor::<_, K, Change<V2>, K, Change<W>>(&*other_name, &[&other_place], move || {
                let join = Arc::clone(&join);
                let join = move |key: &K, other: Option<&V2>, this: Option<&V>| join(key, this, other);
                JoinTable::new(getter(), join, rules)
            });
            let kept_in = spec.as_ref().map(|spec| spec.name.clone());
            topology.add_processor::<_, K, Change<W>, K, Change<W>>(
                wiring.name(),
                &[&this_name, &other_name],
                move || Merge::new(kept_in.as_deref(), sends_old_values),
            );
            if let Some(spec) = &spec {
                topology.add_state_store(spec.build(wiring, None), &[wiring.name()]);
            }
            connect(topology, &this_name, &other_view.stores);
            connect(topology, &other_name, &this_view.stores);
        });
        let node = GraphNode::new(merge.clone(), Step::Other, write)
            .table(TableKind::Join { parents: [this_id, other_id] })
            .versioned(Some(history.is_some()));
        let id = graph.add(node, &[this_id, other_id]);
        drop(graph);
        KTable::new(self.place.next(id, &merge).fed_by(sources), key_serde, value_serde, store, view)
    }
}

fn connect(topology: &mut Topology, processor: &str, stores: &[String]) {
    let stores: Vec<&str> = stores.iter().map(String::as_str).collect();
    topology.connect_processor_and_state_stores(processor, &stores);
}
