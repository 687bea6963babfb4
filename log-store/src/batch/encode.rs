//! Records → bytes.

use bytes::BytesMut;

use super::{BatchHeader, Compression, DECOMPRESSED_BYTES_MAX, HEADER_BYTES, TimestampType, varint, varint::Numbers};
use crate::{Error, HeadersView, NO_TIMESTAMP, Offset, RecordView, Result};

/// Most bytes of a record beside key, value and headers: attributes, and five numbers of their greatest length.
const RECORD_OVERHEAD_MAX: usize = 31;

/// Most bytes of one batch: its length field is a signed 32-bit number, and segments have such positions.
const BATCH_BYTES_MAX: usize = i32::MAX as usize - HEADER_BYTES;

/// Who wrote a batch, for detection of duplicates and for transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer, -1 for none.
    pub id: i64,
    /// Its epoch, -1 for none.
    pub epoch: i16,
    /// Sequence number of the first record, -1 for none.
    pub sequence: i32,
    /// Part of a transaction.
    pub is_transactional: bool,
}

impl ProducerStamp {
    /// No producer: duplicates are not detected.
    pub const NONE: ProducerStamp = ProducerStamp { id: -1, epoch: -1, sequence: -1, is_transactional: false };
}

/// Collects records into one batch, encoded as they come. Reusable: [`BatchBuilder::finish`] leaves it empty, and its
/// memory is used again once the batches made from it are gone.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Space for the header, then the records.
    buffer: BytesMut,
    record_count: u32,
    next_delta: u32,
    base_timestamp: i64,
    max_timestamp: i64,
    /// `base_timestamp` was given, not taken from the first record.
    is_base_fixed: bool,
    compressed: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty builder. Allocates with the first record.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(0)
    }

    /// An empty builder with room for `len_bytes` of batch.
    #[must_use]
    pub fn with_capacity(len_bytes: usize) -> Self {
        BatchBuilder {
            buffer: BytesMut::with_capacity(len_bytes),
            record_count: 0,
            next_delta: 0,
            base_timestamp: NO_TIMESTAMP,
            max_timestamp: NO_TIMESTAMP,
            is_base_fixed: false,
            compressed: Vec::new(),
        }
    }

    /// Number of records so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.record_count
    }

    /// True if nothing was appended since the last [`BatchBuilder::finish`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Size of the batch so far, before compression.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.buffer.len().max(HEADER_BYTES)
    }

    /// Upper bound of [`BatchBuilder::len_bytes`] after `record` is appended.
    #[must_use]
    pub fn len_bytes_with(&self, record: &RecordView<'_>) -> usize {
        self.len_bytes() + record_bytes_max(record)
    }

    /// Greatest timestamp so far, [`NO_TIMESTAMP`] if there is none.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Appends `record` at the next offset.
    ///
    /// # Errors
    ///
    /// `Invalid` if the batch would exceed 2 GiB; the record is then not in it.
    #[inline]
    pub fn append(&mut self, record: RecordView<'_>) -> Result<()> {
        self.append_at(self.next_delta, record)
    }

    /// Appends `record` at `offset_delta` after the base offset: for records that have their offsets already.
    ///
    /// # Errors
    ///
    /// `Invalid` if the batch would exceed 2 GiB, or the offset is not after the last one.
    #[inline]
    pub fn append_at(&mut self, offset_delta: u32, record: RecordView<'_>) -> Result<()> {
        let bytes_max = record_bytes_max(&record);
        if bytes_max > BATCH_BYTES_MAX - self.len_bytes() {
            return Err(too_large(bytes_max, self.len_bytes()));
        }
        if offset_delta < self.next_delta || offset_delta >= i32::MAX as u32 {
            return Err(Error::Invalid(format!("offset delta {offset_delta} does not follow {}", self.next_delta)));
        }
        if self.record_count == 0 {
            self.begin(record.timestamp);
        }
        self.buffer.reserve(bytes_max + Numbers::ROOM);
        self.record_count += 1;
        self.next_delta = offset_delta + 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);
        encode(&mut self.buffer, timestamp_delta, offset_delta, &record);
        Ok(())
    }

    fn begin(&mut self, timestamp: i64) {
        self.buffer.clear();
        self.buffer.resize(HEADER_BYTES, 0);
        if !self.is_base_fixed {
            self.base_timestamp = timestamp;
        }
    }

    /// Makes timestamps count from `timestamp` (a delete horizon) in the batch that is begun next.
    pub(crate) fn fix_base_timestamp(&mut self, timestamp: i64) {
        self.base_timestamp = timestamp;
        self.is_base_fixed = true;
    }

    /// Drops what was appended.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.record_count = 0;
        self.next_delta = 0;
        self.base_timestamp = NO_TIMESTAMP;
        self.max_timestamp = NO_TIMESTAMP;
        self.is_base_fixed = false;
    }

    /// One whole batch with base offset 0 and leader epoch -1 (see [`super::header`] to set them), and an empty
    /// builder. Records beyond [`DECOMPRESSED_BYTES_MAX`] are left uncompressed, so that they can be read again.
    ///
    /// # Panics
    ///
    /// If the builder is empty: a batch without records is not a producer's to make.
    #[must_use]
    pub fn finish(&mut self, producer: ProducerStamp, compression: Compression) -> BytesMut {
        assert!(!self.is_empty(), "a batch needs at least one record");
        self.seal(BatchHeader {
            base_offset: Offset::ZERO,
            len_bytes: 0,
            leader_epoch: -1,
            checksum: 0,
            compression,
            timestamp_type: TimestampType::CreateTime,
            is_transactional: producer.is_transactional,
            is_control: false,
            has_delete_horizon: false,
            last_offset_delta: self.next_delta - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            base_sequence: producer.sequence,
            record_count: self.record_count,
        })
    }

    /// The batch under `header`, whose length, compression and checksum are set to what it becomes.
    pub(crate) fn seal(&mut self, mut header: BatchHeader) -> BytesMut {
        let records = &self.buffer[HEADER_BYTES..];
        let mut batch = if header.compression == Compression::None || records.len() > DECOMPRESSED_BYTES_MAX {
            header.compression = Compression::None;
            self.buffer.split()
        } else {
            self.compressed.clear();
            header.compression.compress(records, &mut self.compressed);
            let mut batch = BytesMut::with_capacity(HEADER_BYTES + self.compressed.len());
            batch.resize(HEADER_BYTES, 0);
            batch.extend_from_slice(&self.compressed);
            batch
        };
        header.len_bytes = batch.len();
        header.seal(&mut batch);
        self.clear();
        batch
    }
}

