//! `join_foreign_key`, `left_join_foreign_key`: each row of one table with the row of another that it names.
//!
//! ```text
//! left table ─ send ─▶ subscription topic ─▶ receive ─ subscriptions ─ look up right value ─┐
//!     ▲                                          │                                          ├─▶ response topic
//!     │                              right table ─ find subscribers of an updated row ──────┘        │
//!     └──────────────────────────── resolve: is the answer still for the current left value? ◀───────┘
//! ```
//!
//! A left row subscribes to the key it names, in the partition of that key. The right side answers at once, and whenever
//! its row changes. An answer carries the hash of the left value it is for; if that has changed meanwhile, another
//! answer is under way and this one is dropped.

mod murmur3;
mod receive;
mod resolve;
mod respond;
mod send;
mod store;
mod wrapper;

use std::sync::Arc;

use receive::Receive;
use resolve::Resolve;
use respond::{AnswerSubscription, AnswerUpdate};
use send::Send as SendSubscriptions;
use store::SubscriptionSpec;
use streams_core::{
    Change, Partitions, StreamPartitioner,
    serde::{Data, SharedSerde},
    topology::{Sink, Source, Topology},
};
use wrapper::{Response, ResponseSerde, Subscription, SubscriptionSerde};

use crate::{
    graph::{Graph, GraphNode, NodeId, Step, TableKind, Write, lower::Wiring, naming::Given},
    options::TableJoined,
    stream::repartition::internal_source,
    table::{
        KTable, View,
        materialize::{StoreSpec, serde_or_default},
        source::{Nullable, TableSource},
    },
};

const REGISTRATION: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-REGISTRATION-";
const RESPONSE: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-";
const PROCESSOR: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-PROCESSOR-";
const RESOLVER: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-RESPONSE-RESOLVER-PROCESSOR-";
const STORE: &str = "KTABLE-FK-JOIN-SUBSCRIPTION-STATE-STORE-";
const OUTPUT: &str = "KTABLE-FK-JOIN-OUTPUT-";
const SINK: &str = "KTABLE-SINK-";
const SOURCE: &str = "KTABLE-SOURCE-";
const TOPIC_SUFFIX: &str = "-topic";

impl<K: Data, V: Data> KTable<K, V> {
    /// The table of `joiner(&key, &value, &other_value)`, where the other value is the one that `other` has under
    /// `extractor(&key, &value)`. Rows that name no key, or one that `other` does not have, are not in the result.
    ///
    /// An update of either table updates the result. The tables need not be partitioned alike: subscriptions and answers
    /// travel through two topics of the application's own. Deletions may be passed on more than once.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.table::<u64, String>("product-by-order");
    /// let products = builder.table::<String, i64>("price-by-product");
    /// let priced = orders.join_foreign_key(
    ///     &products,
    ///     |_order, product| Some(product.clone()),
    ///     |_order, product, cents| format!("{product} for {cents} cents"),
    /// );
    /// priced.to_stream().to("priced-orders");
    /// ```
    pub fn join_foreign_key<KO: Data, VO: Data, W: Data, X, J>(
        &self,
        other: &KTable<KO, VO>,
        extractor: X,
        joiner: J,
    ) -> KTable<K, W>
    where
        X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync + 'static,
        J: Fn(&K, &V, &VO) -> W + std::marker::Send + Sync + 'static,
    {
        self.join_foreign_key_with(other, extractor, joiner, TableJoined::new())
    }

    /// As [`KTable::join_foreign_key`], with a name, partitioners or a store for the result.
    pub fn join_foreign_key_with<KO: Data, VO: Data, W: Data, X, J>(
        &self,
        other: &KTable<KO, VO>,
        extractor: X,
        joiner: J,
        options: impl Into<TableJoined<K, KO, W>>,
    ) -> KTable<K, W>
    where
        X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync + 'static,
        J: Fn(&K, &V, &VO) -> W + std::marker::Send + Sync + 'static,
    {
        let joiner = move |key: &K, value: &V, other: Option<&VO>| {
            joiner(key, value, other.expect("an inner join finds a value before it joins"))
        };
        self.foreign_key_node(other, extractor, joiner, options.into(), false)
    }

    /// As [`KTable::join_foreign_key`]; rows that name no key, or one that `other` does not have, are in the result with
    /// nothing on the right.
    pub fn left_join_foreign_key<KO: Data, VO: Data, W: Data, X, J>(
        &self,
        other: &KTable<KO, VO>,
        extractor: X,
        joiner: J,
    ) -> KTable<K, W>
    where
        X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync + 'static,
        J: Fn(&K, &V, Option<&VO>) -> W + std::marker::Send + Sync + 'static,
    {
        self.left_join_foreign_key_with(other, extractor, joiner, TableJoined::new())
    }

