//! Zigzag variable-length integers, as in Kafka's records (and Protocol Buffers).

/// Most bytes of a 64-bit varint.
const LENGTH_MAX: usize = 10;

/// Appends `value`.
#[inline]
pub(crate) fn put(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Number of bytes that [`put`] appends for `value`.
#[inline]
pub(crate) fn length(value: i64) -> usize {
    let rest = ((value << 1) ^ (value >> 63)) as u64;
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
            let mut out = Vec::new();
            super::put(&mut out, value);
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
