//! Directories and files of the operating system.

use std::{
    any::Any,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, fcntl_lock, flock},
    io::Errno,
};

use super::{Directory, Entry, OpenMode, SegmentFile};
use crate::{Error, Result};

/// Name of the file whose lock keeps a second process out: Kafka's own.
const LOCK: &str = ".lock";

/// A lock that is held until this is dropped.
struct HeldLock(File);

impl Drop for HeldLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being started may have a copy of it for a moment.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// A directory tree on the file system.
#[derive(Debug)]
pub struct FileDirectory {
    root: PathBuf,
}

impl FileDirectory {
    /// The tree below `root`, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be created.
    pub fn new(root: impl Into<PathBuf>) -> Result<Self> {
        let root = root.into();
        fs::create_dir_all(&root).map_err(|error| Error::io("create directory", &root, error))?;
        Ok(FileDirectory { root })
    }

    fn full(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(path) }
    }
}

impl Directory for FileDirectory {
    fn locate(&self, path: &str) -> PathBuf {
        self.full(path)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>> {
        let path = self.root.join(LOCK);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| Error::io("open for writing", &path, error))?;
        // A lock of the system dies with the process, so a crash never leaves a stale one.
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = match fs::read_to_string(&path) {
                    Ok(pid) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                    _ => "unknown".to_owned(),
                };
                return Err(Error::Locked { directory: self.root.clone(), holder });
            }
            Err(errno) => return Err(Error::io("lock", &path, errno.into())),
        }
        // The file is never removed: a second process may hold it open already and would lock a file without a name.
        let pid = std::process::id().to_string();
        file.set_len(0)
            .and_then(|()| file.write_all_at(pid.as_bytes(), 0))
            .map_err(|error| Error::io("write", &path, error))?;
        // Java knows only the other kind of lock: this one keeps a broker out.
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::ACCESS | Errno::AGAIN) => {
                return Err(Error::Locked { directory: self.root.clone(), holder: "a Kafka broker".to_owned() });
            }
            Err(errno) => return Err(Error::io("lock", &path, errno.into())),
        }
        Ok(Box::new(HeldLock(file)))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.full(path))
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn SegmentFile>> {
        let create = mode == OpenMode::Create;
        let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(self.full(path))?;
        Ok(Arc::new(DiskFile(file)))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.full(path))? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_dir = metadata.is_dir();
            entries.push(Entry { name, is_dir, len: if is_dir { 0 } else { metadata.len() } });
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.full(from), self.full(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.full(path))
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        fs::remove_dir_all(self.full(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        sync_directory(&self.full(path))
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

struct DiskFile(File);

impl SegmentFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, position)
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_with_its_holder_though_a_child_has_a_copy_of_the_file() {
        let temp = tempfile::tempdir().unwrap();
        let directory = FileDirectory::new(temp.path()).unwrap();
        let lock = directory.lock().unwrap();
        let copy = lock.downcast_ref::<HeldLock>().unwrap().0.try_clone().unwrap();
        assert!(matches!(directory.lock(), Err(Error::Locked { .. })));
        drop(lock);
        assert!(directory.lock().is_ok());
        drop(copy);
    }
}
