//! The last offset of each key in the part of a log that is compacted.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    ops::Range,
};

use crate::Offset;

/// Memory of one key: two words of hash, an offset, and the table's own byte, at the load that it keeps.
pub(crate) const KEY_BYTES: usize = 32;

/// A key as 128 bits of two keyed hashes: two keys that meet in all of them would be one key to the compaction, which
/// is as unlikely as a disk that lies twice.
type KeyHash = (u64, u64);

/// Offsets from the start of the map on of which it is noted whether they are the last of their key. Eight mebibytes; what
/// is behind asks the map, which is slower.
const NOTED_MAX: u64 = 1 << 26;

/// Keys that a new map has room for. It grows: one that is as small as it can be is the fastest.
const KEYS_AT_FIRST: usize = 1 << 12;

/// The map of one pass.
pub(crate) struct LastOffsets {
    hashers: (RandomState, RandomState),
    offsets: HashMap<KeyHash, u64, BuildHasherDefault<FirstWord>>,
    /// A bit for each offset from `start` on: the record there is the last of its key.
    last: Vec<u64>,
    keys_max: usize,
    start: Offset,
    /// From here on it was shown every record up to the end. `None` until it was shown one.
    seen_from: Option<Offset>,
    end: Offset,
    has_tombstones: bool,
}

impl LastOffsets {
    /// An empty map for up to `keys_max` keys. It begins at `start`.
    pub(crate) fn new(start: Offset, keys_max: usize) -> Self {
        LastOffsets {
            hashers: (RandomState::new(), RandomState::new()),
            offsets: HashMap::with_capacity_and_hasher(KEYS_AT_FIRST.min(keys_max), BuildHasherDefault::default()),
            last: Vec::new(),
            keys_max,
            start,
            seen_from: None,
            end: start,
            has_tombstones: false,
        }
    }

    /// Is about to be shown the records from `offset` on.
    pub(crate) fn begin(&mut self, offset: Offset) {
        self.seen_from.get_or_insert(offset.max(self.start));
    }

