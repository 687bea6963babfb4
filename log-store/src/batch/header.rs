//! The 61 bytes in front of every batch: read and checked, written, and patched in place.
//!
//! All numbers are big-endian. The checksum covers everything from the attributes on, so the log can give a batch its
//! offset and epoch (bytes 0 to 16) without touching anything else.

use super::{Compression, Malformed};
use crate::Offset;

/// Size of the header, and of a batch without records.
pub const HEADER_BYTES: usize = 61;

/// Fewest bytes of one record: seven numbers of one byte each.
pub(crate) const RECORD_BYTES_MIN: usize = 7;

/// Bytes before the length field's count begins.
const LENGTH_BEGINS: usize = 12;
const MAGIC: u8 = 2;

// Where the fields begin.
const BASE_OFFSET: usize = 0;
const LENGTH: usize = 8;
const LEADER_EPOCH: usize = 12;
const MAGIC_AT: usize = 16;
const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;
const LAST_OFFSET_DELTA: usize = 23;
const BASE_TIMESTAMP: usize = 27;
const MAX_TIMESTAMP: usize = 35;
const PRODUCER_ID: usize = 43;
const PRODUCER_EPOCH: usize = 51;
const BASE_SEQUENCE: usize = 53;
const RECORD_COUNT: usize = 57;

// Bits of the attributes.
const CODEC_MASK: u16 = 0b111;
const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
const DELETE_HORIZON: u16 = 1 << 6;

/// Whose clock gave the timestamps (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    /// The producer's: each record has its own.
    #[default]
    CreateTime,
    /// The log's: all records of a batch have the batch's maximum.
    LogAppendTime,
}