    /// As [`KTable::left_join_foreign_key`], with a name, partitioners or a store for the result.
    pub fn left_join_foreign_key_with<KO: Data, VO: Data, W: Data, X, J>(
        &self,
        other: &KTable<KO, VO>,
        extractor: X,
        joiner: J,
        options: impl Into<TableJoined<K, KO, W>>,
    ) -> KTable<K, W>
    where
        X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync + 'static,
        J: Fn(&K, &V, Option<&VO>) -> W + std::marker::Send + Sync + 'static,
    {
        self.foreign_key_node(other, extractor, joiner, options.into(), true)
    }

    fn foreign_key_node<KO: Data, VO: Data, W: Data, X, J>(
        &self,
        other: &KTable<KO, VO>,
        extractor: X,
        joiner: J,
        joined: TableJoined<K, KO, W>,
        is_left: bool,
    ) -> KTable<K, W>
    where
        X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync + 'static,
        J: Fn(&K, &V, Option<&VO>) -> W + std::marker::Send + Sync + 'static,
    {
        other.demand_old_values();
        self.demand_old_values();
        let serdes = Serdes {
            key: serde_or_default(self.key_serde.as_ref()),
            value: serde_or_default(self.value_serde.as_ref()),
            other_key: serde_or_default(other.key_serde.as_ref()),
            other_value: serde_or_default(other.value_serde.as_ref()),
        };
        let mut graph = self.place.graph.lock();
        let names = Names::new(&mut graph, &Given(joined.name.clone()));
        let materialized = joined.materialized.or_serdes(self.key_serde.as_ref(), None);
        let value_serde = materialized.value_serde.clone();
        let history = materialized.history();
        let is_named = materialized.store_name.is_some();
        let store = materialized.store_name(&mut graph, OUTPUT);
        drop(graph);
        let (this_view, other_view) = (self.lookup(), other.lookup());

        let spec = SubscriptionSpec::new(names.store.clone(), Arc::clone(&serdes.key));
        let mut graph = self.place.graph.lock();
        let send = write_send::<K, V, KO, X>(self.node(), &serdes, Arc::new(extractor), is_left);
        let send = graph.add(GraphNode::new(names.send.clone(), Step::Other, send), &[self.node()]);
        let subscription = write_subscription_topic::<K, KO, V, VO>(&names, &serdes, joined.other_partitioner.as_ref());
        let sink = graph.add(GraphNode::new(names.sink.clone(), Step::Other, subscription.0), &[send]);
        let source = graph.add(GraphNode::new(names.source.clone(), Step::Other, subscription.1), &[sink]);
        let mut sources = (*other.place.sources).clone();
        sources.insert(names.source.clone());
        graph.copartition(sources);

        let receive = write_receive::<K, KO>(&serdes.other_key, &serdes.key, &spec);
        let receive = graph.add(GraphNode::new(names.receive.clone(), Step::Other, receive), &[source]);
        let answer = write_answer_subscription::<K, KO, VO>(other_view);
        let answer = graph.add(GraphNode::new(names.join.clone(), Step::Other, answer), &[receive]);
        let update = write_answer_update::<K, KO, VO>(other.node(), &serdes.other_key, &serdes.key, &spec);
        let update = graph.add(GraphNode::new(names.update.clone(), Step::Other, update), &[other.node()]);

        let response = write_response_topic::<K, KO, V, VO>(&names, &serdes, joined.partitioner.as_ref());
        let response_sink =
            graph.add(GraphNode::new(names.response_sink.clone(), Step::Other, response.0), &[answer, update]);
        let node = GraphNode::new(names.response_source.clone(), Step::Other, response.1);
        let response_source = graph.add(node, &[response_sink]);
        let mut sources = (*self.place.sources).clone();
        sources.insert(names.response_source.clone());
        graph.copartition(sources.clone());

        let resolve = write_resolve::<K, V, VO, W, J>(this_view, &serdes.value, Arc::new(joiner), is_left);
        let node = GraphNode::new(names.resolve.clone(), Step::Other, resolve);
        let resolve = graph.add(node, &[response_source]);
        let result = write_result::<K, W>(StoreSpec::new(store.clone(), materialized));
        let node = GraphNode::new(names.result.clone(), Step::Other, result)
            .table(TableKind::Source { is_named })
            .versioned(Some(history.is_some()));
        let id: NodeId = graph.add(node, &[resolve]);
        drop(graph);
        let place = self.place.next(id, &names.result).fed_by(sources);
        let view = View::of_store(&store, history);
        KTable::new(place, self.key_serde.clone(), value_serde, is_named.then_some(store), view)
    }
}

/// Serdes of both tables.
struct Serdes<K, V, KO, VO> {
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    other_key: SharedSerde<KO>,
    other_value: SharedSerde<VO>,
}

