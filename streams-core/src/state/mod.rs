//! State stores.

use std::any::Any;

use log_store::{Headers, HeadersView, Offset};

use crate::Result;

/// A store of one task. Every kind of store, ours or yours, is behind this trait.
pub trait StateStore: Any + Send {
    /// Its name in the topology.
    fn name(&self) -> &str;
    /// Tells on behalf of which record the next writes are made.
    fn set_record_context(&mut self, _timestamp: i64, _headers: &Headers) {}
    /// Bytes written since the last commit.
    fn dirty_bytes(&self) -> usize;
    /// Serialises each row written since the last commit once.
    ///
    /// # Errors
    ///
    /// What the sink answered.
    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()>;
    /// The commit is durable.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()>;
}

/// Where a store's changed rows go.
pub trait ChangelogSink {
    /// Appends one record to the store's changelog partition.
    ///
    /// # Errors
    ///
    /// If the log refuses it.
    fn log(&mut self, key: &[u8], value: Option<&[u8]>, timestamp: i64, headers: HeadersView<'_>) -> Result<()>;
}

/// Makes the store of each task. What the topology holds.
pub trait StoreBuilder: Send + Sync {
    /// Name of the store.
    fn name(&self) -> &str;
}
