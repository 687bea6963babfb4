//! What travels through the two topics of a foreign-key join, in Kafka Streams' bytes.
//!
//! ```text
//! subscription  1 (top bit: no hash) | instruction | hash 16, if any | primary key | partition i32
//! response      0 (top bit: no hash) | hash 16, if any | value of the other table, if any
//! ```

use streams_core::serde::{Data, Encoded, Serde, SerdeError, SharedSerde};

use super::murmur3::Hash;
use crate::buffer::take_exact;

/// Version of subscriptions: the first has no partition.
const SUBSCRIPTION_VERSION: u8 = 1;
const RESPONSE_VERSION: u8 = 0;
const NO_HASH: u8 = 0x80;

/// What the other side is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Instruction {
    /// Forget the subscription.
    Delete = 0,
    /// Forget the subscription, and answer with nothing.
    DeleteAndAnswer = 1,
    /// Subscribe, and answer in any case.
    Answer = 2,
    /// Subscribe, and answer if there is a value.
    AnswerIfFound = 3,
}

impl Instruction {
    fn read(byte: u8) -> Result<Self, SerdeError> {
        Ok(match byte {
            0 => Instruction::Delete,
            1 => Instruction::DeleteAndAnswer,
            2 => Instruction::Answer,
            3 => Instruction::AnswerIfFound,
            other => return Err(SerdeError::new(format!("unknown instruction {other} in a subscription"))),
        })
    }

    pub(super) fn deletes(self) -> bool {
        matches!(self, Instruction::Delete | Instruction::DeleteAndAnswer)
    }
}

/// A left row's interest in a row of the other table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription<K> {
    /// Of the left value; `None` if it was deleted.
    pub(super) hash: Option<Hash>,
    pub(super) instruction: Instruction,
    pub(super) primary_key: K,
    /// Partition of the left row; `None` from versions before 3.4.
    pub(super) partition: Option<u32>,
}

/// An answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response<VO> {
    /// Of the left value that it is for.
    pub(super) hash: Option<Hash>,
    /// The value of the other table.
    pub(super) value: Option<VO>,
    /// Where it has to go; not part of the bytes.
    pub(super) partition: Option<u32>,
}

fn write_head(version: u8, hash: Option<Hash>, out: &mut Vec<u8>) {
    out.push(if hash.is_some() { version } else { version | NO_HASH });
}

fn write_hash(hash: Option<Hash>, out: &mut Vec<u8>) {
    for half in hash.into_iter().flatten() {
        out.extend_from_slice(&half.to_be_bytes());
    }
}

/// Version, and whether a hash follows.
fn take_head(bytes: &mut &[u8]) -> Result<(u8, bool), SerdeError> {
    let head = take_exact(bytes, 1)?[0];
    Ok((head & !NO_HASH, head & NO_HASH == 0))
}

fn take_hash(bytes: &mut &[u8], has_hash: bool) -> Result<Option<Hash>, SerdeError> {
    if !has_hash {
        return Ok(None);
    }
    let mut half = || take_exact(bytes, 8).map(|half| u64::from_be_bytes(half.try_into().expect("eight bytes")));
    Ok(Some([half()?, half()?]))
}

pub(super) struct SubscriptionSerde<K>(pub(super) SharedSerde<K>);

impl<K: Data> Serde<Subscription<K>> for SubscriptionSerde<K> {
    fn serialize(&self, subscription: &Subscription<K>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        let version = if subscription.partition.is_some() { SUBSCRIPTION_VERSION } else { 0 };
        write_head(version, subscription.hash, out);
        out.push(subscription.instruction as u8);
        write_hash(subscription.hash, out);
        let _ = self.0.serialize(&subscription.primary_key, out)?;
        if let Some(partition) = subscription.partition {
            out.extend_from_slice(&partition.to_be_bytes());
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Subscription<K>, SerdeError> {
        let mut bytes = bytes.ok_or_else(|| SerdeError::new("null where a subscription is expected"))?;
        let (version, has_hash) = take_head(&mut bytes)?;
        let instruction = Instruction::read(take_exact(&mut bytes, 1)?[0])?;
        let hash = take_hash(&mut bytes, has_hash)?;
        let (key, partition) = match version {
            0 => (bytes, None),
            SUBSCRIPTION_VERSION => {
                let (key, partition) = bytes
                    .split_last_chunk::<4>()
                    .ok_or_else(|| SerdeError::new("a subscription without a partition"))?;
                (key, Some(u32::from_be_bytes(*partition)))
            }
            other => return Err(SerdeError::new(format!("subscriptions of version {other} are not known"))),
        };
        Ok(Subscription { hash, instruction, primary_key: self.0.deserialize(Some(key))?, partition })
    }
}

pub(super) struct ResponseSerde<VO>(pub(super) SharedSerde<VO>);

impl<VO: Data> Serde<Response<VO>> for ResponseSerde<VO> {
    fn serialize(&self, response: &Response<VO>, out: &mut Vec<u8>) -> Result<Encoded, SerdeError> {
        write_head(RESPONSE_VERSION, response.hash, out);
        write_hash(response.hash, out);
        if let Some(value) = &response.value {
            let _ = self.0.serialize(value, out)?;
        }
        Ok(Encoded::Bytes)
    }

    fn deserialize(&self, bytes: Option<&[u8]>) -> Result<Response<VO>, SerdeError> {
        let mut bytes = bytes.ok_or_else(|| SerdeError::new("null where a response is expected"))?;
        let (version, has_hash) = take_head(&mut bytes)?;
        if version != RESPONSE_VERSION {
            return Err(SerdeError::new(format!("responses of version {version} are not known")));
        }
        let hash = take_hash(&mut bytes, has_hash)?;
        // A value of no bytes cannot be told from none: as in Kafka Streams, it is none.
        let value = if bytes.is_empty() { None } else { Some(self.0.deserialize(Some(bytes))?) };
        Ok(Response { hash, value, partition: None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use streams_core::serde::default_serde;

    use super::*;

    #[test]
    fn subscriptions_and_responses_have_kafkas_bytes() {
        let subscriptions = SubscriptionSerde(default_serde::<String>());
        let subscription = Subscription {
            hash: Some([1, 2]),
            instruction: Instruction::Answer,
            primary_key: "k".to_owned(),
            partition: Some(3),
        };
        let mut out = Vec::new();
        let _ = subscriptions.serialize(&subscription, &mut out).unwrap();
        assert_eq!(out, b"\x01\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02k\0\0\0\x03");
        assert_eq!(subscriptions.deserialize(Some(&out)).unwrap(), subscription);

        let responses = ResponseSerde(default_serde::<String>());
        let response = Response { hash: None, value: Some("v".to_owned()), partition: None };
        out.clear();
        let _ = responses.serialize(&response, &mut out).unwrap();
        assert_eq!(out, b"\x80v");
        assert_eq!(responses.deserialize(Some(&out)).unwrap(), response);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = SubscriptionSerde(default_serde::<String>()).deserialize(Some(&bytes));
            let _ = ResponseSerde(default_serde::<String>()).deserialize(Some(&bytes));
        }
    }
}
