//! Makes the checksums in damaged files right, wherever the lengths beside them allow it.

use std::ops::Range;

/// Of all batches, one after the other.
pub(super) fn of_batches(bytes: &mut [u8]) {
    let mut rest = bytes;
    while let Some(length) = number(rest, 8) {
        let end = length.saturating_add(12).min(rest.len());
        mend(&mut rest[..end], 17, 21..end);
        rest = &mut rest[end.max(12)..];
    }
}

/// Of a snapshot: behind its version, for all that follows.
pub(super) fn of_snapshot(bytes: &mut [u8]) {
    mend(bytes, 2, 6..bytes.len());
}

/// Of frames in `transactions.log`: length, checksum, body, up to a multiple of eight.
pub(super) fn of_frames(bytes: &mut [u8]) {
    let mut start = 16;
    while let Some(length) = number(bytes, start) {
        let end = length.saturating_add(start + 8).min(bytes.len());
        mend(bytes, start + 4, start + 8..end);
        start = end.next_multiple_of(8).max(start + 8);
    }
}

/// Of the table of topics, and of any other text with such a last line: `crc32c ` and eight digits.
pub(super) fn of_table(bytes: &mut [u8]) {
    const LAST: &[u8] = b"crc32c ";
    if let Some(at) = bytes.windows(LAST.len()).rposition(|found| found == LAST) {
        let checksum = format!("{:08x}", crc32c::crc32c(&bytes[..at]));
        let digits = &mut bytes[at + LAST.len()..];
        let length = digits.len().min(checksum.len());
        digits[..length].copy_from_slice(&checksum.as_bytes()[..length]);
    }
}

/// The length at `at`; `None` where the bytes end, or the length is no length.
fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at + 4)?.first_chunk()?;
    usize::try_from(i32::from_be_bytes(*field)).ok()
}

fn mend(bytes: &mut [u8], at: usize, covered: Range<usize>) {
    if let Some(covered) = bytes.get(covered) {
        let checksum = crc32c::crc32c(covered).to_be_bytes();
        bytes[at..at + 4].copy_from_slice(&checksum);
    }
}
