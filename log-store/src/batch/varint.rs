//! Zigzag variable-length integers, as in Kafka's records (and Protocol Buffers).

/// Most bytes of a 64-bit varint.
const LENGTH_MAX: usize = 10;

/// Small numbers of either sign become small ones without.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Number of bytes of the varint of `value`.
#[inline]
pub(crate) fn length(value: i64) -> usize {
    // One for each seven bits, as a multiplication: 9/64 is a little less than 1/7, exact up to 64 bits.
    let last_bit = 63 - (zigzag(value) | 1).leading_zeros();
    ((last_bit * 9 + 73) / 64) as usize
}

/// Puts numbers and bytes one after the other into room made for them before.
///
/// Each method panics where the room ends: whoever made it has counted wrong.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    /// The room.
    pub(crate) room: &'a mut [u8],
    /// How much of it is used.
    pub(crate) at: usize,
}

impl Writer<'_> {
    /// Puts a plain byte.
    #[inline]
    pub(crate) fn put_byte(&mut self, byte: u8) {
        self.room[self.at] = byte;
        self.at += 1;
    }

    /// Puts a number.
    #[inline]
    pub(crate) fn put(&mut self, value: i64) {
        let mut rest = zigzag(value);
        while rest >= 0x80 {
            self.put_byte((rest as u8) | 0x80);
            rest >>= 7;
        }
        self.put_byte(rest as u8);
    }

    /// Puts bytes without their length.
    #[inline]
    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) {
        self.room[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    /// Puts a length and that many bytes, or the length -1 for null.
    #[inline]
    pub(crate) fn put_nullable(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => {
                self.put(bytes.len() as i64);
                self.put_bytes(bytes);
            }
            None => self.put(-1),
        }
    }
}

/// Bytes that [`Writer::put_nullable`] takes.
#[inline]
pub(crate) fn nullable_length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| length(bytes.len() as i64) + bytes.len())
}

/// Takes numbers off the front of bytes, by position: the fastest way that checks every byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// The bytes, from the beginning.
    pub(crate) bytes: &'a [u8],
    /// Position of the next number in them.
    pub(crate) at: usize,
}

impl<'a> Reader<'a> {
    /// Bytes not yet taken.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Takes a plain byte.
    #[inline]
    pub(crate) fn take_byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Takes one number; `None` if it is cut off or longer than 64 bits.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<i64> {
        self.take_zigzag().map(unzigzag)
    }

    #[inline(always)]
    fn take_zigzag(&mut self) -> Option<u64> {
        // Nearly every number in a batch has one or two bytes.
        let first = u64::from(*self.bytes.get(self.at)?);
        if first < 0x80 {
            self.at += 1;
            return Some(first);
        }
        let second = u64::from(*self.bytes.get(self.at + 1)?);
        if second < 0x80 {
            self.at += 2;
            return Some(second << 7 | first & 0x7f);
        }
        let (value, length) = take_long(&self.bytes[self.at..])?;
        self.at += length;
        Some(value)
    }

    /// Takes a length of what follows; `None` if it is negative or more than there is.
    #[inline]
    pub(crate) fn take_length(&mut self) -> Option<usize> {
        let zigzag = self.take_zigzag()?;
        let length = zigzag >> 1;
        (zigzag & 1 == 0 && length <= self.remaining() as u64).then_some(length as usize)
    }

    /// Takes a length and that many bytes, given by their place; `None` if malformed.
    #[inline(always)]
    pub(crate) fn take_span(&mut self) -> Option<Span> {
        let zigzag = self.take_zigzag()?;
        let length = zigzag >> 1;
        if zigzag & 1 != 0 {
            return (length == 0).then_some(Span::NULL);
        }
        if length > self.remaining() as u64 {
            return None;
        }
        let start = self.at;
        self.at += length as usize;
        Some(Span { start: start as u32, end: self.at as u32 })
    }
}

/// A place in a batch, or null. 32 bits suffice: a batch has at most 2 GiB, and decompressed records have less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Null: it begins after its end.
    const NULL: Span = Span { start: u32::MAX, end: 0 };

    /// From `start` to `end`.
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Span { start: start as u32, end: end as u32 }
    }

    /// What is there.
    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> Option<&[u8]> {
        // Null is the only one whose end comes first; the others were checked when they were made.
        bytes.get(self.start as usize..self.end as usize)
    }
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// The number at the front and its length.
#[cold]
fn take_long(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(LENGTH_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit only.
        if index == LENGTH_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Takes a length and that many bytes off the front; `Some(None)` for null, `None` if malformed.
pub(crate) fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let mut reader = Reader { bytes, at: 0 };
    let taken = reader.take_span()?.of(bytes);
    *bytes = &bytes[reader.at..];
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Reader, Writer};

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: i64) {
            let mut out = [0; 10];
            let mut writer = Writer { room: &mut out, at: 0 };
            writer.put(value);
            let end = writer.at;
            let out = &out[..end];
            prop_assert_eq!(out.len(), super::length(value));
            let mut reader = Reader { bytes: out, at: 0 };
            prop_assert_eq!(reader.take(), Some(value));
            prop_assert_eq!(reader.remaining(), 0);
            // Cut off anywhere, it is refused.
            for end in 0..out.len() {
                prop_assert_eq!(Reader { bytes: &out[..end], at: 0 }.take(), None);
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let mut reader = Reader { bytes: &bytes, at: 0 };
            while reader.take().is_some() {}
            let mut rest = &bytes[..];
            while super::take_bytes(&mut rest).is_some() {}
        }
    }
}
