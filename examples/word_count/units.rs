//! The unit tests of the example, as a target of their own.

#![allow(dead_code, reason = "the program that uses all of this is not here")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod feed;
mod input;
mod lines;
mod progress;
mod topics;
mod topology;
mod unfinished;
