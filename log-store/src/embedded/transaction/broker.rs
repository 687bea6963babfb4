//! What a broker had decided when it ended: records of `__transaction_state`, as Kafka writes them.
//!
//! ```text
//! key    type i16 = 0 · transactional id
//! value  version i16 = 0 or 1 · producer id i64 · epoch i16 · timeout i32 · state i8 · …
//! ```
//!
//! The last record of a transactional id counts. Its transaction is committed once its state says so, whether or not the
//! partitions have their markers. With version 2 of the protocol (KIP-890), which only a value of version 1 can tell,
//! that record has the epoch after the one of the data.

use std::{collections::HashMap, sync::Arc};

use super::{Identity, Recovered, decisions::take};
use crate::{Error, Result, client::Isolation, embedded::partition::Partition};

/// Kafka's name for the topic of transactions.
pub(super) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// Bytes read at once.
const LOAD_BYTES: usize = 1 << 20;

const PREPARE_COMMIT: u8 = 2;
const COMPLETE_COMMIT: u8 = 4;

/// Number of the tagged field with the version of the client's protocol.
const TAG_CLIENT_VERSION: u32 = 2;

/// The first version of the protocol that raises the epoch at every end.
const EPOCH_BUMP_VERSION: i16 = 2;

/// A transaction as the last record of its id tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    producer_id: i64,
    /// The data of this identity is committed.
    committed: Option<Identity>,
}

/// Reads what the broker had decided.
///
/// # Errors
///
/// `Corrupt` if that cannot be read: without it transactions that the broker has acknowledged would be aborted.
pub(super) fn recover<'a>(partitions: impl IntoIterator<Item = &'a Arc<Partition>>) -> Result<Recovered> {
    let mut recovered = Recovered::default();
    for partition in partitions {
        let mut told = HashMap::new();
        load(partition, &mut told).map_err(|error| match error {
            Error::Corrupt { file, position, reason } => {
                let reason = format!(
                    "{reason}: it tells which of the broker's transactions are committed; have the broker recover it, \
                     or remove this partition, and the transactions that were open are aborted"
                );
                Error::Corrupt { file, position, reason }
            }
            other => other,
        })?;
        for (transactional_id, Told { producer_id, committed }) in told {
            recovered.next_producer_id = recovered.next_producer_id.max(producer_id.saturating_add(1));
            if let Some(identity) = committed {
                recovered.committed.insert(identity, transactional_id);
            }
        }
    }
    Ok(recovered)
}

fn load(partition: &Arc<Partition>, told: &mut HashMap<Arc<str>, Told>) -> Result<()> {
    let mut from = partition.log_start()?;
    while let Some(fetched) = partition.fetch(from, LOAD_BYTES, Isolation::ReadUncommitted)? {
        let batch = partition.as_batch(&fetched, from);
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance()? {
            let view = cursor.view(&record);
            let Some(transactional_id) = view.key.and_then(decode_key) else { continue };
            match view.value {
                None => _ = told.remove(transactional_id),
                Some(value) => {
                    let value = decode_value(value).ok_or_else(|| Error::Corrupt {
                        file: partition.located(),
                        position: 0,
                        reason: format!(
                            "the record at offset {} is of a version that is not known here",
                            record.offset
                        ),
                    })?;
                    told.insert(transactional_id.into(), value);
                }
            }
        }
        from = fetched.next;
    }
    Ok(())
}

/// The transactional id; `None` if the key is of another type.
fn decode_key(bytes: &[u8]) -> Option<&str> {
    let mut rest = bytes;
    if i16::from_be_bytes(take(&mut rest)?) != 0 {
        return None;
    }
    let length = usize::try_from(i16::from_be_bytes(take(&mut rest)?)).ok()?;
    (rest.len() == length).then(|| std::str::from_utf8(rest).ok())?
}

fn decode_value(bytes: &[u8]) -> Option<Told> {
    let mut rest = bytes;
    let version = i16::from_be_bytes(take(&mut rest)?);
    if !(0..=1).contains(&version) {
        return None;
    }
    let producer_id = i64::from_be_bytes(take(&mut rest)?);
    let epoch = i16::from_be_bytes(take(&mut rest)?);
    let _timeout: [u8; 4] = take(&mut rest)?;
    let [state] = take(&mut rest)?;
    // The rest of version 0 says nothing that is needed.
    let client_version = if version == 0 { 0 } else { client_version(rest)? };
    let data_epoch = if client_version >= EPOCH_BUMP_VERSION {
        // Complete, but a power cut may have taken markers back.
        if matches!(state, PREPARE_COMMIT | COMPLETE_COMMIT) { Some(epoch.checked_sub(1)?) } else { None }
    } else {
        (state == PREPARE_COMMIT).then_some(epoch)
    };
    Some(Told { producer_id, committed: data_epoch.map(|epoch| Identity { producer_id, epoch }) })
}

