//! Rows of records that found no match yet, in Kafka Streams' bytes.
//!
//! ```text
//! key    timestamp i64 | side: 1 left, 0 right | key
//! value  1 | count i32 | for each: length i32, side: 1 left, 0 right, value
//! ```

use streams_core::serde::{Data, Encoded, Serde, SerdeError, SharedSerde};

use super::matching::Sides;
use crate::buffer::{put_bytes, take_bytes, take_exact, take_i32};

/// Time first, so that rows lie in the order in which their windows end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UnmatchedKey<K> {
    pub(super) timestamp: i64,
    pub(super) is_left: bool,
    pub(super) key: K,
}

/// Values of one key, side and time, in the order in which they came.
pub(super) type Unmatched<V1, V2> = Vec<Sides<V1, V2>>;

pub(super) struct UnmatchedKeySerde<K>(pub(super) SharedSerde<K>);

impl<K: Data> Serde<UnmatchedKey<K>> for UnmatchedKeySerde<K> {
    fn serialize(&self, key: &UnmatchedKey<K>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.extend_from_slice(&key.timestamp.to_be_bytes());
        out.push(u8::from(key.is_left));
        let _ = self.0.serialize(&key.key, out)?;
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<UnmatchedKey<K>, SerdeError> {
        let parts = bytes.and_then(|bytes| {
            let (timestamp, rest) = bytes.split_first_chunk::<8>()?;
            let (side, key) = rest.split_first()?;
            Some((i64::from_be_bytes(*timestamp), *side == 1, key))
        });
        let (timestamp, is_left, key) =
            parts.ok_or_else(|| SerdeError::new("too short for the key of an unmatched record"))?;
        Ok(UnmatchedKey { timestamp, is_left, key: self.0.deserialize(Some(key))? })
    }
}

/// Kafka's list serde for entries of any length.
const VARIABLE_SIZE: u8 = 1;

pub(super) struct UnmatchedSerde<V1, V2> {
    pub(super) left: SharedSerde<V1>,
    pub(super) right: SharedSerde<V2>,
}

impl<V1: Data, V2: Data> Serde<Unmatched<V1, V2>> for UnmatchedSerde<V1, V2> {
    fn serialize(&self, values: &Unmatched<V1, V2>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        out.push(VARIABLE_SIZE);
        let count = i32::try_from(values.len()).map_err(SerdeError::new)?;
        out.extend_from_slice(&count.to_be_bytes());
        let mut entry = Vec::new();
        for value in values {
            entry.clear();
            let _ = match value {
                Sides::Left(left) => {
                    entry.push(1);
                    self.left.serialize(left, &mut entry)?
                }
                Sides::Right(right) => {
                    entry.push(0);
                    self.right.serialize(right, &mut entry)?
                }
            };
            put_bytes(out, Some(&entry))?;
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Unmatched<V1, V2>, SerdeError> {
        let mut bytes = bytes.ok_or_else(|| SerdeError::new("null where unmatched records are expected"))?;
        if take_exact(&mut bytes, 1)? != [VARIABLE_SIZE] {
            return Err(SerdeError::new("a list of another kind than that of unmatched records"));
        }
        let count = take_i32(&mut bytes)?;
        (0..count)
            .map(|_| match take_bytes(&mut bytes)?.and_then(<[u8]>::split_first) {
                Some((1, value)) => self.left.deserialize(Some(value)).map(Sides::Left),
                Some((_, value)) => self.right.deserialize(Some(value)).map(Sides::Right),
                None => Err(SerdeError::new("an unmatched record without a value")),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streams_core::serde::default_serde;

    use super::*;

    fn values() -> UnmatchedSerde<String, i64> {
        UnmatchedSerde { left: default_serde(), right: default_serde() }
    }

    #[test]
    fn rows_have_kafkas_bytes() {
        let mut out = Vec::new();
        let key = UnmatchedKey { timestamp: 5, is_left: true, key: "k".to_owned() };
        let _ = UnmatchedKeySerde(default_serde()).serialize(&key, &mut out).unwrap();
        assert_eq!(out, b"\0\0\0\0\0\0\0\x05\x01k");

        out.clear();
        let _ = values().serialize(&vec![Sides::Left("ab".to_owned()), Sides::Right(7)], &mut out).unwrap();
        assert_eq!(out, b"\x01\0\0\0\x02\0\0\0\x03\x01ab\0\0\0\x09\0\0\0\0\0\0\0\0\x07");
        let read = values().deserialize(Some(&out)).unwrap();
        assert_eq!(read, vec![Sides::Left("ab".to_owned()), Sides::Right(7)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = values().deserialize(Some(&bytes));
            let _ = UnmatchedKeySerde(default_serde::<String>()).deserialize(Some(&bytes));
        }
    }
}
