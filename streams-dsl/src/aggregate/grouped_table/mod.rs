//! [`KGroupedTable`]: values of a table under another key.

mod aggregate;
mod changed_serde;

use std::sync::{Arc, Mutex, PoisonError};

use aggregate::{Changes, TableAggregate};
pub(crate) use changed_serde::ChangedSerde;
use streams_core::{
    Change,
    serde::{Data, SharedSerde},
    topology::{Sink, Topology},
};

use crate::{
    graph::{Graph, GraphNode, NodeId, Place, Step, TableKind, lower::Wiring, naming},
    options::{Grouped, Materialized},
    stream::repartition::{internal_source, place_behind},
    table::{
        KTable, View,
        materialize::{Kept, StoreSpec, serde_or_default},
    },
};

const AGGREGATE: &str = "KTABLE-AGGREGATE-";
const REDUCE: &str = "KTABLE-REDUCE-";

/// Values of a table, grouped by another key. See [`KTable::group_by`].
#[derive(Clone)]
pub struct KGroupedTable<K, V> {
    place: Place,
    key_serde: Option<SharedSerde<K>>,
    value_serde: Option<SharedSerde<V>>,
    name: Option<String>,
    /// The repartition step that the aggregations of this group share, if the group is named.
    repartition: Arc<Mutex<Option<NodeId>>>,
}

/// Values grouped behind `place`.
pub(crate) fn grouped_table<K, V>(place: Place, grouped: Grouped<K, V>) -> KGroupedTable<K, V> {
    KGroupedTable {
        place,
        key_serde: grouped.key_serde,
        value_serde: grouped.value_serde,
        name: grouped.name,
        repartition: Arc::new(Mutex::new(None)),
    }
}

impl<K: Data, V: Data> KGroupedTable<K, V> {
    /// The number of values in each group.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let addresses = builder.table::<String, String>("city-by-customer");
    /// let customers: KTable<String, i64> =
    ///     addresses.group_by(|customer, city| (city.clone(), customer.clone())).count();
    /// customers.to_stream().to("customers-by-city");
    /// ```
    #[must_use]
    pub fn count(&self) -> KTable<K, i64> {
        self.count_with(Materialized::absent())
    }

    /// As [`KGroupedTable::count`], with a name or a store.
    #[must_use]
    pub fn count_with(&self, options: impl Into<Materialized<K, i64>>) -> KTable<K, i64> {
        let changes = Changes {
            initializer: || 0,
            adder: |_: &K, _: V, count: i64| count + 1,
            subtractor: |_: &K, _: V, count: i64| count - 1,
        };
        self.aggregated(AGGREGATE, options.into(), changes)
    }

