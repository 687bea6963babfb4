//! The nodes of a topology as they were added: names, types, and what makes a fresh instance for each task.

use std::sync::Arc;

use log_store::client::OffsetReset;

use super::{
    record_type::RecordType,
    sink::{Sink, SinkTopic},
    source::{Source, Topics},
};
use crate::{
    processor::erased::ErasedProcessor,
    state::StoreBuilder,
    task::{
        sink_node::{self, SinkNode},
        source_node::{ErasedSource, SourceNode},
    },
    time::DefaultTimestampExtractor,
};

/// One node, as it was added. Parents are names; [`super::validate`] has checked them before anything is built.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    /// In the order given; a parent named twice sends each record twice.
    pub(crate) parents: Vec<String>,
    pub(crate) kind: NodeKind,
}

/// What a node does.
#[derive(Clone)]
pub(crate) enum NodeKind {
    /// Reads topics.
    Source(SourceSpec),
    /// Transforms records.
    Processor(ProcessorSpec),
    /// Writes a topic.
    Sink(SinkSpec),
}

/// A source of any type.
#[derive(Clone)]
pub(crate) struct SourceSpec {
    pub(crate) topics: Topics,
    pub(crate) offset_reset: Option<OffsetReset>,
    pub(crate) output: RecordType,
    pub(crate) make: Arc<dyn MakeSource>,
}

/// A processor of any type.
#[derive(Clone)]
pub(crate) struct ProcessorSpec {
    pub(crate) input: RecordType,
    pub(crate) output: RecordType,
    pub(crate) make: MakeProcessor,
}

/// Makes a fresh processor.
pub(crate) type MakeProcessor = Arc<dyn Fn() -> Box<dyn ErasedProcessor> + Send + Sync>;

/// A sink of any type.
#[derive(Clone)]
pub(crate) struct SinkSpec {
    pub(crate) topic: SinkTarget,
    pub(crate) input: RecordType,
    pub(crate) make: Arc<dyn MakeSink>,
}

/// Where a sink writes, without its types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SinkTarget {
    /// To one topic, under the name it was given.
    Named(String),
    /// To topics chosen by an extractor that is described like this.
    Dynamic(String),
}

/// Makes the typed ends of a source.
pub(crate) trait MakeSource: Send + Sync {
    /// The entrance for one input partition. `default` gives event times where the source has no extractor of its own.
    fn make(&self, default: DefaultTimestampExtractor) -> Box<dyn ErasedSource>;
}

impl<K, V> MakeSource for Source<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    fn make(&self, default: DefaultTimestampExtractor) -> Box<dyn ErasedSource> {
        let extractor = self.extractor.clone().unwrap_or_else(|| default.into());
        Box::new(SourceNode::new(Arc::clone(&self.key), Arc::clone(&self.value), extractor))
    }
}

/// Makes the typed ends of a sink.
pub(crate) trait MakeSink: Send + Sync {
    /// The exit for one task. `topic` is the full name of its topic, if it has only one.
    fn make(&self, topic: Option<&str>) -> Box<dyn ErasedProcessor>;
}

impl<K: Send + 'static, V: Send + 'static> MakeSink for Sink<K, V> {
    fn make(&self, topic: Option<&str>) -> Box<dyn ErasedProcessor> {
        let target = match (&self.topic, topic) {
            (SinkTopic::Dynamic(extractor), _) => sink_node::SinkTarget::Dynamic(Arc::clone(&extractor.choose)),
            (SinkTopic::Named(_), Some(full)) => sink_node::SinkTarget::Topic(full.to_owned()),
            (SinkTopic::Named(name), None) => sink_node::SinkTarget::Topic(name.clone()),
        };
        let partitioner = self.partitioner.clone();
        Box::new(SinkNode::new(target, Arc::clone(&self.key), Arc::clone(&self.value), partitioner))
    }
}

/// A store, as it was added.
#[derive(Clone)]
pub(crate) struct Store {
    pub(crate) builder: Arc<dyn StoreBuilder>,
    pub(crate) is_global: bool,
}

/// A processor that uses a store, in the order in which the connections were made.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) processor: String,
    pub(crate) store: String,
}

/// A topic that belongs to the application: its name gets the prefix `{application.id}-` when the application runs.
#[derive(Clone, Debug)]
pub(crate) struct InternalTopic {
    pub(crate) name: String,
    /// `None`: as many as the topics it is written from have, or those it is read together with.
    pub(crate) partitions: Option<u32>,
}

impl Node {
    pub(crate) fn source(&self) -> Option<&SourceSpec> {
        match &self.kind {
            NodeKind::Source(source) => Some(source),
            _ => None,
        }
    }

    pub(crate) fn sink(&self) -> Option<&SinkSpec> {
        match &self.kind {
            NodeKind::Sink(sink) => Some(sink),
            _ => None,
        }
    }

    /// Type of the records it forwards; `None` for a sink.
    pub(crate) fn output(&self) -> Option<RecordType> {
        match &self.kind {
            NodeKind::Source(source) => Some(source.output),
            NodeKind::Processor(processor) => Some(processor.output),
            NodeKind::Sink(_) => None,
        }
    }

    /// Type of the records it takes; `None` for a source.
    pub(crate) fn input(&self) -> Option<RecordType> {
        match &self.kind {
            NodeKind::Source(_) => None,
            NodeKind::Processor(processor) => Some(processor.input),
            NodeKind::Sink(sink) => Some(sink.input),
        }
    }
}
