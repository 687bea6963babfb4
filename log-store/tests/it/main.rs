//! Scenarios of the embedded log, in one binary.

mod crash;
mod disk;
mod groups;
mod log;
mod support;
mod transactions;