/// Behind the state, in a value of version 1: partitions, two times, tagged fields.
fn client_version(bytes: &[u8]) -> Option<i16> {
    let mut rest = bytes;
    // Lengths are one more than they are; 0 is null.
    for _ in 1..varint(&mut rest)? {
        let name = varint(&mut rest)?.checked_sub(1)?;
        skip(&mut rest, name)?;
        let partitions = varint(&mut rest)?.checked_sub(1)?;
        skip(&mut rest, partitions.checked_mul(4)?)?;
        tagged(&mut rest, |_, _| Some(()))?;
    }
    let _times: [u8; 16] = take(&mut rest)?;
    let mut version = 0;
    tagged(&mut rest, |tag, field| {
        if tag == TAG_CLIENT_VERSION {
            version = i16::from_be_bytes(field.try_into().ok()?);
        }
        Some(())
    })?;
    Some(version)
}

fn tagged<'a>(rest: &mut &'a [u8], mut each: impl FnMut(u32, &'a [u8]) -> Option<()>) -> Option<()> {
    for _ in 0..varint(rest)? {
        let tag = varint(rest)?;
        let length = varint(rest)?;
        each(tag, skip(rest, length)?)?;
    }
    Some(())
}

fn skip<'a>(rest: &mut &'a [u8], length: u32) -> Option<&'a [u8]> {
    let (field, tail) = rest.split_at_checked(length as usize)?;
    *rest = tail;
    Some(field)
}

/// An unsigned number, seven bits a byte, the lowest first.
fn varint(rest: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let [byte] = take(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(number).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let hex: String = hex.split_whitespace().collect();
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    /// A value of version 1 in this state, with epoch 8: two partitions of `t`, and the client's version, if any.
    fn value(state: u8, client_version: Option<u8>) -> Vec<u8> {
        let mut value = bytes("0001 00000000000003e9 0008 0000ea60");
        value.push(state);
        value.extend(bytes("02 02 74 03 00000000 00000001 00 000001902f3c4d5e 000001902f3c4d5e"));
        match client_version {
            None => value.push(0),
            Some(version) => value.extend([2, 0, 8, 0, 0, 0, 0, 0, 0, 3, 232, 2, 2, 0, version]),
        }
        value
    }

    fn committed_epoch(value: &[u8]) -> Option<i16> {
        let told = decode_value(value).unwrap();
        assert_eq!(told.producer_id, 1001);
        told.committed.map(|identity| identity.epoch)
    }

    #[test]
    fn a_prepared_commit_is_one_of_the_epoch_that_wrote_the_data() {
        for (state, before, since) in [
            (0, None, None),
            (1, None, None),
            (PREPARE_COMMIT, Some(8), Some(7)),
            (3, None, None),
            (COMPLETE_COMMIT, None, Some(7)),
            (5, None, None),
            (7, None, None),
        ] {
            assert_eq!(committed_epoch(&value(state, None)), before, "state {state}");
            assert_eq!(committed_epoch(&value(state, Some(1))), before, "state {state}");
            assert_eq!(committed_epoch(&value(state, Some(2))), since, "state {state}");
            let mut old = value(state, None);
            old[1] = 0;
            assert_eq!(committed_epoch(&old), before, "state {state}, version 0");
        }
    }

    #[test]
    fn no_partitions_may_be_an_empty_list_or_null() {
        for partitions in ["00", "01"] {
            let times = "000001902f3c4d5e ffffffffffffffff";
            let value = bytes(&format!("0001 00000000000003e9 0008 0000ea60 02 {partitions} {times} 01 02 02 0002"));
            assert_eq!(committed_epoch(&value), Some(7));
        }
    }

    #[test]
    fn what_is_cut_off_or_newer_is_not_believed() {
        let whole = value(PREPARE_COMMIT, Some(2));
        for length in 0..whole.len() {
            assert_eq!(decode_value(&whole[..length]), None, "{length} bytes");
        }
        let mut newer = whole;
        newer[1] = 2;
        assert_eq!(decode_value(&newer), None);
        assert_eq!(decode_key(&bytes("0000 0003 616263")), Some("abc"));
        assert_eq!(decode_key(&bytes("0000 0004 616263")), None);
        assert_eq!(decode_key(&bytes("0001 0003 616263")), None, "a key of another type");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(key: Vec<u8>, value: Vec<u8>) {
            let _ = (decode_key(&key), decode_value(&value));
        }

        #[test]
        fn any_byte_may_be_any_other(at in 0_usize..60, byte: u8) {
            let mut value = value(PREPARE_COMMIT, Some(2));
            let at = at % value.len();
            value[at] = byte;
            let _ = decode_value(&value);
        }
    }
}
