//! [`StreamsBuilder`]: where a program begins.

use std::{collections::BTreeSet, sync::Arc};

use streams_core::{
    Error, Result,
    processor::Processor,
    serde::{Data, default_serde},
    state::StoreBuilder,
    topology::{Source, TopicPattern, Topics, Topology},
};

use crate::{
    config::TopologyConfig,
    graph::{
        Graph, GraphNode, Place, SharedGraph, Step,
        lower::{Wiring, lower},
        naming::{self, Given},
        node,
        rewrite::rewrite,
    },
    options::{Consumed, Materialized},
    stream::KStream,
    table::{
        GlobalKTable, KTable,
        source::{source_names, table_of_topic},
    },
};

/// Describes a program of streams and tables, and turns it into a [`Topology`].
///
/// ```
/// use streams_dsl::prelude::*;
///
/// let builder = StreamsBuilder::new();
/// builder
///     .stream::<(), String>("lines")
///     .flat_map_values(|(), line| line.split(' ').map(str::to_lowercase).collect::<Vec<_>>())
///     .group_by(|(), word| word.clone())
///     .count_with(Materialized::new("counts"))
///     .to_stream()
///     .to("word-counts");
/// let topology = builder.build()?;
/// # let _ = topology;
/// # Ok::<(), streams_core::Error>(())
/// ```
#[derive(Clone)]
pub struct StreamsBuilder {
    graph: SharedGraph,
    config: TopologyConfig,
}

impl Default for StreamsBuilder {
    fn default() -> Self {
        StreamsBuilder::new()
    }
}

impl StreamsBuilder {
    /// An empty program, with the default settings.
    #[must_use]
    pub fn new() -> Self {
        StreamsBuilder::with_config(TopologyConfig::default())
    }

    /// An empty program.
    #[must_use]
    pub fn with_config(config: TopologyConfig) -> Self {
        StreamsBuilder { graph: SharedGraph::new(), config }
    }

    /// The records of a topic, of several, or of all that match a pattern.
    ///
    /// Two streams of the same topics share one source. Records of several topics come in the order of their times as
    /// far as it is known; within one partition they keep their order.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// let both = builder.stream::<String, i64>(["payments", "refunds"]);
    /// # let _ = (orders, both);
    /// ```
    pub fn stream<K: Data, V: Data>(&self, topics: impl Into<Topics>) -> KStream<K, V> {
        self.stream_with(topics, Consumed::new())
    }

