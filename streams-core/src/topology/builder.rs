//! Adding sources, processors, stores and sinks (Kafka's Processor API).

use std::sync::Arc;

use super::{
    node::{Connection, InternalTopic, Node, NodeKind, ProcessorSpec, SinkSpec, SinkTarget, SourceSpec, Store},
    record_type::RecordType,
    sink::{Sink, SinkTopic},
    source::{Source, Topics},
};
use crate::{
    processor::{
        Processor,
        erased::{ErasedProcessor, Typed},
    },
    state::{StateStore, StoreBuilder, TypedStoreBuilder},
};

/// Makes the processor of each task. A closure `|| MyProcessor::default()` is one; a type of yours that implements this
/// trait also brings the stores that its processors use.
pub trait ProcessorSupplier<KIn, VIn, KOut, VOut>: Send + Sync + 'static {
    /// What it makes.
    type Processor: Processor<KIn, VIn, KOut, VOut> + 'static;

    /// A fresh processor. Called once for each task.
    fn get(&self) -> Self::Processor;

    /// Stores to be added and connected together with the processor. Suppliers that share a store answer with clones
    /// of one `Arc`.
    fn stores(&self) -> Vec<Arc<dyn StoreBuilder>> {
        Vec::new()
    }
}

impl<F, P, KIn, VIn, KOut, VOut> ProcessorSupplier<KIn, VIn, KOut, VOut> for F
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Processor<KIn, VIn, KOut, VOut> + 'static,
{
    type Processor = P;

    fn get(&self) -> P {
        self()
    }
}

impl<S: StateStore> From<TypedStoreBuilder<S>> for Arc<dyn StoreBuilder> {
    fn from(store: TypedStoreBuilder<S>) -> Self {
        Arc::new(store)
    }
}

/// A graph of sources, processors, stores and sinks.
///
/// Parents are added before their children. Nothing is refused while adding; [`Topology::validate`] (and starting the
/// application) reports everything that is wrong at once.
///
/// ```
/// use streams_core::{
///     Record,
///     processor::{ProcessResult, Processor, ProcessorContext},
///     topology::{Sink, Source, Topology},
/// };
///
/// struct Shout;
///
/// impl Processor<String, String, String, String> for Shout {
///     fn process(
///         &mut self,
///         record: Record<String, String>,
///         ctx: &mut ProcessorContext<'_, String, String>,
///     ) -> ProcessResult {
///         let loud = record.value.to_uppercase();
///         ctx.forward(record.with_value(loud))
///     }
/// }
///
/// let mut topology = Topology::new();
/// topology
///     .add_source(Source::<String, String>::new("whispers-source", "whispers"))
///     .add_processor("shout", &["whispers-source"], || Shout)
///     .add_sink(Sink::<String, String>::new("shouts-sink", "shouts"), &["shout"]);
/// topology.validate()?;
/// # Ok::<(), streams_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Topology {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stores: Vec<Store>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) internal_topics: Vec<InternalTopic>,
    /// Names of sources whose topics must have the same number of partitions.
    pub(crate) copartitioned: Vec<Vec<String>>,
    /// Names of sources that fill global stores.
    pub(crate) global_sources: Vec<String>,
}

impl Topology {
    /// An empty topology.
    #[must_use]
    pub fn new() -> Self {
        Topology::default()
    }

