//! The engine of Kafka Streams for Rust.

mod config;
mod error;
mod handler;
mod partitioner;
pub mod processor;
mod record;
pub mod runtime;
pub mod serde;
pub mod state;
pub mod task;
pub mod testing;
pub mod time;
pub mod topology;

pub use config::{ProcessingGuarantee, StreamsConfig, StreamsConfigBuilder};
pub use error::{BoxError, Error, Result};
pub use handler::{ExceptionHandler, Handlers, Response};
pub use partitioner::{Partitions, StreamPartitioner, murmur2, partition_of};
pub use record::{Change, Record};
