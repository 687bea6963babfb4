//! Bytes of the small files → entries. Each is checked on its own; [`super::verify`] compares them with the batches.

use crate::{
    Offset,
    batch::Malformed,
    embedded::{
        producer_state::Aborted,
        segment::{
            IndexEntry, OffsetEntry, TimeEntry,
            transaction_index::{self, ENTRY_BYTES},
        },
    },
};

/// When an epoch of the leader began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderEpoch {
    /// The epoch.
    pub epoch: i32,
    /// Offset of its first record.
    pub start: Offset,
}

/// Reads an `.index` file of the segment with this base offset. Zeros at the end are room for more entries.
///
/// # Errors
///
/// If it is cut in the middle of an entry, or offsets or positions do not rise.
pub fn decode_offset_index(base: Offset, bytes: &[u8]) -> Result<Vec<OffsetEntry>, Malformed> {
    let entries: Vec<OffsetEntry> = decode_entries(base, bytes)?;
    for (index, pair) in entries.windows(2).enumerate() {
        if pair[1].offset <= pair[0].offset || pair[1].position <= pair[0].position {
            return Err(Malformed::new(format!("entry {} does not rise above the one before it", index + 1)));
        }
    }
    Ok(entries)
}

/// Reads a `.timeindex` file of the segment with this base offset. Zeros at the end are room for more entries.
///
/// # Errors
///
/// If it is cut in the middle of an entry, timestamps do not rise, or offsets fall.
pub fn decode_time_index(base: Offset, bytes: &[u8]) -> Result<Vec<TimeEntry>, Malformed> {
    let entries: Vec<TimeEntry> = decode_entries(base, bytes)?;
    for (index, pair) in entries.windows(2).enumerate() {
        if pair[1].timestamp <= pair[0].timestamp || pair[1].offset < pair[0].offset {
            return Err(Malformed::new(format!("entry {} does not rise above the one before it", index + 1)));
        }
    }
    Ok(entries)
}

fn decode_entries<E: IndexEntry>(base: Offset, bytes: &[u8]) -> Result<Vec<E>, Malformed> {
    if !bytes.len().is_multiple_of(E::SIZE) {
        return Err(Malformed::new(format!("{} bytes are no multiple of {}", bytes.len(), E::SIZE)));
    }
    let used = bytes.chunks_exact(E::SIZE).take_while(|entry| entry.iter().any(|byte| *byte != 0));
    Ok(used.map(|entry| E::decode(base, entry)).collect())
}

/// Reads a `.txnindex` file.
///
/// # Errors
///
/// If it is cut in the middle of an entry, of another version, has offsets out of range, or its markers do not rise.
pub fn decode_aborted(bytes: &[u8]) -> Result<Vec<Aborted>, Malformed> {
    if !bytes.len().is_multiple_of(ENTRY_BYTES) {
        return Err(Malformed::new(format!("{} bytes are no multiple of {ENTRY_BYTES}", bytes.len())));
    }
    let mut entries: Vec<Aborted> = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    for (index, entry) in bytes.chunks_exact(ENTRY_BYTES).enumerate() {
        let entry = transaction_index::decode(entry)
            .filter(|entry| entry.first <= entry.last)
            .filter(|entry| entries.last().is_none_or(|before| before.last < entry.last))
            .ok_or_else(|| Malformed::new(format!("entry {index} is of another version, or out of order")))?;
        entries.push(entry);
    }
    Ok(entries)
}

/// Reads a `leader-epoch-checkpoint` file.
///
/// # Errors
///
/// If it has not the form of one, or epochs or offsets do not rise.
pub fn decode_leader_epochs(bytes: &[u8]) -> Result<Vec<LeaderEpoch>, Malformed> {
    let parse = || -> Option<Vec<LeaderEpoch>> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let is_known = lines.next()? == "0";
        let count: usize = lines.next()?.parse().ok()?;
        let epochs = lines.map(decode_leader_epoch).collect::<Option<Vec<_>>>()?;
        (is_known && epochs.len() == count).then_some(epochs)
    };
    let epochs = parse().ok_or_else(|| Malformed::new("not a checkpoint of leader epochs"))?;
    let rises = |pair: &[LeaderEpoch]| pair[0].epoch < pair[1].epoch && pair[0].start <= pair[1].start;
    if epochs.windows(2).all(rises) { Ok(epochs) } else { Err(Malformed::new("leader epochs do not rise")) }
}

fn decode_leader_epoch(line: &str) -> Option<LeaderEpoch> {
    let (epoch, start) = line.split_once(' ')?;
    Some(LeaderEpoch { epoch: epoch.parse().ok()?, start: Offset::from_i64(start.parse().ok()?)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Offset = Offset::new(100);

    fn offset_index(entries: &[(u64, u32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, position) in entries {
            OffsetEntry { offset: Offset::new(*offset), position: *position }.encode(BASE, &mut bytes);
        }
        bytes
    }

    #[test]
    fn an_offset_index_reads_back_up_to_its_zeros() {
        let mut bytes = offset_index(&[(105, 4_200), (111, 9_000)]);
        let whole = decode_offset_index(BASE, &bytes).unwrap();
        assert_eq!(whole[1], OffsetEntry { offset: Offset::new(111), position: 9_000 });
        bytes.resize(8_000, 0);
        assert_eq!(decode_offset_index(BASE, &bytes).unwrap(), whole);
        decode_offset_index(BASE, &bytes[..7_999]).expect_err("cut inside an entry");
    }

    #[test]
    fn entries_that_do_not_rise_are_refused() {
        decode_offset_index(BASE, &offset_index(&[(105, 10), (105, 20)])).expect_err("the offset stays");
        decode_offset_index(BASE, &offset_index(&[(105, 20), (106, 20)])).expect_err("the position stays");
        decode_leader_epochs(b"0\n2\n3 0\n3 9\n").expect_err("the epoch stays");
        decode_leader_epochs(b"0\n3\n3 0\n").expect_err("lines are missing");
        assert_eq!(decode_leader_epochs(b"0\n1\n3 7\n").unwrap(), [LeaderEpoch { epoch: 3, start: Offset::new(7) }]);
    }

    #[test]
    fn aborted_transactions_are_read_as_kafka_writes_them() {
        let entry = |producer: i64, first: i64, last: i64, stable: i64| {
            let fields = [producer, first, last, stable].map(i64::to_be_bytes).concat();
            [&[0, 0][..], &fields].concat()
        };
        let good = [entry(7, 3, 9, 10), entry(8, 4, 12, 13)].concat();
        let read = decode_aborted(&good).unwrap();
        let offset = Offset::new;
        assert_eq!(read[0], Aborted { producer_id: 7, first: offset(3), last: offset(9), last_stable: offset(10) });
        decode_aborted(&[entry(7, 3, 9, 10), entry(8, 4, 9, 13)].concat()).expect_err("the marker is the same");
        decode_aborted(&entry(7, 9, 3, 10)).expect_err("it ends before it begins");
        decode_aborted(&entry(7, -1, 3, 10)).expect_err("no such offset");
        decode_aborted(&good[..67]).expect_err("cut inside an entry");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = decode_offset_index(BASE, &bytes);
            let _ = decode_time_index(BASE, &bytes);
            let _ = decode_aborted(&bytes);
            let _ = decode_leader_epochs(&bytes);
        }
    }
}
