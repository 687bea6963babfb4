//! The groups in memory, found by the bytes of their key; the least used clean ones leave first.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{Group, KeyBytes};

/// Slots are allocated in pieces of this many, so that growing never copies what is there.
const PIECE: usize = 1024;

/// What the index takes for each slot: an entry and a control byte, at an average load of two thirds.
const INDEX_BYTES: usize = (size_of::<Entry>() + 1) * 3 / 2;

/// Stands for a key that is expected and has no slot.
const NO_SLOT: u32 = u32::MAX;

/// A place for one group. Its number stays the same for as long as the group is in memory.
struct Slot<G> {
    key: KeyBytes,
    /// Enough of the hash to find the slot's place in the index again.
    hash: u32,
    /// Used since the clock's hand last came by.
    is_recent: bool,
    is_free: bool,
    group: G,
}

/// A slot in the index. The hash is here too, so that a look-up waits for one place in memory before it knows the slot.
#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    number: u32,
}

/// All groups of a store that are in memory.
pub(crate) struct Cache<G> {
    index: HashTable<Entry>,
    pieces: Vec<Vec<Slot<G>>>,
    free: Vec<u32>,
    hasher: RandomState,
    /// What keys and groups occupy beside their slots, an estimate.
    heap_bytes: usize,
    /// Where the clock's hand stands.
    hand: u32,
    /// Slots of the keys that are expected to be asked for next, the next one last.
    expected: Vec<u32>,
}

/// Spreads the kept half of a hash over the bits that the index looks at.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}

impl<G: Group> Cache<G> {
    pub(crate) fn new() -> Self {
        Cache {
            index: HashTable::new(),
            pieces: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            heap_bytes: 0,
            hand: 0,
            expected: Vec::new(),
        }
    }

    /// Looks up the keys that are likely asked for next, in this order: looked at together, the waits for memory overlap.
    pub(crate) fn expect(&mut self, keys: &mut dyn Iterator<Item = &[u8]>) {
        let mut expected = std::mem::take(&mut self.expected);
        expected.clear();
        // The hashes first, then their slots in the same place: the less is done between two waits, the more they overlap.
        expected.extend(keys.map(|key| self.hash(key)));
        for hash in &mut expected {
            let found = self.index.find(spread(*hash), |entry| entry.hash == *hash);
            *hash = found.map_or(NO_SLOT, |entry| entry.number);
        }
        expected.reverse();
        self.expected = expected;
    }

    /// Slots of the keys that are expected next.
    #[inline]
    pub(crate) fn expected(&self) -> impl Iterator<Item = u32> {
        self.expected.iter().copied().filter(|number| *number != NO_SLOT)
    }

