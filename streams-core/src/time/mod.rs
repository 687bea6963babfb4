//! Event time, stream time and wall-clock time.

mod extractor;

pub use extractor::{DefaultTimestampExtractor, Extractable, TimestampExtractor};
