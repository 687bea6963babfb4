//! Scenarios of the embedded log, in one binary.

mod crash;
mod disk;
mod log;
mod support;
