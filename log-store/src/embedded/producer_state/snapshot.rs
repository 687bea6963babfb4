//! The file `.snapshot`: what was known of each producer at the offset that the file is named after.
//!
//! ```text
//! version i16 = 1 · crc-32c of all that follows u32 · number of entries i32 · entries of 46 bytes, by producer id
//! entry   producer id i64 · epoch i16 · last sequence i32 · last offset i64 · last offset - first offset i32 ·
//!         timestamp i64 · coordinator epoch i32 · first offset of the open transaction i64
//! ```
//!
//! All numbers are big-endian; -1 stands for none.

use crate::Offset;

const VERSION: i16 = 1;
/// Version and checksum: what the checksum does not cover.
const UNCHECKED_BYTES: usize = 2 + 4;
const ENTRY_BYTES: usize = 46;

/// What is known of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// Sequence number of its last record, -1 for none.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: Option<Offset>,
    /// The last offset minus the first one of its last batch.
    pub offset_delta: u32,
    /// Time of its last batch.
    pub timestamp: i64,
    /// Epoch of the coordinator that wrote its last marker, -1 for none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_first: Option<Offset>,
}

/// The file's content.
pub(super) fn encode(entries: &[ProducerEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(UNCHECKED_BYTES + 4 + ENTRY_BYTES * entries.len());
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let count = i32::try_from(entries.len()).expect("fewer than 2^31 producers");
    out.extend_from_slice(&count.to_be_bytes());
    let or_none = |offset: Option<Offset>| offset.map_or(-1, Offset::as_i64).to_be_bytes();
    for entry in entries {
        out.extend_from_slice(&entry.producer_id.to_be_bytes());
        out.extend_from_slice(&entry.epoch.to_be_bytes());
        out.extend_from_slice(&entry.last_sequence.to_be_bytes());
        out.extend_from_slice(&or_none(entry.last_offset));
        out.extend_from_slice(&entry.offset_delta.to_be_bytes());
        out.extend_from_slice(&entry.timestamp.to_be_bytes());
        out.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&or_none(entry.transaction_first));
    }
    let crc = crc32c::crc32c(&out[UNCHECKED_BYTES..]);
    out[2..UNCHECKED_BYTES].copy_from_slice(&crc.to_be_bytes());
    out
}

/// Reads the file's content; `Err` says what does not fit.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>, String> {
    let mut rest = Fields(bytes);
    let version = i16::from_be_bytes(rest.take()?);
    if version != VERSION {
        return Err(format!("unknown version {version}"));
    }
    let stored = u32::from_be_bytes(rest.take()?);
    let computed = crc32c::crc32c(rest.0);
    if stored != computed {
        return Err(format!("checksum {computed:#010x} instead of {stored:#010x}"));
    }
    let count = i32::from_be_bytes(rest.take()?);
    // Compared before anything is allocated for it.
    let expected = usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES));
    if expected != Some(rest.0.len()) {
        return Err(format!("{count} entries in {} bytes", rest.0.len()));
    }
    let mut entries = Vec::with_capacity(rest.0.len() / ENTRY_BYTES);
    while !rest.0.is_empty() {
        entries.push(decode_entry(&mut rest)?);
    }
    Ok(entries)
}

fn decode_entry(rest: &mut Fields<'_>) -> Result<ProducerEntry, String> {
    let producer_id = i64::from_be_bytes(rest.take()?);
    let epoch = i16::from_be_bytes(rest.take()?);
    let last_sequence = i32::from_be_bytes(rest.take()?);
    let last_offset = Offset::from_i64(i64::from_be_bytes(rest.take()?));
    let offset_delta = i32::from_be_bytes(rest.take()?);
    if last_offset.is_some() && last_sequence < -1 {
        return Err(format!("negative sequence of producer {producer_id}"));
    }
    Ok(ProducerEntry {
        producer_id,
        epoch,
        last_sequence,
        last_offset,
        offset_delta: match u32::try_from(offset_delta) {
            Ok(delta) => delta,
            Err(_) if last_offset.is_none() => 0,
            Err(_) => return Err(format!("negative delta of producer {producer_id}")),
        },
        timestamp: i64::from_be_bytes(rest.take()?),
        coordinator_epoch: i32::from_be_bytes(rest.take()?),
        transaction_first: Offset::from_i64(i64::from_be_bytes(rest.take()?)),
    })
}

/// Takes fixed fields off the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or("cut off")?;
        self.0 = rest;
        Ok(*field)
    }
}
