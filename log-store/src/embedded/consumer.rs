//! A consumer of the embedded log.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    consumer_watch::{Mailbox, Mailed, Watch},
    group::{GROUP_SLOT, Membership, Step},
    log::Inner,
    partition::Partition,
};
use crate::{
    Error, Offset, Result, TopicName, TopicPartition,
    client::{
        CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, Isolation, OffsetReset, Partitions, Polled, StartAt,
        Subscription, Waker,
    },
};

/// Longest wait of one poll: what is longer might overflow the clock.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) struct EmbeddedConsumer {
    log: Arc<Inner>,
    config: ConsumerConfig,
    mailbox: Arc<Mailbox>,
    next_slot: u64,
    assigned: HashMap<u64, Assigned>,
    slots: HashMap<TopicPartition, u64>,
    membership: Option<Membership>,
    /// Assigned by the group; where to start in them is not found out yet.
    arriving: Partitions,
    /// Where topics start that have no committed offset, if not as the settings say.
    offset_resets: HashMap<TopicName, OffsetReset>,
}

struct Assigned {
    partition: Arc<Partition>,
    watch: Arc<Watch>,
    position: Offset,
    is_paused: bool,
}

impl EmbeddedConsumer {
    pub(crate) fn new(log: Arc<Inner>, config: ConsumerConfig) -> Self {
        EmbeddedConsumer {
            log,
            config,
            mailbox: Arc::default(),
            next_slot: 0,
            assigned: HashMap::new(),
            slots: HashMap::new(),
            membership: None,
            arriving: Partitions::new(),
            offset_resets: HashMap::new(),
        }
    }

    fn add(&mut self, partition: Arc<Partition>, position: Offset) {
        let slot = self.next_slot;
        self.next_slot += 1;
        let watch = Watch::new(&self.mailbox, slot);
        partition.watch(Arc::clone(&watch));
        // What is there already announces itself.
        watch.notify();
        self.slots.insert(partition.id.clone(), slot);
        self.assigned.insert(slot, Assigned { partition, watch, position, is_paused: false });
    }

    fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(assigned) = self.slots.remove(partition).and_then(|slot| self.assigned.remove(&slot)) {
                assigned.partition.unwatch(&assigned.watch);
            }
        }
    }

    fn remove_all(&mut self) {
        for assigned in self.assigned.values() {
            assigned.partition.unwatch(&assigned.watch);
        }
        self.assigned.clear();
        self.slots.clear();
    }

    fn find(&mut self, partition: &TopicPartition) -> Option<&mut Assigned> {
        self.assigned.get_mut(self.slots.get(partition)?)
    }

    fn resolve(&self, partition: &Partition, start: StartAt) -> Result<Offset> {
        match start {
            StartAt::Offset(offset) => Ok(offset),
            StartAt::Beginning => partition.log_start(),
            StartAt::End => partition.end(self.config.isolation),
        }
    }

    /// Where reading starts without a valid position.
    fn reset(&self, partition: &Arc<Partition>, requested: Option<Offset>) -> Result<Offset> {
        let reset = self.offset_resets.get(&partition.id.topic).copied().unwrap_or(self.config.offset_reset);
        match reset {
            OffsetReset::Earliest => partition.log_start(),
            OffsetReset::Latest => partition.end(self.config.isolation),
            OffsetReset::ByDuration(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                match partition.offset_for_time(self.log.shared.now_ms().saturating_sub(age))? {
                    Some(offset) => Ok(offset),
                    None => partition.end(self.config.isolation),
                }
            }
            OffsetReset::None => {
                let (log_start, log_end) = partition.range(Isolation::ReadUncommitted)?;
                match requested {
                    Some(requested) => {
                        Err(Error::OffsetOutOfRange { partition: partition.id.clone(), requested, log_start, log_end })
                    }
                    None => Err(Error::Invalid(format!(
                        "{}: group {:?} has no committed offset, and the consumer's offset reset is none",
                        partition.id, self.config.group_id
                    ))),
                }
            }
        }
    }

    /// The next batch of the partition in `slot`, if it has one.
    fn fetch(&mut self, slot: u64) -> Result<Option<Polled>> {
        let (bytes_max, isolation) = (self.config.fetch_bytes_max, self.config.isolation);
        let Some(assigned) = self.assigned.get(&slot).filter(|assigned| !assigned.is_paused) else { return Ok(None) };
        let partition = Arc::clone(&assigned.partition);
        let mut position = assigned.position;
        let fetched = match partition.fetch(position, bytes_max, isolation) {
            Err(Error::OffsetOutOfRange { requested, log_start, log_end, .. }) => {
                position = self.reset(&partition, Some(requested))?;
                tracing::warn!(
                    partition = %partition.id, group = self.config.group_id, %requested, %log_start, %log_end, %position,
                    "the position is outside the log; reading goes on where the offset reset says. If records that were \
                     not read are gone, look at retention.ms and retention.bytes of the topic"
                );
                partition.fetch(position, bytes_max, isolation)
            }
            other => other,
        };
        let Some(assigned) = self.assigned.get_mut(&slot) else { return Ok(None) };
        assigned.position = position;
        // An error comes again with the next poll, until the position or the log is mended.
        let Some(fetched) = fetched.inspect_err(|_| assigned.watch.notify())? else { return Ok(None) };
        assigned.position = fetched.next;
        assigned.watch.notify();
        Ok(Some(Polled::Batch(partition.as_batch(&fetched, position))))
    }

    /// Asks the group what is to be done.
    fn poll_group(&mut self, now: Duration) -> Result<Option<Polled>> {
        let Some(membership) = &mut self.membership else { return Ok(None) };
        match membership.poll(now)? {
            Step::Nothing => Ok(None),
            Step::Assigned(partitions) => {
                self.arriving = partitions;
                self.arrive().map(Some)
            }
            Step::Revoked(partitions) => {
                self.remove(&partitions);
                Ok(Some(Polled::Revoked(partitions)))
            }
            Step::Expelled => {
                let mut lost: Partitions = self.slots.keys().cloned().collect();
                lost.sort_unstable();
                self.remove_all();
                self.arriving.clear();
                Ok(if lost.is_empty() { None } else { Some(Polled::Lost(lost)) })
            }
        }
    }

    /// Begins to read what was assigned: where the group left off. If that fails, the next poll tries again.
    fn arrive(&mut self) -> Result<Polled> {
        let committed = self.log.committed_offsets(&self.config.group_id, &self.arriving)?;
        let mut found = Vec::with_capacity(committed.len());
        for (name, committed) in self.arriving.iter().zip(committed) {
            let partition = self.log.partition(name)?;
            let position = match committed {
                Some(committed) => committed.offset,
                None => self.reset(&partition, None)?,
            };
            found.push((partition, position));
        }
        for (partition, position) in found {
            self.add(partition, position);
        }
        Ok(Polled::Assigned(std::mem::take(&mut self.arriving)))
    }

    fn need_group(&self) -> Result<()> {
        if self.config.group_id.is_empty() {
            return Err(Error::Invalid("the consumer has no group: set group_id".to_owned()));
        }
        Ok(())
    }
}

