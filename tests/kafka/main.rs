//! Apache Kafka as a witness: it reads what we write, we read what it writes, and our programs run on its broker.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[cfg(feature = "kafka")]
mod application;
mod directory;
mod dump_log_segments;
mod embedded_log;
#[cfg(feature = "kafka")]
mod hand_over;
mod read;
#[cfg(feature = "kafka")]
mod word_count;
#[cfg(feature = "kafka")]
mod words;