/// Names of the nodes, topics and the store of a join, in the order in which Kafka Streams counts them.
struct Names {
    subscription_topic: String,
    send: String,
    sink: String,
    source: String,
    store: String,
    receive: String,
    join: String,
    update: String,
    response_topic: String,
    response_sink: String,
    response_source: String,
    resolve: String,
    result: String,
}

impl Names {
    fn new(graph: &mut Graph, name: &Given) -> Self {
        let mut next = |suffix: &str, prefix: &str| name.suffixed_or_generate(graph, suffix, prefix);
        Names {
            subscription_topic: next("-subscription-registration", REGISTRATION) + TOPIC_SUFFIX,
            send: next("-subscription-registration-processor", REGISTRATION),
            sink: next("-subscription-registration-sink", SINK),
            source: next("-subscription-registration-source", SOURCE),
            store: next("-subscription-store", STORE),
            receive: next("-subscription-receive", PROCESSOR),
            join: next("-subscription-join-foreign", PROCESSOR),
            update: next("-foreign-join-subscription", PROCESSOR),
            response_topic: next("-subscription-response", RESPONSE) + TOPIC_SUFFIX,
            response_sink: next("-subscription-response-sink", SINK),
            response_source: next("-subscription-response-source", SOURCE),
            resolve: next("-subscription-response-resolver", RESOLVER),
            result: next("-result", OUTPUT),
        }
    }
}

fn write_send<K: Data, V: Data, KO: Data, X>(
    parent: NodeId,
    serdes: &Serdes<K, V, KO, impl Data>,
    extractor: Arc<X>,
    is_left: bool,
) -> Write
where
    X: Fn(&K, &V) -> Option<KO> + std::marker::Send + Sync + 'static,
{
    let (value, other_key) = (Arc::clone(&serdes.value), Arc::clone(&serdes.other_key));
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let versioned = wiring.is_versioned(parent);
        let (value, other_key, extractor) = (Arc::clone(&value), Arc::clone(&other_key), Arc::clone(&extractor));
        topology.add_processor::<_, K, Change<V>, Option<KO>, Subscription<K>>(
            wiring.name(),
            wiring.parents(),
            move || SendSubscriptions {
                extractor: Arc::clone(&extractor),
                value_serde: Arc::clone(&value),
                key_serde: Arc::clone(&other_key),
                is_left,
                versioned,
            },
        );
    })
}

/// The subscription topic: what writes it, and what reads it.
fn write_subscription_topic<K: Data, KO: Data, V: Data, VO: Data>(
    names: &Names,
    serdes: &Serdes<K, V, KO, VO>,
    partitioner: Option<&Arc<dyn StreamPartitioner<KO, ()>>>,
) -> (Write, Write) {
    let topic = names.subscription_topic.clone();
    let key: SharedSerde<Option<KO>> = Arc::new(Nullable(Arc::clone(&serdes.other_key)));
    let value: SharedSerde<Subscription<K>> = Arc::new(SubscriptionSerde(Arc::clone(&serdes.key)));
    let partitioner = partitioner.cloned().map(|inner| -> Arc<dyn StreamPartitioner<Option<KO>, Subscription<K>>> {
        Arc::new(move |topic: &str, key: &Option<KO>, _: &Subscription<K>, count: u32| match key {
            Some(key) => inner.partitions(topic, key, &(), count),
            None => Partitions::Default,
        })
    });
    let (out_topic, out_key, out_value) = (topic.clone(), Arc::clone(&key), Arc::clone(&value));
    let sink: Write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let mut sink = Sink::with_serdes(wiring.name(), &out_topic, Arc::clone(&out_key), Arc::clone(&out_value));
        if let Some(partitioner) = &partitioner {
            sink = sink.with_partitioner(Arc::clone(partitioner));
        }
        topology.add_internal_topic(&*out_topic, None).add_sink(sink, wiring.parents());
    });
    let source: Write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        topology.add_source(internal_source(wiring.name(), &topic, Arc::clone(&key), Arc::clone(&value)));
    });
    (sink, source)
}

fn write_receive<K: Data, KO: Data>(
    other_key: &SharedSerde<KO>,
    key: &SharedSerde<K>,
    spec: &Arc<SubscriptionSpec<K>>,
) -> Write {
    let (other_key, key, spec) = (Arc::clone(other_key), Arc::clone(key), Arc::clone(spec));
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let (other_key, key, name) = (Arc::clone(&other_key), Arc::clone(&key), Arc::<str>::from(spec.name()));
        topology
            .add_processor::<_, Option<KO>, Subscription<K>, Option<KO>, Subscription<K>>(
                wiring.name(),
                wiring.parents(),
                move || Receive::new(&name, Arc::clone(&other_key), Arc::clone(&key)),
            )
            .add_state_store(spec.build(wiring), &[wiring.name()]);
    })
}

