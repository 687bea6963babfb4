//! Builders: how a store is made for each task.

use std::{collections::BTreeMap, sync::Arc};

use super::{Changelog, ChangelogCleanup, StateStore, StoreBuilder};
use crate::{Result, task::TaskId, topology::record_type::short_name};

/// What a store is built with: the task it belongs to, where its files go, and its share of memory.
#[derive(Clone, Debug)]
pub struct StoreContext {
    task: TaskId,
}

impl StoreContext {
    /// A context in which persistent stores keep their rows in memory too: for tests.
    #[must_use]
    pub fn in_memory(task: TaskId) -> Self {
        StoreContext { task }
    }

    /// The task that the store belongs to.
    #[must_use]
    pub fn task(&self) -> TaskId {
        self.task
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
#[derive(Clone)]
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
        self.options.changelog = Changelog::SourceTopic(topic.into());
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
        Ok(Box::new((self.make)(&self.options, context)?))
    }
}