    /// Adds a source.
    pub fn add_source<K, V>(&mut self, source: Source<K, V>) -> &mut Self
    where
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let name = source.name.as_str().into();
        let spec = SourceSpec {
            topics: source.topics.clone(),
            offset_reset: source.offset_reset,
            output: RecordType::of::<K, V>(),
            make: Arc::new(source),
        };
        self.add_node(name, &[], NodeKind::Source(spec))
    }

    /// Adds a processor after `parents`, and the stores that its supplier brings.
    pub fn add_processor<S, KIn, VIn, KOut, VOut>(
        &mut self,
        name: impl Into<String>,
        parents: &[&str],
        supplier: S,
    ) -> &mut Self
    where
        S: ProcessorSupplier<KIn, VIn, KOut, VOut>,
        KIn: 'static,
        VIn: 'static,
        KOut: 'static,
        VOut: 'static,
    {
        let name = name.into();
        let stores = supplier.stores();
        let spec = ProcessorSpec {
            input: RecordType::of::<KIn, VIn>(),
            output: RecordType::of::<KOut, VOut>(),
            make: Arc::new(move || -> Box<dyn ErasedProcessor> {
                Box::new(Typed::<S::Processor, KIn, VIn, KOut, VOut>::new(supplier.get()))
            }),
        };
        self.add_node(name.as_str().into(), parents, NodeKind::Processor(spec));
        for store in stores {
            self.add_state_store(store, &[&name]);
        }
        self
    }

    /// Adds a sink after `parents`.
    pub fn add_sink<K, V>(&mut self, sink: Sink<K, V>, parents: &[&str]) -> &mut Self
    where
        K: Send + 'static,
        V: Send + 'static,
    {
        let topic = match &sink.topic {
            SinkTopic::Named(topic) => SinkTarget::Named(topic.clone()),
            SinkTopic::Dynamic(extractor) => SinkTarget::Dynamic(extractor.description.clone()),
        };
        let name = sink.name.as_str().into();
        let spec = SinkSpec { topic, input: RecordType::of::<K, V>(), make: Arc::new(sink) };
        self.add_node(name, parents, NodeKind::Sink(spec))
    }

    /// Adds a store for the use of `processors`, which may be none yet. The same store may be added again.
    pub fn add_state_store(&mut self, store: impl Into<Arc<dyn StoreBuilder>>, processors: &[&str]) -> &mut Self {
        let builder = store.into();
        let name = builder.name().to_owned();
        self.add_store(Store { builder, is_global: false });
        for processor in processors {
            self.connect_processor_and_state_stores(processor, &[&name]);
        }
        self
    }

    /// Lets a processor use stores. Processors that share a store are part of one sub-topology.
    pub fn connect_processor_and_state_stores(&mut self, processor: &str, stores: &[&str]) -> &mut Self {
        for store in stores {
            let connection = Connection { processor: processor.to_owned(), store: (*store).to_owned() };
            self.connections.push(connection);
        }
        self
    }

    /// Adds a store that every instance of the application holds completely, and that every processor may read without
    /// being connected. `source` reads its topic, and the processor called `processor` keeps it up to date.
    pub fn add_global_store<S, K, V>(
        &mut self,
        store: impl Into<Arc<dyn StoreBuilder>>,
        source: Source<K, V>,
        processor: impl Into<String>,
        supplier: S,
    ) -> &mut Self
    where
        S: ProcessorSupplier<K, V, (), ()>,
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let builder = store.into();
        let (source_name, processor, store) = (source.name.clone(), processor.into(), builder.name().to_owned());
        self.add_store(Store { builder, is_global: true });
        self.global_sources.push(source_name.clone());
        self.add_source(source).add_processor(processor.as_str(), &[&source_name], supplier);
        self.connections.push(Connection { processor, store });
        self
    }

    /// Adds a store whose source topic is its changelog: nothing else is logged, and a restore reads that topic. The
    /// processor called `processor` keeps it up to date; other processors only read it.
    ///
    /// The source reads one topic by name, with the serdes of the store.
    pub fn add_read_only_state_store<Store, S, K, V>(
        &mut self,
        store: TypedStoreBuilder<Store>,
        source: Source<K, V>,
        processor: impl Into<String>,
        supplier: S,
    ) -> &mut Self
    where
        Store: StateStore,
        S: ProcessorSupplier<K, V, (), ()>,
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let (source_name, processor) = (source.name.clone(), processor.into());
        let store = match &source.topics {
            Topics::Named(topics) if topics.len() == 1 => store.with_source_topic_as_changelog(&topics[0]),
            // Validation asks for one topic.
            _ => store.with_source_topic_as_changelog(""),
        };
        self.add_source(source).add_processor(processor.as_str(), &[&source_name], supplier);
        self.add_state_store(store, &[&processor])
    }

    /// Declares a topic of the application's own, between two of its sub-topologies (`…-repartition`). Sources and sinks
    /// use it by this name; on the log it is called `{application.id}-{name}`. It is created when the application starts,
    /// with `partitions` or, without a count, as many as the topics that feed it have.
    pub fn add_internal_topic(&mut self, name: impl Into<String>, partitions: Option<u32>) -> &mut Self {
        let topic = InternalTopic { name: name.into(), partitions };
        match self.internal_topics.iter_mut().find(|known| known.name == topic.name) {
            Some(known) => known.partitions = topic.partitions,
            None => self.internal_topics.push(topic),
        }
        self
    }

    /// Declares that the topics of these sources must have the same number of partitions, because records of the same
    /// key must meet in one task.
    pub fn copartition_sources(&mut self, sources: &[&str]) -> &mut Self {
        self.copartitioned.push(sources.iter().map(|source| (*source).to_owned()).collect());
        self
    }

    /// Names of the topics that must exist before the application starts: what its sources and sinks name, without the
    /// topics that it makes for itself. Topics of a pattern, and those that are chosen record by record, are not among
    /// them.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        let names = self.nodes.iter().flat_map(|node| match &node.kind {
            NodeKind::Source(SourceSpec { topics: Topics::Named(names), .. }) => names.as_slice(),
            NodeKind::Sink(SinkSpec { topic: SinkTarget::Named(name), .. }) => std::slice::from_ref(name),
            _ => &[],
        });
        let is_own = |name: &str| self.internal_topics.iter().any(|internal| internal.name == name);
        names.map(String::as_str).filter(move |name| !is_own(name))
    }

    fn add_node(&mut self, name: Box<str>, parents: &[&str], kind: NodeKind) -> &mut Self {
        let parents = parents.iter().map(|parent| (*parent).to_owned()).collect();
        self.nodes.push(Node { name, parents, kind });
        self
    }

    /// Adds a store unless it is there already.
    fn add_store(&mut self, store: Store) {
        let is_known = self.stores.iter().any(|known| Arc::ptr_eq(&known.builder, &store.builder));
        if !is_known {
            self.stores.push(store);
        }
    }
}