fn write_answer_subscription<K: Data, KO: Data, VO: Data>(view: View<KO, VO>) -> Write {
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let getter = Arc::clone(&view.getter);
        let stores: Vec<&str> = view.stores.iter().map(String::as_str).collect();
        topology
            .add_processor::<_, Option<KO>, Subscription<K>, K, Response<VO>>(
                wiring.name(),
                wiring.parents(),
                move || AnswerSubscription { getter: getter() },
            )
            .connect_processor_and_state_stores(wiring.name(), &stores);
    })
}

fn write_answer_update<K: Data, KO: Data, VO: Data>(
    parent: NodeId,
    other_key: &SharedSerde<KO>,
    key: &SharedSerde<K>,
    spec: &Arc<SubscriptionSpec<K>>,
) -> Write {
    let (other_key, key, spec) = (Arc::clone(other_key), Arc::clone(key), Arc::clone(spec));
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let versioned = wiring.is_versioned(parent);
        let (other_key, key, name) = (Arc::clone(&other_key), Arc::clone(&key), Arc::<str>::from(spec.name()));
        topology
            .add_processor::<_, KO, Change<VO>, K, Response<VO>>(wiring.name(), wiring.parents(), move || {
                AnswerUpdate::new(&name, Arc::clone(&other_key), Arc::clone(&key), versioned)
            })
            .add_state_store(spec.build(wiring), &[wiring.name()]);
    })
}

/// The response topic: what writes it, and what reads it.
fn write_response_topic<K: Data, KO: Data, V: Data, VO: Data>(
    names: &Names,
    serdes: &Serdes<K, V, KO, VO>,
    partitioner: Option<&Arc<dyn StreamPartitioner<K, ()>>>,
) -> (Write, Write) {
    let topic = names.response_topic.clone();
    let key = Arc::clone(&serdes.key);
    let value: SharedSerde<Response<VO>> = Arc::new(ResponseSerde(Arc::clone(&serdes.other_value)));
    let partitioner: Arc<dyn StreamPartitioner<K, Response<VO>>> = match partitioner.cloned() {
        Some(inner) => {
            Arc::new(move |topic: &str, key: &K, _: &Response<VO>, count: u32| inner.partitions(topic, key, &(), count))
        }
        // Back to the partition of the left row.
        None => Arc::new(|_: &str, _: &K, response: &Response<VO>, _: u32| {
            response.partition.map_or(Partitions::Default, Partitions::one)
        }),
    };
    let (out_topic, out_key, out_value) = (topic.clone(), Arc::clone(&key), Arc::clone(&value));
    let sink: Write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let sink = Sink::with_serdes(wiring.name(), &out_topic, Arc::clone(&out_key), Arc::clone(&out_value))
            .with_partitioner(Arc::clone(&partitioner));
        topology.add_internal_topic(&*out_topic, None).add_sink(sink, wiring.parents());
    });
    let source: Write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let source: Source<K, Response<VO>> =
            internal_source(wiring.name(), &topic, Arc::clone(&key), Arc::clone(&value));
        topology.add_source(source);
    });
    (sink, source)
}

fn write_resolve<K: Data, V: Data, VO: Data, W: Data, J>(
    view: View<K, V>,
    value: &SharedSerde<V>,
    joiner: Arc<J>,
    is_left: bool,
) -> Write
where
    J: Fn(&K, &V, Option<&VO>) -> W + std::marker::Send + Sync + 'static,
{
    let value = Arc::clone(value);
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let (getter, value, joiner) = (Arc::clone(&view.getter), Arc::clone(&value), Arc::clone(&joiner));
        let stores: Vec<&str> = view.stores.iter().map(String::as_str).collect();
        topology
            .add_processor::<_, K, Response<VO>, K, Option<W>>(wiring.name(), wiring.parents(), move || Resolve {
                getter: getter(),
                value_serde: Arc::clone(&value),
                joiner: Arc::clone(&joiner),
                is_left,
            })
            .connect_processor_and_state_stores(wiring.name(), &stores);
    })
}

fn write_result<K: Data, W: Data>(spec: Arc<StoreSpec<K, W>>) -> Write {
    Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
        let store = wiring.is_materialized().then(|| spec.name.clone());
        let (kept_in, sends_old_values) = (store.clone(), wiring.sends_old_values());
        topology.add_processor(wiring.name(), wiring.parents(), move || {
            TableSource::<K, W>::new(kept_in.as_deref(), sends_old_values)
        });
        if store.is_some() {
            topology.add_state_store(spec.build(wiring, None), &[wiring.name()]);
        }
    })
}
