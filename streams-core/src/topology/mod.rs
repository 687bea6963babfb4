//! The topology: sources, processors, stores and sinks, connected.
//!
//! Nodes are kept in the order in which they are added, parents before children, so that order is already a topological
//! one and a cycle cannot be written down. Adding never fails: every rule is checked at once by
//! [`Topology::validate`], and one report names all that is wrong.

mod builder;
pub(crate) mod copartition;
mod describe;
mod java_order;
pub(crate) mod node;
pub(crate) mod partitions;
pub(crate) mod record_type;
mod sink;
mod source;
pub(crate) mod subtopology;
pub(crate) mod topics;
mod validate;

pub use builder::{ProcessorSupplier, Topology};
pub use describe::TopologyDescription;
pub use sink::{Sink, SinkTopic, TopicNameExtractor};
pub use source::{Source, TopicPattern, Topics};
pub use topics::InternalTopicKind;

#[cfg(test)]
mod tests;
