//! Changes of a table on their way through a repartition topic, in Kafka Streams' bytes.
//!
//! ```text
//! old value        | 0
//! new value        | 1
//! length (varint) of the new value | new value | old value | 2
//! ```
//!
//! Flags 3 to 5 are the same with a byte before the flag that tells whether the change is the newest of its key; they
//! are read, and never written.

use streams_core::{
    Change,
    serde::{Data, Encoded, Serde, SerdeError, SharedSerde},
};

/// Serde of changes whose values are written by another serde.
pub(crate) struct ChangedSerde<V>(pub(crate) SharedSerde<V>);

const OLD: u8 = 0;
const NEW: u8 = 1;
const BOTH: u8 = 2;

impl<V: Data> Serde<Change<V>> for ChangedSerde<V> {
    fn serialize(&self, change: &Change<V>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        let flag = match (&change.new, &change.old) {
            (Some(new), Some(old)) => {
                let mut bytes = Vec::new();
                let _ = self.0.serialize(new, &mut bytes)?;
                write_varint(out, bytes.len())?;
                out.extend_from_slice(&bytes);
                let _ = self.0.serialize(old, out)?;
                BOTH
            }
            (Some(new), None) => {
                let _ = self.0.serialize(new, out)?;
                NEW
            }
            (None, Some(old)) => {
                let _ = self.0.serialize(old, out)?;
                OLD
            }
            (None, None) => return Err(SerdeError::new("a change from nothing to nothing cannot be written")),
        };
        out.push(flag);
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Change<V>, SerdeError> {
        let truncated = || SerdeError::new("a change is too short");
        let (flag, mut rest) = bytes.and_then(<[u8]>::split_last).ok_or_else(truncated)?;
        let mut is_latest = true;
        let flag = match flag {
            OLD..=BOTH => *flag,
            3..=5 => {
                let (latest, before) = rest.split_last().ok_or_else(truncated)?;
                (is_latest, rest) = (*latest == 1, before);
                flag - 3
            }
            other => return Err(SerdeError::new(format!("a change ends with the unknown flag {other}"))),
        };
        let value = |bytes: &[u8]| self.0.deserialize(Some(bytes)).map(Some);
        let (new, old) = match flag {
            OLD => (None, value(rest)?),
            NEW => (value(rest)?, None),
            _ => {
                let length = read_varint(&mut rest).ok_or_else(truncated)?;
                let (new, old) = rest.split_at_checked(length).ok_or_else(truncated)?;
                (value(new)?, value(old)?)
            }
        };
        Ok(Change { new, old, is_latest })
    }
}

/// Kafka's signed (zigzag) varint of a length.
fn write_varint(out: &mut Vec<u8>, length: usize) -> Result<(), SerdeError> {
    let length = i32::try_from(length).map_err(|_| SerdeError::new("a value of more than 2 GiB"))?;
    let mut rest = length.cast_unsigned() << 1;
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    Ok(())
}

fn read_varint(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0_u32;
    for shift in [0, 7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            // A negative length has its lowest bit set.
            return (value & 1 == 0).then_some((value >> 1) as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streams_core::serde::default_serde;

    use super::*;

    fn serde() -> ChangedSerde<String> {
        ChangedSerde(default_serde())
    }

    fn change(new: Option<&str>, old: Option<&str>) -> Change<String> {
        Change::new(new.map(str::to_owned), old.map(str::to_owned))
    }

    #[test]
    fn changes_have_kafkas_bytes() {
        for (change, expected) in [
            (change(Some("ab"), None), &b"ab\x01"[..]),
            (change(None, Some("c")), b"c\x00"),
            (change(Some("ab"), Some("c")), b"\x04abc\x02"),
            (change(Some(""), Some("")), b"\x00\x02"),
        ] {
            let mut bytes = Vec::new();
            let _ = serde().serialize(&change, &mut bytes).unwrap();
            assert_eq!(bytes, expected);
            assert_eq!(serde().deserialize(Some(&bytes)).unwrap(), change);
        }
        assert!(serde().serialize(&change(None, None), &mut Vec::new()).is_err());
    }

    #[test]
    fn older_versions_also_say_whether_the_change_is_the_newest() {
        let read = serde().deserialize(Some(b"\x04abc\x00\x05")).unwrap();
        assert_eq!(read, Change { is_latest: false, ..change(Some("ab"), Some("c")) });
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = serde().deserialize(Some(&bytes));
        }

        #[test]
        fn what_is_written_is_read_back(new in ".{0,300}", old in proptest::option::of(".{0,10}")) {
            let change = Change::new(Some(new), old);
            let mut bytes = Vec::new();
            let _ = serde().serialize(&change, &mut bytes).unwrap();
            prop_assert_eq!(serde().deserialize(Some(&bytes)).unwrap(), change);
        }
    }
}
