//! Apache Kafka as a witness: it reads what we write, and we read what it writes.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod directory;
mod dump_log_segments;
mod embedded_log;
mod read;