impl Consumer for EmbeddedConsumer {
    fn subscribe(&mut self, subscription: &Subscription) -> Result<()> {
        self.need_group()?;
        for topic in subscription.groups.iter().flat_map(|group| &group.topics) {
            self.log.topic(topic)?;
        }
        self.offset_resets = subscription.offset_resets.iter().cloned().collect();
        match &mut self.membership {
            Some(membership) => membership.change(subscription),
            None => {
                self.remove_all();
                let joined = Membership::join(&self.log, &self.config, subscription, &self.mailbox)?;
                self.membership = Some(joined);
            }
        }
        Ok(())
    }

    fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()> {
        let mut resolved = Vec::with_capacity(start.len());
        for (name, start) in start {
            let partition = self.log.partition(name)?;
            let position = self.resolve(&partition, *start)?;
            resolved.push((partition, position));
        }
        self.unsubscribe()?;
        for (partition, position) in resolved {
            self.add(partition, position);
        }
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        let mut now = self.log.shared.clock.monotonic();
        let deadline = now + wait.min(WAIT_MAX);
        if !self.arriving.is_empty() {
            return self.arrive();
        }
        loop {
            self.log.shared.check()?;
            let due = self.membership.as_ref().map(Membership::due);
            if due.is_some_and(|due| due <= now)
                && let Some(polled) = self.poll_group(now)?
            {
                return Ok(polled);
            }
            let due = self.membership.as_ref().map_or(deadline, |membership| membership.due().min(deadline));
            let polled = match self.mailbox.take(due.saturating_sub(now)) {
                Mailed::Woken => return Ok(Polled::Idle),
                Mailed::Nothing if due == deadline => return Ok(Polled::Idle),
                Mailed::Nothing => None,
                Mailed::Ready(GROUP_SLOT) => self.poll_group(now)?,
                Mailed::Ready(slot) => self.fetch(slot)?,
            };
            if let Some(polled) = polled {
                return Ok(polled);
            }
            now = self.log.shared.clock.monotonic();
        }
    }

    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<()> {
        if let Some(membership) = &self.membership {
            membership.acknowledge(revoked);
        }
        Ok(())
    }

    fn unsubscribe(&mut self) -> Result<()> {
        self.membership = None;
        self.arriving.clear();
        self.remove_all();
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(assigned) = self.find(partition) {
                assigned.is_paused = true;
            }
        }
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(assigned) = self.find(partition) {
                assigned.is_paused = false;
                assigned.watch.notify();
            }
        }
    }

    fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<()> {
        let not_assigned = || Error::Invalid(format!("seek: {partition} is not assigned to this consumer"));
        let found = Arc::clone(&self.find(partition).ok_or_else(not_assigned)?.partition);
        let position = self.resolve(&found, to)?;
        let assigned = self.find(partition).ok_or_else(not_assigned)?;
        assigned.position = position;
        assigned.watch.notify();
        Ok(())
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        Some(self.assigned.get(self.slots.get(partition)?)?.position)
    }

    fn end_offset(&mut self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.log.partition(partition)?.end(isolation)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>> {
        self.need_group()?;
        self.log.committed_offsets(&self.config.group_id, partitions)
    }

    fn commit(&mut self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        self.need_group()?;
        self.log.commit_offsets(&self.group(), offsets)
    }

    fn group(&self) -> GroupMetadata {
        match &self.membership {
            Some(membership) => membership.metadata(),
            None => GroupMetadata { group_id: self.config.group_id.clone(), generation: -1, member_id: String::new() },
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.mailbox) as Arc<dyn Waker>
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.remove_all();
    }
}
