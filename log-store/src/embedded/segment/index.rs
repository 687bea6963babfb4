//! A sparse index of a segment: fixed-size entries in rising order, found by binary search.
//!
//! New entries stay in memory until the index is stored (when the segment is sealed, at a checkpoint, at a clean close);
//! stored ones are read from the file when they are needed, so an idle segment costs no memory. An index carries no
//! checksum: whoever uses an entry compares it with the batch it points to, and has the index rebuilt if they differ.

use std::{cell::OnceCell, io, sync::Arc};

use crate::{
    Error, Offset, Result,
    embedded::storage::{Directory, OpenMode, SegmentFile},
};

/// Stored entries among which a search reads all.
const BLOCK: u64 = 128;

/// Most bytes of an entry.
const ENTRY_BYTES_MAX: usize = 12;

/// One entry. Keys rise strictly.
pub(crate) trait IndexEntry: Copy {
    /// Bytes in the file.
    const SIZE: usize;

    /// What the index is searched by.
    fn key(&self) -> i64;

    /// Appends the entry's bytes.
    fn encode(&self, base: Offset, out: &mut Vec<u8>);

    /// Reads the entry from [`Self::SIZE`] bytes.
    fn decode(base: Offset, bytes: &[u8]) -> Self;
}

/// The entries of one segment.
pub(crate) struct Index<E> {
    path: String,
    base: Offset,
    /// Open while somebody searches in it.
    file: OnceCell<Arc<dyn SegmentFile>>,
    /// Entries in the file.
    stored: u64,
    /// Entries after them.
    fresh: Vec<E>,
    /// The last of all.
    last: Option<E>,
}

impl<E: IndexEntry> Index<E> {
    /// An index without entries; nothing is written yet.
    pub(crate) fn new(path: String, base: Offset) -> Self {
        Index { path, base, file: OnceCell::new(), stored: 0, fresh: Vec::new(), last: None }
    }

