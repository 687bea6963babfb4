//! What other threads see of a store: its committed rows.
//!
//! A store that nobody asks for has none. For one that is asked for, each commit puts its rows here, all at once; they
//! leave again when the files have them, which readers share. So a reader sees one commit or the next, never a part of
//! one, and the thread that processes takes a lock once in a commit, never for a record.

use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::RwLock;

use super::{Direction, KeyBytes, RowBuffer};
use crate::{
    Result,
    state::backend::{Cursor, KeyRange, SharedBackend},
};

/// The committed rows of one store, under the keys that the backend has them under.
pub(crate) struct View {
    /// `None` once the store has been closed.
    state: RwLock<Option<State>>,
}

struct State {
    /// Rows that are newer than the files; `None` is deleted. Without files: all rows. Short values lie in the table,
    /// as short keys do: a commit that changes known rows allocates nothing.
    rows: HashMap<KeyBytes, Option<KeyBytes>, RandomState>,
    /// The keys of `rows` in order, from the first page that was read after a key came or went.
    order: OnceLock<Vec<KeyBytes>>,
    files: Option<SharedBackend>,
}

/// The store has been closed: its task is elsewhere, or begins again.
pub(crate) struct Closed;

/// Some rows in order, and whether there may be more.
pub(crate) struct Page {
    pub(crate) rows: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) has_more: bool,
}

impl View {
    /// A view of `rows` over `files`.
    pub(crate) fn new(files: Option<SharedBackend>, rows: &RowBuffer) -> Arc<Self> {
        let mut state = State { rows: HashMap::default(), order: OnceLock::new(), files };
        state.put(rows);
        Arc::new(View { state: RwLock::new(Some(state)) })
    }

    /// A commit has made these rows durable.
    pub(crate) fn commit(&self, rows: &RowBuffer) {
        if let Some(state) = &mut *self.state.write() {
            state.put(rows);
        }
    }

    /// The backend has all rows; what is in `dropped` is gone. `files` are those of a backend that readers can share.
    pub(crate) fn flushed(&self, files: Option<SharedBackend>, dropped: &[KeyRange]) {
        let mut state = self.state.write();
        let Some(state) = &mut *state else { return };
        if files.is_some() {
            state.files = files;
            state.rows.clear();
            state.order.take();
            return;
        }
        for (from, to) in dropped {
            let gone: Vec<KeyBytes> = state.range(from, Some(to)).map(|(key, _)| key.clone()).collect();
            for key in gone {
                state.rows.remove(key.as_slice());
            }
            state.order.take();
        }
        state.rows.retain(|_, value| value.is_some());
        state.order.take();
    }

    /// Nobody reads any more.
    pub(crate) fn close(&self) {
        *self.state.write() = None;
    }

    /// Reads the row whose key is in `row`, and appends its value there. False if there is none.
    pub(crate) fn get(&self, row: &mut Vec<u8>) -> Result<Result<bool>, Closed> {
        let files = {
            let state = self.state.read();
            let state = state.as_ref().ok_or(Closed)?;
            match state.rows.get(&row[..]) {
                Some(Some(value)) => {
                    row.extend_from_slice(value.as_slice());
                    return Ok(Ok(true));
                }
                Some(None) => return Ok(Ok(false)),
                None => state.files.clone(),
            }
        };
        // Without the lock: what is not among the new rows lies in the files, in this state or a newer one.
        Ok(files.map_or(Ok(false), |files| files.get(row)))
    }

    /// At most `limit` rows from `from` (included) to `to` (excluded), of one commit.
    pub(crate) fn page(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Result<Page>, Closed> {
        let state = self.state.read();
        Ok(state.as_ref().ok_or(Closed)?.page(from, to, direction, limit))
    }

    /// About how many rows there are.
    pub(crate) fn approximate_rows(&self) -> Result<u64, Closed> {
        let state = self.state.read();
        let state = state.as_ref().ok_or(Closed)?;
        Ok(state.files.as_ref().map_or(0, |files| files.approximate_rows()).max(state.rows.len() as u64))
    }
}

impl State {
    fn put(&mut self, rows: &RowBuffer) {
        for (key, value) in rows.iter() {
            let value = value.map(KeyBytes::new);
            match self.rows.get_mut(key) {
                Some(known) => *known = value,
                None => {
                    self.rows.insert(KeyBytes::new(key), value);
                    self.order.take();
                }
            }
        }
    }

    fn order(&self) -> &[KeyBytes] {
        self.order.get_or_init(|| {
            let mut keys: Vec<KeyBytes> = self.rows.keys().cloned().collect();
            keys.sort_unstable();
            keys
        })
    }

    /// The new rows from `from` (included) to `to` (excluded), in order.
    fn range(&self, from: &[u8], to: Option<&[u8]>) -> impl DoubleEndedIterator<Item = (&KeyBytes, &Option<KeyBytes>)> {
        let keys = self.order();
        let begin = keys.partition_point(|key| key.as_slice() < from);
        let end = to.map_or(keys.len(), |to| keys.partition_point(|key| key.as_slice() < to));
        // A range that ends before it begins is empty.
        keys[begin..end.max(begin)].iter().filter_map(|key| self.rows.get_key_value(key.as_slice()))
    }

    fn page(&self, from: &[u8], to: Option<&[u8]>, direction: Direction, limit: usize) -> Result<Page> {
        let mut new: Box<dyn Iterator<Item = _>> = match direction {
            Direction::Forward => Box::new(self.range(from, to)),
            Direction::Backward => Box::new(self.range(from, to).rev()),
        };
        let mut old = self.files.as_ref().map(|files| files.scan(from, to, direction)).transpose()?;
        let mut next_new = new.next();
        let mut rows = Vec::new();
        while rows.len() < limit {
            let stored = old.as_deref().and_then(Cursor::row);
            let order = match (next_new, stored) {
                (None, None) => return Ok(Page { rows, has_more: false }),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((key, _)), Some((stored, _))) => match direction {
                    Direction::Forward => key.as_slice().cmp(stored),
                    Direction::Backward => stored.cmp(key.as_slice()),
                },
            };
            if order.is_gt() {
                rows.extend(stored.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            if order.is_ge()
                && let Some(old) = &mut old
            {
                old.advance()?;
            }
            if order.is_le() {
                rows.extend(
                    next_new
                        .and_then(|(key, value)| Some((key.as_slice().to_vec(), value.as_ref()?.as_slice().to_vec()))),
                );
                next_new = new.next();
            }
        }
        Ok(Page { rows, has_more: true })
    }
}
