//! Scenarios across crates, in one binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kill;
mod word_count;
