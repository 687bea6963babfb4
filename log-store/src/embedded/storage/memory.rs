//! Directories and files in memory, with the crash image of a disk and failures on demand.
//!
//! Every file has two states: what readers see, and what a power cut is sure to leave. A sync makes the second equal to
//! the first. [`MemoryDirectory::crash`] makes a new tree out of them: each page that was not synced is kept, lost,
//! torn in the middle or zeroed as a seed says, and each name that was created, renamed (at once, as file systems do it)
//! or removed is kept or lost. The same seed
//! gives the same image.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::Arc,
};

use parking_lot::Mutex;

use super::{Directory, Entry, OpenMode, SegmentFile, parent};
use crate::{Error, Result};

/// What the disk writes at once. A page may be half written when the power goes, in units of a sector.
const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// Failures to come. All counts are of calls from now on, the next one being 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Bytes that fit in all files together; a write beyond fills what is left and fails with `StorageFull`.
    pub capacity_bytes: Option<u64>,
    /// This write fails with an I/O error after half of its bytes.
    pub failing_write: Option<u64>,
    /// This sync fails with an I/O error, and what it should have synced stays in doubt.
    pub failing_sync: Option<u64>,
    /// This read fails with an I/O error.
    pub failing_read: Option<u64>,
}

/// What a power cut does to that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashPlan {
    /// The process died and the system lives: nothing is lost.
    ProcessOnly,
    /// Everything that was not synced is gone.
    LoseAll,
    /// Each page and each name is kept, lost, torn or zeroed, as this seed says.
    Random(u64),
}

/// A directory tree in memory. A clone is another handle on the same tree.
#[derive(Clone, Default)]
pub struct MemoryDirectory {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    /// What is there now.
    files: BTreeMap<String, Arc<Mutex<Contents>>>,
    directories: BTreeSet<String>,
    /// Names as they are after a power cut, and the changes since.
    durable_files: BTreeMap<String, Arc<Mutex<Contents>>>,
    durable_directories: BTreeSet<String>,
    locked: bool,
    faults: Faults,
    bytes: u64,
    syncs: u64,
}

#[derive(Default)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Pages that differ.
    dirty: BTreeSet<usize>,
}

impl MemoryDirectory {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        MemoryDirectory::default()
    }

    /// Sets the failures to come.
    pub fn set_faults(&self, faults: Faults) {
        self.tree.lock().faults = faults;
    }

    /// Number of syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.tree.lock().syncs
    }

    /// The tree as the next process finds it. This one goes on living, so a test can crash it again.
    #[must_use]
    pub fn crash(&self, plan: CrashPlan) -> MemoryDirectory {
        let tree = self.tree.lock();
        let mut random = Random(match plan {
            CrashPlan::Random(seed) => seed,
            _ => 0,
        });
        let keeps = |random: &mut Random| match plan {
            CrashPlan::ProcessOnly => true,
            CrashPlan::LoseAll => false,
            CrashPlan::Random(_) => random.below(2) == 0,
        };
        let mut after = Tree { directories: tree.durable_directories.clone(), ..Tree::default() };
        for path in tree.directories.difference(&tree.durable_directories) {
            if (parent(path).is_empty() || after.directories.contains(parent(path))) && keeps(&mut random) {
                after.directories.insert(path.clone());
            }
        }
        for path in tree.durable_directories.difference(&tree.directories) {
            if keeps(&mut random) {
                after.directories.retain(|other| other != path && !is_below(other, path));
            }
        }
        let mut renames: BTreeMap<*const Mutex<Contents>, bool> = BTreeMap::new();
        let names: BTreeSet<&String> = tree.files.keys().chain(tree.durable_files.keys()).collect();
        for path in names {
            let (now, before) = (tree.files.get(path), tree.durable_files.get(path));
            let unchanged = matches!((now, before), (Some(a), Some(b)) if Arc::ptr_eq(a, b));
            let is_new = unchanged
                || match tree.renamed(path) {
                    // Both names change, or neither does.
                    Some(file) => *renames.entry(file).or_insert_with(|| keeps(&mut random)),
                    None => keeps(&mut random),
                };
            let chosen = if is_new { now } else { before };
            let home_survives = parent(path).is_empty() || after.directories.contains(parent(path));
            if let Some(contents) = chosen.filter(|_| home_survives) {
                let bytes = contents.lock().after_crash(plan, &mut random);
                after.bytes += bytes.len() as u64;
                let contents = Contents { live: bytes.clone(), durable: bytes, dirty: BTreeSet::new() };
                after.files.insert(path.clone(), Arc::new(Mutex::new(contents)));
            }
        }
        after.durable_files = after.files.clone();
        after.durable_directories = after.directories.clone();
        MemoryDirectory { tree: Arc::new(Mutex::new(after)) }
    }
}

