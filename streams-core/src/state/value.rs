//! What lies in a row: the value alone, or with its time and headers.

use log_store::Headers;

/// A value with the time of the record that made it. Under `dsl.store.format=HEADERS` also with that record's headers;
/// under the default format headers are not kept, and empty when read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueAndTimestamp<V> {
    /// The value.
    pub value: V,
    /// Event time in milliseconds.
    pub timestamp: i64,
    /// Headers of the record that made the value.
    pub headers: Headers,
}

impl<V> ValueAndTimestamp<V> {
    /// A value without headers.
    pub fn new(value: V, timestamp: i64) -> Self {
        ValueAndTimestamp { value, timestamp, headers: Headers::new() }
    }
}
