//! The state directory: `<state.dir>/<application.id>/<task>/rocksdb`.
//!
//! One process holds an application's directory, by a lock on its `.lock` file; within it each task's directory has one
//! owner at a time. Directories of tasks that moved elsewhere are removed after a delay, never while somebody owns them.

use std::{
    any::Any,
    collections::HashSet,
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use log_store::embedded::storage::{Directory, FileDirectory};
use parking_lot::Mutex;

use super::{MemoryBudget, RocksDbConfigSetter, SimulatedDisk, StoreContext, backend::disk::TaskFiles};
use crate::{Error, Result, task::TaskId};

/// The directory of global stores.
const GLOBAL: &str = "global";

/// Directories are for the owner and the group.
const MODE: u32 = 0o750;

/// How stores are kept.
#[derive(Clone)]
pub struct StateSettings {
    /// `state.dir`: the directory of all applications' directories.
    pub directory: PathBuf,
    /// Memory of all stores of the process.
    pub budget: Arc<MemoryBudget>,
    /// What caching may hold back in one store before its task flushes: `statestore.cache.max.bytes`. Default 10 MiB.
    pub held_bytes_max: usize,
    /// `rocksdb.config.setter`.
    pub config_setter: Option<RocksDbConfigSetter>,
    /// Persistent stores keep their rows here instead of in files: for simulations.
    pub simulated_disk: Option<SimulatedDisk>,
}

impl StateSettings {
    /// Settings with defaults but for the directory.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        StateSettings {
            directory: directory.into(),
            budget: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
            held_bytes_max: 10 << 20,
            config_setter: None,
            simulated_disk: None,
        }
    }
}

/// An application's state directory, held by this process.
pub struct StateDirectory {
    root: PathBuf,
    settings: StateSettings,
    /// Locked for as long as it is open.
    _lock: Box<dyn Any + Send + Sync>,
    /// Task directories in use.
    owned: Mutex<HashSet<String>>,
}

impl StateDirectory {
    /// Takes the directory of `application_id`, making it if need be.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] if another process (or another open in this one) holds it, [`Error::Config`] if it cannot
    /// be made or written.
    pub fn open(application_id: &str, settings: StateSettings) -> Result<Arc<Self>> {
        let root = settings.directory.join(application_id);
        make_directory(&root)?;
        let lock = lock(&root)?;
        Ok(Arc::new(StateDirectory { root, settings, _lock: lock, owned: Mutex::default() }))
    }

    /// `<state.dir>/<application.id>`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Takes the directory of a task. It is given back when the context and all stores built with it are gone.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] as long as somebody else in this process owns it: try again.
    pub fn open_task(self: &Arc<Self>, task: TaskId) -> Result<StoreContext> {
        self.open_part(task.to_string(), task)
    }

    /// Takes the directory of the global stores.
    ///
    /// # Errors
    ///
    /// As [`StateDirectory::open_task`].
    pub fn open_global(self: &Arc<Self>) -> Result<StoreContext> {
        self.open_part(GLOBAL.to_owned(), TaskId { subtopology: u32::MAX, partition: u32::MAX })
    }

    fn open_part(self: &Arc<Self>, part: String, task: TaskId) -> Result<StoreContext> {
        if !self.owned.lock().insert(part.clone()) {
            let path = self.root.join(part);
            return Err(Error::IllegalState(format!(
                "{} is still in use by another thread; try again",
                path.display()
            )));
        }
        let ownership = Ownership { directory: Arc::clone(self), part };
        let path = self.root.join(&ownership.part);
        make_directory(&path)?;
        let settings = &self.settings;
        let files = TaskFiles::new(path, Arc::clone(&settings.budget), settings.config_setter.clone(), ownership);
        let context =
            StoreContext::on_disk(task, Arc::new(files), Arc::clone(&settings.budget), settings.held_bytes_max);
        Ok(context.with_simulated_disk(settings.simulated_disk.clone()))
    }

    /// Tasks that have a directory.
    ///
    /// # Errors
    ///
    /// If the directory cannot be listed.
    pub fn tasks(&self) -> Result<Vec<TaskId>> {
        let entries = fs::read_dir(&self.root).map_err(|error| unusable(&self.root, &error))?;
        let mut tasks: Vec<TaskId> = entries.filter_map(|entry| task_of(&entry.ok()?)).collect();
        tasks.sort_unstable();
        Ok(tasks)
    }

    /// Removes the directories of tasks that nobody owns and that were not touched for `delay`
    /// (`state.cleanup.delay.ms`). Returns those tasks.
    ///
    /// # Errors
    ///
    /// If a directory cannot be listed or removed.
    pub fn remove_unused(&self, delay: Duration, now: SystemTime) -> Result<Vec<TaskId>> {
        let mut removed = Vec::new();
        for task in self.tasks()? {
            let part = task.to_string();
            let path = self.root.join(&part);
            let touched = last_touched(&path).map_err(|error| unusable(&path, &error))?;
            if now.duration_since(touched).is_ok_and(|age| age >= delay) && self.remove(part)? {
                removed.push(task);
            }
        }
        Ok(removed)
    }

