//! What was written: not committed, committed but not in the backend, held back from downstream.

use log_store::Headers;

use super::group::{NONE, Row};

/// A row written since the last commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dirty<S> {
    pub(crate) slot: u32,
    pub(crate) sub: S,
    /// Place in the list of what is held back, or [`NONE`].
    held: u32,
    /// False for a row that changes in the backend only.
    pub(crate) is_logged: bool,
    /// Time of the record that made the last write.
    pub(crate) timestamp: i64,
}

/// What caching remembers of a row that was written since the last flush.
pub(crate) struct HeldBack<V> {
    /// Place in the list of uncommitted writes.
    pub(crate) dirty: u32,
    /// The value before the first write.
    pub(crate) old: Option<V>,
    /// Headers of the record that made the last write.
    pub(crate) headers: Headers,
    /// The first of these writes is also the first since the last commit.
    pub(crate) is_first: bool,
}

/// The three lists. Every row in `held` is in `dirty`, because a commit flushes first.
pub(crate) struct Writes<S, V> {
    /// In the order of the first writes: the order of the changelog.
    pub(crate) dirty: Vec<Dirty<S>>,
    /// In the order of the first writes since the last flush: the order of what goes downstream.
    pub(crate) held: Vec<HeldBack<V>>,
    /// Committed rows that the backend does not have.
    pub(crate) unflushed: Vec<(u32, S)>,
    /// Estimate of what uncommitted rows occupy.
    pub(crate) dirty_bytes: usize,
    /// Estimate of what held-back rows occupy.
    pub(crate) held_bytes: usize,
    /// Time and headers of the record that is being processed.
    timestamp: i64,
    headers: Headers,
}

impl<S: Copy, V: Clone> Writes<S, V> {
    pub(crate) fn new() -> Self {
        Writes {
            dirty: Vec::new(),
            held: Vec::new(),
            unflushed: Vec::new(),
            dirty_bytes: 0,
            held_bytes: 0,
            timestamp: log_store::NO_TIMESTAMP,
            headers: Headers::new(),
        }
    }

    #[inline]
    pub(crate) fn set_context(&mut self, timestamp: i64, headers: &Headers) {
        self.timestamp = timestamp;
        if !(headers.is_empty() && self.headers.is_empty()) {
            self.headers = headers.clone();
        }
    }

    /// Notes that `row` is about to be written. `bytes` is what the row occupies.
    #[inline]
    pub(crate) fn mark(&mut self, row: &mut Row<V>, slot: u32, sub: S, bytes: usize, is_caching: bool) {
        let timestamp = self.timestamp;
        let is_first = row.dirty == NONE;
        if is_first {
            row.dirty = u32::try_from(self.dirty.len()).expect("fewer than 2^32 uncommitted rows");
            self.dirty.push(Dirty { slot, sub, held: NONE, is_logged: true, timestamp });
            self.dirty_bytes += bytes + size_of::<Dirty<S>>();
        } else {
            let dirty = &mut self.dirty[row.dirty as usize];
            dirty.timestamp = timestamp;
            dirty.is_logged = true;
        }
        if is_caching {
            self.hold_back(row, bytes, is_first);
        }
    }

    /// Notes that `row` is about to change in a way that the changelog implies: it is not logged for this.
    pub(crate) fn mark_unlogged(&mut self, row: &mut Row<V>, slot: u32, sub: S, bytes: usize) {
        if row.dirty == NONE {
            self.mark(row, slot, sub, bytes, false);
            self.dirty[row.dirty as usize].is_logged = false;
        }
    }

    fn hold_back(&mut self, row: &Row<V>, bytes: usize, is_first: bool) {
        let entry = &mut self.dirty[row.dirty as usize];
        if entry.held == NONE {
            entry.held = u32::try_from(self.held.len()).expect("fewer than 2^32 held-back rows");
            let (dirty, old, headers) = (row.dirty, row.value.clone(), self.headers.clone());
            self.held.push(HeldBack { dirty, old, headers, is_first });
            self.held_bytes += bytes + size_of::<HeldBack<V>>();
        } else {
            let held = &mut self.held[entry.held as usize];
            if !(self.headers.is_empty() && held.headers.is_empty()) {
                held.headers = self.headers.clone();
            }
        }
    }

    /// Takes what was held back.
    pub(crate) fn take_held(&mut self) -> Vec<HeldBack<V>> {
        for held in &self.held {
            self.dirty[held.dirty as usize].held = NONE;
        }
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    /// Forgets all writes.
    pub(crate) fn clear(&mut self) {
        self.dirty.clear();
        self.held.clear();
        self.unflushed.clear();
        self.dirty_bytes = 0;
        self.held_bytes = 0;
    }
}
