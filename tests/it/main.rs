//! Scenarios across crates, in one binary.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod data;
mod examples;
mod faults;
mod fraud_detection;
mod interrupt;
mod kill;
mod queries;
mod rest;
mod standby;
mod text;
mod word_count;
