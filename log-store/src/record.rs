//! One record: key, value, time and headers, borrowed or owned.

use std::sync::Arc;

use bytes::Bytes;

use crate::batch::varint;

/// Timestamp of a record that has none.
pub const NO_TIMESTAMP: i64 = -1;

/// One header. Keys may repeat, and their order is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name.
    pub key: String,
    /// Value; Kafka allows null.
    pub value: Option<Bytes>,
}

/// The headers of a record. Empty costs nothing; a clone is one reference count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

impl Headers {
    /// No headers.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Headers(None)
    }

    /// True if there is none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// True if both are one list in memory (or both are empty): a cheap test that may answer no for equal headers.
    #[must_use]
    #[inline]
    pub fn is_same(&self, other: &Headers) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// All of them, in order.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[Header] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Adds one at the end.
    pub fn add(&mut self, key: impl Into<String>, value: Option<Bytes>) {
        let list = self.0.get_or_insert_default();
        Arc::make_mut(list).push(Header { key: key.into(), value });
    }

    /// Removes every header called `key`.
    pub fn remove(&mut self, key: &str) {
        if self.as_slice().iter().any(|header| header.key == key) {
            let list = self.0.get_or_insert_default();
            Arc::make_mut(list).retain(|header| header.key != key);
        }
    }

    /// The last header called `key`, as Kafka's `lastHeader`.
    #[must_use]
    pub fn last(&self, key: &str) -> Option<&Header> {
        self.as_slice().iter().rev().find(|header| header.key == key)
    }
}

impl FromIterator<Header> for Headers {
    fn from_iter<I: IntoIterator<Item = Header>>(iter: I) -> Self {
        let list: Vec<Header> = iter.into_iter().collect();
        if list.is_empty() { Headers(None) } else { Headers(Some(Arc::new(list))) }
    }
}

/// The headers of a record, borrowed: either as they lie in a batch, or from [`Headers`].
#[derive(Clone, Copy, Debug)]
pub enum HeadersView<'a> {
    /// `count` headers, encoded as in a record batch (after the count).
    Encoded {
        /// How many.
        count: u32,
        /// Their bytes.
        bytes: &'a [u8],
    },
    /// Headers in memory.
    Listed(&'a [Header]),
}

impl<'a> HeadersView<'a> {
    /// No headers.
    pub const EMPTY: HeadersView<'static> = HeadersView::Listed(&[]);

    /// How many.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            HeadersView::Encoded { count, .. } => *count as usize,
            HeadersView::Listed(list) => list.len(),
        }
    }

    /// True if there is none.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies them out. Encoded headers were checked when the record was read; what is malformed all the same ends
    /// the list.
    #[must_use]
    #[inline]
    pub fn to_headers(&self) -> Headers {
        match *self {
            HeadersView::Listed(list) => list.iter().cloned().collect(),
            HeadersView::Encoded { count: 0, .. } => Headers::new(),
            HeadersView::Encoded { count, mut bytes } => (0..count).map_while(|_| decode_header(&mut bytes)).collect(),
        }
    }
}

fn decode_header(bytes: &mut &[u8]) -> Option<Header> {
    let key = varint::take_bytes(bytes)??;
    let value = varint::take_bytes(bytes)?;
    Some(Header { key: String::from_utf8_lossy(key).into_owned(), value: value.map(Bytes::copy_from_slice) })
}

impl<'a> From<&'a Headers> for HeadersView<'a> {
    #[inline]
    fn from(headers: &'a Headers) -> Self {
        HeadersView::Listed(headers.as_slice())
    }
}

/// One record, borrowed from a batch or from the caller's buffers.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    /// Milliseconds since 1970, or [`NO_TIMESTAMP`].
    pub timestamp: i64,
    /// Key, or null.
    pub key: Option<&'a [u8]>,
    /// Value, or null (a tombstone in a compacted topic).
    pub value: Option<&'a [u8]>,
    /// Headers.
    pub headers: HeadersView<'a>,
}

impl<'a> RecordView<'a> {
    /// A record without headers.
    #[must_use]
    #[inline]
    pub fn new(timestamp: i64, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Self {
        RecordView { timestamp, key, value, headers: HeadersView::EMPTY }
    }
}
