//! The embedded log: topics and partitions in a directory, in one process, without a broker.
//!
//! [`EmbeddedLog`] is the whole of it; the files are Apache Kafka's, byte for byte.

mod admin;
mod checkpointer;
mod cleaner;
mod config;
mod consumer;
mod consumer_watch;
mod group;
pub mod inspect;
mod log;
mod log_checkpoints;
mod log_shared;
mod partition;
mod producer;
mod producer_state;
mod segment;
pub mod storage;
mod sync;
mod topics;
mod topics_file;
mod transaction;

pub use cleaner::CleanReport;
pub use config::{Durability, LogConfig};
pub use log::EmbeddedLog;
