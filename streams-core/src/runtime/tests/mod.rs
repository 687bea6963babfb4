//! Applications from start to end, on the embedded log.

mod counting;
mod failing;
mod faulty_log;
mod global;
mod idling;
mod memory;
mod missing_topics;
mod rebalancing;
mod rebuilding;
mod running;
mod zombies;

use std::sync::Arc;

use log_store::{
    client::SharedClient,
    embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory},
};

use crate::ProcessingGuarantee;

/// What scenarios run under.
const GUARANTEES: [ProcessingGuarantee; 2] = [ProcessingGuarantee::AtLeastOnce, ProcessingGuarantee::ExactlyOnceV2];

/// A log without files.
fn log() -> SharedClient {
    Arc::new(EmbeddedLog::open_in(Arc::new(MemoryDirectory::default()), LogConfig::default()).unwrap())
}
