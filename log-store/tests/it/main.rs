//! Scenarios of the embedded log, in one binary.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod adoption;
mod back_pressure;
mod checkpoint;
mod cleaning;
mod crash;
mod disk;
mod faults;
mod groups;
mod kill;
mod log;
mod records;
mod support;
mod times;
mod transaction_model;
mod transactions;
