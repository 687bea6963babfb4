//! The engine of Kafka Streams for Rust: topologies, tasks, state and commits.
//!
//! Most programs use it through `streams-dsl`, whose prelude re-exports what they need. What is here is the Processor
//! API ([`topology`], [`processor`]), the stores ([`state`]), the running application ([`runtime`]), reading its stores
//! ([`query`]) and the way to test a topology without any of it ([`testing`]).
//!
//! ```text
//! Consumer → RecordQueue → PartitionGroup → StreamTask → processors → stores → RecordCollector → Producer
//!                                                                                  and the committer makes it final
//! ```
//!
//! The engine knows a log only through [`log_store::client`]. It is synchronous: one operating-system thread for each
//! stream thread, which owns its tasks; nothing in the path of a record allocates on the engine's account, takes a lock
//! or reads a clock.

mod config;
mod embedded;
mod error;
mod handler;
mod partitioner;
pub mod processor;
pub mod query;
mod record;
pub mod runtime;
pub mod serde;
pub mod state;
pub mod task;
pub mod testing;
pub mod time;
pub mod topology;
pub mod typed_records;

pub use config::{ProcessingGuarantee, StreamsConfig, StreamsConfigBuilder};
pub use embedded::EmbeddedStreams;
pub use error::{BoxError, Error, Result};
pub use handler::{ExceptionHandler, Handlers, Response};
pub use partitioner::{Partitions, StreamPartitioner, murmur2, partition_of};
pub use record::{Change, Record};
