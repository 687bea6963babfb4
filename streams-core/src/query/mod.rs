//! Reading the stores of a running application from other threads (interactive queries).
//!
//! ```no_run
//! use streams_core::{
//!     query::{QueryableStoreTypes, StoreQueryParameters},
//!     runtime::Streams,
//! };
//!
//! # fn f(streams: &Streams) -> streams_core::Result<()> {
//! let counts = streams.store(StoreQueryParameters::from_name_and_type(
//!     "counts",
//!     QueryableStoreTypes::key_value_store::<String, i64>(),
//! ))?;
//! println!("{:?}", counts.get(&"streams".to_owned())?);
//! for row in counts.range(Some(&"a".to_owned()), Some(&"b".to_owned()))? {
//!     let (word, count) = row?;
//!     println!("{word}: {count}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A read covers all tasks of this instance that have the store, or one of them
//! ([`StoreQueryParameters::with_partition`]). A global store is one for the whole instance; it can be read as soon as it
//! is complete, also while tasks move, and the thread that fills it does what stream threads do for the others.
//!
//! | | key-value stores | window, session and versioned stores |
//! |---|---|---|
//! | [`Consistency::LastCommit`], the default | read directly: hundreds of thousands of gets a second, without the stream thread | the stream thread commits and answers |
//! | [`Consistency::LastWrite`] | the stream thread answers | the stream thread answers |
//!
//! A stream thread answers between two runs of records, some milliseconds after it was asked; what is asked meanwhile is
//! answered together. A store that is read directly costs its thread one lock and one serialised row for each changed key
//! at each commit, from the first [`Streams::store`](crate::runtime::Streams::store) on; what nobody asks for costs
//! nothing.

mod key_value;
mod places;
mod session;
mod versioned;
mod window;

use std::marker::PhantomData;

pub use key_value::{KeyValueRows, ReadOnlyKeyValueStore};
pub(crate) use places::Places;
pub use session::ReadOnlySessionStore;
pub use versioned::ReadOnlyVersionedStore;
pub use window::ReadOnlyWindowStore;

use crate::{
    Result,
    serde::Data,
    state::{
        KeyValueStore, SessionStore, TimestampedKeyValueStore, TimestampedWindowStore, VersionedKeyValueStore,
        WindowStore,
    },
};

/// What a read sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// What is committed: it will not be taken back, whatever fails.
    #[default]
    LastCommit,
    /// What the task has written so far. A failure may take it back, and then it is written again.
    LastWrite,
}

/// Which store is asked for (Kafka Streams' `StoreQueryParameters`).
#[derive(Debug)]
pub struct StoreQueryParameters<S> {
    pub(crate) name: String,
    pub(crate) partition: Option<u32>,
    pub(crate) consistency: Consistency,
    kind: PhantomData<fn() -> S>,
}

impl<S> Clone for StoreQueryParameters<S> {
    fn clone(&self) -> Self {
        StoreQueryParameters { name: self.name.clone(), ..*self }
    }
}

impl<S> StoreQueryParameters<S> {
    /// The store of this name and type, in all tasks of the instance, consistent to the last commit.
    #[must_use]
    pub fn from_name_and_type(name: impl Into<String>, _: QueryableStoreType<S>) -> Self {
        StoreQueryParameters {
            name: name.into(),
            partition: None,
            consistency: Consistency::default(),
            kind: PhantomData,
        }
    }

    /// Only the task of this partition number. A global store has no partitions, and is read whole all the same.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// What reads see.
    #[must_use]
    pub fn with_consistency(mut self, consistency: Consistency) -> Self {
        self.consistency = consistency;
        self
    }
}

/// A type of store. Got from [`QueryableStoreTypes`].
#[derive(Debug)]
pub struct QueryableStoreType<S>(PhantomData<fn() -> S>);

/// The types of stores that can be read.
#[derive(Clone, Copy, Debug)]
pub struct QueryableStoreTypes;

impl QueryableStoreTypes {
    /// A key-value store; of a timestamped one, the store of every table, its values without their times.
    #[must_use]
    pub fn key_value_store<K: Data, V: Data>() -> QueryableStoreType<KeyValueStore<K, V>> {
        QueryableStoreType(PhantomData)
    }

    /// A timestamped key-value store, its values with their times.
    #[must_use]
    pub fn timestamped_key_value_store<K: Data, V: Data>() -> QueryableStoreType<TimestampedKeyValueStore<K, V>> {
        QueryableStoreType(PhantomData)
    }

    /// A window store; of a timestamped one, as the DSL's aggregations have it, its values without their times.
    #[must_use]
    pub fn window_store<K: Data, V: Data>() -> QueryableStoreType<WindowStore<K, V>> {
        QueryableStoreType(PhantomData)
    }

    /// A timestamped window store, its values with their times.
    #[must_use]
    pub fn timestamped_window_store<K: Data, V: Data>() -> QueryableStoreType<TimestampedWindowStore<K, V>> {
        QueryableStoreType(PhantomData)
    }

    /// A session store.
    #[must_use]
    pub fn session_store<K: Data, V: Data>() -> QueryableStoreType<SessionStore<K, V>> {
        QueryableStoreType(PhantomData)
    }

    /// A versioned key-value store.
    #[must_use]
    pub fn versioned_key_value_store<K: Data, V: Data>() -> QueryableStoreType<VersionedKeyValueStore<K, V>> {
        QueryableStoreType(PhantomData)
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A store that can be read by other threads.
pub trait QueryableStore: sealed::Sealed + Sized {
    /// How it is read.
    type ReadOnly;

    #[doc(hidden)]
    #[expect(private_interfaces, reason = "a sealed trait: only we call this")]
    fn read_only(places: Places) -> Result<Self::ReadOnly>;
}
