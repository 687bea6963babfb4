//! Takes committed rows to the backend, with the changelog offset that they correspond to.
//!
//! Invariant: the position never claims what is not there, so after a failed write nothing more is written.

use log_store::Offset;

use super::{AHEAD, RowStore};
use crate::{
    Result,
    serde::Encoded,
    state::layer::{Format, Group, RowBuffer, cache::Cache},
};

/// Rows on their way to the backend are written in pieces of this many bytes.
const APPLY_BYTES: usize = 32 << 20;

impl<F: Format<Value: Clone>> RowStore<F> {
    /// Committed rows reach the backend when they take too much memory, or too long to replay.
    pub(super) fn is_flush_due(&self) -> bool {
        if !self.parts.is_restorable {
            return !self.writes.unflushed.is_empty();
        }
        let unflushed_bytes = self.writes.unflushed.len() * Cache::<F::Group>::slot_bytes();
        let replay = match self.committed_end {
            Some(end) => end.offsets_since(self.parts.backend.position().unwrap_or(Offset::ZERO)),
            None => 0,
        };
        unflushed_bytes > self.budget.share() / 4 || replay > self.parts.backend.replay_max()
    }

    /// Takes all committed rows to the backend. Nothing may be uncommitted.
    pub(crate) fn flush(&mut self) -> Result<()> {
        if !self.writes.dirty.is_empty() {
            return Ok(());
        }
        if self.has_failed {
            return Err(self.store_error("an earlier write to its files failed; restart the task to restore it".into()));
        }
        self.has_failed = true;
        self.flush_committed()?;
        self.has_failed = false;
        Ok(())
    }

    /// As [`Self::flush`], and what it writes survives a crash.
    pub(crate) fn save(&mut self) -> Result<()> {
        self.flush()?;
        self.parts.backend.make_durable()
    }

    fn flush_committed(&mut self) -> Result<()> {
        self.apply_restored(false)?;
        let position = self.committed_end;
        let has_moved = position > self.parts.backend.position() && !self.parts.backend.is_empty();
        if self.writes.unflushed.is_empty() && !has_moved {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.restoring);
        let unflushed = std::mem::take(&mut self.writes.unflushed);
        let mut grown = 0;
        for (index, (slot, sub)) in unflushed.iter().enumerate() {
            if index % AHEAD == 0 {
                self.cache.touch(unflushed[index..].iter().take(AHEAD).map(|(slot, _)| *slot));
            }
            grown += self.push_row(&mut rows, *slot, *sub)?;
            if rows.len_bytes() >= APPLY_BYTES {
                // Without the position: until the last piece is there, a restart replays all of them.
                let dropped = self.parts.format.before_apply(&mut rows);
                rows.sort();
                self.parts.backend.apply(&rows, &dropped, None)?;
                rows.clear();
            }
        }
        let dropped = self.parts.format.before_apply(&mut rows);
        rows.sort();
        self.parts.backend.apply(&rows, &dropped, position)?;
        if let Some(view) = &self.view {
            view.flushed(self.parts.backend.share(), &dropped);
        }
        for (slot, sub) in &unflushed {
            let group = self.cache.group_mut(*slot);
            if let Some(row) = group.row_mut(*sub) {
                row.is_unflushed = false;
                if let Some(value) = &mut row.value {
                    self.parts.format.stored(value);
                }
            }
            group.forget_if_absent(*sub);
        }
        self.cache.grew(grown);
        self.order = None;
        rows.clear_and_shrink();
        self.restoring = rows;
        self.writes.unflushed = unflushed;
        self.writes.unflushed.clear();
        self.bound_replay()
    }

    /// Appends one row's bytes. Answers by how much the estimate of its size changed.
    pub(in crate::state::layer) fn push_row(&mut self, rows: &mut RowBuffer, slot: u32, sub: F::Sub) -> Result<isize> {
        let (key, group) = self.cache.entry(slot);
        let format = &self.parts.format;
        if format.is_expired(sub) {
            return Ok(0);
        }
        let value = group.row(sub).and_then(|row| row.value.as_ref());
        let mut length = 0;
        let pushed = rows.push(
            |out| format.row_key(key, sub, value, out),
            |out| {
                let Some(value) = value else { return Ok(false) };
                let before = out.len();
                let encoded = format.codec().encode_row(value, out)?;
                length = out.len() - before;
                Ok(encoded == Encoded::Bytes)
            },
        );
        self.key_bytes.clear();
        if value.is_some_and(|value| format.moved_from(key, sub, value, &mut self.key_bytes)) {
            rows.push_bytes(&self.key_bytes, None);
        } else if format.index_row(key, sub, &mut self.key_bytes) {
            rows.push_bytes(&self.key_bytes, value.is_some().then_some(&[]));
        }
        match pushed {
            Ok(()) if std::mem::needs_drop::<F::Value>() => {
                Ok(self.cache.group_mut(slot).row_mut(sub).map_or(0, |row| row.set_length(length)))
            }
            Ok(()) => Ok(0),
            Err(error) => Err(self.serde_error("value", &error)),
        }
    }

    /// Makes the backend durable if a crash would cost too long a replay.
    pub(super) fn bound_replay(&mut self) -> Result<()> {
        let backend = &mut self.parts.backend;
        let durable = backend.durable_position().unwrap_or(Offset::ZERO);
        match backend.position() {
            Some(position) if position.offsets_since(durable) > backend.replay_max() => backend.make_durable(),
            _ => Ok(()),
        }
    }
}
