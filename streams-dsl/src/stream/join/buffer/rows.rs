//! Rows of the buffer, in Kafka Streams' bytes.
//!
//! ```text
//! key    0 | timestamp i64 | key | sequence i32
//! value  where it came from | prior value: null | old value: null | value: i32 length, bytes | i64 zero
//! ```

use streams_core::serde::{Data, Encoded, Serde, SerdeError, SharedSerde};

use crate::buffer::{RecordContext, put_bytes, take_bytes};

/// Time first, so that rows lie in the order in which they are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BufferedKey {
    pub(super) timestamp: i64,
    /// The serialised key.
    pub(super) key: Vec<u8>,
    /// Tells records of one key and time apart.
    pub(super) sequence: u32,
}

/// A record that waits.
#[derive(Clone, Debug)]
pub(super) struct BufferedRow<V> {
    pub(super) context: RecordContext,
    pub(super) value: V,
}

pub(super) struct KeySerde;

impl Serde<BufferedKey> for KeySerde {
    fn serialize(&self, key: &BufferedKey, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.push(0);
        out.extend_from_slice(&key.timestamp.to_be_bytes());
        out.extend_from_slice(&key.key);
        out.extend_from_slice(&key.sequence.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<BufferedKey, SerdeError> {
        let parts = bytes.and_then(|bytes| {
            let (_, rest) = bytes.split_first()?;
            let (timestamp, rest) = rest.split_first_chunk::<8>()?;
            let (key, sequence) = rest.split_last_chunk::<4>()?;
            Some((timestamp, key, sequence))
        });
        let (timestamp, key, sequence) = parts.ok_or_else(|| SerdeError::new("too short for a buffered key"))?;
        Ok(BufferedKey {
            timestamp: i64::from_be_bytes(*timestamp),
            key: key.to_vec(),
            sequence: u32::from_be_bytes(*sequence),
        })
    }
}

pub(super) struct RowSerde<V>(pub(super) SharedSerde<V>);

impl<V: Data> Serde<BufferedRow<V>> for RowSerde<V> {
    fn serialize(&self, row: &BufferedRow<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        row.context.encode(out)?;
        put_bytes(out, None)?;
        put_bytes(out, None)?;
        let mut value = Vec::new();
        let encoded = self.0.serialize(&row.value, &mut value)?;
        put_bytes(out, (encoded == Encoded::Bytes).then_some(&value[..]))?;
        out.extend_from_slice(&0_i64.to_be_bytes());
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<BufferedRow<V>, SerdeError> {
        let mut bytes = bytes.ok_or_else(|| SerdeError::new("null where a buffered record is expected"))?;
        let context = RecordContext::decode(&mut bytes)?;
        let _prior = take_bytes(&mut bytes)?;
        let _old = take_bytes(&mut bytes)?;
        let value = self.0.deserialize(take_bytes(&mut bytes)?)?;
        Ok(BufferedRow { context, value })
    }
}

#[cfg(test)]
mod tests {
    use log_store::Headers;
    use proptest::prelude::*;
    use streams_core::serde::default_serde;

    use super::*;

    #[test]
    fn earlier_rows_have_smaller_keys() {
        let bytes = |timestamp, key: &[u8], sequence| {
            let mut out = Vec::new();
            let _ = KeySerde.serialize(&BufferedKey { timestamp, key: key.to_vec(), sequence }, &mut out).unwrap();
            out
        };
        assert!(bytes(1, b"z", 9) < bytes(2, b"a", 1));
        assert!(bytes(2, b"a", 1) < bytes(2, b"a", 2));
    }

    proptest! {
        #[test]
        fn keys_and_rows_are_read_back(timestamp in 0_i64.., key: Vec<u8>, sequence: u32, value: String) {
            let key = BufferedKey { timestamp, key, sequence };
            let mut out = Vec::new();
            let _ = KeySerde.serialize(&key, &mut out).unwrap();
            prop_assert_eq!(KeySerde.deserialize(Some(&out)).unwrap(), key);

            let serde = RowSerde(default_serde::<String>());
            let context = RecordContext { timestamp, headers: Headers::new(), metadata: None };
            let row = BufferedRow { context, value };
            out.clear();
            let _ = serde.serialize(&row, &mut out).unwrap();
            let read = serde.deserialize(Some(&out)).unwrap();
            prop_assert_eq!((read.context, read.value), (row.context, row.value));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = KeySerde.deserialize(Some(&bytes));
            let _ = RowSerde(default_serde::<String>()).deserialize(Some(&bytes));
        }
    }
}
