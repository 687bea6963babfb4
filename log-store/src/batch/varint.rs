//! Zigzag variable-length integers, as in Kafka's records (and Protocol Buffers).

use bytes::BytesMut;

/// Most bytes of a 64-bit varint.
const LENGTH_MAX: usize = 10;

/// Small numbers of either sign become small ones without.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// A few numbers that follow each other, gathered on the stack and appended with one copy of fixed size.
pub(crate) struct Numbers {
    bytes: [u8; Self::ROOM],
    len: usize,
}

impl Numbers {
    /// What stands before a record's key: length (5), attributes (1), timestamp delta (10), offset delta (5) and key
    /// length (5); rounded up to a power of two.
    pub(crate) const ROOM: usize = 32;

    #[inline]
    pub(crate) fn new() -> Self {
        Numbers { bytes: [0; Self::ROOM], len: 0 }
    }

    /// Adds a plain byte.
    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        // The mask changes nothing: it spares the bounds check.
        self.bytes[self.len & (Self::ROOM - 1)] = byte;
        self.len += 1;
    }

    /// Adds a varint.
    #[inline]
    pub(crate) fn put(&mut self, value: i64) {
        let mut rest = zigzag(value);
        while rest >= 0x80 {
            self.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        self.push(rest as u8);
    }

    /// Appends them to `out`, which should have [`Numbers::ROOM`] to spare.
    #[inline]
    pub(crate) fn write(&self, out: &mut BytesMut) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.bytes);
        out.truncate(end);
    }
}

/// Number of bytes of the varint of `value`.
#[inline]
pub(crate) fn length(value: i64) -> usize {
    let rest = zigzag(value);
    ((70 - rest.leading_zeros()) / 7).max(1) as usize
}

/// Takes one integer off the front of `bytes`; `None` if it is cut off or longer than 64 bits.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<i64> {
    if let [first, rest @ ..] = *bytes
        && *first < 0x80
    {
        *bytes = rest;
        return Some(i64::from(*first >> 1) ^ -i64::from(*first & 1));
    }
    if let [first, second, rest @ ..] = *bytes
        && *second < 0x80
    {
        *bytes = rest;
        let value = i64::from(*second) << 7 | i64::from(*first & 0x7f);
        return Some((value >> 1) ^ -(value & 1));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(LENGTH_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if index == LENGTH_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// Takes a length and that many bytes; `Some(None)` for null (length -1), `None` if malformed.
#[inline]
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take(bytes)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(Some(taken))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64) {
            let mut out = bytes::BytesMut::new();
            let mut numbers = super::Numbers::new();
            numbers.put(value);
            numbers.write(&mut out);
            prop_assert_eq!(out.len(), super::length(value));
            let mut rest = &out[..];
            prop_assert_eq!(super::take(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
            // Cut off anywhere, it is refused.
            for end in 0..out.len() {
                prop_assert_eq!(super::take(&mut &out[..end]), None);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while super::take(&mut rest).is_some() {}
            let mut rest = &bytes[..];
            while super::take_bytes(&mut rest).is_some() {}
        }
    }
}