    /// Combines the values of each group: the first as it is, `adder(so_far, value)` for one that comes in,
    /// `subtractor(so_far, value)` for one that goes out. A null result deletes the group.
    ///
    /// An update whose old and new value belong to one group subtracts, then adds.
    pub fn reduce<A, S>(&self, adder: A, subtractor: S) -> KTable<K, V>
    where
        A: Fn(V, V) -> V + Send + Sync + 'static,
        S: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.reduce_with(adder, subtractor, Materialized::absent())
    }

    /// As [`KGroupedTable::reduce`], with a name or a store.
    pub fn reduce_with<A, S>(&self, adder: A, subtractor: S, options: impl Into<Materialized<K, V>>) -> KTable<K, V>
    where
        A: Fn(V, V) -> V + Send + Sync + 'static,
        S: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let materialized: Materialized<K, V> = options.into().or_serdes(None, self.value_serde.as_ref());
        self.aggregated_as(REDUCE, materialized, aggregate::Reduced { adder, subtractor })
    }

    /// Folds the values of each group: `initializer()` to begin with, `adder(&key, &value, so_far)` for one that comes
    /// in, `subtractor(&key, &value, so_far)` for one that goes out. A null result deletes the group.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let balances = builder.table::<String, i64>("balances-by-account");
    /// let of_bank = balances.group_by(|account, cents| (account[..4].to_owned(), *cents));
    /// let euros: KTable<String, f64> = of_bank.aggregate(
    ///     || 0.0,
    ///     |_bank, cents, sum| sum + *cents as f64 / 100.0,
    ///     |_bank, cents, sum| sum - *cents as f64 / 100.0,
    /// );
    /// euros.to_stream().to("euros-by-bank");
    /// ```
    pub fn aggregate<T: Data, I, A, S>(&self, initializer: I, adder: A, subtractor: S) -> KTable<K, T>
    where
        I: Fn() -> T + Send + Sync + 'static,
        A: Fn(&K, &V, T) -> T + Send + Sync + 'static,
        S: Fn(&K, &V, T) -> T + Send + Sync + 'static,
    {
        self.aggregate_with(initializer, adder, subtractor, Materialized::absent())
    }

    /// As [`KGroupedTable::aggregate`], with a name or a store.
    pub fn aggregate_with<T: Data, I, A, S>(
        &self,
        initializer: I,
        adder: A,
        subtractor: S,
        options: impl Into<Materialized<K, T>>,
    ) -> KTable<K, T>
    where
        I: Fn() -> T + Send + Sync + 'static,
        A: Fn(&K, &V, T) -> T + Send + Sync + 'static,
        S: Fn(&K, &V, T) -> T + Send + Sync + 'static,
    {
        let changes = Changes {
            initializer,
            adder: move |key: &K, value: V, so_far: T| adder(key, &value, so_far),
            subtractor: move |key: &K, value: V, so_far: T| subtractor(key, &value, so_far),
        };
        self.aggregated(AGGREGATE, options.into(), changes)
    }

    fn aggregated<T: Data, I, A, S>(
        &self,
        function: &str,
        materialized: Materialized<K, T>,
        changes: Changes<I, A, S>,
    ) -> KTable<K, T>
    where
        I: Fn() -> T + Send + Sync + 'static,
        A: Fn(&K, V, T) -> T + Send + Sync + 'static,
        S: Fn(&K, V, T) -> T + Send + Sync + 'static,
    {
        self.aggregated_as(function, materialized, changes)
    }

    fn aggregated_as<T: Data>(
        &self,
        function: &str,
        materialized: Materialized<K, T>,
        changes: impl aggregate::Regroup<K, V, T>,
    ) -> KTable<K, T> {
        let materialized = materialized.or_serdes(self.key_serde.as_ref(), None);
        let (key_serde, value_serde) = (materialized.key_serde.clone(), materialized.value_serde.clone());
        let mut graph = self.place.graph.lock();
        let is_named = materialized.store_name.is_some();
        let history = materialized.history();
        let store = materialized.store_name(&mut graph, AGGREGATE);
        let sink = materialized.processor.suffixed_or_generate(&mut graph, "-sink", naming::SINK);
        let source = materialized.processor.suffixed_or_generate(&mut graph, "-source", naming::SOURCE);
        let name = materialized.processor.or_generate(&mut graph, function);
        let repartition = self.repartition(&mut graph, sink, source, &store);
        drop(graph);
        let parent = place_behind(&self.place, repartition);
        let spec = StoreSpec::new(store.clone(), materialized);
        let changes = Arc::new(changes);
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let (name, changes) = (spec.name.clone(), Arc::clone(&changes));
            let sends_old_values = wiring.sends_old_values();
            topology
                .add_processor::<_, K, Change<V>, K, Change<T>>(wiring.name(), wiring.parents(), move || {
                    TableAggregate { changes: Arc::clone(&changes), kept: Kept::new(&name, sends_old_values) }
                })
                .add_state_store(spec.build(wiring, None), &[wiring.name()]);
        });
        let node = GraphNode::new(name.clone(), Step::Other, write)
            .table(TableKind::Aggregate)
            .versioned(Some(history.is_some()));
        let id = self.place.graph.lock().add(node, &[repartition]);
        let view = View::of_store(&store, history);
        KTable::new(parent.next(id, &name), key_serde, value_serde, is_named.then_some(store), view)
    }

    /// The step that sends changes to the partitions of their groups.
    fn repartition(&self, graph: &mut Graph, sink: String, source: String, store: &str) -> NodeId {
        let mut shared = self.repartition.lock().unwrap_or_else(PoisonError::into_inner);
        let id = match *shared {
            Some(known) if self.name.is_some() => {
                graph.attach(self.place.node, known);
                known
            }
            _ => {
                let prefix = self.name.as_deref().unwrap_or(store);
                let topic = format!("{prefix}{}", naming::REPARTITION_SUFFIX);
                let key = serde_or_default(self.key_serde.as_ref());
                let value: SharedSerde<Change<V>> = Arc::new(ChangedSerde(serde_or_default(self.value_serde.as_ref())));
                let source_name = source.clone();
                let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
                    let out = Sink::with_serdes(&*sink, &*topic, key.clone(), value.clone());
                    topology
                        .add_internal_topic(&*topic, None)
                        .add_sink::<K, Change<V>>(out, wiring.parents())
                        .add_source(internal_source::<K, Change<V>>(&source_name, &topic, key.clone(), value.clone()));
                });
                graph.add(GraphNode::new(source, Step::Other, write), &[self.place.node])
            }
        };
        *shared = Some(id);
        id
    }
}
