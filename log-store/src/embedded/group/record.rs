//! Records of `__consumer_offsets`, byte for byte as Kafka writes them.
//!
//! ```text
//! key    type i16 = 1 · group · topic · partition i32
//! value  version i16 = 3 · offset i64 · leader epoch i32 · metadata · commit time i64
//! ```
//!
//! Texts have their length in front (i16); a record without a value deletes. Records of other types (members and their
//! assignments, which do not outlive the process here) are passed over when a broker's topic is read.

use crate::{Offset, TopicName, TopicPartition, client::CommittedOffset};

const TYPE_OFFSET: i16 = 1;
const VERSION_WRITTEN: i16 = 3;
/// Version 4 adds tagged fields behind a compact text.
const VERSION_READ_MAX: i16 = 4;

/// Whose offset a record is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OffsetKey {
    pub(crate) group: String,
    pub(crate) partition: TopicPartition,
}

/// The record key.
pub(crate) fn encode_key(group: &str, partition: &TopicPartition) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + group.len() + partition.topic.as_str().len());
    out.extend_from_slice(&TYPE_OFFSET.to_be_bytes());
    put_text(&mut out, group);
    put_text(&mut out, partition.topic.as_str());
    out.extend_from_slice(&partition.partition.to_be_bytes());
    out
}

/// The record value.
pub(crate) fn encode_value(committed: &CommittedOffset, commit_time_ms: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + committed.metadata.len());
    out.extend_from_slice(&VERSION_WRITTEN.to_be_bytes());
    out.extend_from_slice(&committed.offset.as_i64().to_be_bytes());
    // No leader epoch.
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    put_text(&mut out, &committed.metadata);
    out.extend_from_slice(&commit_time_ms.to_be_bytes());
    out
}

/// Reads a record key; `None` if it is of another type, or malformed.
pub(crate) fn decode_key(bytes: &[u8]) -> Option<OffsetKey> {
    let mut rest = bytes;
    // Type 0 is an older form with the same fields.
    if !(0..=TYPE_OFFSET).contains(&i16::from_be_bytes(take(&mut rest)?)) {
        return None;
    }
    let group = take_text(&mut rest)?.to_owned();
    let topic = TopicName::new(take_text(&mut rest)?).ok()?;
    let partition = u32::try_from(i32::from_be_bytes(take(&mut rest)?)).ok()?;
    rest.is_empty().then(|| OffsetKey { group, partition: TopicPartition::new(topic, partition) })
}

/// Reads a record value; `None` if it is malformed or of a newer version.
pub(crate) fn decode_value(bytes: &[u8]) -> Option<CommittedOffset> {
    let mut rest = bytes;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if !(0..=VERSION_READ_MAX).contains(&version) {
        return None;
    }
    let offset = Offset::from_i64(i64::from_be_bytes(take(&mut rest)?))?;
    if version >= 3 {
        let _leader_epoch: [u8; 4] = take(&mut rest)?;
    }
    let metadata = if version >= 4 { take_compact_text(&mut rest)? } else { take_text(&mut rest)? };
    let _commit_time: [u8; 8] = take(&mut rest)?;
    Some(CommittedOffset { offset, metadata: metadata.to_owned() })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("lengths are checked where groups and metadata come in");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*field)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(i16::from_be_bytes(take(rest)?)).ok()?;
    take_bytes(rest, length)
}

/// The length is an unsigned varint, and one more than it is.
fn take_compact_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let mut length = 0_usize;
    for shift in [0, 7, 14] {
        let [byte] = take(rest)?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return take_bytes(rest, length.checked_sub(1)?);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a str> {
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn partition() -> TopicPartition {
        TopicPartition::new(TopicName::new("in").unwrap(), 3)
    }

    #[test]
    fn keys_and_values_have_the_bytes_of_kafka() {
        assert_eq!(hex(&encode_key("app", &partition())), "0001 0003617070 0002696e 00000003".replace(' ', ""));
        let committed = CommittedOffset { offset: Offset::new(258), metadata: "m".to_owned() };
        assert_eq!(
            hex(&encode_value(&committed, 1_000)),
            "0003 0000000000000102 ffffffff 00016d 00000000000003e8".replace(' ', "")
        );
    }

    #[test]
    fn values_of_all_versions_are_read() {
        let offset = "0000000000000102";
        let time = "00000000000003e8";
        for text in [
            format!("0000{offset}00016d{time}"),
            format!("0001{offset}00016d{time}{time}"),
            format!("0002{offset}00016d{time}"),
            format!("0003{offset}ffffffff00016d{time}"),
            format!("0004{offset}ffffffff026d{time}00"),
        ] {
            let bytes: Vec<u8> =
                (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect();
            let read = decode_value(&bytes).unwrap();
            assert_eq!((read.offset, read.metadata.as_str()), (Offset::new(258), "m"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(group in "\\PC{0,20}", number in 0..i32::MAX as u32, offset in 0..i64::MAX as u64, metadata in "\\PC{0,40}") {
            let partition = TopicPartition::new(TopicName::new("t").unwrap(), number);
            let key = decode_key(&encode_key(&group, &partition)).unwrap();
            prop_assert_eq!(key, OffsetKey { group, partition });
            let committed = CommittedOffset { offset: Offset::new(offset), metadata };
            prop_assert_eq!(decode_value(&encode_value(&committed, 7)), Some(committed));
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = decode_key(&bytes);
            let _ = decode_value(&bytes);
        }
    }
}
