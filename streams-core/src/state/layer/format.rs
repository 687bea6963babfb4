//! How one kind of store lays out its rows.

use log_store::{HeadersView, RecordView};

use super::Group;
use crate::{
    Result,
    serde::{Encoded, SerdeError},
    state::backend::{Backend, KeyRange},
};

/// Values to bytes and back: as the backend has them, and as the changelog has them.
pub(crate) trait Codec<V>: Send + Sync {
    /// Appends the backend's bytes. Null is a row that is absent.
    fn encode_row(&self, value: &V, out: &mut Vec<u8>) -> Result<Encoded, SerdeError>;

    /// Reads the backend's bytes.
    fn decode_row(&self, row: &[u8]) -> Result<V, SerdeError>;

    /// Appends the changelog's bytes. Null is a tombstone.
    fn encode_log(&self, value: &V, out: &mut Vec<u8>) -> Result<Encoded, SerdeError>;

    /// Time of the changelog record, if it is the value's own.
    fn timestamp(&self, _value: &V) -> Option<i64> {
        None
    }

    /// True if changelog records have headers: those of the value, or of the record that deleted it.
    fn logs_headers(&self) -> bool {
        false
    }

    /// Headers of the changelog record of a value.
    fn headers<'v>(&self, _value: &'v V) -> HeadersView<'v> {
        HeadersView::EMPTY
    }

    /// Appends the backend's bytes of a changelog record whose value is not null.
    fn log_to_row(&self, value: &[u8], record: &RecordView<'_>, out: &mut Vec<u8>);
}

/// A changelog record, taken apart: whose row, and which.
pub(crate) struct LogRow<'k, S> {
    pub(crate) key: &'k [u8],
    pub(crate) sub: S,
}

/// A kind of store: how its rows are named, grouped and dropped.
pub(crate) trait Format {
    type Value;
    type Sub: Copy + Ord;
    type Group: Group<Sub = Self::Sub, Value = Self::Value>;

    fn codec(&self) -> &dyn Codec<Self::Value>;

    /// Appends the backend's key of a row with this value.
    fn row_key(&self, key: &[u8], sub: Self::Sub, value: Option<&Self::Value>, out: &mut Vec<u8>);

    /// Appends the key under which the backend has an older state of the row, if it is another one.
    fn moved_from(&self, _key: &[u8], _sub: Self::Sub, _value: &Self::Value, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// The backend has this state of the row now.
    fn stored(&self, _value: &mut Self::Value) {}

    /// Appends the changelog's key of a row: Kafka's bytes.
    fn log_key(&self, key: &[u8], sub: Self::Sub, out: &mut Vec<u8>);

    /// Takes a changelog record apart; `None` if it is no row of such a store.
    fn read_log<'k>(&self, record: &RecordView<'k>) -> Option<LogRow<'k, Self::Sub>>;

    /// Time of the changelog record of a row, if it is the row's own.
    fn log_timestamp(&self, _sub: Self::Sub, value: Option<&Self::Value>) -> Option<i64> {
        value.and_then(|value| self.codec().timestamp(value))
    }

    /// Reads all rows of a key from the backend.
    fn load(&self, backend: &dyn Backend, key: &[u8], scratch: &mut Vec<u8>) -> Result<Self::Group, LoadError>;

    /// A row is about to be restored, or deleted. False if it has expired.
    fn restores(&mut self, _row: &LogRow<'_, Self::Sub>, _is_deletion: bool) -> bool {
        true
    }

    /// What caching hands on as a row's old value.
    fn old_value(&self, _sub: Self::Sub, old: Option<Self::Value>) -> Option<Self::Value> {
        old
    }

    /// Caching hands a write on.
    fn handed_on(&mut self, _sub: Self::Sub) {}

    /// Everything written so far is committed.
    fn committed(&mut self) {}

    /// Writes that came too late for the store's retention, since the last call.
    fn take_refused(&mut self) -> u64 {
        0
    }

    /// True for a row that no read would return any more.
    fn is_expired(&self, _sub: Self::Sub) -> bool {
        false
    }

    /// Rows are about to be written to the backend: which ranges can be dropped at the same time, and rows of its own
    /// that the format wants written (pushed by `extra`).
    fn before_apply(&mut self, _rows: &mut super::RowBuffer) -> Vec<KeyRange> {
        Vec::new()
    }

    /// Rows of indices that come with a row: written and deleted together with it.
    fn index_row(&self, _key: &[u8], _sub: Self::Sub, _out: &mut Vec<u8>) -> bool {
        false
    }

    /// The backend was opened, or emptied: reads what the format keeps there.
    fn opened(&mut self, _backend: &dyn Backend) -> Result<()> {
        Ok(())
    }
}

/// Why a group could not be read.
pub(crate) enum LoadError {
    /// The backend failed, or answered with bytes that cannot be.
    Backend(crate::Error),
    /// The bytes are no value.
    Serde(SerdeError),
}

impl From<crate::Error> for LoadError {
    fn from(error: crate::Error) -> Self {
        LoadError::Backend(error)
    }
}

impl From<SerdeError> for LoadError {
    fn from(error: SerdeError) -> Self {
        LoadError::Serde(error)
    }
}