    /// As [`StreamsBuilder::stream`], with a name, serdes, a timestamp extractor or a reset policy.
    pub fn stream_with<K: Data, V: Data>(&self, topics: impl Into<Topics>, consumed: Consumed<K, V>) -> KStream<K, V> {
        let topics = topics.into();
        let (key_serde, value_serde) = (consumed.key_serde.clone(), consumed.value_serde.clone());
        let mut graph = self.graph.lock();
        let name = Given(consumed.name.clone()).or_generate(&mut graph, naming::SOURCE);
        let step = Step::Source(node::Source { topics: listed(&topics), reset: consumed.reset });
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            topology.add_source(source(wiring.name(), topics.clone(), &consumed));
        });
        let node = GraphNode::new(name.clone(), step, write).giving::<K, V>();
        let id = graph.add(node, &[Graph::ROOT]);
        drop(graph);
        KStream {
            place: Place {
                graph: self.graph.clone(),
                node: id,
                sources: Arc::new(BTreeSet::from([name.clone()])),
                name: name.into(),
            },
            key_serde,
            value_serde,
            repartition_required: false,
        }
    }

    /// A topic as a table: each record is an update of its key, a null value deletes it. Records with a null key are
    /// dropped.
    ///
    /// The table is in a store if it is named, or if an operator after it needs one.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let addresses = builder.table::<String, String>("addresses");
    /// # let _ = addresses;
    /// ```
    pub fn table<K: Data, V: Data>(&self, topic: impl Into<String>) -> KTable<K, V> {
        self.table_with(topic, Consumed::new(), Materialized::absent())
    }

    /// As [`StreamsBuilder::table`], with a name, serdes, a timestamp extractor, a reset policy or a store.
    pub fn table_with<K: Data, V: Data>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<K, V> {
        table_of_topic(&self.graph, topic.into(), consumed, materialized.into())
    }

    /// A topic as a table that every instance of the application holds completely, for joins on any key.
    ///
    /// ```
    /// # use streams_dsl::prelude::*;
    /// let builder = StreamsBuilder::new();
    /// let currencies = builder.global_table::<String, f64>("exchange-rates");
    /// # let _ = currencies;
    /// ```
    pub fn global_table<K: Data, V: Data>(&self, topic: impl Into<String>) -> GlobalKTable<K, V> {
        self.global_table_with(topic, Consumed::new(), Materialized::absent())
    }

    /// As [`StreamsBuilder::global_table`], with a name, serdes, a timestamp extractor or a store.
    pub fn global_table_with<K: Data, V: Data>(
        &self,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        materialized: impl Into<Materialized<K, V>>,
    ) -> GlobalKTable<K, V> {
        GlobalKTable::of_topic(&self.graph, topic.into(), consumed, materialized.into())
    }

    /// Adds a store for processors, which name it in [`KStream::process_with`].
    pub fn add_state_store(&self, store: impl Into<Arc<dyn StoreBuilder>>) -> &Self {
        let store = store.into();
        let name = store.name().to_owned();
        let write = Arc::new(move |topology: &mut Topology, _: &Wiring<'_>| {
            topology.add_state_store(Arc::clone(&store), &[]);
        });
        self.graph.lock().add(GraphNode::new(name, Step::Other, write), &[Graph::ROOT]);
        self
    }

    /// Adds a store that every instance of the application holds completely, kept up to date by a processor of yours from
    /// the records of a topic, in all their partitions. Every other processor may read it, without naming it first.
    ///
    /// It has no changelog: after a loss the processor is given the topic again, from its beginning. What it writes must
    /// depend on nothing but the record.
    ///
    /// ```
    /// # use streams_core::{processor::StoreHandle, serde::default_serde, state::KeyValueStore};
    /// # use streams_dsl::prelude::*;
    /// #[derive(Default)]
    /// struct Rates(Option<StoreHandle<KeyValueStore<String, f64>>>);
    ///
    /// impl Processor<String, String, (), ()> for Rates {
    ///     fn init(&mut self, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
    ///         self.0 = Some(ctx.store_handle("rates")?);
    ///         Ok(())
    ///     }
    ///
    ///     fn process(&mut self, record: Record<String, String>, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
    ///         ctx.store(self.0.ok_or("init comes first")?).put(&record.key, record.value.parse()?)?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = StreamsBuilder::new();
    /// let rates = Stores::persistent_key_value_store("rates");
    /// let rates = Stores::key_value_store_builder(rates, default_serde::<String>(), default_serde::<f64>());
    /// builder.add_global_store(rates, "exchange-rates", Consumed::new(), Rates::default);
    /// ```
    pub fn add_global_store<K: Data, V: Data, P>(
        &self,
        store: impl Into<Arc<dyn StoreBuilder>>,
        topic: impl Into<String>,
        consumed: Consumed<K, V>,
        supplier: impl Fn() -> P + Send + Sync + 'static,
    ) -> &Self
    where
        P: Processor<K, V, (), ()> + 'static,
    {
        let (store, topic, supplier) = (store.into(), topic.into(), Arc::new(supplier));
        let mut graph = self.graph.lock();
        let (source_name, name) = source_names(&mut graph, consumed.name.clone());
        let write = Arc::new(move |topology: &mut Topology, wiring: &Wiring<'_>| {
            let (store, supplier) = (Arc::clone(&store), Arc::clone(&supplier));
            topology.add_global_store(
                store,
                source(&source_name, topic.as_str(), &consumed),
                wiring.name(),
                move || supplier(),
            );
        });
        graph.add(GraphNode::new(name, Step::Other, write), &[Graph::ROOT]);
        drop(graph);
        self
    }

    /// The topology of the program so far.
    ///
    /// # Errors
    ///
    /// [`Error::Topology`] with everything in the program that cannot run.
    pub fn build(&self) -> Result<Topology> {
        let mut graph = self.graph.lock().clone();
        let rewrites = rewrite(&mut graph, &self.config);
        let topology = lower(&graph, &rewrites, &self.config);
        let mut violations = graph.violations;
        match topology.validate() {
            Ok(()) => {}
            Err(Error::Topology(more)) => violations.extend(more),
            Err(other) => return Err(other),
        }
        if violations.is_empty() { Ok(topology) } else { Err(Error::Topology(violations)) }
    }
}

fn source<K: Data, V: Data>(name: &str, topics: impl Into<Topics>, consumed: &Consumed<K, V>) -> Source<K, V> {
    let key = consumed.key_serde.clone().unwrap_or_else(default_serde::<K>);
    let value = consumed.value_serde.clone().unwrap_or_else(default_serde::<V>);
    let source = Source::with_serdes(name, topics, key, value).with_timestamp_extractor(consumed.extractor.clone());
    match consumed.reset {
        Some(reset) => source.with_offset_reset(reset),
        None => source,
    }
}

fn listed(topics: &Topics) -> node::Topics {
    match topics {
        Topics::Named(names) => node::Topics::Listed(names.clone()),
        Topics::Pattern(pattern) => node::Topics::Pattern(TopicPattern::as_str(pattern).to_owned()),
    }
}
