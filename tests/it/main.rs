//! Scenarios across crates, in one binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fraud_detection;
mod kill;
mod queries;
mod word_count;
