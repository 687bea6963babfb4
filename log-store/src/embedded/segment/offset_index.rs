//! Offset to byte position: `.index`.

use super::index::IndexEntry;
use crate::Offset;

/// The batch that starts at byte `position` ends with `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch.
    pub offset: Offset,
    /// Where the batch starts.
    pub position: u32,
}

impl IndexEntry for OffsetEntry {
    const SIZE: usize = 8;

    fn key(&self) -> i64 {
        self.offset.as_i64()
    }

    fn encode(&self, base: Offset, out: &mut Vec<u8>) {
        out.extend((self.offset.offsets_since(base) as u32).to_be_bytes());
        out.extend(self.position.to_be_bytes());
    }

    fn decode(base: Offset, bytes: &[u8]) -> Self {
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        OffsetEntry { offset: base.plus(u64::from(number(0))), position: number(4) }
    }
}
