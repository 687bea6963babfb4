//! Records → bytes.

use bytes::BytesMut;

use super::{BatchHeader, Compression, DECOMPRESSED_BYTES_MAX, HEADER_BYTES, TimestampType, varint, varint::Writer};
use crate::{Error, Header, HeadersView, NO_TIMESTAMP, Offset, RecordView, Result};

/// Most bytes of a record beside key, value and headers: its length (5), attributes (1), timestamp delta (10), offset
/// delta (5), and the lengths of key and value (5 each).
const RECORD_OVERHEAD_MAX: usize = 31;

/// Offset deltas are below this: they, and the count of offsets, are signed 32-bit numbers.
const OFFSET_DELTA_END: u32 = i32::MAX as u32;

/// Most bytes of one batch: its length field is a signed 32-bit number, and segments have such positions.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

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

/// Collects records into one batch, encoded as they come. Reusable: [`BatchBuilder::finish`] leaves it empty and keeps
/// its memory; the batches made have memory of their own, exactly as much as they need.
#[derive(Debug)]
pub struct BatchBuilder {
    /// Space for the header, then the records up to `len_bytes`, then whatever was there before.
    buffer: Vec<u8>,
    len_bytes: usize,
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

    /// An empty builder with room for a batch of `len_bytes`.
    #[must_use]
    pub fn with_capacity(len_bytes: usize) -> Self {
        BatchBuilder {
            buffer: vec![0; len_bytes],
            len_bytes: HEADER_BYTES,
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
    #[inline]
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// Upper bound of [`BatchBuilder::len_bytes`] after `record` is appended.
    #[must_use]
    #[inline]
    pub fn len_bytes_with(&self, record: &RecordView<'_>) -> usize {
        let key = record.key.map_or(0, <[u8]>::len);
        let value = record.value.map_or(0, <[u8]>::len);
        self.len_bytes + RECORD_OVERHEAD_MAX + key + value + headers_bytes(record.headers)
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
        if self.record_count == 0 && !self.is_base_fixed {
            self.base_timestamp = record.timestamp;
        }
        let timestamp_delta = record.timestamp.wrapping_sub(self.base_timestamp);
        let body = body_bytes(timestamp_delta, offset_delta, &record);
        let end = self.len_bytes + varint::length(body as i64) + body;
        if end > self.buffer.len() || offset_delta < self.next_delta || offset_delta >= OFFSET_DELTA_END {
            self.make_room(end, offset_delta)?;
        }
        let mut out = Writer { room: &mut self.buffer[self.len_bytes..end], at: 0 };
        out.put(body as i64);
        out.put_byte(0);
        out.put(timestamp_delta);
        out.put(i64::from(offset_delta));
        out.put_nullable(record.key);
        out.put_nullable(record.value);
        if record.headers.is_empty() {
            out.put_byte(0);
        } else {
            put_headers(&mut out, record.headers);
        }
        self.len_bytes = end;
        self.record_count += 1;
        self.next_delta = offset_delta + 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        Ok(())
    }

    /// The seldom part of an append: checks what cannot be, and grows the buffer.
    #[cold]
    fn make_room(&mut self, end: usize, offset_delta: u32) -> Result<()> {
        if offset_delta < self.next_delta || offset_delta >= OFFSET_DELTA_END {
            return Err(Error::Invalid(format!("offset delta {offset_delta} does not follow {}", self.next_delta)));
        }
        if end > BATCH_BYTES_MAX {
            let problem = format!("a batch of {end} bytes is above the format's limit of 2 GiB; make it smaller");
            return Err(Error::Invalid(problem));
        }
        let doubled = (self.buffer.len() * 2).min(BATCH_BYTES_MAX);
        if end > self.buffer.len() {
            self.buffer.resize(end.max(doubled), 0);
        }
        Ok(())
    }

    /// Makes timestamps count from `timestamp` (a delete horizon) in the batch that is begun next.
    pub(crate) fn fix_base_timestamp(&mut self, timestamp: i64) {
        self.base_timestamp = timestamp;
        self.is_base_fixed = true;
    }

    /// Drops what was appended.
    pub fn clear(&mut self) {
        self.len_bytes = HEADER_BYTES;
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
        let mut whole = &self.buffer[..self.len_bytes];
        if whole.len() - HEADER_BYTES > DECOMPRESSED_BYTES_MAX {
            header.compression = Compression::None;
        }
        if header.compression != Compression::None {
            self.compressed.clear();
            self.compressed.resize(HEADER_BYTES, 0);
            header.compression.compress(&whole[HEADER_BYTES..], &mut self.compressed);
            whole = &self.compressed;
        }
        let mut batch = BytesMut::from(whole);
        header.len_bytes = batch.len();
        header.seal(&mut batch);
        self.clear();
        batch
    }
}

/// Bytes of `record` from its attributes on.
#[inline]
fn body_bytes(timestamp_delta: i64, offset_delta: u32, record: &RecordView<'_>) -> usize {
    1 + varint::length(timestamp_delta)
        + varint::length(i64::from(offset_delta))
        + varint::nullable_length(record.key)
        + varint::nullable_length(record.value)
        + headers_bytes(record.headers)
}

/// Bytes of the headers and their count.
#[inline]
fn headers_bytes(headers: HeadersView<'_>) -> usize {
    if headers.is_empty() { 1 } else { listed_headers_bytes(headers) }
}

fn listed_headers_bytes(headers: HeadersView<'_>) -> usize {
    let header_bytes = |header: &Header| {
        varint::nullable_length(Some(header.key.as_bytes())) + varint::nullable_length(header.value.as_deref())
    };
    let list_bytes = match headers {
        HeadersView::Encoded { bytes, .. } => bytes.len(),
        HeadersView::Listed(list) => list.iter().map(header_bytes).sum(),
    };
    varint::length(headers.len() as i64) + list_bytes
}

fn put_headers(out: &mut Writer<'_>, headers: HeadersView<'_>) {
    out.put(headers.len() as i64);
    match headers {
        HeadersView::Encoded { bytes, .. } => out.put_bytes(bytes),
        HeadersView::Listed(list) => {
            for header in list {
                out.put_nullable(Some(header.key.as_bytes()));
                out.put_nullable(header.value.as_deref());
            }
        }
    }
}