    /// Opens a stored index. `None` if the file is missing, cut in the middle of an entry, or does not end with an
    /// entry that `fits`: it must be rebuilt.
    pub(crate) fn open(
        directory: &dyn Directory,
        path: String,
        base: Offset,
        fits: impl Fn(&E) -> bool,
    ) -> Result<Option<Self>> {
        let mut index = Index::new(path, base);
        let opened = directory.open(&index.path, OpenMode::Existing).and_then(|file| Ok((file.len()?, file)));
        let (len, file) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(index.failure("open", directory, error)),
        };
        let size = E::SIZE as u64;
        if len % size != 0 {
            return Ok(None);
        }
        index.stored = len / size;
        index.file = file.into();
        if index.stored > 0 {
            index.last = Some(index.read(directory, index.stored - 1)?);
        }
        Ok(index.last.as_ref().is_none_or(fits).then_some(index))
    }

    /// Opens the file; it is about to be called otherwise.
    pub(crate) fn take_path(&mut self, directory: &dyn Directory, path: String) -> Result<()> {
        self.file(directory).map_err(|error| self.failure("open", directory, error))?;
        self.path = path;
        Ok(())
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<E> {
        self.last
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.stored + self.fresh.len() as u64
    }

    /// Adds an entry after all others.
    pub(crate) fn push(&mut self, entry: E) {
        self.fresh.push(entry);
        self.last = Some(entry);
    }

    /// The last entry whose key is at most `key`.
    pub(crate) fn floor(&self, directory: &dyn Directory, key: i64) -> Result<Option<E>> {
        let fresh = self.fresh.partition_point(|entry| entry.key() <= key);
        if fresh > 0 {
            return Ok(Some(self.fresh[fresh - 1]));
        }
        let (mut low, mut high) = (0, self.stored);
        let mut found = None;
        while high - low > BLOCK {
            let middle = low + (high - low) / 2;
            let entry = self.read(directory, middle)?;
            if entry.key() <= key {
                found = Some(entry);
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        if low == high {
            return Ok(found);
        }
        // A call of the system costs more than a few kilobytes do.
        let mut bytes = [0; BLOCK as usize * ENTRY_BYTES_MAX];
        let bytes = &mut bytes[..(high - low) as usize * E::SIZE];
        self.read_bytes(directory, low, bytes)?;
        let entries = bytes.chunks_exact(E::SIZE).map(|bytes| E::decode(self.base, bytes));
        Ok(entries.take_while(|entry| entry.key() <= key).last().or(found))
    }

    /// Forgets entries from the end for as long as `goes` says so.
    pub(crate) fn pop_while(&mut self, directory: &dyn Directory, goes: impl Fn(&E) -> bool) -> Result<()> {
        while let Some(last) = self.last
            && goes(&last)
        {
            if self.fresh.pop().is_none() {
                self.stored -= 1;
            }
            self.last = match self.fresh.last() {
                Some(entry) => Some(*entry),
                None if self.stored > 0 => Some(self.read(directory, self.stored - 1)?),
                None => None,
            };
        }
        Ok(())
    }

    /// Writes what is not in the file yet and cuts the file to its length. The file is returned to be synced.
    pub(crate) fn store(&mut self, directory: &dyn Directory) -> Result<Arc<dyn SegmentFile>> {
        let mut bytes = Vec::with_capacity(self.fresh.len() * E::SIZE);
        for entry in &self.fresh {
            entry.encode(self.base, &mut bytes);
        }
        let write = || -> io::Result<Arc<dyn SegmentFile>> {
            let file = directory.open(&self.path, OpenMode::Create)?;
            let position = self.stored * E::SIZE as u64;
            file.write_at(position, &bytes)?;
            file.truncate(position + bytes.len() as u64)?;
            Ok(file)
        };
        let file = write().map_err(|error| self.failure("write", directory, error))?;
        self.stored += self.fresh.len() as u64;
        self.fresh = Vec::new();
        Ok(file)
    }

    /// Closes the file until it is needed again.
    pub(crate) fn release(&mut self) {
        self.file = OnceCell::new();
    }

    fn file(&self, directory: &dyn Directory) -> io::Result<&Arc<dyn SegmentFile>> {
        if self.file.get().is_none() {
            let file = directory.open(&self.path, OpenMode::Existing)?;
            return Ok(self.file.get_or_init(|| file));
        }
        Ok(self.file.get().expect("looked at above"))
    }

    fn read(&self, directory: &dyn Directory, number: u64) -> Result<E> {
        let mut bytes = [0; ENTRY_BYTES_MAX];
        let bytes = &mut bytes[..E::SIZE];
        self.read_bytes(directory, number, bytes)?;
        Ok(E::decode(self.base, bytes))
    }

    /// Fills `bytes` with entries from `number` on.
    fn read_bytes(&self, directory: &dyn Directory, number: u64, bytes: &mut [u8]) -> Result<()> {
        let read = self.file(directory).and_then(|file| file.read_at(number * E::SIZE as u64, bytes));
        read.map_err(|error| self.failure("read", directory, error))
    }

    fn failure(&self, operation: &'static str, directory: &dyn Directory, error: io::Error) -> Error {
        Error::io(operation, directory.locate(&self.path), error)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::TimeEntry, *};
    use crate::embedded::storage::MemoryDirectory;

    #[test]
    fn the_last_entry_that_is_not_above_the_key_is_found_in_an_index_of_any_length() {
        for (stored, fresh) in [(0, 0), (0, 3), (1, 0), (BLOCK, 0), (BLOCK + 1, 2), (10 * BLOCK + 3, 1), (1_000, 700)] {
            let directory = MemoryDirectory::new();
            let mut index = Index::new("times".to_owned(), Offset::ZERO);
            let all = stored + fresh;
            for number in 0..all {
                index.push(TimeEntry { timestamp: 10 * number as i64, offset: Offset::new(number) });
                if number + 1 == stored {
                    index.store(&directory).unwrap();
                }
            }
            assert_eq!(index.len(), all);
            for number in 0..all {
                for (key, expected) in [(0, Some(number)), (9, Some(number)), (-1, number.checked_sub(1))] {
                    let found = index.floor(&directory, 10 * number as i64 + key).unwrap();
                    assert_eq!(
                        found.map(|entry| entry.offset.value()),
                        expected,
                        "{number} {key:+} of {stored}+{fresh}"
                    );
                }
            }
        }
    }
}
