//! How a store's rows get to other threads: see [`View`].

use std::sync::Arc;

use super::{Format, RowBuffer, RowStore, View};
use crate::{Result, state::layer::Direction};

impl<F: Format<Value: Clone>> RowStore<F> {
    /// Lets other threads read the rows, from now on as each commit leaves them. Nothing may be uncommitted.
    pub(crate) fn publish(&mut self) -> Result<Arc<View>> {
        if let Some(view) = &self.view {
            return Ok(Arc::clone(view));
        }
        let mut rows = RowBuffer::default();
        let files = self.backend().share();
        if files.is_none() {
            let mut stored = self.backend().scan(&[], None, Direction::Forward)?;
            while let Some((key, value)) = stored.row() {
                rows.push_bytes(key, Some(value));
                stored.advance()?;
            }
        }
        let pending: Vec<_> = self.pending().collect();
        for (slot, sub) in pending {
            self.push_row(&mut rows, slot, sub)?;
        }
        let view = View::new(files, &rows);
        self.view = Some(Arc::clone(&view));
        Ok(view)
    }

    /// Before a commit lets go of its rows: shows them, if somebody reads.
    pub(super) fn publish_committed(&mut self) -> Result<()> {
        let Some(view) = self.view.clone() else { return Ok(()) };
        let mut rows = std::mem::take(&mut self.publishing);
        let dirty: Vec<_> = self.dirty_rows().collect();
        for (slot, sub) in dirty {
            self.push_row(&mut rows, slot, sub)?;
        }
        view.commit(&rows);
        rows.clear();
        self.publishing = rows;
        Ok(())
    }

    /// Ends all reading by others.
    pub(super) fn unpublish(&mut self) {
        if let Some(view) = self.view.take() {
            view.close();
        }
    }
}
