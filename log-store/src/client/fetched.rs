//! A fetched batch: shared bytes of one partition, decoded lazily.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{Offset, RecordView, Result, TopicPartition};

/// A transaction that was aborted: data batches of this producer from `first_offset` up to its abort marker are not
/// for readers of committed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// Its first offset in the transaction.
    pub first_offset: Offset,
}

/// Whole record batches of one partition, one after the other, as they lie in the log; shared, not copied.
#[derive(Clone, Debug)]
pub struct FetchedBatch {
    /// Where the records are from.
    pub partition: TopicPartition,
    /// Record batches (format v2), the first of which may begin before `start`.
    pub bytes: Bytes,
    /// Records before this offset are skipped: they were not asked for.
    pub start: Offset,
    /// Where the next fetch goes on.
    pub next: Offset,
    /// Aborted transactions that touch these bytes; empty at [`super::Isolation::ReadUncommitted`].
    pub aborted: Arc<[AbortedTransaction]>,
}

impl FetchedBatch {
    /// Reads the records from the beginning.
    #[must_use]
    pub fn cursor(&self) -> BatchCursor {
        todo!()
    }
}

/// Where one record lies inside its cursor's current batch: what a queue keeps of the record at its head.
#[derive(Clone, Debug)]
pub struct RecordRef {
    /// Offset in the partition.
    pub offset: Offset,
    /// Timestamp.
    pub timestamp: i64,
    pub(crate) key: Option<Range<u32>>,
    pub(crate) value: Option<Range<u32>>,
    pub(crate) headers: Range<u32>,
    pub(crate) header_count: u32,
}

/// Reads the records of a [`FetchedBatch`] one after the other. Control batches, aborted transactions and records
/// before the start are skipped; a compressed batch is decompressed when it is reached.
#[derive(Clone, Debug)]
pub struct BatchCursor {}

impl BatchCursor {
    /// Moves to the next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`] if the bytes are not what their header says.
    pub fn advance(&mut self) -> Result<Option<RecordRef>> {
        todo!()
    }

    /// The record at `at`, which must be the one that [`BatchCursor::advance`] returned last.
    #[must_use]
    pub fn view(&self, _at: &RecordRef) -> RecordView<'_> {
        todo!()
    }
}
