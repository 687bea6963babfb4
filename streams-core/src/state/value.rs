//! What lies in a row: the value alone, or with its time and headers. Kafka's bytes.

use log_store::{Header, Headers, HeadersView, RecordView};

use super::{StoreFormat, layer::Codec};
use crate::serde::{Encoded, SerdeError, SharedSerde};

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

/// Plain values: the same bytes everywhere.
pub(crate) struct PlainCodec<V>(pub(crate) SharedSerde<V>);

impl<V: 'static> Codec<V> for PlainCodec<V> {
    fn encode_row(&self, value: &V, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        self.0.serialize(value, out)
    }

    fn decode_row(&self, row: &[u8]) -> Result<V, SerdeError> {
        self.0.deserialize(Some(row))
    }

    fn encode_log(&self, value: &V, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        self.0.serialize(value, out)
    }

    fn log_to_row(&self, value: &[u8], _record: &RecordView<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(value);
    }
}

/// Values with their time, and perhaps headers.
///
/// * Row, default format: `timestamp (8) | value`.
/// * Row, headers format: `size of the headers (varint) | headers | timestamp (8) | value`.
/// * Changelog: the value alone; time and headers are the record's own.
pub(crate) struct TimestampedCodec<V> {
    pub(crate) serde: SharedSerde<V>,
    pub(crate) format: StoreFormat,
}

impl<V: 'static> Codec<ValueAndTimestamp<V>> for TimestampedCodec<V> {
    fn encode_row(&self, value: &ValueAndTimestamp<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        if self.format == StoreFormat::Headers {
            write_headers(HeadersView::from(&value.headers), out);
        }
        out.extend_from_slice(&value.timestamp.to_be_bytes());
        self.serde.serialize(&value.value, out)
    }

    fn decode_row(&self, row: &[u8]) -> Result<ValueAndTimestamp<V>, SerdeError> {
        let (headers, rest) = match self.format {
            StoreFormat::Default => (Headers::new(), row),
            StoreFormat::Headers => read_headers(row).ok_or_else(|| SerdeError::new("malformed headers in a row"))?,
        };
        let Some((timestamp, value)) = rest.split_first_chunk() else {
            return Err(SerdeError::new(format!("a row of {} bytes is too short for a timestamp", rest.len())));
        };
        let value = self.serde.deserialize(Some(value))?;
        Ok(ValueAndTimestamp { value, timestamp: i64::from_be_bytes(*timestamp), headers })
    }

    fn encode_log(&self, value: &ValueAndTimestamp<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        self.serde.serialize(&value.value, out)
    }

    fn timestamp(&self, value: &ValueAndTimestamp<V>) -> Option<i64> {
        Some(value.timestamp)
    }

    fn logs_headers(&self) -> bool {
        self.format == StoreFormat::Headers
    }

    fn headers<'v>(&self, value: &'v ValueAndTimestamp<V>) -> HeadersView<'v> {
        match self.format {
            StoreFormat::Default => HeadersView::EMPTY,
            StoreFormat::Headers => HeadersView::from(&value.headers),
        }
    }

    fn log_to_row(&self, value: &[u8], record: &RecordView<'_>, out: &mut Vec<u8>) {
        if self.format == StoreFormat::Headers {
            write_headers(record.headers, out);
        }
        out.extend_from_slice(&record.timestamp.to_be_bytes());
        out.extend_from_slice(value);
    }
}

/// Values with headers but no time of their own: sessions under the headers format. Their changelog records carry the
/// time of the record that made them, which is not kept.
///
/// Row: `size of the headers (varint) | headers | value`.
pub(crate) struct HeadersCodec<V>(pub(crate) SharedSerde<V>);

impl<V: 'static> Codec<ValueAndTimestamp<V>> for HeadersCodec<V> {
    fn encode_row(&self, value: &ValueAndTimestamp<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        write_headers(HeadersView::from(&value.headers), out);
        self.0.serialize(&value.value, out)
    }

    fn decode_row(&self, row: &[u8]) -> Result<ValueAndTimestamp<V>, SerdeError> {
        let (headers, value) = read_headers(row).ok_or_else(|| SerdeError::new("malformed headers in a row"))?;
        let value = self.0.deserialize(Some(value))?;
        Ok(ValueAndTimestamp { value, timestamp: log_store::NO_TIMESTAMP, headers })
    }

    fn encode_log(&self, value: &ValueAndTimestamp<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        self.0.serialize(&value.value, out)
    }

    fn logs_headers(&self) -> bool {
        true
    }

    fn headers<'v>(&self, value: &'v ValueAndTimestamp<V>) -> HeadersView<'v> {
        HeadersView::from(&value.headers)
    }

    fn log_to_row(&self, value: &[u8], record: &RecordView<'_>, out: &mut Vec<u8>) {
        write_headers(record.headers, out);
        out.extend_from_slice(value);
    }
}

