//! Cleaning: old segments go, and compacted topics keep the last value of each key.
//!
//! `retention` and `plan` choose, `compaction` says what is left of a batch, `rewrite` carries it through for one
//! partition, and `worker` is the only one that begins anything.

mod compaction;
mod keys;
mod plan;
mod retention;
mod rewrite;
mod throttle;
mod transactions;
mod worker;

pub use worker::CleanReport;
pub(crate) use {
    compaction::LastOfProducer,
    retention::SegmentFacts,
    worker::{Cleaner, start},
};
