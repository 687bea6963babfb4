//! Deletes records of repartition topics that have been processed (`repartition.purge.interval.ms`).
//!
//! Invariant: nothing at or above a committed position is deleted.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use log_store::{
    Offset, TopicName, TopicPartition,
    client::{Admin, CommittedOffset},
};

/// What one stream thread has consumed of repartition topics since the last purge.
pub(crate) struct Purge {
    admin: Box<dyn Admin>,
    topics: HashSet<TopicName>,
    interval: Duration,
    last: Duration,
    consumed: BTreeMap<TopicPartition, Offset>,
}

impl Purge {
    pub(crate) fn new(admin: Box<dyn Admin>, topics: HashSet<TopicName>, interval: Duration, now: Duration) -> Self {
        Purge { admin, topics, interval, last: now, consumed: BTreeMap::new() }
    }

    /// These positions are committed.
    pub(crate) fn committed(&mut self, positions: &[(TopicPartition, CommittedOffset)]) {
        if self.topics.is_empty() {
            return;
        }
        for (partition, position) in positions.iter().filter(|(partition, _)| self.topics.contains(&partition.topic)) {
            match self.consumed.get_mut(partition) {
                Some(known) => *known = position.offset,
                None => {
                    self.consumed.insert(partition.clone(), position.offset);
                }
            }
        }
    }

    /// Deletes what is consumed, if the interval is over. A failure costs disk space, no records: it is tried again.
    pub(crate) fn delete_if_due(&mut self, now: Duration) {
        if self.consumed.is_empty() || now < self.last + self.interval {
            return;
        }
        self.last = now;
        let before: Vec<(TopicPartition, Offset)> =
            self.consumed.iter().map(|(partition, offset)| (partition.clone(), *offset)).collect();
        match self.admin.delete_records(&before) {
            Ok(()) => self.consumed.clear(),
            Err(error) => tracing::warn!(%error, "records of repartition topics could not be deleted"),
        }
    }
}
