//! The only place that touches files: a tree of directories and append-only files, with as few verbs as the log needs.
//!
//! Two homes: [`FileDirectory`] on the file system, and [`MemoryDirectory`] in memory, which can also show what a power
//! cut would leave behind and fail on demand. Whatever the log promises about a disk is tested against the second.
//!
//! Names are relative to the root of the tree, with `/` between the parts.

mod file;
mod memory;

use std::{any::Any, fmt, io, path::PathBuf, sync::Arc};

pub use file::FileDirectory;
pub use memory::{CrashPlan, Faults, MemoryDirectory};

use crate::{Error, Result};

/// How [`Directory::open`] treats a file that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Existing,
    /// It is created empty. It survives a power cut once its directory is synced.
    Create,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Last part of the path.
    pub name: String,
    /// True for a directory.
    pub is_dir: bool,
    /// Length in bytes; 0 for a directory.
    pub len: u64,
}

/// A tree of directories.
pub trait Directory: Send + Sync + fmt::Debug {
    /// The name of `path` that an operator can find, for messages.
    fn locate(&self, path: &str) -> PathBuf;

    /// Takes the tree for this process and handle until the guard is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] names the holder.
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>>;

    /// Creates a directory and its parents; no error if it exists.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    ///
    /// As the system says; `NotFound` for a missing file and [`OpenMode::Existing`].
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn SegmentFile>>;

    /// What is in a directory, sorted by name.
    ///
    /// # Errors
    ///
    /// As the system says; `NotFound` for a missing directory.
    fn list(&self, path: &str) -> io::Result<Vec<Entry>>;

    /// Renames a file or directory, replacing a file of the new name.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Removes a directory with all that is in it.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn remove_dir(&self, path: &str) -> io::Result<()>;

    /// Returns once the names in this directory (not the contents of the files) survive a power cut.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn sync_dir(&self, path: &str) -> io::Result<()>;
}

/// One file. Writers take turns (the log sees to it); readers and a sync may run beside them.
#[expect(clippy::len_without_is_empty, reason = "a length that may fail is no emptiness")]
pub trait SegmentFile: Send + Sync {
    /// Length in bytes, including what is not synced and what is preallocated.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `position`.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` past the end, or as the system says.
    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `position`. After an error any part of them may have been written.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything written so far survives a power cut.
    ///
    /// # Errors
    ///
    /// As the system says. Nothing is known of the file's contents afterwards: it must be reopened and verified.
    fn sync(&self) -> io::Result<()>;

    /// Cuts (or extends with zeros) to `len` bytes.
    ///
    /// # Errors
    ///
    /// As the system says.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Asks for room up to `len` bytes, so that later writes and syncs there are cheap. Reads as zeros.
    ///
    /// # Errors
    ///
    /// As the system says; a file system without this ability answers with success and does nothing.
    fn preallocate(&self, len: u64) -> io::Result<()>;
}

/// Reads a whole small file; `None` if there is none.
pub(crate) fn read_small(directory: &dyn Directory, path: &str) -> Result<Option<Vec<u8>>> {
    let read = || -> io::Result<Vec<u8>> {
        let file = directory.open(path, OpenMode::Existing)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", directory.locate(path), error)),
    }
}

/// Replaces a whole small file: after a power cut it is the old one or the new one, never a mixture.
pub(crate) fn write_atomically(directory: &dyn Directory, path: &str, bytes: &[u8]) -> Result<()> {
    let temporary = format!("{path}.tmp");
    let write = || -> io::Result<()> {
        let file = directory.open(&temporary, OpenMode::Create)?;
        file.truncate(0)?;
        file.write_at(0, bytes)?;
        file.sync()?;
        directory.rename(&temporary, path)?;
        directory.sync_dir(parent(path))
    };
    write().map_err(|error| Error::io("write", directory.locate(path), error))
}

/// The directory that `path` is in; `""` is the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
