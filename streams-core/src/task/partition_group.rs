//! Which input partition goes next: the one whose head is the oldest.

use log_store::{TopicPartition, client::FetchedBatch};

use super::{
    java_heap::JavaHeap,
    record_queue::{HeadError, RecordQueue},
};
use crate::state::StateStore;

/// The input partitions of one task.
///
/// Invariant: a queue is in `by_time` exactly if it has a head, under that head's timestamp.
pub(super) struct PartitionGroup {
    pub(super) queues: Vec<RecordQueue>,
    by_time: JavaHeap<u32>,
}

impl PartitionGroup {
    pub(super) fn new(queues: Vec<RecordQueue>) -> Self {
        PartitionGroup { queues, by_time: JavaHeap::new() }
    }

    /// Adds records of one of the partitions.
    pub(super) fn push(&mut self, batch: FetchedBatch) -> Result<(), FetchedBatch> {
        match self.queues.iter_mut().find(|queue| queue.partition == batch.partition) {
            Some(queue) => {
                queue.push(batch);
                Ok(())
            }
            None => Err(batch),
        }
    }

    /// Reads the head of `queue` if it has none. A queue that gets one takes part in the choice.
    #[inline]
    pub(super) fn fill(
        &mut self,
        queue: u32,
        wall_clock_time: i64,
        stores: &mut [Box<dyn StateStore>],
    ) -> Result<(), HeadError> {
        let records = &mut self.queues[queue as usize];
        if records.head().is_some() {
            return Ok(());
        }
        records.fill_head(wall_clock_time, stores)?;
        if let Some(head) = records.head() {
            self.by_time.offer(head.timestamp, queue);
        }
        Ok(())
    }

    /// Takes the queue with the oldest head out of the choice. Its head is to be consumed, then [`Self::fill`] puts it
    /// back.
    #[inline]
    pub(super) fn poll(&mut self) -> Option<u32> {
        self.by_time.poll().map(|(_, queue)| queue)
    }

    /// True if a queue has no head while another has: which of them is the oldest is then unknown.
    pub(super) fn is_waiting_for_input(&self) -> bool {
        self.by_time.peek().is_some() && self.queues.iter().any(|queue| queue.head().is_none())
    }

    /// Partitions without a record to process.
    pub(super) fn empty_partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.queues.iter().filter(|queue| queue.head().is_none()).map(|queue| &queue.partition)
    }

    pub(super) fn has_records(&self) -> bool {
        self.by_time.peek().is_some()
    }
}
