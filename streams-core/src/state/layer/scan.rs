//! Ranges of single rows: what lies in the backend, with what is newer in memory laid over it.

use std::cmp::Ordering;

use super::{Format, Group, RowStore};
use crate::{Result, state::backend::Cursor};

/// Which way a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// Rows of a range in the order of their keys, each as it is now.
pub(crate) struct MergedRows<'a, F: Format> {
    store: &'a RowStore<F>,
    /// Slots with pending rows, in the order in which they are read.
    pending: std::vec::IntoIter<u32>,
    backend: Box<dyn Cursor + 'a>,
    direction: Direction,
}

impl<'a, F: Format<Sub = (), Value: Clone>> MergedRows<'a, F> {
    /// Keys from `from` (included) to `to` (excluded). The backend names the row of a key by one byte and the key.
    pub(crate) fn new(
        store: &'a mut RowStore<F>,
        from: &[u8],
        to: Option<&[u8]>,
        direction: Direction,
    ) -> Result<Self> {
        let mut pending = store.pending_in_order(from, to);
        if direction == Direction::Backward {
            pending.reverse();
        }
        let row_key = |key: &[u8]| {
            let mut row = Vec::with_capacity(key.len() + 1);
            store.format().row_key(key, (), None, &mut row);
            row
        };
        let to = match to {
            Some(to) => Some(row_key(to)),
            None => crate::state::backend::prefix_end(&row_key(&[])),
        };
        let backend = store.backend().scan(&row_key(from), to.as_deref(), direction)?;
        Ok(MergedRows { store, pending: pending.into_iter(), backend, direction })
    }

    /// The store whose rows they are.
    pub(crate) fn store(&self) -> &'a RowStore<F> {
        self.store
    }

    /// The next row's key and value; `read` is called for it once.
    pub(crate) fn next<T>(&mut self, read: impl FnOnce(&[u8], Found<'_, F::Value>) -> Result<T>) -> Option<Result<T>> {
        loop {
            let stored = self.backend.row().map(|(key, _)| &key[1..]);
            let order = match (self.pending.as_slice().first(), stored) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(slot), Some(stored)) => match self.direction {
                    Direction::Forward => self.store.key_of(*slot).cmp(stored),
                    Direction::Backward => stored.cmp(self.store.key_of(*slot)),
                },
            };
            if order.is_gt() {
                let (key, value) = self.backend.row()?;
                let result = read(&key[1..], Found::Stored(value));
                return Some(self.backend.advance().and(result));
            }
            if order.is_eq()
                && let Err(error) = self.backend.advance()
            {
                return Some(Err(error));
            }
            let slot = self.pending.next()?;
            if let Some(value) = self.store.group(slot).row(()).and_then(|row| row.value.as_ref()) {
                return Some(read(self.store.key_of(slot), Found::InMemory(value)));
            }
        }
    }
}

/// Where the value of a row was found.
pub(crate) enum Found<'a, V> {
    InMemory(&'a V),
    Stored(&'a [u8]),
}
