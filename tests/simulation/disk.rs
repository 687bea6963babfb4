//! The disk of the log: in memory, slow, failing and cut off as the world says.

use std::{any::Any, fmt, io, path::PathBuf, sync::Arc};

use log_store::{
    Result,
    embedded::storage::{Directory, Entry, MemoryDirectory, OpenMode, SegmentFile},
};

use crate::world::{Disk, World};

/// A [`MemoryDirectory`] that asks the world before everything that changes it.
pub(crate) struct SimulatedDirectory(pub(crate) MemoryDirectory);

struct SimulatedFile {
    path: String,
    file: Arc<dyn SegmentFile>,
}

impl fmt::Debug for SimulatedDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn ask(operation: Disk, path: &str) -> io::Result<()> {
    World::here().disk(operation, path)
}

impl Directory for SimulatedDirectory {
    fn locate(&self, path: &str) -> PathBuf {
        self.0.locate(path)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>> {
        self.0.lock()
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        ask(Disk::Name, path)?;
        self.0.create_dir(path)
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn SegmentFile>> {
        if mode == OpenMode::Create {
            ask(Disk::Name, path)?;
        }
        Ok(Arc::new(SimulatedFile { path: path.to_owned(), file: self.0.open(path, mode)? }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        self.0.list(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        ask(Disk::Name, from)?;
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        ask(Disk::Name, path)?;
        self.0.remove(path)
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        ask(Disk::Name, path)?;
        self.0.remove_dir(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        ask(Disk::Sync, path)?;
        self.0.sync_dir(path)
    }
}

impl SegmentFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(position, out)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        match ask(Disk::Write, &self.path) {
            Ok(()) => self.file.write_at(position, bytes),
            Err(error) => {
                if World::here().is_powered() {
                    self.file.write_at(position, &bytes[..bytes.len() / 2])?;
                }
                Err(error)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        ask(Disk::Sync, &self.path)?;
        self.file.sync()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        ask(Disk::Write, &self.path)?;
        self.file.truncate(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        self.file.preallocate(len)
    }
}
