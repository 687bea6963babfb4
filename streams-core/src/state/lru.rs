//! Which keys of a store of bounded size were used, from the least to the most recently.

use std::collections::BTreeMap;

use super::layer::KeyBytes;

/// The order of use of at most `entries_max` keys.
pub(super) struct Recency {
    entries_max: usize,
    /// When each key was used last.
    uses: BTreeMap<KeyBytes, u64>,
    /// The same, by time of use.
    keys: BTreeMap<u64, KeyBytes>,
    /// Counts uses.
    now: u64,
}

impl Recency {
    pub(super) fn new(entries_max: usize) -> Self {
        Recency { entries_max, uses: BTreeMap::new(), keys: BTreeMap::new(), now: 0 }
    }

    /// The same bound, without keys.
    pub(super) fn emptied(&self) -> Self {
        Recency::new(self.entries_max)
    }

    /// `key` is the one that was used most recently.
    pub(super) fn used(&mut self, key: &[u8]) {
        self.now += 1;
        let key = KeyBytes::new(key);
        if let Some(before) = self.uses.insert(key.clone(), self.now) {
            self.keys.remove(&before);
        }
        self.keys.insert(self.now, key);
    }

    /// `key` is gone.
    pub(super) fn forget(&mut self, key: &[u8]) {
        if let Some(before) = self.uses.remove(key) {
            self.keys.remove(&before);
        }
    }

    /// Takes the key that was used least recently, if there are more than there may be.
    pub(super) fn surplus(&mut self) -> Option<Vec<u8>> {
        if self.uses.len() <= self.entries_max {
            return None;
        }
        let (_, key) = self.keys.pop_first()?;
        self.uses.remove(key.as_slice());
        Some(key.as_slice().to_vec())
    }
}
