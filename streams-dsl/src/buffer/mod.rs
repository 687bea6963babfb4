//! Records that wait: what they remember of where they came from, in Kafka Streams' bytes.
//!
//! ```text
//! timestamp i64 | offset i64 | topic: i32 length, bytes | partition i32 | headers: i32 count, each key and value
//! ```
//!
//! All numbers are big-endian; a value of length -1 is null.

use log_store::{Header, Headers};
use streams_core::{
    processor::{ProcessorContext, RecordMetadata},
    serde::SerdeError,
};

/// Length of what is null.
const NULL: i32 = -1;

/// Where a waiting record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordContext {
    pub(crate) timestamp: i64,
    pub(crate) headers: Headers,
    /// `None` for what a punctuation made.
    pub(crate) metadata: Option<RecordMetadata>,
}

impl RecordContext {
    /// The record that is being processed.
    pub(crate) fn current<K, V>(ctx: &ProcessorContext<'_, K, V>) -> Self {
        RecordContext { timestamp: ctx.timestamp(), headers: ctx.headers(), metadata: ctx.record_metadata() }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> Result<(), SerdeError> {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        let metadata = self.metadata.as_ref();
        out.extend_from_slice(&metadata.map_or(-1, |of| of.offset).to_be_bytes());
        put_bytes(out, Some(metadata.map_or(&[][..], |of| of.topic.as_bytes())))?;
        let partition = metadata.map_or(-1, |of| i32::try_from(of.partition).unwrap_or(i32::MAX));
        out.extend_from_slice(&partition.to_be_bytes());
        let headers = self.headers.as_slice();
        out.extend_from_slice(&length(headers.len())?.to_be_bytes());
        for header in headers {
            put_bytes(out, Some(header.key.as_bytes()))?;
            put_bytes(out, header.value.as_deref())?;
        }
        Ok(())
    }

    pub(crate) fn decode(bytes: &mut &[u8]) -> Result<Self, SerdeError> {
        let timestamp = take_i64(bytes)?;
        let offset = take_i64(bytes)?;
        let topic = String::from_utf8(take_bytes(bytes)?.unwrap_or_default().to_vec()).map_err(SerdeError::new)?;
        let partition = take_i32(bytes)?;
        // Versions before 2.4 wrote -1 for none. A count that cannot be is stopped by the first header missing.
        let count = take_i32(bytes)?.max(0);
        let mut headers = Headers::new();
        for _ in 0..count {
            let key = take_bytes(bytes)?.ok_or_else(|| SerdeError::new("a header without a key"))?;
            let key = String::from_utf8(key.to_vec()).map_err(SerdeError::new)?;
            headers.add(key, take_bytes(bytes)?.map(bytes::Bytes::copy_from_slice));
        }
        let metadata = u32::try_from(partition).ok().map(|partition| RecordMetadata { topic, partition, offset });
        Ok(RecordContext { timestamp, headers, metadata })
    }

    /// Bytes of memory, as Kafka Streams estimates them.
    pub(crate) fn memory_bytes(&self) -> usize {
        let topic = self.metadata.as_ref().map_or(0, |of| of.topic.encode_utf16().count());
        let headers = self.headers.as_slice().iter();
        let headers: usize =
            headers.map(|h| h.key.encode_utf16().count() + h.value.as_ref().map_or(0, |value| value.len())).sum();
        8 + 8 + topic + 4 + headers
    }
}

/// Names and values of headers that a reader of the changelog needs, as one list.
pub(crate) fn header(key: &str, value: &'static [u8]) -> Header {
    Header { key: key.to_owned(), value: Some(bytes::Bytes::from_static(value)) }
}

fn length(length: usize) -> Result<i32, SerdeError> {
    i32::try_from(length).map_err(|_| SerdeError::new("more than 2 GiB"))
}

/// Appends bytes with their length, or null.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) -> Result<(), SerdeError> {
    match bytes {
        None => out.extend_from_slice(&NULL.to_be_bytes()),
        Some(bytes) => {
            out.extend_from_slice(&length(bytes.len())?.to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
    Ok(())
}

/// Takes bytes with their length, or null, from the front.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, SerdeError> {
    let length = take_i32(bytes)?;
    if length == NULL {
        return Ok(None);
    }
    take_exact(bytes, length).map(Some)
}

/// Takes so many bytes from the front.
pub(crate) fn take_exact<'a>(bytes: &mut &'a [u8], length: i32) -> Result<&'a [u8], SerdeError> {
    let wanted = usize::try_from(length).map_err(|_| SerdeError::new(format!("a length of {length}")))?;
    let (taken, rest) = bytes.split_at_checked(wanted).ok_or_else(|| SerdeError::new("bytes end too early"))?;
    *bytes = rest;
    Ok(taken)
}

pub(crate) fn take_i32(bytes: &mut &[u8]) -> Result<i32, SerdeError> {
    let taken = take_exact(bytes, 4)?;
    Ok(i32::from_be_bytes(taken.try_into().expect("four bytes")))
}

pub(crate) fn take_i64(bytes: &mut &[u8]) -> Result<i64, SerdeError> {
    let taken = take_exact(bytes, 8)?;
    Ok(i64::from_be_bytes(taken.try_into().expect("eight bytes")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn context() -> RecordContext {
        let mut headers = Headers::new();
        headers.add("h", Some(bytes::Bytes::from_static(b"v")));
        headers.add("n", None);
        let metadata = Some(RecordMetadata { topic: "in".to_owned(), partition: 3, offset: 7 });
        RecordContext { timestamp: 5, headers, metadata }
    }

    #[test]
    fn a_context_has_kafkas_bytes() {
        let mut out = Vec::new();
        context().encode(&mut out).unwrap();
        let expected = [
            &5_i64.to_be_bytes()[..],
            &7_i64.to_be_bytes(),
            b"\0\0\0\x02in",
            &3_i32.to_be_bytes(),
            &2_i32.to_be_bytes(),
            b"\0\0\0\x01h\0\0\0\x01v\0\0\0\x01n\xff\xff\xff\xff",
        ]
        .concat();
        assert_eq!(out, expected);
        assert_eq!(RecordContext::decode(&mut &out[..]).unwrap(), context());
    }

    #[test]
    fn what_a_punctuation_made_comes_from_nowhere() {
        let nowhere = RecordContext { metadata: None, ..context() };
        let mut out = Vec::new();
        nowhere.encode(&mut out).unwrap();
        assert_eq!(RecordContext::decode(&mut &out[..]).unwrap(), nowhere);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = RecordContext::decode(&mut &bytes[..]);
        }
    }
}
