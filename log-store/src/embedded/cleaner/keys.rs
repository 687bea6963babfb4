//! The last offset of each key in the part of a log that is compacted.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};

use crate::Offset;

/// Memory of one key: two words of hash, an offset, and the table's own byte, at the load that it keeps.
pub(crate) const KEY_BYTES: usize = 32;

/// A key as 128 bits of two keyed hashes: two keys that meet in all of them would be one key to the compaction, which
/// is as unlikely as a disk that lies twice.
type KeyHash = (u64, u64);

/// The map of one pass.
pub(crate) struct LastOffsets {
    hashers: (RandomState, RandomState),
    offsets: HashMap<KeyHash, u64, BuildHasherDefault<FirstWord>>,
    keys_max: usize,
    end: Offset,
}

impl LastOffsets {
    /// An empty map for up to `keys_max` keys, with room for `keys_expected`. It begins at `start`.
    pub(crate) fn new(start: Offset, keys_expected: usize, keys_max: usize) -> Self {
        LastOffsets {
            hashers: (RandomState::new(), RandomState::new()),
            offsets: HashMap::with_capacity_and_hasher(keys_expected.min(keys_max), BuildHasherDefault::default()),
            keys_max,
            end: start,
        }
    }

    /// Notes that `key` is at `offset`, which is later than all before. False if there is no more room.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let hash = self.hash(key);
        if self.offsets.len() >= self.keys_max && !self.offsets.contains_key(&hash) {
            return false;
        }
        self.offsets.insert(hash, offset.value());
        true
    }

    /// All records before `end` are in the map.
    pub(crate) fn complete_to(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// The end of the range that the map speaks for.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// True if the record at `offset` is the last of its key, as far as the map knows: what is behind its end is.
    pub(crate) fn is_last(&self, key: &[u8], offset: Offset) -> bool {
        offset >= self.end || self.offsets.get(&self.hash(key)).is_none_or(|last| offset.value() >= *last)
    }

    fn hash(&self, key: &[u8]) -> KeyHash {
        (self.hashers.0.hash_one(key), self.hashers.1.hash_one(key))
    }
}

/// A hash of what is a hash already.
#[derive(Default)]
pub(crate) struct FirstWord(u64);

impl Hasher for FirstWord {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only words are hashed");
    }

    fn write_u64(&mut self, word: u64) {
        if self.0 == 0 {
            self.0 = word;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_a_key_counts() {
        let mut map = LastOffsets::new(Offset::ZERO, 8, 8);
        for (key, offset) in [("a", 0), ("b", 1), ("a", 2)] {
            assert!(map.put(key.as_bytes(), Offset::new(offset)));
        }
        map.complete_to(Offset::new(3));
        assert!(!map.is_last(b"a", Offset::new(0)));
        assert!(map.is_last(b"b", Offset::new(1)));
        assert!(map.is_last(b"a", Offset::new(2)));
        assert!(map.is_last(b"a", Offset::new(3)), "what is behind the end is not its business");
        assert!(map.is_last(b"c", Offset::new(0)), "a key that is not in the dirty part stays");
    }

    #[test]
    fn a_full_map_takes_known_keys_only() {
        let mut map = LastOffsets::new(Offset::ZERO, 2, 2);
        assert!(map.put(b"a", Offset::new(0)));
        assert!(map.put(b"b", Offset::new(1)));
        assert!(!map.put(b"c", Offset::new(2)));
        assert!(map.put(b"a", Offset::new(3)));
    }
}