impl std::fmt::Debug for MemoryDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tree = self.tree.lock();
        write!(f, "MemoryDirectory({} files, {} bytes)", tree.files.len(), tree.bytes)
    }
}

impl Contents {
    fn mark(&mut self, from: usize, to: usize) {
        if from < to {
            self.dirty.extend(from / PAGE..=(to - 1) / PAGE);
        }
    }

    fn after_crash(&self, plan: CrashPlan, random: &mut Random) -> Vec<u8> {
        match plan {
            CrashPlan::ProcessOnly => return self.live.clone(),
            CrashPlan::LoseAll => return self.durable.clone(),
            CrashPlan::Random(_) => {}
        }
        let mut image = self.durable.clone();
        // The length is metadata and may be ahead of the data or behind it.
        match random.below(3) {
            0 => {}
            1 => image.resize(self.live.len(), 0),
            _ if self.live.len() > image.len() => {
                let grown = image.len() + random.below(self.live.len() - image.len() + 1);
                image.resize(grown, 0);
            }
            _ => image.truncate(self.live.len()),
        }
        for &page in &self.dirty {
            let from = (page * PAGE).min(image.len()).min(self.live.len());
            let to = (from + PAGE).min(image.len()).min(self.live.len()).max(from);
            match random.below(4) {
                0 => {}
                1 => image[from..to].copy_from_slice(&self.live[from..to]),
                2 => {
                    let torn = (from + SECTOR * random.below(PAGE / SECTOR)).min(to);
                    image[from..torn].copy_from_slice(&self.live[from..torn]);
                }
                // What was synced is never lost by a later write beside it, so only new bytes turn into zeros.
                _ => {
                    let new = from.max(self.durable.len().min(to));
                    image[from..new].copy_from_slice(&self.live[from..new]);
                    image[new..to].fill(0);
                }
            }
        }
        image
    }
}

impl Tree {
    /// The file that has left this name, or come to it, by a rename which is not durable yet.
    fn renamed(&self, path: &str) -> Option<*const Mutex<Contents>> {
        let is_elsewhere = |file: &Arc<Mutex<Contents>>, names: &BTreeMap<String, Arc<Mutex<Contents>>>| {
            names.iter().any(|(name, other)| name != path && Arc::ptr_eq(file, other))
        };
        let came = self.files.get(path).filter(|file| is_elsewhere(file, &self.durable_files));
        let left = || self.durable_files.get(path).filter(|file| is_elsewhere(file, &self.files));
        came.or_else(left).map(Arc::as_ptr)
    }

    fn not_found(path: &str) -> io::Error {
        io::Error::new(io::ErrorKind::NotFound, format!("no {path:?} in memory"))
    }
}

