//! The records of one input partition that wait for their turn: shared batches, decoded one record ahead.

use std::collections::VecDeque;

use log_store::{
    Headers, Offset, RecordView, TopicPartition,
    batch::RecordRef,
    client::{BatchCursor, FetchedBatch},
};

use super::source_node::{DecodeError, ErasedSource};
use crate::{
    error::{Error, Result},
    state::StateStore,
};

/// So many records are looked at ahead, and their keys told to the stores.
const AHEAD: usize = 32;

/// Where a record may go to more stores than this, none is told: it goes to few of them, and each look costs a wait.
const TOLD_STORES_MAX: usize = 4;

/// The record at the head of a queue; its typed form waits in the queue's source.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) offset: Offset,
    pub(super) timestamp: i64,
    pub(super) headers: Headers,
}

/// Why the head could not be read; the record is already passed over.
pub(super) enum HeadError {
    /// The bytes do not fit the types, or the timestamp is refused: the deserialization handler decides.
    Record(Error),
    /// The batch itself is damaged: nothing of the partition may be read past it.
    Batch(Error),
}

/// One input partition of a task.
pub(super) struct RecordQueue {
    pub(super) partition: TopicPartition,
    /// Arena index of the source node.
    pub(super) source_index: u32,
    source_name: String,
    pub(super) source: Box<dyn ErasedSource>,
    batches: VecDeque<FetchedBatch>,
    /// Reads the first of `batches`.
    cursor: Option<BatchCursor>,
    /// Records that the cursor has moved over; those from `next_ahead` on come after the head.
    ahead: Vec<RecordRef>,
    next_ahead: usize,
    head: Option<Head>,
    /// Greatest timestamp of the processed records, -1 before the first.
    pub(super) partition_time: i64,
    buffered_bytes: usize,
    /// Offset of the next record to process, once any is known.
    position: Option<Offset>,
    /// Records that the extractor refused with a negative time, since last asked.
    skipped: u64,
    /// Stores that the source's children use, by their place in the task, if they are few.
    stores: Box<[u32]>,
    /// Reads the first of `batches` once more, for records that failed, with the last of them.
    again: Option<(BatchCursor, Option<RecordRef>)>,
}

impl RecordQueue {
    pub(super) fn new(
        partition: TopicPartition,
        source_index: u32,
        source_name: String,
        source: Box<dyn ErasedSource>,
        partition_time: i64,
        stores: Box<[u32]>,
    ) -> Self {
        RecordQueue {
            partition,
            source_index,
            source_name,
            source,
            batches: VecDeque::new(),
            cursor: None,
            head: None,
            partition_time,
            buffered_bytes: 0,
            position: None,
            skipped: 0,
            stores: if stores.len() <= TOLD_STORES_MAX { stores } else { Box::default() },
            ahead: Vec::with_capacity(AHEAD),
            next_ahead: 0,
            again: None,
        }
    }

    pub(super) fn push(&mut self, batch: FetchedBatch) {
        self.buffered_bytes += batch.bytes.len();
        self.batches.push_back(batch);
    }

    /// Bytes of batches that are not read to their end.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    #[inline]
    pub(super) fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Position to commit: everything before it is processed. `None` if nothing has been read yet.
    pub(super) fn position(&self) -> Option<Offset> {
        self.head.as_ref().map(|head| head.offset).or(self.position)
    }

    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    /// Takes the head away (its typed form has been forwarded).
    #[inline]
    pub(super) fn consume_head(&mut self) {
        if let Some(head) = self.head.take() {
            self.position = Some(head.offset.next());
            self.partition_time = self.partition_time.max(head.timestamp);
        }
    }

    /// Reads on until there is a head or nothing is left.
    #[inline]
    pub(super) fn fill_head(
        &mut self,
        wall_clock_time: i64,
        stores: &mut [Box<dyn StateStore>],
    ) -> Result<(), HeadError> {
        while self.head.is_none() {
            let Some(cursor) = &self.cursor else {
                let Some(batch) = self.batches.front() else { return Ok(()) };
                self.cursor = Some(batch.cursor());
                continue;
            };
            let Some(at) = self.ahead.get(self.next_ahead) else {
                self.look_ahead(stores)?;
                continue;
            };
            self.next_ahead += 1;
            let decoded = self.source.decode(&cursor.view(at), self.partition_time, wall_clock_time);
            match decoded {
                Ok((timestamp, headers)) if timestamp >= 0 => {
                    self.head = Some(Head { offset: at.offset, timestamp, headers });
                }
                Ok(_) => {
                    self.position = Some(at.offset.next());
                    self.skipped += 1;
                }
                Err(error) => {
                    self.position = Some(at.offset.next());
                    return Err(HeadError::Record(self.describe(error, at.offset)));
                }
            }
        }
        Ok(())
    }

    /// Moves the cursor over the next records and tells the stores their keys; at the end of the batch goes to the next one.
    #[inline(never)]
    fn look_ahead(&mut self, stores: &mut [Box<dyn StateStore>]) -> Result<(), HeadError> {
        self.ahead.clear();
        self.next_ahead = 0;
        let Some(cursor) = &mut self.cursor else { return Ok(()) };
        cursor.advance_many(AHEAD, &mut self.ahead).map_err(|error| HeadError::Batch(error.into()))?;
        if self.ahead.is_empty() {
            self.finish_batch();
        } else {
            for store in &self.stores {
                let mut keys = self.ahead.iter().filter_map(|at| cursor.view(at).key);
                stores[*store as usize].expect_keys(&mut keys);
            }
        }
        Ok(())
    }

    /// The bytes of a record in the batch that is being read; not before one that was asked for earlier.
    #[cold]
    pub(super) fn raw(&mut self, offset: i64) -> Option<RecordView<'_>> {
        if self.again.is_none() {
            self.again = Some((self.batches.front()?.cursor(), None));
        }
        let (cursor, last) = self.again.as_mut()?;
        while last.as_ref().is_none_or(|at| at.offset.as_i64() < offset) {
            *last = Some(cursor.advance().ok()??);
        }
        let at = last.as_ref().filter(|at| at.offset.as_i64() == offset)?;
        Some(cursor.view(at))
    }

    fn finish_batch(&mut self) {
        self.cursor = None;
        self.again = None;
        if let Some(batch) = self.batches.pop_front() {
            self.buffered_bytes -= batch.bytes.len();
            self.position = Some(batch.next);
        }
    }

    #[cold]
    fn describe(&self, error: DecodeError, offset: Offset) -> Error {
        let (part, reason) = match error {
            DecodeError::Key(reason) => ("key", reason),
            DecodeError::Value(reason) => ("value", reason),
            DecodeError::Timestamp(reason) => ("timestamp", reason),
        };
        Error::Deserialization {
            topic: self.partition.topic.to_string(),
            partition: self.partition.partition,
            offset: offset.as_i64(),
            part,
            node: self.source_name.clone(),
            reason,
        }
    }
}
