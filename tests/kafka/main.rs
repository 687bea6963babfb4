//! Apache Kafka as a witness: it reads what we write, and we read what it writes.

mod dump_log_segments;
mod read;
