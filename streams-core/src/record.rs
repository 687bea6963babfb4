//! The typed record that travels through a topology.

use log_store::Headers;

/// One record between two nodes of a topology.
///
/// Keys and values move along a chain; they are cloned only where a node has several children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<K, V> {
    /// Key. `Option<K>` where it may be null.
    pub key: K,
    /// Value. `Option<V>` where it may be null.
    pub value: V,
    /// Event time, in milliseconds since 1970. Never negative inside a topology.
    pub timestamp: i64,
    /// Headers, passed through by stateless operators.
    pub headers: Headers,
}

impl<K, V> Record<K, V> {
    /// A record without headers.
    pub fn new(key: K, value: V, timestamp: i64) -> Self {
        Record { key, value, timestamp, headers: Headers::new() }
    }

    /// The same record under another key.
    pub fn with_key<K2>(self, key: K2) -> Record<K2, V> {
        Record { key, value: self.value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record with another value.
    pub fn with_value<V2>(self, value: V2) -> Record<K, V2> {
        Record { key: self.key, value, timestamp: self.timestamp, headers: self.headers }
    }

    /// The same record at another time.
    #[must_use]
    pub fn with_timestamp(self, timestamp: i64) -> Self {
        Record { timestamp, ..self }
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Record { headers, ..self }
    }
}

/// What changed in a table: the record type of edges between table operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<V> {
    /// The value now; `None` is a deletion.
    pub new: Option<V>,
    /// The value before, where something downstream needs it; else `None`.
    pub old: Option<V>,
    /// False for an update of a versioned table that is older than the newest value of its key.
    pub is_latest: bool,
}

impl<V> Change<V> {
    /// An update that is the newest of its key.
    pub fn new(new: Option<V>, old: Option<V>) -> Self {
        Change { new, old, is_latest: true }
    }
}