    /// Removes everything but the lock: `KafkaStreams.cleanUp()`.
    ///
    /// # Errors
    ///
    /// [`Error::IllegalState`] if a task is still open; or if something cannot be removed.
    pub fn clean_up(&self) -> Result<()> {
        let tasks = self.tasks()?.into_iter().map(|task| task.to_string());
        for part in tasks.chain([GLOBAL.to_owned()]) {
            let path = self.root.join(&part);
            if path.exists() && !self.remove(part)? {
                return Err(Error::IllegalState(format!("{} is in use; close the application first", path.display())));
            }
        }
        Ok(())
    }

    /// Removes one directory unless somebody owns it.
    fn remove(&self, part: String) -> Result<bool> {
        let owned = self.owned.lock();
        if owned.contains(&part) {
            return Ok(false);
        }
        let path = self.root.join(part);
        // Under the lock, so that nobody opens what is being removed.
        fs::remove_dir_all(&path).map_err(|error| unusable(&path, &error))?;
        Ok(true)
    }
}

/// Somebody's hold on a task's directory.
pub(crate) struct Ownership {
    directory: Arc<StateDirectory>,
    part: String,
}

impl Drop for Ownership {
    fn drop(&mut self) {
        self.directory.owned.lock().remove(&self.part);
    }
}

fn task_of(entry: &fs::DirEntry) -> Option<TaskId> {
    let name = entry.file_name();
    let (subtopology, partition) = name.to_str()?.split_once('_')?;
    Some(TaskId { subtopology: subtopology.parse().ok()?, partition: partition.parse().ok()? })
}

/// When something in a task's directory last changed.
fn last_touched(path: &Path) -> io::Result<SystemTime> {
    let mut latest = fs::metadata(path)?.modified()?;
    for entry in fs::read_dir(path)? {
        latest = latest.max(entry?.metadata()?.modified()?);
    }
    Ok(latest)
}

fn make_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(MODE).create(path).map_err(|error| unusable(path, &error))?;
    let mode = fs::metadata(path).map_err(|error| unusable(path, &error))?.permissions().mode();
    if mode & 0o700 == 0o700 {
        return Ok(());
    }
    Err(Error::Config(format!(
        "state directory {} is not writable; change its permissions or state.dir",
        path.display()
    )))
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::Config(format!(
        "cannot use state directory {}: {error}; mend it or choose another state.dir",
        path.display()
    ))
}

/// Keeps other instances out, as a log is kept, for as long as what it returns lives.
fn lock(root: &Path) -> Result<Box<dyn Any + Send + Sync>> {
    let locked = FileDirectory::new(root).and_then(|directory| directory.lock());
    locked.map_err(|error| match error {
        log_store::Error::Locked { holder, .. } => Error::IllegalState(format!(
            "state directory {} is in use by another instance ({holder}); stop it, or give this one another state.dir",
            root.display()
        )),
        log_store::Error::Io { path, source, .. } => unusable(&path, &source),
        error => error.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId { subtopology: 0, partition: 3 };

    fn open(path: &Path) -> Result<Arc<StateDirectory>> {
        StateDirectory::open("app", StateSettings::new(path))
    }

    #[test]
    fn a_second_instance_is_told_who_holds_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let first = open(temp.path()).unwrap();
        let error = open(temp.path()).err().unwrap().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        assert!(open(temp.path()).is_ok());
    }

    #[test]
    fn a_task_directory_has_one_owner_at_a_time() {
        let temp = tempfile::tempdir().unwrap();
        let directory = open(temp.path()).unwrap();
        let context = directory.open_task(TASK).unwrap();
        assert!(directory.open_task(TASK).is_err());
        drop(context);
        assert!(directory.open_task(TASK).is_ok());
    }

    #[test]
    fn unused_directories_go_after_the_delay_and_owned_ones_stay() {
        let temp = tempfile::tempdir().unwrap();
        let directory = open(temp.path()).unwrap();
        let other = TaskId { subtopology: 1, partition: 0 };
        let _owned = directory.open_task(TASK).unwrap();
        drop(directory.open_task(other).unwrap());
        let delay = Duration::from_secs(600);
        let now = SystemTime::now();
        assert_eq!(directory.remove_unused(delay, now).unwrap(), []);
        assert_eq!(directory.remove_unused(delay, now + delay + delay).unwrap(), [other]);
        assert_eq!(directory.tasks().unwrap(), [TASK]);
        assert!(directory.clean_up().is_err());
    }

    #[test]
    fn directories_are_closed_to_strangers() {
        let temp = tempfile::tempdir().unwrap();
        let directory = open(temp.path()).unwrap();
        let mode = fs::metadata(directory.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0);
    }
}