/// The header of a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; after compaction, of what was the first record. The log sets it.
    pub base_offset: Offset,
    /// Size of the whole batch, this header included.
    pub len_bytes: usize,
    /// Epoch of the leader that appended it, -1 before that. The log sets it.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes on.
    pub checksum: u32,
    /// How the records are compressed.
    pub compression: Compression,
    /// Whose clock gave the timestamps.
    pub timestamp_type: TimestampType,
    /// Part of a transaction.
    pub is_transactional: bool,
    /// Holds a marker, not records of a user.
    pub is_control: bool,
    /// `base_timestamp` is the time from which on tombstones and markers inside may be removed.
    pub has_delete_horizon: bool,
    /// Offset of the last record (before any compaction) minus `base_offset`.
    pub last_offset_delta: u32,
    /// What the records' timestamps count from: the first record's, or the delete horizon; -1 in an empty batch.
    pub base_timestamp: i64,
    /// Greatest timestamp of the records, or the time of the append.
    pub max_timestamp: i64,
    /// The producer, -1 for none.
    pub producer_id: i64,
    /// Its epoch, -1 for none.
    pub producer_epoch: i16,
    /// Sequence number of the record at `base_offset`, -1 for none.
    pub base_sequence: i32,
    /// Records inside; compaction lowers it, down to 0.
    pub record_count: u32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`, which need not hold the records that follow it.
    ///
    /// # Errors
    ///
    /// If there are fewer than [`HEADER_BYTES`], the format is not version 2, or fields contradict each other.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Malformed::new(format!("{} bytes are too few for a batch header", bytes.len())));
        };
        if bytes[MAGIC_AT] != MAGIC {
            return Err(Malformed::new(format!("format version is {}, expected {MAGIC}", bytes[MAGIC_AT])));
        }
        let base_offset = i64::from_be_bytes(field(bytes, BASE_OFFSET));
        let length = i32::from_be_bytes(field(bytes, LENGTH));
        let last_offset_delta = i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA));
        let record_count = i32::from_be_bytes(field(bytes, RECORD_COUNT));
        let attributes = u16::from_be_bytes(field(bytes, ATTRIBUTES));

        let len_bytes = usize::try_from(length).unwrap_or(0).saturating_add(LENGTH_BEGINS);
        if len_bytes < HEADER_BYTES {
            return Err(Malformed::new(format!("batch length {length} is less than a header")));
        }
        if base_offset < 0 || last_offset_delta < 0 || base_offset.checked_add(i64::from(last_offset_delta)).is_none() {
            return Err(Malformed::new(format!("offsets {base_offset} + {last_offset_delta} are out of range")));
        }
        if record_count < 0 || record_count > last_offset_delta.saturating_add(1) {
            return Err(Malformed::new(format!(
                "{record_count} records in {} offsets",
                i64::from(last_offset_delta) + 1
            )));
        }
        let Some(compression) = Compression::from_id(attributes & CODEC_MASK) else {
            return Err(Malformed::new(format!("unknown compression {}", attributes & CODEC_MASK)));
        };
        let (last_offset_delta, record_count) = (last_offset_delta.unsigned_abs(), record_count.unsigned_abs());
        let room = (len_bytes - HEADER_BYTES) / RECORD_BYTES_MIN;
        if compression == Compression::None && record_count as usize > room {
            return Err(Malformed::new(format!("{record_count} records in {len_bytes} bytes")));
        }
        Ok(BatchHeader {
            base_offset: Offset::new(base_offset.unsigned_abs()),
            len_bytes,
            leader_epoch: i32::from_be_bytes(field(bytes, LEADER_EPOCH)),
            checksum: u32::from_be_bytes(field(bytes, CHECKSUM)),
            compression,
            timestamp_type: if attributes & LOG_APPEND_TIME == 0 {
                TimestampType::CreateTime
            } else {
                TimestampType::LogAppendTime
            },
            is_transactional: attributes & TRANSACTIONAL != 0,
            is_control: attributes & CONTROL != 0,
            has_delete_horizon: attributes & DELETE_HORIZON != 0,
            last_offset_delta,
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP)),
            producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE)),
            record_count,
        })
    }

    /// Writes the header over the front of `batch` (which is `len_bytes` long) and computes its checksum.
    pub(crate) fn seal(&self, batch: &mut [u8]) {
        debug_assert_eq!(self.len_bytes, batch.len());
        let length = i32::try_from(batch.len() - LENGTH_BEGINS).expect("a builder refuses records beyond 2 GiB");
        let mut attributes = self.compression.id();
        for (is_set, bit) in [
            (self.timestamp_type == TimestampType::LogAppendTime, LOG_APPEND_TIME),
            (self.is_transactional, TRANSACTIONAL),
            (self.is_control, CONTROL),
            (self.has_delete_horizon, DELETE_HORIZON),
        ] {
            attributes |= if is_set { bit } else { 0 };
        }
        put(batch, BASE_OFFSET, self.base_offset.as_i64().to_be_bytes());
        put(batch, LENGTH, length.to_be_bytes());
        put(batch, LEADER_EPOCH, self.leader_epoch.to_be_bytes());
        put(batch, MAGIC_AT, [MAGIC]);
        put(batch, ATTRIBUTES, attributes.to_be_bytes());
        put(batch, LAST_OFFSET_DELTA, self.last_offset_delta.to_be_bytes());
        put(batch, BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        put(batch, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        put(batch, PRODUCER_ID, self.producer_id.to_be_bytes());
        put(batch, PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        put(batch, BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        put(batch, RECORD_COUNT, self.record_count.to_be_bytes());
        seal_checksum(batch);
    }

    /// Offset of the last record (before any compaction).
    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta as u64)
    }

    /// The offset after this batch: where reading goes on, whatever compaction has removed.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// True if the producer is known: sequence numbers are checked then.
    #[must_use]
    pub const fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence number of the last record, -1 for none. After 2,147,483,647 comes 0.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        // Both are below 2^31: no overflow in 32 bits, and the mask is the remainder.
        ((self.base_sequence.unsigned_abs() + self.last_offset_delta) & 0x7fff_ffff).cast_signed()
    }

    /// The time from which on tombstones and markers inside may be removed, once compaction has set it.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<i64> {
        self.has_delete_horizon.then_some(self.base_timestamp)
    }
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("fields lie inside the header")
}

fn put<const N: usize>(batch: &mut [u8], at: usize, value: [u8; N]) {
    batch[at..at + N].copy_from_slice(&value);
}

fn seal_checksum(batch: &mut [u8]) {
    let checksum = crc32c::crc32c(&batch[ATTRIBUTES..]);
    put(batch, CHECKSUM, checksum.to_be_bytes());
}

/// Gives a batch its place in the log. The checksum does not cover it.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn set_base_offset(batch: &mut [u8], base_offset: Offset) {
    put(batch, BASE_OFFSET, base_offset.as_i64().to_be_bytes());
}

/// Stamps a batch with the epoch of the leader that appends it. The checksum does not cover it.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn set_leader_epoch(batch: &mut [u8], epoch: i32) {
    put(batch, LEADER_EPOCH, epoch.to_be_bytes());
}

/// Sets the type of the timestamps and their maximum: with [`TimestampType::LogAppendTime`], the time of every record.
/// Computes the checksum of the whole batch anew, but compressed records stay closed.
///
/// # Panics
///
/// If `batch` is shorter than a header.
pub fn set_max_timestamp(batch: &mut [u8], timestamp_type: TimestampType, max_timestamp: i64) {
    let mut attributes = u16::from_be_bytes([batch[ATTRIBUTES], batch[ATTRIBUTES + 1]]);
    match timestamp_type {
        TimestampType::CreateTime => attributes &= !LOG_APPEND_TIME,
        TimestampType::LogAppendTime => attributes |= LOG_APPEND_TIME,
    }
    put(batch, ATTRIBUTES, attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP, max_timestamp.to_be_bytes());
    seal_checksum(batch);
}

/// Checks that `batch` is one whole batch with the checksum that its header states.
///
/// # Errors
///
/// If the header is malformed, bytes are missing or left over, or a bit has changed.
pub fn verify(batch: &[u8]) -> Result<BatchHeader, Malformed> {
    let header = BatchHeader::parse(batch)?;
    if header.len_bytes != batch.len() {
        return Err(Malformed::new(format!("batch of {} bytes, of which {} are here", header.len_bytes, batch.len())));
    }
    let computed = crc32c::crc32c(&batch[ATTRIBUTES..]);
    if computed != header.checksum {
        return Err(Malformed::new(format!("checksum is {computed:#010x}, stored {:#010x}", header.checksum)));
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        RecordView,
        batch::{BatchBuilder, ProducerStamp},
    };

    fn batch_of(records: u32) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for index in 0..records {
            builder.append(RecordView::new(i64::from(index), Some(b"k"), Some(b"v"))).unwrap();
        }
        let stamp = ProducerStamp { id: 7, epoch: 3, sequence: i32::MAX - 1, is_transactional: true };
        builder.finish(stamp, Compression::None).to_vec()
    }

    #[test]
    fn what_the_log_sets_leaves_the_checksum_right() {
        let mut batch = batch_of(3);
        set_base_offset(&mut batch, Offset::new(1 << 40));
        set_leader_epoch(&mut batch, 9);
        let header = verify(&batch).unwrap();
        assert_eq!((header.base_offset, header.leader_epoch), (Offset::new(1 << 40), 9));
        assert_eq!(header.next_offset(), Offset::new((1 << 40) + 3));
        set_max_timestamp(&mut batch, TimestampType::LogAppendTime, 77);
        let header = verify(&batch).unwrap();
        assert_eq!((header.timestamp_type, header.max_timestamp), (TimestampType::LogAppendTime, 77));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let header = BatchHeader::parse(&batch_of(3)).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch, header.is_transactional), (7, 3, true));
        assert_eq!(header.last_sequence(), 0);
    }

    #[test]
    fn every_flipped_bit_after_the_checksum_is_found() {
        let batch = batch_of(2);
        for bit in CHECKSUM * 8..batch.len() * 8 {
            let mut damaged = batch.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_batch_cut_anywhere_is_refused() {
        let batch = batch_of(2);
        for end in 0..batch.len() {
            assert!(verify(&batch[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn the_format_page_has_every_field_where_it_is() {
        let page = include_str!("../../docs/format.md");
        let table = page.split("```text\n byte  size  field\n").nth(1).unwrap().split("```").next().unwrap();
        let fields: Vec<(usize, &str)> = table
            .lines()
            .map(|line| {
                let mut columns = line.split("  ").map(str::trim).filter(|column| !column.is_empty());
                let at = columns.next().unwrap().parse().unwrap();
                (at, columns.nth(1).unwrap())
            })
            .collect();
        let expected = [
            (BASE_OFFSET, "base offset"),
            (LENGTH, "batch length"),
            (LEADER_EPOCH, "partition leader epoch"),
            (MAGIC_AT, "magic"),
            (CHECKSUM, "checksum"),
            (ATTRIBUTES, "attributes"),
            (LAST_OFFSET_DELTA, "last offset delta"),
            (BASE_TIMESTAMP, "base timestamp"),
            (MAX_TIMESTAMP, "max timestamp"),
            (PRODUCER_ID, "producer id"),
            (PRODUCER_EPOCH, "producer epoch"),
            (BASE_SEQUENCE, "base sequence"),
            (RECORD_COUNT, "record count"),
            (HEADER_BYTES, "records"),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn fields_that_contradict_each_other_are_refused() {
        let check = |at: usize, value: &[u8], reason: &str| {
            let mut batch = batch_of(2);
            batch[at..at + value.len()].copy_from_slice(value);
            let problem = BatchHeader::parse(&batch).expect_err(reason).to_string();
            assert!(problem.contains(reason), "{problem}");
        };
        check(BASE_OFFSET, &(-1_i64).to_be_bytes(), "offsets");
        check(BASE_OFFSET, &i64::MAX.to_be_bytes(), "offsets");
        check(LAST_OFFSET_DELTA, &(-1_i32).to_be_bytes(), "offsets");
        check(LENGTH, &48_i32.to_be_bytes(), "batch length");
        check(LENGTH, &(-1_i32).to_be_bytes(), "batch length");
        check(MAGIC_AT, &[1], "format version");
        check(ATTRIBUTES, &[0, 5], "unknown compression");
        check(RECORD_COUNT, &3_i32.to_be_bytes(), "3 records in 2 offsets");
        check(RECORD_COUNT, &(-1_i32).to_be_bytes(), "-1 records");
        check(LENGTH, &62_i32.to_be_bytes(), "2 records in 74 bytes");
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, mut near in Just(batch_of(2)), at in 0..HEADER_BYTES, byte: u8) {
            let _ = verify(&bytes);
            near[at] = byte;
            let _ = verify(&near);
        }
    }
}
