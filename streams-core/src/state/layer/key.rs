//! The bytes of a key, without an allocation if they are short.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
};

/// Longest key that needs no allocation: what fits the size that a boxed slice takes anyway, plus one word.
const INLINE_MAX: usize = 22;

/// Bytes of a key, ordered as bytes.
#[derive(Clone)]
pub(crate) enum KeyBytes {
    Inline { length: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
}

impl KeyBytes {
    #[inline]
    pub(crate) fn new(key: &[u8]) -> Self {
        if key.len() <= INLINE_MAX {
            let mut bytes = [0; INLINE_MAX];
            bytes[..key.len()].copy_from_slice(key);
            #[expect(clippy::cast_possible_truncation, reason = "at most 22")]
            let length = key.len() as u8;
            KeyBytes::Inline { length, bytes }
        } else {
            KeyBytes::Heap(key.into())
        }
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            KeyBytes::Inline { length, bytes } => &bytes[..usize::from(*length)],
            KeyBytes::Heap(bytes) => bytes,
        }
    }

    #[inline]
    pub(crate) fn is_inline(&self) -> bool {
        matches!(self, KeyBytes::Inline { .. })
    }

    /// Bytes it occupies beside itself.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            KeyBytes::Inline { .. } => 0,
            // What an allocator adds to each piece.
            KeyBytes::Heap(bytes) => bytes.len() + 16,
        }
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for KeyBytes {}

impl PartialOrd for KeyBytes {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyBytes {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

/// As that of the bytes, by which keys are looked up.
impl Hash for KeyBytes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl Borrow<[u8]> for KeyBytes {
    fn borrow(&self) -> &[u8] {
        self.as_slice()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::KeyBytes;

    #[test]
    fn a_key_takes_three_words() {
        assert_eq!(size_of::<KeyBytes>(), 24);
    }

    proptest! {
        #[test]
        fn keys_keep_their_bytes_and_the_order_of_bytes(a: Vec<u8>, b: Vec<u8>) {
            let (key_a, key_b) = (KeyBytes::new(&a), KeyBytes::new(&b));
            prop_assert_eq!(key_a.as_slice(), &a[..]);
            prop_assert_eq!(key_a.cmp(&key_b), a.cmp(&b));
        }
    }
}
