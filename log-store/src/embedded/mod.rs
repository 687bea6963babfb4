//! The embedded log: topics and partitions in a directory.

mod group;
mod producer_state;
mod transaction;