#[cold]
fn too_large(record: usize, batch: usize) -> Error {
    Error::Invalid(format!("record of {record} bytes does not fit into a batch of {batch} bytes: the limit is 2 GiB"))
}

/// Upper bound of the bytes that `record` takes in a batch.
#[inline]
fn record_bytes_max(record: &RecordView<'_>) -> usize {
    let headers = if record.headers.is_empty() { 0 } else { headers_bytes(record.headers) };
    let key = record.key.map_or(0, <[u8]>::len);
    let value = record.value.map_or(0, <[u8]>::len);
    RECORD_OVERHEAD_MAX.saturating_add(key).saturating_add(value).saturating_add(headers)
}

/// Length as Kafka writes it: -1 for null.
#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> i64 {
    bytes.map_or(-1, |bytes| bytes.len() as i64)
}

/// Bytes of the headers after their count.
fn headers_bytes(headers: HeadersView<'_>) -> usize {
    match headers {
        HeadersView::Encoded { bytes, .. } => bytes.len(),
        HeadersView::Listed(list) => list
            .iter()
            .map(|header| {
                let value = header.value.as_deref();
                varint::length(header.key.len() as i64)
                    + header.key.len()
                    + varint::length(nullable_len(value))
                    + value.map_or(0, <[u8]>::len)
            })
            .sum(),
    }
}

#[inline]
fn encode(out: &mut BytesMut, timestamp_delta: i64, offset_delta: u32, record: &RecordView<'_>) {
    let (key_len, value_len) = (nullable_len(record.key), nullable_len(record.value));
    let headers = if record.headers.is_empty() { 0 } else { headers_bytes(record.headers) };
    let body = 1
        + varint::length(timestamp_delta)
        + varint::length(i64::from(offset_delta))
        + varint::length(key_len)
        + record.key.map_or(0, <[u8]>::len)
        + varint::length(value_len)
        + record.value.map_or(0, <[u8]>::len)
        + varint::length(record.headers.len() as i64)
        + headers;

    let mut numbers = Numbers::new();
    numbers.put(body as i64);
    numbers.push(0);
    numbers.put(timestamp_delta);
    numbers.put(i64::from(offset_delta));
    numbers.put(key_len);
    numbers.write(out);
    if let Some(key) = record.key {
        out.extend_from_slice(key);
    }
    let mut numbers = Numbers::new();
    numbers.put(value_len);
    numbers.write(out);
    if let Some(value) = record.value {
        out.extend_from_slice(value);
    }
    if record.headers.is_empty() {
        out.extend_from_slice(&[0]);
    } else {
        encode_headers(out, record.headers);
    }
}

fn encode_headers(out: &mut BytesMut, headers: HeadersView<'_>) {
    let put = |out: &mut BytesMut, value: i64| {
        let mut numbers = Numbers::new();
        numbers.put(value);
        numbers.write(out);
    };
    put(out, headers.len() as i64);
    match headers {
        HeadersView::Encoded { bytes, .. } => out.extend_from_slice(bytes),
        HeadersView::Listed(list) => {
            for header in list {
                put(out, header.key.len() as i64);
                out.extend_from_slice(header.key.as_bytes());
                put(out, nullable_len(header.value.as_deref()));
                out.extend_from_slice(header.value.as_deref().unwrap_or_default());
            }
        }
    }
}