    /// The slot of `key`, if it is the key that was expected next.
    #[inline]
    pub(crate) fn find_expected(&mut self, key: &[u8]) -> Option<u32> {
        let number = self.expected.pop()?;
        if number == NO_SLOT {
            return None;
        }
        let slot = self.slot_mut(number);
        if slot.is_free || slot.key.as_slice() != key {
            // Perhaps it is asked for on behalf of another input, and the one that was expected comes next.
            self.expected.push(number);
            return None;
        }
        slot.is_recent = true;
        Some(number)
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "half of the bits are enough for 2^32 slots")]
    pub(crate) fn hash(&self, key: &[u8]) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    #[inline]
    fn slot(&self, number: u32) -> &Slot<G> {
        &self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    #[inline]
    fn slot_mut(&mut self, number: u32) -> &mut Slot<G> {
        &mut self.pieces[number as usize / PIECE][number as usize % PIECE]
    }

    /// The slot of `key`.
    #[inline]
    pub(crate) fn find(&mut self, hash: u32, key: &[u8]) -> Option<u32> {
        let found =
            self.index.find(spread(hash), |entry| entry.hash == hash && self.slot(entry.number).key.as_slice() == key);
        let number = found?.number;
        self.slot_mut(number).is_recent = true;
        Some(number)
    }

    /// Fetches slots that will be wanted soon into the processor's cache: looked at together, the waits for memory overlap.
    #[inline]
    pub(crate) fn touch(&self, slots: impl Iterator<Item = u32>) {
        // A slot lies on two lines of that cache: what is looked at lies at both ends and in the middle.
        let ends =
            |slot: &Slot<G>| slot.hash ^ u32::from(slot.key.is_inline()) ^ u32::from(slot.group.is_likely_present());
        std::hint::black_box(slots.fold(0, |sum: u32, number| sum ^ ends(self.slot(number))));
    }

    /// Adds a group under a key that is not there yet.
    pub(crate) fn insert(&mut self, hash: u32, key: &[u8], group: G) -> u32 {
        let key = KeyBytes::new(key);
        self.heap_bytes += key.heap_bytes() + group.heap_bytes();
        let slot = Slot { key, hash, is_recent: true, is_free: false, group };
        let number = if let Some(number) = self.free.pop() {
            *self.slot_mut(number) = slot;
            number
        } else {
            if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
                // The first piece grows with the store: most stores of most tasks are small.
                let capacity = if self.pieces.is_empty() { 0 } else { PIECE };
                self.pieces.push(Vec::with_capacity(capacity));
            }
            let piece = self.pieces.last_mut().expect("just pushed");
            piece.push(slot);
            u32::try_from((self.pieces.len() - 1) * PIECE + self.pieces[self.pieces.len() - 1].len() - 1)
                .expect("fewer than 2^32 groups")
        };
        self.index.insert_unique(spread(hash), Entry { hash, number }, |other| spread(other.hash));
        number
    }

    #[inline]
    pub(crate) fn key(&self, number: u32) -> &[u8] {
        self.slot(number).key.as_slice()
    }

    #[inline]
    pub(crate) fn group(&self, number: u32) -> &G {
        &self.slot(number).group
    }

    /// The group, to change its rows. What that changes in [`Group::heap_bytes`] is told by [`Self::grew`].
    #[inline]
    pub(crate) fn group_mut(&mut self, number: u32) -> &mut G {
        &mut self.slot_mut(number).group
    }

    /// Key and group of a slot.
    #[inline]
    pub(crate) fn entry(&self, number: u32) -> (&[u8], &G) {
        let slot = self.slot(number);
        (slot.key.as_slice(), &slot.group)
    }

    /// A group now occupies this much more, or less, beside its slot.
    #[inline]
    pub(crate) fn grew(&mut self, bytes: isize) {
        self.heap_bytes = self.heap_bytes.saturating_add_signed(bytes);
    }

    /// What one slot takes, with its share of the index.
    pub(crate) const fn slot_bytes() -> usize {
        size_of::<Slot<G>>() + INDEX_BYTES
    }

    /// Bytes in use, an estimate.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.index.len() * Self::slot_bytes() + self.heap_bytes
    }

    /// How many groups are in memory.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// How many slots there are, used or free: numbers are less than this.
    pub(crate) fn slots(&self) -> u32 {
        let last = self.pieces.last().map_or(0, Vec::len);
        u32::try_from(self.pieces.len().saturating_sub(1) * PIECE + last).expect("fewer than 2^32 groups")
    }

    /// The group in a slot; `None` for a free one.
    pub(crate) fn get(&self, number: u32) -> Option<&G> {
        let slot = self.slot(number);
        (!slot.is_free).then_some(&slot.group)
    }

    /// Moves the clock's hand over at most `looks` slots and drops the groups that are clean and were not used since it
    /// came by last. Returns how many it dropped.
    pub(crate) fn evict(&mut self, looks: u32) -> u32 {
        let slots = self.slots();
        let mut evicted = 0;
        for _ in 0..looks.min(slots) {
            self.hand = if self.hand + 1 < slots { self.hand + 1 } else { 0 };
            let slot = self.slot_mut(self.hand);
            if slot.is_free || std::mem::take(&mut slot.is_recent) || slot.group.is_pending() {
                continue;
            }
            self.remove(self.hand);
            evicted += 1;
        }
        evicted
    }

    /// Drops a group.
    pub(crate) fn remove(&mut self, number: u32) {
        let hash = self.slot(number).hash;
        if let Ok(found) = self.index.find_entry(spread(hash), |other| other.number == number) {
            let _ = found.remove();
        }
        let slot = self.slot_mut(number);
        slot.is_free = true;
        let key = std::mem::replace(&mut slot.key, KeyBytes::new(&[]));
        let group = std::mem::take(&mut slot.group);
        self.heap_bytes = self.heap_bytes.saturating_sub(key.heap_bytes() + group.heap_bytes());
        self.free.push(number);
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        *self = Cache { hasher: self.hasher.clone(), ..Cache::new() };
    }
}
