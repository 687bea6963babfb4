//! Joins of streams: with streams, with tables, with global tables.

mod buffer;
mod global_table;
mod lookup;
mod stream_stream;
mod stream_table;
