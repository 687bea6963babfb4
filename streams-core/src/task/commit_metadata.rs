//! What a task keeps beside its committed offsets: the partition's time, in Kafka Streams' own form.
//!
//! Base64 of: magic number 2, partition time (8 bytes, big-endian), then processor metadata if there is any (a
//! count, then each key and its 8-byte value). Magic number 1 has no processor metadata. (`TopicPartitionMetadata` in Kafka Streams.)

/// Partition time that is not known.
pub(crate) const UNKNOWN: i64 = -1;

const MAGIC: u8 = 2;

/// Text for a partition whose time is `partition_time`, with the task's processor metadata.
pub(crate) fn encode(partition_time: i64, processor: &[(String, i64)]) -> String {
    let mut bytes = vec![MAGIC];
    bytes.extend_from_slice(&partition_time.to_be_bytes());
    if !processor.is_empty() {
        bytes.extend_from_slice(&(processor.len() as u32).to_be_bytes());
    }
    for (key, value) in processor {
        bytes.extend_from_slice(&(key.len() as u32).to_be_bytes());
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    base64(&bytes)
}

/// Partition time and processor metadata; what cannot be read counts as unknown, as in Kafka.
pub(crate) fn decode(text: &str) -> (i64, Vec<(String, i64)>) {
    unbase64(text).and_then(|bytes| parse(&bytes)).unwrap_or((UNKNOWN, Vec::new()))
}

fn parse(bytes: &[u8]) -> Option<(i64, Vec<(String, i64)>)> {
    let (magic, rest) = bytes.split_first()?;
    let (time, mut rest) = rest.split_first_chunk::<8>()?;
    let time = i64::from_be_bytes(*time);
    let mut processor = Vec::new();
    if *magic == MAGIC && !rest.is_empty() {
        let (count, after) = rest.split_first_chunk::<4>()?;
        rest = after;
        for _ in 0..u32::from_be_bytes(*count) {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (key, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            let (value, after) = after.split_first_chunk::<8>()?;
            processor.push((String::from_utf8(key.to_vec()).ok()?, i64::from_be_bytes(*value)));
            rest = after;
        }
    } else if !matches!(*magic, 1 | MAGIC) {
        return None;
    }
    Some((time, processor))
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let sextet = word >> (18 - 6 * digit) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes();
    let mut bytes = Vec::new();
    let (mut word, mut bits) = (0_u32, 0);
    for digit in digits {
        let sextet = ALPHABET.iter().position(|known| *known == digit)?;
        word = word << 6 | sextet as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    #[test]
    fn the_text_is_kafkas() {
        assert_eq!(super::encode(1_000, &[]), "AgAAAAAAAAPo");
        // Written by an older release: magic 1, no processor metadata.
        assert_eq!(super::decode("AQAAAAAAAAPo"), (1_000, vec![]));
        for text in ["", "AA", "????", "AgAA", "AgAAAAAAAAPo/////w==", "AwAAAAAAAAPo"] {
            assert_eq!(super::decode(text), (super::UNKNOWN, vec![]), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(time: i64, processor: Vec<(String, i64)>) {
            prop_assert_eq!(super::decode(&super::encode(time, &processor)), (time, processor));
        }
    }
}
