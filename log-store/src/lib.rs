//! Topics and partitions on local disk, in Apache Kafka's own file format.

pub mod batch;
pub mod client;
mod config;
pub mod embedded;
mod error;
mod partitioner;
mod position;
mod record;
mod topic;

pub use config::{CleanupPolicy, TopicConfig};
pub use error::{Error, ErrorKind, Result};
pub use partitioner::{murmur2, partition_of};
pub use position::Offset;
pub use record::{Header, Headers, HeadersView, NO_TIMESTAMP, RecordView};
pub use topic::{TopicName, TopicPartition};
