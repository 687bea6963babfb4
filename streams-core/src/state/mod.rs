//! State stores: what a task remembers.
//!
//! A store is typed above and bytes below. Its write-back layer holds deserialised values; what is written stays there,
//! uncommitted, until the task commits: then each changed row is serialised once into the changelog, and reaches the
//! files some commits later, together with the changelog offset that the files correspond to.
//!
//! What always holds:
//!
//! * Nothing uncommitted ever reaches the files. After a crash they are some earlier commit, and the changelog from
//!   [`StateStore::checkpoint`] on leads to the last one.
//! * A store belongs to one task and is used by one thread: `&mut self`, no locks.

pub(crate) mod backend;
mod builder;
mod directory;
mod key_value;
pub(crate) mod key_value_reader;
pub(crate) mod layer;
mod lru;
mod segments;
mod session;
mod stores;
#[cfg(test)]
mod tests;
mod timed;
mod value;
mod versioned;
mod window;

use std::{any::Any, collections::BTreeMap, sync::Arc, time::Duration};

pub use backend::{RocksDbConfigSetter, SimulatedDisk};
pub use builder::{StoreContext, TypedStoreBuilder};
pub use directory::{StateDirectory, StateSettings};
pub use key_value::{KeyValueStore, Rows, TimestampedKeyValueStore, Update};
pub use layer::MemoryBudget;
use log_store::{Headers, HeadersView, Offset, RecordView};
/// RocksDB's own settings, as `rocksdb_config_setter` of the configuration is given them.
pub use rocksdb;
pub use session::SessionStore;
pub use stores::{KeyValueSupplier, SessionSupplier, StoreFormat, Stores, VersionedSupplier, WindowSupplier};
pub use value::ValueAndTimestamp;
pub use versioned::{VersionedKeyValueStore, VersionedPut, VersionedRecord};
pub use window::{TimestampedWindowStore, WindowStore};

use crate::Result;

/// A store of one task. Every kind of store, ours or yours, is behind this trait.
///
/// The order of calls: [`checkpoint`](Self::checkpoint), then [`restore`](Self::restore) for each changelog record from
/// there on, then [`restored`](Self::restored); then reads and writes of processors, and at each commit
/// [`write_changelog`](Self::write_changelog) followed by [`committed`](Self::committed) or
/// [`rollback`](Self::rollback); at the end [`close`](Self::close).
pub trait StateStore: Any + Send {
    /// Its name in the topology.
    fn name(&self) -> &str;

    /// Tells on behalf of which record the next writes are made. Called whenever a processor takes the store in hand
    /// ([`crate::processor::ProcessorContext::store`]); the changelog record of a plain (not timestamped) row carries
    /// this time, and updates that caching holds back carry both.
    fn set_record_context(&mut self, _timestamp: i64, _headers: &Headers) {}

    /// Tells the keys of the records that come next, a few at a time, before the first of them is processed. A hint: whether
    /// the store will be asked for them, nobody knows. The store may fetch their rows into the processor's cache, so that
    /// the waits for memory overlap.
    fn expect_keys(&mut self, _keys: &mut dyn Iterator<Item = &[u8]>) {}

    /// Bytes written since the last commit, an estimate of what they occupy in memory.
    fn dirty_bytes(&self) -> usize;

    /// True if the uncommitted writes outgrow the store's share of the memory budget: commit now.
    fn needs_commit(&self) -> bool {
        false
    }

    /// True if the updates that caching holds back outgrow `statestore.cache.max.bytes`: flush the processors now.
    fn needs_flush(&self) -> bool {
        false
    }

    /// Writes that came too late for the store's retention, since the last call: they count as dropped records.
    fn take_refused(&mut self) -> u64 {
        0
    }

    /// Serialises each row written since the last commit once, in the order in which the rows were first written.
    /// Writes nothing if the store is not logged. Changes nothing: a second call writes the same again.
    ///
    /// # Errors
    ///
    /// What the sink answered, or a value that its serde cannot write.
    fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()>;

    /// The commit that holds all rows of the last [`write_changelog`](Self::write_changelog) is durable.
    /// `changelog_end` is the first offset of the changelog partition after it: the offset from which a restore would
    /// go on (for a store that reuses its source topic: the committed input position). `None` without a changelog.
    ///
    /// # Errors
    ///
    /// If the files cannot be written: the task must stop before its next commit.
    fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()>;

    /// The transaction was aborted: forgets everything that is not in the files (also committed rows that had not
    /// reached them). The caller restores from [`checkpoint`](Self::checkpoint) on before it uses the store again; a
    /// store that has no changelog is back at its last commit at once.
    ///
    /// # Errors
    ///
    /// If the files cannot be read.
    fn rollback(&mut self) -> Result<()>;

    /// The first changelog offset that the files do not contain: where a restore begins. `None`: nothing is known,
    /// restore from the beginning.
    fn checkpoint(&self) -> Option<Offset>;

    /// Applies one record of the changelog. What was restored so far is made durable from time to time, never beyond
    /// `offset`.
    ///
    /// # Errors
    ///
    /// If the record is no row of this store, or the files cannot be written.
    fn restore(&mut self, offset: Offset, record: RecordView<'_>) -> Result<()>;

    /// The changelog has been applied up to `next` (exclusive): the store is ready for reads. More may follow (a standby
    /// task goes on for ever).
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    fn restored(&mut self, next: Offset) -> Result<()>;

    /// The files are of no use (they lie beyond the end of the changelog, or the changelog no longer begins early
    /// enough): moves them aside or empties the store, so that it can be restored from the beginning.
    ///
    /// # Errors
    ///
    /// If the files cannot be moved.
    fn reset(&mut self, reason: &str) -> Result<()>;

    /// Takes what is committed to the files. Called from time to time by standby tasks, and by [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    fn flush(&mut self) -> Result<()>;

    /// Takes what is committed to the files so that it survives a crash. Called every few minutes: the changelog need not
    /// tell of a deletion for longer than its topic's `delete.retention.ms`, so that the files must not be older.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    fn save(&mut self) -> Result<()> {
        self.flush()
    }

