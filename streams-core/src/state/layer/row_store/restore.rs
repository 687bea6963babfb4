//! Fills a store from its changelog: in bulk to the backend, or row by row in memory.

use log_store::{Offset, RecordView};

use super::RowStore;
use crate::{
    Result,
    state::layer::{Format, Group},
};

/// Restored rows are collected up to this many bytes, then sorted and written at once. Two such buffers are in memory.
const RESTORE_BYTES: usize = 32 << 20;

impl<F: Format<Value: Clone>> RowStore<F> {
    pub(crate) fn restore(&mut self, offset: Offset, record: &RecordView<'_>) -> Result<()> {
        let Some(key) = record.key else {
            // A source topic that serves as changelog may have such records. They never were rows.
            self.restored_end = Some(offset.next());
            return Ok(());
        };
        let Some(row) = self.parts.format.read_log(record) else {
            let length = key.len();
            let reason =
                format!("the changelog record at offset {offset}, with {length} bytes of key, is no row of it");
            return Err(self.store_error(reason));
        };
        self.restored_end = Some(offset.next());
        if !self.parts.format.restores(&row, record.value.is_none()) {
            return Ok(());
        }
        let format = &self.parts.format;
        let pushed: Result<(), std::convert::Infallible> = self.restoring.push(
            |out| format.row_key(row.key, row.sub, None, out),
            |out| match record.value {
                None => Ok(false),
                Some(value) => {
                    format.codec().log_to_row(value, record, out);
                    Ok(true)
                }
            },
        );
        let Ok(()) = pushed;
        self.key_bytes.clear();
        if format.index_row(row.key, row.sub, &mut self.key_bytes) {
            self.restoring.push_bytes(&self.key_bytes, record.value.is_some().then_some(&[]));
        }
        if self.restoring.len_bytes() >= RESTORE_BYTES {
            self.apply_restored(true)?;
        }
        Ok(())
    }

    pub(crate) fn restored(&mut self, next: Offset) -> Result<()> {
        self.restored_end = Some(next);
        self.apply_restored(false)?;
        self.committed_end = Some(next);
        Ok(())
    }

    /// Takes what was restored to the backend, with the offset up to which it goes.
    pub(super) fn apply_restored(&mut self, goes_on: bool) -> Result<()> {
        let Some(end) = self.restored_end.take() else { return Ok(()) };
        if goes_on || !self.restoring.is_empty() || self.parts.backend.position() < Some(end) {
            let mut rows = std::mem::take(&mut self.restoring);
            let dropped = self.parts.format.before_apply(&mut rows);
            // An empty store that has nothing to restore stays without files.
            if !(rows.is_empty() && dropped.is_empty() && self.parts.backend.is_empty()) {
                let spare = self.parts.backend.restore(rows, &dropped, end)?;
                if goes_on {
                    self.restoring = spare;
                } else {
                    self.parts.backend.settle()?;
                }
            }
            // Groups that were read before are older now.
            self.cache.clear();
            self.is_complete = self.parts.backend.is_empty();
        }
        self.bound_replay()
    }

    /// Writes one row as the changelog tells it, for kinds whose records only mean something beside the rows that are
    /// there: it is committed, and reaches the backend later.
    pub(crate) fn write_restored(&mut self, slot: u32, sub: F::Sub, change: impl FnOnce(&mut Option<F::Value>)) {
        let group = self.cache.group_mut(slot);
        let table_bytes = group.table_bytes();
        let row = group.row_or_default(sub);
        if !std::mem::replace(&mut row.is_unflushed, true) {
            self.writes.unflushed.push((slot, sub));
        }
        change(&mut row.value);
        let grown = group.table_bytes() - table_bytes;
        self.cache.grew(grown.cast_signed());
    }

    /// The changelog up to `next` is in memory.
    pub(crate) fn restored_in_memory(&mut self, next: Offset) -> Result<()> {
        self.committed_end = Some(next);
        if self.is_flush_due() { self.flush() } else { Ok(()) }
    }
}
