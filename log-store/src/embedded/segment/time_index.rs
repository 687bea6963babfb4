//! Timestamp to offset: `.timeindex`.

use super::index::IndexEntry;
use crate::Offset;

/// The largest timestamp so far is in the batch that ends with `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Last offset of the batch that holds it.
    pub offset: Offset,
}

impl IndexEntry for TimeEntry {
    const SIZE: usize = 12;

    fn key(&self) -> i64 {
        self.timestamp
    }

    fn encode(&self, base: Offset, out: &mut Vec<u8>) {
        out.extend(self.timestamp.to_be_bytes());
        out.extend((self.offset.offsets_since(base) as u32).to_be_bytes());
    }

    fn decode(base: Offset, bytes: &[u8]) -> Self {
        let timestamp = i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
        let offset = u32::from_be_bytes(bytes[8..12].try_into().expect("four bytes"));
        TimeEntry { timestamp, offset: base.plus(u64::from(offset)) }
    }
}