/// Counts down a fault; true when it strikes.
fn strikes(fault: &mut Option<u64>) -> bool {
    match fault {
        Some(0) => {
            *fault = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

struct Unlock(Arc<Mutex<Tree>>);

impl Drop for Unlock {
    fn drop(&mut self) {
        self.0.lock().locked = false;
    }
}

impl Directory for MemoryDirectory {
    fn locate(&self, path: &str) -> PathBuf {
        PathBuf::from("memory:").join(path)
    }

    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>> {
        if std::mem::replace(&mut self.tree.lock().locked, true) {
            return Err(Error::Locked { directory: self.locate(""), holder: "this process".to_owned() });
        }
        Ok(Box::new(Unlock(Arc::clone(&self.tree))))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let mut rest = path;
        while !rest.is_empty() {
            tree.directories.insert(rest.to_owned());
            rest = parent(rest);
        }
        Ok(())
    }

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn SegmentFile>> {
        let mut tree = self.tree.lock();
        if !tree.files.contains_key(path) {
            let home = parent(path);
            if mode == OpenMode::Existing || !(home.is_empty() || tree.directories.contains(home)) {
                return Err(Tree::not_found(path));
            }
            tree.files.insert(path.to_owned(), Arc::default());
        }
        let contents = Arc::clone(&tree.files[path]);
        Ok(Arc::new(MemoryFile { contents, tree: Arc::clone(&self.tree) }))
    }

    fn list(&self, path: &str) -> io::Result<Vec<Entry>> {
        let tree = self.tree.lock();
        if !path.is_empty() && !tree.directories.contains(path) {
            return Err(Tree::not_found(path));
        }
        let inside = |name: &&String| parent(name) == path;
        let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
        let directories = tree.directories.iter().filter(inside);
        let directories = directories.map(|name| Entry { name: last(name), is_dir: true, len: 0 });
        let files = tree.files.iter().filter(|(name, _)| inside(name)).map(|(name, contents)| Entry {
            name: last(name),
            is_dir: false,
            len: contents.lock().live.len() as u64,
        });
        let mut entries: Vec<Entry> = directories.chain(files).collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut tree = self.tree.lock();
        if let Some(contents) = tree.files.remove(from) {
            if let Some(replaced) = tree.files.insert(to.to_owned(), contents) {
                tree.bytes -= replaced.lock().live.len() as u64;
            }
            return Ok(());
        }
        if !tree.directories.remove(from) {
            return Err(Tree::not_found(from));
        }
        tree.directories.insert(to.to_owned());
        let inside: Vec<String> = tree.files.keys().filter(|path| is_below(path, from)).cloned().collect();
        for path in inside {
            if let Some(contents) = tree.files.remove(&path) {
                tree.files.insert(format!("{to}{}", &path[from.len()..]), contents);
            }
        }
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let removed = tree.files.remove(path).ok_or_else(|| Tree::not_found(path))?;
        tree.bytes -= removed.lock().live.len() as u64;
        Ok(())
    }

    fn remove_dir(&self, path: &str) -> io::Result<()> {
        let mut tree = self.tree.lock();
        if !tree.directories.remove(path) {
            return Err(Tree::not_found(path));
        }
        tree.directories.retain(|other| !is_below(other, path));
        let inside: Vec<String> = tree.files.keys().filter(|name| is_below(name, path)).cloned().collect();
        for name in inside {
            if let Some(removed) = tree.files.remove(&name) {
                tree.bytes -= removed.lock().live.len() as u64;
            }
        }
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        let tree = &mut *self.tree.lock();
        if strikes(&mut tree.faults.failing_sync) {
            return Err(io::Error::other("injected failure of a directory sync"));
        }
        if !path.is_empty() && !tree.directories.contains(path) {
            return Err(Tree::not_found(path));
        }
        tree.durable_files.retain(|name, _| parent(name) != path);
        for (name, contents) in tree.files.iter().filter(|(name, _)| parent(name) == path) {
            tree.durable_files.insert(name.clone(), Arc::clone(contents));
        }
        tree.durable_directories.retain(|name| parent(name) != path || tree.directories.contains(name));
        let created: Vec<String> = tree.directories.iter().filter(|name| parent(name) == path).cloned().collect();
        tree.durable_directories.extend(created);
        Ok(())
    }
}

struct MemoryFile {
    contents: Arc<Mutex<Contents>>,
    tree: Arc<Mutex<Tree>>,
}

impl MemoryFile {
    fn resize(&self, len: usize) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let mut contents = self.contents.lock();
        let old = contents.live.len();
        if let Some(capacity) = tree.faults.capacity_bytes
            && len > old
            && tree.bytes + (len - old) as u64 > capacity
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        contents.live.resize(len, 0);
        contents.mark(old.min(len), old.max(len));
        tree.bytes = tree.bytes + len as u64 - old as u64;
        Ok(())
    }
}

impl SegmentFile for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.lock().live.len() as u64)
    }

    fn read_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        if strikes(&mut self.tree.lock().faults.failing_read) {
            return Err(io::Error::other("injected failure of a read"));
        }
        let contents = self.contents.lock();
        let from = usize::try_from(position).map_err(io::Error::other)?;
        let bytes = contents.live.get(from..).and_then(|rest| rest.get(..out.len()));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut tree = self.tree.lock();
        let mut contents = self.contents.lock();
        let from = usize::try_from(position).map_err(io::Error::other)?;
        let mut to = from + bytes.len();
        let mut outcome = Ok(());
        if strikes(&mut tree.faults.failing_write) {
            to = from + bytes.len() / 2;
            outcome = Err(io::Error::other("injected failure of a write"));
        }
        let old = contents.live.len();
        if let Some(capacity) = tree.faults.capacity_bytes {
            let room = usize::try_from(capacity.saturating_sub(tree.bytes)).unwrap_or(usize::MAX);
            if to.saturating_sub(old) > room {
                to = old + room;
                outcome = Err(io::ErrorKind::StorageFull.into());
            }
        }
        let to = to.max(from);
        if to > old {
            contents.live.resize(to, 0);
            tree.bytes += (to - old) as u64;
        }
        contents.live[from..to].copy_from_slice(&bytes[..to - from]);
        contents.mark(from.min(old), to);
        outcome
    }

    fn sync(&self) -> io::Result<()> {
        let mut tree = self.tree.lock();
        tree.syncs += 1;
        if strikes(&mut tree.faults.failing_sync) {
            return Err(io::Error::other("injected failure of a sync"));
        }
        let contents = &mut *self.contents.lock();
        let len = contents.live.len();
        contents.durable.resize(len, 0);
        for page in std::mem::take(&mut contents.dirty) {
            let (from, to) = ((page * PAGE).min(len), ((page + 1) * PAGE).min(len));
            contents.durable[from..to].copy_from_slice(&contents.live[from..to]);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.resize(usize::try_from(len).map_err(io::Error::other)?)
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let now = self.contents.lock().live.len();
        if len > now { self.resize(len) } else { Ok(()) }
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) as usize % bound
    }
}
