//! The embedded log: topics and partitions in a directory.

mod producer_state;
