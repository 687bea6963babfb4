//! Names of topics and partitions.

use std::{fmt, sync::Arc};

use crate::{Error, Result};

/// The name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`, as Kafka has it. Cheap to clone.
///
/// The rule also makes a name safe to be part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Longest name, in bytes.
    pub const LENGTH_MAX: usize = 249;

    /// Checks `name`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] says which rule is broken.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let problem = if name.is_empty() {
            "is empty"
        } else if name == "." || name == ".." {
            "is a path"
        } else if name.len() > Self::LENGTH_MAX {
            "is longer than 249 bytes"
        } else if !name.bytes().all(legal) {
            "has a character other than a-z A-Z 0-9 . _ -"
        } else {
            return Ok(TopicName(name.into()));
        };
        Err(Error::Invalid(format!("topic name {name:?} {problem}")))
    }

    /// A name that nobody has checked: for doubles of a log, which keep nothing under names. A log on disk would take it
    /// for a path.
    #[must_use]
    pub fn unchecked(name: impl AsRef<str>) -> Self {
        TopicName(name.as_ref().into())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of a topic. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// Number of the partition, from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    #[must_use]
    pub fn new(topic: TopicName, partition: u32) -> Self {
        TopicPartition { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// 22 characters of URL-safe base64 without padding, as Kafka prints its ids.
pub(crate) fn encode_id(id: [u8; 16]) -> String {
    // 128 bits in groups of six from the front; the last group has four bits of nothing at its end.
    let number = u128::from_be_bytes(id);
    let digit = |group: u32| {
        let shift = 122_i32 - 6 * group.cast_signed();
        let bits = if shift >= 0 { number >> shift } else { number << -shift };
        char::from(BASE64[(bits & 63) as usize])
    };
    (0..22).map(digit).collect()
}

/// Undoes [`encode_id`].
pub(crate) fn decode_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 22 {
        return None;
    }
    let mut number = 0_u128;
    for (group, character) in text.bytes().enumerate() {
        let digit = BASE64.iter().position(|byte| *byte == character)? as u128;
        number = if group == 21 { (number << 2) | (digit >> 4) } else { (number << 6) | digit };
    }
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{TopicName, decode_id, encode_id};

    proptest! {
        #[test]
        fn an_id_reads_back(id: [u8; 16]) {
            prop_assert_eq!(decode_id(&encode_id(id)), Some(id));
        }
    }

    #[test]
    fn an_id_is_printed_as_kafka_prints_it() {
        // The bytes 0 to 15.
        assert_eq!(encode_id(std::array::from_fn(|index| index as u8)), "AAECAwQFBgcICQoLDA0ODw");
    }

    #[test]
    fn names_that_are_no_names_are_refused() {
        for name in ["", ".", "..", "a/b", "../x", "ä", "a b", &"x".repeat(250)] {
            assert!(TopicName::new(name).is_err(), "{name:?}");
        }
        for name in ["a", "...", "A-b_c.9", &"x".repeat(249)] {
            assert!(TopicName::new(name).is_ok(), "{name:?}");
        }
    }
}
