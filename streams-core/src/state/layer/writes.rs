//! What was written: not committed, committed but not in the backend, held back from downstream.

use std::collections::HashMap;

use log_store::{Headers, HeadersView};

use super::group::{NONE, Row};

/// A row written since the last commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dirty<S> {
    pub(crate) slot: u32,
    pub(crate) sub: S,
    /// Place in the list of what is held back, or [`NONE`].
    held: u32,
    /// Number of the last write that was held back: here, so that a row that is written again is one place in memory.
    last_write: u32,
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
    /// What goes downstream at the next flush, in the order of the first writes.
    held: Vec<HeldBack<V>>,
    /// The last write and the place of each of them, in the order in which they are taken; and how many were.
    taking: Vec<(u32, u32)>,
    taken: usize,
    /// Committed rows that the backend does not have.
    pub(crate) unflushed: Vec<(u32, S)>,
    /// Estimate of what uncommitted rows occupy.
    pub(crate) dirty_bytes: usize,
    /// Estimate of what held-back rows occupy.
    pub(crate) held_bytes: usize,
    /// Writes to `held`, and whether one of them was to a row that was in it.
    held_writes: u32,
    is_held_rewritten: bool,
    /// Something in `held` may have headers.
    has_held_headers: bool,
    /// Time and headers of the record that is being processed.
    timestamp: i64,
    headers: Headers,
    /// Headers of the record that made the last write, by place in `dirty`, where there were any: a deletion is logged
    /// with them. Not kept by stores whose changelog has no headers.
    of_deletions: Option<HashMap<u32, Headers>>,
}

impl<S: Copy, V: Clone> Writes<S, V> {
    pub(crate) fn new(logs_headers: bool) -> Self {
        Writes {
            dirty: Vec::new(),
            held: Vec::new(),
            taking: Vec::new(),
            taken: 0,
            unflushed: Vec::new(),
            dirty_bytes: 0,
            held_bytes: 0,
            held_writes: 0,
            is_held_rewritten: false,
            has_held_headers: false,
            timestamp: log_store::NO_TIMESTAMP,
            headers: Headers::new(),
            of_deletions: logs_headers.then(HashMap::new),
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
            self.dirty.push(Dirty { slot, sub, held: NONE, last_write: 0, is_logged: true, timestamp });
            self.dirty_bytes += bytes + size_of::<Dirty<S>>();
        } else {
            let dirty = &mut self.dirty[row.dirty as usize];
            dirty.timestamp = timestamp;
            dirty.is_logged = true;
        }
        if let Some(headers) = &mut self.of_deletions {
            if !self.headers.is_empty() {
                headers.insert(row.dirty, self.headers.clone());
            } else if !headers.is_empty() {
                headers.remove(&row.dirty);
            }
        }
        if is_caching {
            self.hold_back(row, bytes, is_first);
        }
    }

    /// Fetches what [`Self::mark`] will need of these rows into the processor's cache.
    #[inline]
    pub(crate) fn touch<'r>(&self, rows: impl Iterator<Item = &'r Row<V>>)
    where
        V: 'r,
    {
        let dirty = rows.filter_map(|row| self.dirty.get(row.dirty as usize));
        std::hint::black_box(dirty.fold(0, |sum, dirty| sum ^ dirty.held));
    }

    /// The headers with which the deletion at this place in `dirty` is logged.
    pub(crate) fn headers_of_deletion(&self, dirty: usize) -> HeadersView<'_> {
        let headers = self.of_deletions.as_ref().and_then(|headers| headers.get(&u32::try_from(dirty).ok()?));
        headers.map_or(HeadersView::EMPTY, HeadersView::from)
    }

    /// Everything is committed: `dirty` has been emptied.
    pub(crate) fn committed(&mut self) {
        // Updates that nobody took by now are of no use to anybody.
        self.forget_held();
        self.dirty_bytes = 0;
        if let Some(headers) = &mut self.of_deletions {
            headers.clear();
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
        entry.last_write = self.held_writes;
        self.held_writes += 1;
        self.has_held_headers |= !self.headers.is_empty();
        if entry.held == NONE {
            entry.held = u32::try_from(self.held.len()).expect("fewer than 2^32 held-back rows");
            let (dirty, old, headers) = (row.dirty, row.value.clone(), self.headers.clone());
            self.held.push(HeldBack { dirty, old, headers, is_first });
            self.held_bytes += bytes + size_of::<HeldBack<V>>();
        } else {
            self.is_held_rewritten = true;
            if self.has_held_headers {
                self.held[entry.held as usize].headers = self.headers.clone();
            }
        }
    }

    /// Takes the next of what was held back, in the order of the last writes: as Kafka Streams' caches flush.
    pub(crate) fn take_held(&mut self) -> Option<HeldBack<V>> {
        let sorted = self.taking.len();
        if self.taken == sorted {
            if sorted == self.held.len() {
                self.forget_held();
                return None;
            }
            let last_writes = self.held.iter().map(|held| self.dirty[held.dirty as usize].last_write);
            self.taking.extend(last_writes.zip(0..).skip(sorted));
            if self.is_held_rewritten {
                self.taking[sorted..].sort_unstable();
            }
        }
        let (_, place) = self.taking[self.taken];
        self.taken += 1;
        let held = &mut self.held[place as usize];
        self.dirty[held.dirty as usize].held = NONE;
        let HeldBack { dirty, is_first, .. } = *held;
        Some(HeldBack { dirty, old: held.old.take(), headers: std::mem::take(&mut held.headers), is_first })
    }

    /// Slots of those that will be taken next.
    pub(crate) fn next_held(&self) -> impl Iterator<Item = u32> {
        let next = self.taking.get(self.taken..).unwrap_or_default().iter();
        next.map(|(_, place)| self.dirty[self.held[*place as usize].dirty as usize].slot)
    }

    fn forget_held(&mut self) {
        self.held.clear();
        self.taking.clear();
        self.taken = 0;
        self.held_bytes = 0;
        self.held_writes = 0;
        self.is_held_rewritten = false;
        self.has_held_headers = false;
    }

    /// Forgets all writes.
    pub(crate) fn clear(&mut self) {
        self.dirty.clear();
        self.unflushed.clear();
        self.committed();
    }
}