    /// Notes that `key` is at `offset`, which is later than all before. False if there is no more room.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset, is_tombstone: bool) -> bool {
        let hash = self.hash(key);
        if self.offsets.len() >= self.keys_max && !self.offsets.contains_key(&hash) {
            return false;
        }
        if let Some(before) = self.offsets.insert(hash, offset.value())
            && let Some((word, bit)) = self.noted(Offset::new(before))
        {
            self.last[word] &= !bit;
        }
        if let Some((word, bit)) = self.noted(offset) {
            if self.last.len() <= word {
                self.last.resize(word + 1, 0);
            }
            self.last[word] |= bit;
        }
        self.has_tombstones |= is_tombstone;
        true
    }

    /// Where the bit of `offset` is, if it has one.
    fn noted(&self, offset: Offset) -> Option<(usize, u64)> {
        let number = offset.value().checked_sub(self.start.value()).filter(|number| *number < NOTED_MAX)?;
        Some(((number / 64) as usize, 1 << (number % 64)))
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
        if offset >= self.end {
            return true;
        }
        let has_seen = self.seen_from.is_some_and(|from| offset >= from);
        match self.noted(offset).filter(|_| has_seen) {
            Some((word, bit)) => self.last.get(word).is_some_and(|word| word & bit != 0),
            None => self.is_last_by_key(key, offset),
        }
    }

    /// The same for a record that the map was perhaps not shown.
    pub(crate) fn is_last_by_key(&self, key: &[u8], offset: Offset) -> bool {
        offset >= self.end || self.offsets.get(&self.hash(key)).is_none_or(|last| offset.value() >= *last)
    }

    /// How many of these offsets hold the last record of a key; `None` if it must be asked for each.
    pub(crate) fn count(&self, offsets: Range<Offset>) -> Option<u32> {
        if offsets.end > self.end || self.seen_from.is_none_or(|from| offsets.start < from) {
            return None;
        }
        let (first, _) = self.noted(offsets.start)?;
        let (last, _) = self.noted(Offset::new(offsets.end.value().checked_sub(1)?))?;
        let from = offsets.start.offsets_since(self.start) % 64;
        let to = (offsets.end.offsets_since(self.start) - 1) % 64;
        let bits = |word: usize| {
            let mut bits = self.last.get(word).copied().unwrap_or(0);
            if word == first {
                bits &= u64::MAX << from;
            }
            if word == last {
                bits &= u64::MAX >> (63 - to);
            }
            bits.count_ones()
        };
        Some((first..=last).map(bits).sum())
    }

    /// True if one of the noted records is a tombstone.
    pub(crate) fn has_tombstones(&self) -> bool {
        self.has_tombstones
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
        let mut map = LastOffsets::new(Offset::ZERO, 8);
        map.begin(Offset::ZERO);
        for (key, offset) in [("a", 0), ("b", 1), ("a", 2)] {
            assert!(map.put(key.as_bytes(), Offset::new(offset), false));
        }
        map.complete_to(Offset::new(3));
        assert!(!map.is_last(b"a", Offset::new(0)));
        assert!(map.is_last(b"b", Offset::new(1)));
        assert!(map.is_last(b"a", Offset::new(2)));
        assert!(map.is_last(b"a", Offset::new(3)), "what is behind the end is not its business");
    }

    #[test]
    fn what_it_was_not_shown_stays() {
        let mut map = LastOffsets::new(Offset::ZERO, 8);
        map.begin(Offset::new(3));
        assert!(map.put(b"a", Offset::new(3), false));
        map.complete_to(Offset::new(4));
        assert!(map.is_last(b"b", Offset::new(2)), "nobody has said that there is a later one");
        assert!(!map.is_last(b"a", Offset::new(2)));
        assert_eq!(map.count(Offset::new(2)..Offset::new(4)), None);
        assert_eq!(map.count(Offset::new(3)..Offset::new(4)), Some(1));
    }

    #[test]
    fn before_its_start_a_key_that_it_does_not_know_stays() {
        let mut map = LastOffsets::new(Offset::new(10), 8);
        map.begin(Offset::new(10));
        assert!(map.put(b"a", Offset::new(10), false));
        map.complete_to(Offset::new(11));
        assert!(map.is_last(b"c", Offset::new(0)));
        assert!(!map.is_last(b"a", Offset::new(0)));
        assert_eq!(map.count(Offset::new(9)..Offset::new(11)), None);
    }

    #[test]
    fn what_is_far_behind_its_start_is_asked_for_by_key() {
        let (start, far) = (Offset::new(10), Offset::new(10 + NOTED_MAX));
        let mut map = LastOffsets::new(start, 8);
        map.begin(start);
        for (key, offset) in [("a", start), ("b", start.next()), ("a", far), ("c", far.next()), ("c", far.plus(2))] {
            assert!(map.put(key.as_bytes(), offset, false));
        }
        map.complete_to(far.plus(3));
        let last = [("a", start), ("b", start.next()), ("a", far), ("c", far.next()), ("c", far.plus(2))];
        let last = last.map(|(key, offset)| map.is_last(key.as_bytes(), offset));
        assert_eq!(last, [false, true, true, false, true]);
        assert_eq!(map.count(far..far.next()), None);
    }

    #[test]
    fn the_last_records_of_a_range_are_counted() {
        let mut map = LastOffsets::new(Offset::new(100), 1_000);
        map.begin(Offset::new(100));
        // The even ones of the first two hundred are written again.
        for number in 0..300_u64 {
            let key = if number < 200 { number } else { 2 * (number - 200) };
            assert!(map.put(&key.to_be_bytes(), Offset::new(100 + number), false));
        }
        map.complete_to(Offset::new(400));
        let is_last = |number: u64| number >= 200 || number % 2 == 1;
        for from in [0, 1, 63, 64, 65, 127, 128, 199, 250] {
            for to in [from + 1, from + 2, from + 50, 300] {
                let expected = (from..to).filter(|number| is_last(*number)).count();
                let found = map.count(Offset::new(100 + from)..Offset::new(100 + to));
                assert_eq!(found, Some(u32::try_from(expected).unwrap()), "{from}..{to}");
            }
        }
        assert_eq!(map.count(Offset::new(399)..Offset::new(401)), None, "behind the end");
        assert!(!map.has_tombstones());
        assert!(map.put(b"x", Offset::new(400), true));
        assert!(map.has_tombstones());
    }

    #[test]
    fn a_full_map_takes_known_keys_only() {
        let mut map = LastOffsets::new(Offset::ZERO, 2);
        map.begin(Offset::ZERO);
        assert!(map.put(b"a", Offset::new(0), false));
        assert!(map.put(b"b", Offset::new(1), false));
        assert!(!map.put(b"c", Offset::new(2), false));
        assert!(map.put(b"a", Offset::new(3), false));
    }
}
