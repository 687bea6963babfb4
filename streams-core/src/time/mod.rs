//! Event time, stream time and wall-clock time.

mod extractor;

pub use extractor::{DefaultTimestampExtractor, Extractable, TimestampExtractor};
pub use log_store::clock::{Clock, ManualClock, SystemClock};
