//! Kafka Streams for Rust: a typed language that becomes a topology.
