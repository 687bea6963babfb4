//! Builders: how a store is made for each task.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Changelog, ChangelogCleanup, MemoryBudget, StateStore, StoreBuilder,
    backend::{
        Backend, MemoryBackend, SimulatedDisk,
        disk::{DiskBackend, TaskFiles},
    },
    layer::{Format, RowStore, RowStoreParts},
};
use crate::{Result, task::TaskId, topology::record_type::short_name};

/// What the stores of one task are built with: where their files go, and their part of the memory.
///
/// Got from [`super::StateDirectory::open_task`]; the task's directory stays taken until the context and all stores
/// built with it are gone.
#[derive(Clone)]
pub struct StoreContext {
    task: TaskId,
    /// `None`: persistent stores keep their rows in memory too.
    files: Option<Arc<TaskFiles>>,
    simulated_disk: Option<SimulatedDisk>,
    budget: Arc<MemoryBudget>,
    held_bytes_max: usize,
}

impl StoreContext {
    /// A context in which persistent stores keep their rows in memory too: for tests.
    #[must_use]
    pub fn in_memory(task: TaskId) -> Self {
        StoreContext {
            task,
            files: None,
            simulated_disk: None,
            budget: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
            held_bytes_max: 10 << 20,
        }
    }

    pub(crate) fn on_disk(
        task: TaskId,
        files: Arc<TaskFiles>,
        budget: Arc<MemoryBudget>,
        held_bytes_max: usize,
    ) -> Self {
        StoreContext { task, files: Some(files), simulated_disk: None, budget, held_bytes_max }
    }

    pub(crate) fn with_simulated_disk(mut self, disk: Option<SimulatedDisk>) -> Self {
        self.simulated_disk = disk;
        self
    }

    /// The task that the stores belong to. Global stores belong to none: both its numbers are the greatest there are.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
    }

    /// The same context with another bound of what caching may hold back in each store, in bytes.
    #[must_use]
    pub fn with_held_bytes_max(mut self, held_bytes_max: usize) -> Self {
        self.held_bytes_max = held_bytes_max;
        self
    }

    /// The task's directory, if it has one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.files.as_ref().map(|files| files.directory())
    }

    /// The rows of a store with these options.
    pub(crate) fn open<F: Format<Value: Clone>>(&self, options: &StoreOptions, format: F) -> Result<RowStore<F>> {
        let backend: Box<dyn Backend> = match (&self.simulated_disk, &self.files) {
            (Some(disk), Some(files)) if options.is_persistent => {
                Box::new(disk.open(self.task, &options.name, Arc::clone(files)))
            }
            (None, Some(files)) if options.is_persistent => {
                Box::new(DiskBackend::open(Arc::clone(files), &options.name)?)
            }
            _ => Box::new(MemoryBackend::default()),
        };
        RowStore::new(RowStoreParts {
            name: options.name.clone(),
            format,
            backend,
            budget: Arc::clone(&self.budget),
            directory: self.directory().map_or_else(PathBuf::new, Path::to_path_buf),
            is_logged: matches!(options.changelog, Changelog::Topic { .. }),
            is_restorable: options.changelog != Changelog::Disabled,
            // `statestore.cache.max.bytes` of 0 turns caching off, as in Kafka Streams.
            is_caching: options.is_caching && self.held_bytes_max > 0,
            held_bytes_max: self.held_bytes_max,
        })
    }
}

/// Settings that every kind of store has.
#[derive(Clone, Debug)]
pub(crate) struct StoreOptions {
    pub(crate) name: String,
    pub(crate) is_persistent: bool,
    pub(crate) is_caching: bool,
    pub(crate) changelog: Changelog,
    pub(crate) cleanup: ChangelogCleanup,
}

type Make<S> = dyn Fn(&StoreOptions, &StoreContext) -> Result<S> + Send + Sync;

/// Makes stores of type `S`. Got from [`super::Stores`]; caching is off and logging on unless told otherwise.
pub struct TypedStoreBuilder<S> {
    options: StoreOptions,
    make: Arc<Make<S>>,
}

impl<S> TypedStoreBuilder<S> {
    pub(crate) fn new(
        name: String,
        is_persistent: bool,
        cleanup: ChangelogCleanup,
        make: impl Fn(&StoreOptions, &StoreContext) -> Result<S> + Send + Sync + 'static,
    ) -> Self {
        let changelog = Changelog::Topic { cleanup, config: BTreeMap::new() };
        let options = StoreOptions { name, is_persistent, is_caching: false, changelog, cleanup };
        TypedStoreBuilder { options, make: Arc::new(make) }
    }

    /// Makes the store of one task, of its own type: [`StoreBuilder::build`] for those who know it.
    ///
    /// # Errors
    ///
    /// If the files cannot be opened.
    pub fn build_typed(&self, context: &StoreContext) -> Result<S> {
        (self.make)(&self.options, context)
    }

    /// Holds updates back until the next flush: downstream sees the last one of each key.
    #[must_use]
    pub fn with_caching_enabled(mut self) -> Self {
        self.options.is_caching = true;
        self
    }

    /// Passes every update downstream at once. The default.
    #[must_use]
    pub fn with_caching_disabled(mut self) -> Self {
        self.options.is_caching = false;
        self
    }

    /// Logs changes to a changelog topic with these topic settings. The default, without settings.
    #[must_use]
    pub fn with_logging_enabled(mut self, config: BTreeMap<String, String>) -> Self {
        self.options.changelog = Changelog::Topic { cleanup: self.options.cleanup, config };
        self
    }

    /// Logs nothing: what the files lose is lost.
    #[must_use]
    pub fn with_logging_disabled(mut self) -> Self {
        self.options.changelog = Changelog::Disabled;
        self
    }

    /// Restores from the topic that the store is filled from, and logs nothing.
    #[must_use]
    pub fn with_source_topic_as_changelog(mut self, topic: impl Into<String>) -> Self {
        self.options.changelog = Changelog::SourceTopic { topic: topic.into(), cleanup: self.options.cleanup };
        self
    }
}

impl<S: StateStore> StoreBuilder for TypedStoreBuilder<S> {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn changelog(&self) -> &Changelog {
        &self.options.changelog
    }

    fn format(&self) -> String {
        short_name(std::any::type_name::<S>())
    }

    fn is_persistent(&self) -> bool {
        self.options.is_persistent
    }

    fn is_caching(&self) -> bool {
        self.options.is_caching
    }

    fn build(&self, context: &StoreContext) -> Result<Box<dyn StateStore>> {
        Ok(Box::new(self.build_typed(context)?))
    }
}