/// Appends `size (varint) | count (varint) | for each: key size, key, value size (-1 for null), value`, zigzag varints.
/// No headers are size 0.
fn write_headers(headers: HeadersView<'_>, out: &mut Vec<u8>) {
    let headers = headers.to_headers();
    let headers = headers.as_slice();
    if headers.is_empty() {
        return write_varint(0, out);
    }
    let mut bytes = Vec::new();
    let length = |bytes: &[u8]| i32::try_from(bytes.len()).expect("a header of a record is below 2 GiB");
    write_varint(i32::try_from(headers.len()).expect("fewer than 2^31 headers"), &mut bytes);
    for Header { key, value } in headers {
        write_varint(length(key.as_bytes()), &mut bytes);
        bytes.extend_from_slice(key.as_bytes());
        match value {
            None => write_varint(-1, &mut bytes),
            Some(value) => {
                write_varint(length(value), &mut bytes);
                bytes.extend_from_slice(value);
            }
        }
    }
    write_varint(length(&bytes), out);
    out.extend_from_slice(&bytes);
}

/// Reads what [`write_headers`] wrote, and gives back what follows.
fn read_headers(row: &[u8]) -> Option<(Headers, &[u8])> {
    let (size, rest) = read_varint(row)?;
    let (mut bytes, rest) = rest.split_at_checked(usize::try_from(size).ok()?)?;
    if bytes.is_empty() {
        return Some((Headers::new(), rest));
    }
    let count = read_varint(bytes)?;
    bytes = count.1;
    let headers: Option<Headers> = (0..count.0).map(|_| read_header(&mut bytes)).collect();
    Some((headers?, rest))
}

fn read_header(bytes: &mut &[u8]) -> Option<Header> {
    let mut take = || {
        let (length, after) = read_varint(bytes)?;
        if length == -1 {
            *bytes = after;
            return Some(None);
        }
        let (taken, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        *bytes = after;
        Some(Some(taken))
    };
    let key = std::str::from_utf8(take()??).ok()?.to_owned();
    let value = take()?.map(bytes::Bytes::copy_from_slice);
    Some(Header { key, value })
}

#[expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "zigzag moves the sign into the lowest bit"
)]
fn write_varint(value: i32, out: &mut Vec<u8>) {
    let mut rest = ((value << 1) ^ (value >> 31)) as u32;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[expect(clippy::cast_possible_wrap, reason = "zigzag moves the lowest bit into the sign")]
fn read_varint(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let mut value = 0u32;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        value |= u32::from(byte & 0x7f).checked_shl(u32::try_from(index).ok()? * 7)?;
        if byte & 0x80 == 0 {
            return Some(((value >> 1) as i32 ^ -((value & 1) as i32), &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::serde::default_serde;

    fn codec(format: StoreFormat) -> TimestampedCodec<String> {
        TimestampedCodec { serde: default_serde(), format }
    }

    /// The layouts of `ValueAndTimestampSerializer` and of the rows with headers of Apache Kafka Streams 4.3.
    #[test]
    fn rows_are_laid_out_as_kafka_does() {
        let mut value = ValueAndTimestamp::new("v".to_owned(), 258);
        let mut out = Vec::new();
        let _ = codec(StoreFormat::Default).encode_row(&value, &mut out).unwrap();
        assert_eq!(out, *b"\0\0\0\0\0\0\x01\x02v");

        out.clear();
        let _ = codec(StoreFormat::Headers).encode_row(&value, &mut out).unwrap();
        assert_eq!(out, *b"\0\0\0\0\0\0\0\x01\x02v", "no headers are one byte");

        out.clear();
        value.headers.add("h", Some(Bytes::from_static(b"x")));
        value.headers.add("n", None);
        let _ = codec(StoreFormat::Headers).encode_row(&value, &mut out).unwrap();
        assert_eq!(out, *b"\x10\x04\x02h\x02x\x02n\x01\0\0\0\0\0\0\x01\x02v");
        assert_eq!(codec(StoreFormat::Headers).decode_row(&out).unwrap(), value);
    }

    #[test]
    fn the_changelog_of_a_timestamped_row_is_its_value_and_comes_back_as_the_row() {
        for format in [StoreFormat::Default, StoreFormat::Headers] {
            let mut value = ValueAndTimestamp::new("v".to_owned(), 9);
            if format == StoreFormat::Headers {
                value.headers.add("h", None);
            }
            let codec = codec(format);
            let (mut log, mut row) = (Vec::new(), Vec::new());
            let _ = codec.encode_log(&value, &mut log).unwrap();
            assert_eq!(log, b"v");
            let record = RecordView { headers: codec.headers(&value), ..RecordView::new(9, None, Some(&log)) };
            codec.log_to_row(&log, &record, &mut row);
            assert_eq!(codec.decode_row(&row).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn any_headers_come_back(headers in vec(("[a-z]{0,3}", any::<Option<Vec<u8>>>()), 0..4)) {
            let mut value = ValueAndTimestamp::new("v".to_owned(), -1);
            for (key, bytes) in headers {
                value.headers.add(key, bytes.map(Bytes::from));
            }
            let mut row = Vec::new();
            let _ = codec(StoreFormat::Headers).encode_row(&value, &mut row).unwrap();
            prop_assert_eq!(codec(StoreFormat::Headers).decode_row(&row).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_without_panic(row: Vec<u8>) {
            let _ = codec(StoreFormat::Headers).decode_row(&row);
            let _ = codec(StoreFormat::Default).decode_row(&row);
        }
    }
}
