//! Where rows lie as bytes: in memory, or on disk.

pub(crate) mod disk;
mod memory;
mod options;
mod simulated;

use std::sync::Arc;

use log_store::Offset;
pub(crate) use memory::MemoryBackend;
pub(crate) use options::GROUP_ROW;
pub use options::RocksDbConfigSetter;
pub use simulated::SimulatedDisk;

use super::layer::{Direction, RowBuffer};
use crate::Result;

/// First byte of the backend's own rows. Rows of stores begin with a greater one.
pub(crate) const META: u8 = 0;

/// Key of the row that holds the first changelog offset that the backend does not contain.
pub(crate) const POSITION_KEY: &[u8] = &[META, b'p'];

/// Ordered rows of bytes. What is applied is there as a whole or not at all after a crash, with its position.
pub(crate) trait Backend: Send {
    /// Reads the row whose key is in `row`, and appends its value there. False if there is none.
    fn get(&self, row: &mut Vec<u8>) -> Result<bool>;

    /// Rows from `from` (included) to `to` (excluded, `None` for the end).
    fn scan(&self, from: &[u8], to: Option<&[u8]>, direction: Direction) -> Result<Box<dyn Cursor + '_>>;

    /// Rows that begin with `prefix`, which is a whole prefix in the sense of [`options::group_prefix`].
    fn scan_group(&self, prefix: &[u8]) -> Result<Box<dyn Cursor + '_>>;

    /// Writes sorted rows, then removes whole ranges, and moves the position, all as one.
    fn apply(&mut self, rows: &RowBuffer, dropped: &[KeyRange], position: Option<Offset>) -> Result<()>;

    /// Sorts and writes restored rows and moves the position, as one, perhaps while the caller goes on: [`Backend::settle`]
    /// waits for that. Returns an empty buffer, with memory if there is some to use again.
    fn restore(&mut self, mut rows: RowBuffer, dropped: &[KeyRange], position: Offset) -> Result<RowBuffer> {
        rows.sort();
        self.apply(&rows, dropped, Some(position))?;
        rows.clear();
        Ok(rows)
    }

    /// Waits for what [`Backend::restore`] has under way. Until then nothing else may be asked or written.
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// The first changelog offset that the backend does not contain.
    fn position(&self) -> Option<Offset>;

    /// The position that would survive a crash now.
    fn durable_position(&self) -> Option<Offset> {
        self.position()
    }

    /// Makes everything applied survive a crash.
    fn make_durable(&mut self) -> Result<()> {
        Ok(())
    }

    /// So many changelog offsets may lie between what is durable and the last commit: a restart replays no more than
    /// this for each store, some seconds of work.
    fn replay_max(&self) -> u64 {
        1_000_000
    }

    /// The same rows for other threads, as long as that one lives; `None` if they cannot be shared.
    fn share(&self) -> Option<SharedBackend> {
        None
    }

    /// True if nothing was ever applied.
    fn is_empty(&self) -> bool;

    /// About how many rows there are.
    fn approximate_rows(&self) -> u64;

    /// Removes everything. What lies in files is moved aside, not deleted.
    fn reset(&mut self, reason: &str) -> Result<()>;
}

/// Rows that several threads read.
pub(crate) type SharedBackend = Arc<dyn Backend + Send + Sync>;

/// A range of keys: from the first (included) to the second (excluded).
pub(crate) type KeyRange = (Vec<u8>, Vec<u8>);

/// Steps through rows.
pub(crate) trait Cursor {
    /// The row it stands at; `None` behind the last one.
    fn row(&self) -> Option<(&[u8], &[u8])>;

    /// Steps on.
    fn advance(&mut self) -> Result<()>;
}

/// The least key that is greater than every key that begins with `prefix`; `None` if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn the_end_of_a_prefix_is_the_next_key_that_does_not_have_it() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
