//! Cache, writes and backend together: all that does not depend on the kind of a store.

mod flush;
mod restore;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use log_store::{Headers, Offset};

use super::{
    Codec, Format, Group, KeyBytes, LayerBudget, MemoryBudget, RowBuffer, View,
    cache::Cache,
    format::LoadError,
    writes::{Dirty, HeldBack, Writes},
};
use crate::{
    Error, Result,
    serde::{Encoded, SerdeError},
    state::{ChangelogSink, Update, backend::Backend},
};

/// So many rows that are next in turn are fetched into the processor's cache at a time.
const AHEAD: usize = 16;

/// Slots that the clock's hand looks at for each new group while memory is short.
const LOOKS: u32 = 8;

/// What a store of any kind is made of.
pub(crate) struct RowStoreParts<F> {
    pub(crate) name: String,
    pub(crate) format: F,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) budget: Arc<MemoryBudget>,
    /// Where its files are, for messages.
    pub(crate) directory: PathBuf,
    /// Changes are written to a changelog.
    pub(crate) is_logged: bool,
    /// What the files lose can be restored.
    pub(crate) is_restorable: bool,
    pub(crate) is_caching: bool,
    /// What caching may hold back.
    pub(crate) held_bytes_max: usize,
}

/// The rows of one store.
pub(crate) struct RowStore<F: Format> {
    parts: RowStoreParts<F>,
    cache: Cache<F::Group>,
    writes: Writes<F::Sub, F::Value>,
    budget: LayerBudget,
    /// Every row is in memory: a key that is not found there has none.
    is_complete: bool,
    /// First changelog offset after the last commit.
    committed_end: Option<Offset>,
    restoring: RowBuffer,
    /// First changelog offset that is neither in the backend nor in `restoring`.
    restored_end: Option<Offset>,
    /// Keys of groups with pending rows, in order: kept from the first range read on.
    order: Option<BTreeMap<KeyBytes, u32>>,
    /// A write to the backend failed: nothing more is written, so that its position never claims what is not there.
    has_failed: bool,
    /// What other threads read, if any does.
    pub(super) view: Option<Arc<View>>,
    /// Kept for their memory.
    pub(super) publishing: RowBuffer,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<F: Format<Value: Clone>> RowStore<F> {
    pub(crate) fn new(mut parts: RowStoreParts<F>) -> Result<Self> {
        parts.format.opened(&*parts.backend)?;
        Ok(RowStore {
            cache: Cache::new(),
            writes: Writes::new(parts.format.codec().logs_headers()),
            budget: LayerBudget::new(Arc::clone(&parts.budget)),
            is_complete: parts.backend.is_empty(),
            committed_end: None,
            restoring: RowBuffer::default(),
            restored_end: None,
            order: None,
            has_failed: false,
            view: None,
            publishing: RowBuffer::default(),
            key_bytes: Vec::new(),
            value_bytes: Vec::new(),
            parts,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.parts.name
    }

    pub(crate) fn format(&self) -> &F {
        &self.parts.format
    }

    pub(crate) fn format_mut(&mut self) -> &mut F {
        &mut self.parts.format
    }

    pub(crate) fn codec(&self) -> &dyn Codec<F::Value> {
        self.parts.format.codec()
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.parts.backend
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.parts.is_logged
    }

    pub(crate) fn is_caching(&self) -> bool {
        self.parts.is_caching
    }

    pub(crate) fn key_of(&self, slot: u32) -> &[u8] {
        self.cache.key(slot)
    }

    pub(crate) fn group(&self, slot: u32) -> &F::Group {
        self.cache.group(slot)
    }

    #[inline]
    pub(crate) fn set_context(&mut self, timestamp: i64, headers: &Headers) {
        self.writes.set_context(timestamp, headers);
    }

    /// As [`crate::state::StateStore::expect_keys`].
    pub(crate) fn expect_keys(&mut self, keys: &mut dyn Iterator<Item = &[u8]>) {
        self.cache.expect(keys);
        self.cache.touch(self.cache.expected());
        let rows = self.cache.expected().filter_map(|slot| self.cache.group(slot).likely());
        self.writes.touch(rows);
    }

    /// True if every row is in memory.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The error of a key or value that does not fit its serde.
    #[cold]
    pub(crate) fn serde_error(&self, what: &str, error: &SerdeError) -> Error {
        self.store_error(format!("the {what} does not fit its serde: {error}"))
    }

    #[cold]
    pub(crate) fn store_error(&self, reason: String) -> Error {
        Error::Store { store: self.parts.name.clone(), directory: self.parts.directory.clone(), reason }
    }

    /// The group of `key`, read from the backend if it is not in memory.
    #[inline]
    pub(crate) fn find_or_load(&mut self, key: &[u8]) -> Result<u32> {
        if let Some(slot) = self.cache.find_expected(key) {
            return Ok(slot);
        }
        let hash = self.cache.hash(key);
        match self.cache.find(hash, key) {
            Some(slot) => Ok(slot),
            None => self.load(hash, key),
        }
    }

    /// The group of `key`, made empty if it is not in memory: for writes that need not know what was there before. Only
    /// for kinds whose groups have one row.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, key: &[u8]) -> u32 {
        if let Some(slot) = self.cache.find_expected(key) {
            return slot;
        }
        let hash = self.cache.hash(key);
        match self.cache.find(hash, key) {
            Some(slot) => slot,
            None => self.insert(hash, key, F::Group::default()),
        }
    }

    #[cold]
    #[inline(never)]
    fn load(&mut self, hash: u32, key: &[u8]) -> Result<u32> {
        let group = if self.is_complete {
            F::Group::default()
        } else {
            self.value_bytes.clear();
            match self.parts.format.load(&*self.parts.backend, key, &mut self.value_bytes) {
                Ok(group) => group,
                Err(LoadError::Backend(error)) => return Err(error),
                Err(LoadError::Serde(error)) => return Err(self.serde_error("stored value", &error)),
            }
        };
        Ok(self.insert(hash, key, group))
    }

    fn insert(&mut self, hash: u32, key: &[u8], group: F::Group) -> u32 {
        if self.budget.is_exceeded(self.cache.bytes()) && self.cache.evict(LOOKS) > 0 {
            self.is_complete = false;
        }
        self.cache.insert(hash, key, group)
    }

    /// Writes one row in place: what `change` leaves in the option is its value, `None` deletes it.
    #[inline]
    pub(crate) fn write<R>(&mut self, slot: u32, sub: F::Sub, change: impl FnOnce(&mut Option<F::Value>) -> R) -> R {
        let group = self.cache.group_mut(slot);
        let table_bytes = group.table_bytes();
        let row = group.row_or_default(sub);
        let was_pending = row.is_pending();
        let bytes = Cache::<F::Group>::slot_bytes() + row.heap_bytes();
        self.writes.mark(row, slot, sub, bytes, self.parts.is_caching);
        let result = change(&mut row.value);
        let grown = group.table_bytes() - table_bytes;
        if grown > 0 {
            self.cache.grew(grown.cast_signed());
        }
        if !was_pending && let Some(order) = &mut self.order {
            order.insert(KeyBytes::new(self.cache.key(slot)), slot);
        }
        result
    }

    /// Changes a row in a way that the changelog implies.
    pub(crate) fn write_unlogged(&mut self, slot: u32, sub: F::Sub, change: impl FnOnce(&mut Option<F::Value>)) {
        let row = self.cache.group_mut(slot).row_or_default(sub);
        self.writes.mark_unlogged(row, slot, sub, size_of::<Dirty<F::Sub>>());
        change(&mut row.value);
    }

    /// Changes a group in a way that concerns memory only, such as dropping what has expired.
    pub(crate) fn tidy(&mut self, slot: u32, change: impl FnOnce(&mut F::Group)) {
        let group = self.cache.group_mut(slot);
        let before = group.heap_bytes();
        change(group);
        let grown = group.heap_bytes().cast_signed() - before.cast_signed();
        self.cache.grew(grown);
    }

    /// How many slots there are; see [`Self::slot`].
    pub(crate) fn slots(&self) -> u32 {
        self.cache.slots()
    }

    /// The group in a slot; `None` for a free one.
    pub(crate) fn slot(&self, slot: u32) -> Option<&F::Group> {
        self.cache.get(slot)
    }

    /// Drops all clean groups.
    #[cfg(test)]
    pub(crate) fn evict_all(&mut self) {
        for slot in 0..self.cache.slots() {
            self.forget(slot);
        }
        self.is_complete = self.parts.backend.is_empty();
    }

    /// Drops a clean group.
    pub(crate) fn forget(&mut self, slot: u32) {
        if self.cache.get(slot).is_some_and(|group| !group.is_pending()) {
            self.cache.remove(slot);
        }
    }

    /// Rows that the backend does not have, in the order in which they became so.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (u32, F::Sub)> {
        let unflushed = self.writes.unflushed.iter().copied();
        let dirty = self.writes.dirty.iter().map(|dirty| (dirty.slot, dirty.sub));
        let is_new =
            |(slot, sub): &(u32, F::Sub)| self.cache.group(*slot).row(*sub).is_none_or(|row| !row.is_unflushed);
        unflushed.chain(dirty.filter(is_new))
    }

    /// Rows that are not committed.
    pub(super) fn dirty_rows(&self) -> impl Iterator<Item = (u32, F::Sub)> {
        self.writes.dirty.iter().map(|dirty| (dirty.slot, dirty.sub))
    }

    /// Keys with pending rows from `from` (included) to `to` (excluded), in order.
    pub(crate) fn pending_in_order(&mut self, from: &[u8], to: Option<&[u8]>) -> Vec<u32> {
        use std::ops::Bound;
        if self.order.is_none() {
            let order = self.pending().map(|(slot, _)| (KeyBytes::new(self.cache.key(slot)), slot)).collect();
            self.order = Some(order);
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        match &self.order {
            Some(order) if to.is_none_or(|to| from < to) => {
                order.range::<[u8], _>((Bound::Included(from), end)).map(|(_, slot)| *slot).collect()
            }
            _ => Vec::new(),
        }
    }

    /// What caching held back, at most `max` updates at a time; none when there are no more. `name` reads a row's key. A row
    /// that was absent and is absent again concerns nobody, neither downstream nor the changelog, as in Kafka Streams.
    pub(crate) fn take_updates<T>(
        &mut self,
        max: usize,
        name: impl Fn(&[u8], F::Sub) -> Result<T, SerdeError>,
    ) -> Result<Vec<Update<T, F::Value>>> {
        let mut updates = Vec::new();
        let mut looked = 0;
        while updates.len() < max
            && let Some(HeldBack { dirty, old, headers, is_first, .. }) = self.writes.take_held()
        {
            if looked % AHEAD == 0 {
                self.cache.touch(self.writes.next_held().take(AHEAD));
            }
            looked += 1;
            let Dirty { slot, sub, timestamp, .. } = self.writes.dirty[dirty as usize];
            let (key, group) = self.cache.entry(slot);
            let new = group.row(sub).and_then(|row| row.value.clone());
            let old = self.parts.format.old_value(sub, old);
            if old.is_none() && new.is_none() {
                self.writes.dirty[dirty as usize].is_logged &= !is_first;
                continue;
            }
            self.parts.format.handed_on(sub);
            let key = name(key, sub).map_err(|error| self.serde_error("key", &error))?;
            updates.push(Update { key, new, old, timestamp, headers });
        }
        Ok(updates)
    }

    /// Hands on what caching held back without a listener: every write counts.
    pub(crate) fn drop_updates(&mut self) {
        while let Some(HeldBack { dirty, .. }) = self.writes.take_held() {
            self.parts.format.handed_on(self.writes.dirty[dirty as usize].sub);
        }
    }

    /// As [`crate::state::StateStore::take_refused`].
    pub(crate) fn take_refused(&mut self) -> u64 {
        self.parts.format.take_refused()
    }

    /// What memory holds, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// What caching may hold back, in bytes.
    pub(crate) fn held_bytes_max(&self) -> usize {
        self.parts.held_bytes_max
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.writes.dirty_bytes
    }

    pub(crate) fn needs_commit(&self) -> bool {
        self.writes.dirty_bytes > self.budget.share() / 2
    }

    pub(crate) fn needs_flush(&self) -> bool {
        self.writes.held_bytes > self.parts.held_bytes_max
    }

    pub(crate) fn approximate_rows(&self) -> u64 {
        match self.is_complete {
            true => self.cache.len() as u64,
            false => self.parts.backend.approximate_rows().max(self.cache.len() as u64),
        }
    }

    /// Rows that have been written since the last commit.
    pub(crate) fn dirty_count(&self) -> usize {
        self.writes.dirty.len()
    }

    pub(crate) fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
        self.write_changelog_between(sink, |_, _| Ok(()))
    }

    /// As `write_changelog`; `between` may write other records: before each row, and after the last. It is given the
    /// number of rows before it.
    #[inline]
    pub(crate) fn write_changelog_between(
        &mut self,
        sink: &mut dyn ChangelogSink,
        mut between: impl FnMut(usize, &mut dyn ChangelogSink) -> Result<()>,
    ) -> Result<()> {
        if !self.parts.is_logged {
            return Ok(());
        }
        let mut grown = 0;
        for index in 0..self.writes.dirty.len() {
            between(index, sink)?;
            if index % AHEAD == 0 {
                self.cache.touch(self.writes.dirty[index..].iter().take(AHEAD).map(|dirty| dirty.slot));
            }
            let Dirty { slot, sub, is_logged, timestamp, .. } = self.writes.dirty[index];
            if !is_logged {
                continue;
            }
            let (key, group) = self.cache.entry(slot);
            let format = &self.parts.format;
            self.key_bytes.clear();
            format.log_key(key, sub, &mut self.key_bytes);
            let value = group.row(sub).and_then(|row| row.value.as_ref());
            let timestamp = format.log_timestamp(sub, value).unwrap_or(timestamp);
            self.value_bytes.clear();
            let encoded = match value {
                None => Encoded::Null,
                Some(value) => match format.codec().encode_log(value, &mut self.value_bytes) {
                    Ok(encoded) => encoded,
                    Err(error) => return Err(self.serde_error("value", &error)),
                },
            };
            let headers = match value {
                Some(value) => format.codec().headers(value),
                None => self.writes.headers_of_deletion(index),
            };
            let bytes = (encoded == Encoded::Bytes).then_some(&self.value_bytes[..]);
            sink.log(&self.key_bytes, bytes, timestamp, headers)?;
            if std::mem::needs_drop::<F::Value>() {
                let length = self.value_bytes.len();
                grown += self.cache.group_mut(slot).row_mut(sub).map_or(0, |row| row.set_length(length));
            }
        }
        self.cache.grew(grown);
        between(self.writes.dirty.len(), sink)
    }

    pub(crate) fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()> {
        self.publish_committed()?;
        for Dirty { slot, sub, .. } in self.writes.dirty.drain(..) {
            let row = self.cache.group_mut(slot).row_or_default(sub);
            row.dirty = super::group::NONE;
            if !std::mem::replace(&mut row.is_unflushed, true) {
                self.writes.unflushed.push((slot, sub));
            }
        }
        self.parts.format.committed();
        self.writes.committed();
        self.committed_end = changelog_end.or(self.committed_end);
        if self.is_flush_due() {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn rollback(&mut self) -> Result<()> {
        self.unpublish();
        self.parts.backend.settle()?;
        if self.parts.is_restorable {
            self.cache.clear();
            self.writes.clear();
            self.is_complete = self.parts.backend.is_empty();
        } else {
            // Everything committed is in the backend: only what was written since has to go.
            for index in 0..self.writes.dirty.len() {
                let slot = self.writes.dirty[index].slot;
                if self.cache.get(slot).is_some() {
                    self.cache.remove(slot);
                }
            }
            self.writes.clear();
            self.is_complete = self.parts.backend.is_empty();
        }
        self.order = None;
        self.committed_end = None;
        self.restoring.clear();
        self.restored_end = None;
        self.parts.format.opened(&*self.parts.backend)
    }

    pub(crate) fn checkpoint(&self) -> Option<Offset> {
        self.parts.backend.position()
    }

    pub(crate) fn reset(&mut self, reason: &str) -> Result<()> {
        self.unpublish();
        self.cache.clear();
        self.writes.clear();
        self.restoring = RowBuffer::default();
        self.restored_end = None;
        self.committed_end = None;
        self.order = None;
        self.has_failed = false;
        self.parts.backend.reset(reason)?;
        self.is_complete = true;
        self.parts.format.opened(&*self.parts.backend)
    }

    pub(crate) fn close(&mut self) -> Result<()> {
        self.unpublish();
        self.parts.backend.settle()?;
        if self.writes.dirty.is_empty() && !self.has_failed {
            self.flush()?;
            self.parts.backend.make_durable()?;
        }
        self.writes.clear();
        self.cache.clear();
        Ok(())
    }
}
