//! Event time, stream time and wall-clock time.

mod clock;
mod extractor;

pub use clock::{Clock, ManualClock, SystemClock};
pub use extractor::{DefaultTimestampExtractor, Extractable, TimestampExtractor};
