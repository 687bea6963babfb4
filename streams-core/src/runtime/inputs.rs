//! The input partitions of one stream thread: whose they are, which are paused, and where each began.
//!
//! Invariant: the consumer hands out records of a partition only while the partition's task runs and its queue has room.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use log_store::{
    Offset, TopicPartition,
    client::{CommittedOffset, Consumer, Isolation, StartAt},
};

use crate::{Result, task::TaskId};

/// Partitions assigned to one thread.
pub(crate) struct Inputs {
    owners: HashMap<TopicPartition, TaskId>,
    /// Partitions whose queues are full.
    full: HashSet<TopicPartition>,
    /// Where partitions without a committed offset began.
    began: HashMap<TopicPartition, Offset>,
    /// Since when a task waits for a partition that has nothing more to give.
    idle_since: HashMap<TopicPartition, Duration>,
    /// Partitions to be acknowledged when their tasks are closed.
    revoked: Vec<TopicPartition>,
    buffer_bytes_max: usize,
    isolation: Isolation,
    /// `max.task.idle.ms`; `None`: never wait for an empty partition.
    task_idle_max: Option<Duration>,
}

impl Inputs {
    pub(crate) fn new(buffer_bytes_max: usize, isolation: Isolation, task_idle_max: Option<Duration>) -> Self {
        Inputs {
            owners: HashMap::new(),
            full: HashSet::new(),
            began: HashMap::new(),
            idle_since: HashMap::new(),
            revoked: Vec::new(),
            buffer_bytes_max,
            isolation,
            task_idle_max,
        }
    }

    /// These partitions of `task` are ours; they wait until it runs.
    pub(crate) fn assign(&mut self, task: TaskId, partitions: &[TopicPartition], consumer: &mut dyn Consumer) {
        consumer.pause(partitions);
        for partition in partitions {
            self.owners.insert(partition.clone(), task);
            self.full.remove(partition);
        }
    }

    /// The partitions of `task`.
    pub(crate) fn of(&self, task: TaskId) -> Vec<TopicPartition> {
        let mut partitions: Vec<_> =
            self.owners.iter().filter(|(_, owner)| **owner == task).map(|(partition, _)| partition.clone()).collect();
        partitions.sort();
        partitions
    }

    pub(crate) fn owner(&self, partition: &TopicPartition) -> Option<TaskId> {
        self.owners.get(partition).copied()
    }

    /// These partitions go to somebody else once their tasks are closed.
    pub(crate) fn revoke(&mut self, partitions: &[TopicPartition]) {
        self.revoked.extend_from_slice(partitions);
    }

    /// Gives up the revoked partitions of `tasks`; says which they were.
    pub(crate) fn release_revoked(&mut self, tasks: &BTreeSet<TaskId>) -> Vec<TopicPartition> {
        let owners = &self.owners;
        let of_tasks = |partition: &TopicPartition| owners.get(partition).is_none_or(|owner| tasks.contains(owner));
        let (gone, kept) = std::mem::take(&mut self.revoked).into_iter().partition(of_tasks);
        self.revoked = kept;
        self.release(&gone);
        gone
    }

    /// Forgets partitions that are somebody else's now.
    pub(crate) fn release(&mut self, gone: &[TopicPartition]) {
        for partition in gone {
            self.owners.remove(partition);
            self.full.remove(partition);
            self.began.remove(partition);
            self.idle_since.remove(partition);
        }
    }

    /// Forgets all partitions.
    pub(crate) fn clear(&mut self) {
        let all: Vec<_> = self.owners.keys().cloned().collect();
        self.release(&all);
        self.revoked.clear();
    }

    /// The task runs: its records may come, from where the group's offsets say.
    pub(crate) fn start(
        &mut self,
        task: TaskId,
        committed: &HashMap<TopicPartition, CommittedOffset>,
        consumer: &mut dyn Consumer,
    ) -> Result<()> {
        let partitions = self.of(task);
        for partition in &partitions {
            let position = consumer.position(partition);
            let wanted = match committed.get(partition) {
                Some(committed) => Some(committed.offset),
                // Begun before and nothing committed since: back to where it began.
                None => match (self.began.get(partition), position) {
                    (Some(began), _) => Some(*began),
                    (None, Some(position)) => {
                        self.began.insert(partition.clone(), position);
                        None
                    }
                    (None, None) => None,
                },
            };
            if let Some(wanted) = wanted.filter(|wanted| position != Some(*wanted)) {
                consumer.seek(partition, StartAt::Offset(wanted))?;
            }
        }
        consumer.resume(&partitions);
        Ok(())
    }

    /// The queue of `partition` holds `buffered` bytes after a batch: no more of it if it is full.
    pub(crate) fn received(&mut self, partition: &TopicPartition, buffered: usize, consumer: &mut dyn Consumer) {
        if !self.idle_since.is_empty() {
            self.idle_since.remove(partition);
        }
        if buffered >= self.buffer_bytes_max && self.full.insert(partition.clone()) {
            consumer.pause(std::slice::from_ref(partition));
        }
    }

    /// Lets queues that are half empty again have more. `buffered` says how much a queue of a task holds.
    pub(crate) fn refill(
        &mut self,
        mut buffered: impl FnMut(TaskId, &TopicPartition) -> usize,
        consumer: &mut dyn Consumer,
    ) {
        if self.full.is_empty() {
            return;
        }
        let (owners, half) = (&self.owners, self.buffer_bytes_max / 2);
        self.full.retain(|partition| {
            let stays_full = owners.get(partition).is_some_and(|task| buffered(*task, partition) > half);
            if !stays_full {
                consumer.resume(std::slice::from_ref(partition));
            }
            stays_full
        });
    }

    /// May a task go on although `empty` of its partitions have nothing in their queues? Yes when they have nothing in
    /// the log either, and when that has been so for as long as the task is to wait (`max.task.idle.ms`).
    pub(crate) fn may_proceed(
        &mut self,
        empty: &mut dyn Iterator<Item = &TopicPartition>,
        consumer: &mut dyn Consumer,
        now: Duration,
    ) -> bool {
        let Some(idle_max) = self.task_idle_max else { return true };
        let mut may = true;
        for partition in empty {
            let end = consumer.end_offset(partition, self.isolation);
            let is_caught_up = match (end, consumer.position(partition)) {
                (Ok(end), Some(position)) => position >= end,
                // The lag is not known: as in Kafka Streams, wait until it is.
                _ => false,
            };
            if !is_caught_up {
                self.idle_since.remove(partition);
                may = false;
            } else if !idle_max.is_zero() {
                let since = *self.idle_since.entry(partition.clone()).or_insert(now);
                may &= now.saturating_sub(since) >= idle_max;
            }
        }
        may
    }

    /// When a task that waits for an empty partition has waited long enough.
    pub(crate) fn until_idle_ends(&self, now: Duration) -> Option<Duration> {
        let idle_max = self.task_idle_max?;
        let left = self.idle_since.values().map(|since| (*since + idle_max).saturating_sub(now));
        left.filter(|left| !left.is_zero()).min()
    }
}