    /// Lets other threads read what each commit leaves, without asking this one: what the answer is, only the kind of
    /// store knows. `None`: its task has to be asked. Nothing is uncommitted when this is called.
    ///
    /// # Errors
    ///
    /// If the files cannot be read.
    fn publish(&mut self) -> Result<Option<Arc<dyn Any + Send + Sync>>> {
        Ok(None)
    }

    /// Closes the store. With nothing uncommitted everything reaches the files first; what is uncommitted is dropped.
    ///
    /// # Errors
    ///
    /// If the files cannot be written. The store is closed all the same.
    fn close(&mut self) -> Result<()>;
}

/// Where a store's changed rows go: the open transaction of the task.
pub trait ChangelogSink {
    /// Appends one record to the store's changelog partition. `value` `None` is a tombstone.
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

    /// Where its changes are logged.
    fn changelog(&self) -> &Changelog;

    /// What it keeps, as text: the kind of store and its types. Kept beside the state, so that a program which would
    /// read the same bytes as something else is refused. Empty: not known.
    fn format(&self) -> String {
        String::new()
    }

    /// True if the store survives a restart in files.
    fn is_persistent(&self) -> bool;

    /// True if updates are held back until the next flush, so that only the last one of each key goes downstream.
    fn is_caching(&self) -> bool;

    /// Makes the store of one task, empty or with what its files hold.
    ///
    /// # Errors
    ///
    /// If the files cannot be opened.
    fn build(&self, context: &StoreContext) -> Result<Box<dyn StateStore>>;
}

/// How a store's changelog topic is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangelogCleanup {
    /// `compact`: the last value of each key.
    Compact,
    /// `compact,delete` with this `retention.ms` (without the additional retention of the configuration).
    CompactDelete {
        /// How long the store itself retains a window.
        retention: Duration,
    },
    /// `delete` with this retention: stores that keep duplicates.
    Delete {
        /// How long the store itself retains a window.
        retention: Duration,
    },
    /// `compact` with this `min.compaction.lag.ms` (history retention; without the additional 24 hours).
    CompactWithLag {
        /// How long the store retains old versions.
        history: Duration,
    },
}

/// Where a store's changes are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changelog {
    /// In a topic of its own, `{application.id}-{store}-changelog`.
    Topic {
        /// How it is kept.
        cleanup: ChangelogCleanup,
        /// Topic settings given by the user, over those that `cleanup` implies.
        config: BTreeMap<String, String>,
    },
    /// The topic that the store is filled from is its changelog: nothing is written, and a restore reads that topic.
    SourceTopic {
        /// Name of that topic.
        topic: String,
        /// How the store would have a changelog of its own kept. The topic is not touched.
        cleanup: ChangelogCleanup,
    },
    /// Nowhere: what the files lose is lost.
    Disabled,
}

/// Implements [`StateStore`] for a store by its rows, in `self.$field.rows`.
macro_rules! forward_to_rows {
    ($store:ident, $field:ident) => {
        impl<K: 'static, V: Clone + Send + 'static> StateStore for $store<K, V> {
            fn name(&self) -> &str {
                self.$field.rows.name()
            }

            #[inline]
            fn set_record_context(&mut self, timestamp: i64, headers: &Headers) {
                self.$field.rows.set_context(timestamp, headers);
            }

            fn expect_keys(&mut self, keys: &mut dyn Iterator<Item = &[u8]>) {
                self.$field.rows.expect_keys(keys);
            }

            fn dirty_bytes(&self) -> usize {
                self.$field.rows.dirty_bytes()
            }

            fn needs_commit(&self) -> bool {
                self.$field.rows.needs_commit()
            }

            fn needs_flush(&self) -> bool {
                self.$field.rows.needs_flush()
            }

            fn take_refused(&mut self) -> u64 {
                self.$field.rows.take_refused()
            }

            fn write_changelog(&mut self, sink: &mut dyn ChangelogSink) -> Result<()> {
                self.$field.rows.write_changelog(sink)
            }

            fn committed(&mut self, changelog_end: Option<Offset>) -> Result<()> {
                self.$field.rows.committed(changelog_end)
            }

            fn rollback(&mut self) -> Result<()> {
                self.$field.rows.rollback()
            }

            fn checkpoint(&self) -> Option<Offset> {
                self.$field.rows.checkpoint()
            }

            fn restore(&mut self, offset: Offset, record: RecordView<'_>) -> Result<()> {
                self.$field.rows.restore(offset, &record)
            }

            fn restored(&mut self, next: Offset) -> Result<()> {
                self.$field.rows.restored(next)
            }

            fn reset(&mut self, reason: &str) -> Result<()> {
                self.$field.rows.reset(reason)
            }

            fn flush(&mut self) -> Result<()> {
                self.$field.rows.flush()
            }

            fn save(&mut self) -> Result<()> {
                self.$field.rows.save()
            }

            fn close(&mut self) -> Result<()> {
                self.$field.rows.close()
            }
        }
    };
}
use forward_to_rows;
