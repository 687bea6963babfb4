//! Cleaning: old segments go, and compacted topics keep the last value of each key.

mod compaction;
mod keys;
mod plan;
mod retention;
mod transactions;
