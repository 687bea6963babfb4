//! A consumer of the embedded log.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    consumer_watch::{Mailbox, Mailed, Watch},
    log::Inner,
    log_shared::now_ms,
    partition::Partition,
};
use crate::{
    Error, Offset, Result, TopicPartition,
    client::{
        CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, Isolation, OffsetReset, Polled, StartAt,
        Subscription, Waker,
    },
};

/// Longest note beside a committed offset, in bytes.
const METADATA_BYTES_MAX: usize = 4096;

/// Longest wait of one poll: what is longer might overflow the clock.
const WAIT_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) struct EmbeddedConsumer {
    log: Arc<Inner>,
    config: ConsumerConfig,
    mailbox: Arc<Mailbox>,
    next_slot: u64,
    assigned: HashMap<u64, Assigned>,
    slots: HashMap<TopicPartition, u64>,
    /// Events that the next polls bring before any batch.
    events: Vec<Polled>,
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
            events: Vec::new(),
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
    fn reset(&self, partition: &Partition, requested: Option<Offset>) -> Result<Offset> {
        match self.config.offset_reset {
            OffsetReset::Earliest => partition.log_start(),
            OffsetReset::Latest => partition.end(self.config.isolation),
            OffsetReset::ByDuration(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                match partition.offset_for_time(now_ms().saturating_sub(age))? {
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
            Err(Error::OffsetOutOfRange { requested, .. }) => {
                position = self.reset(&partition, Some(requested))?;
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
        let mut partitions = Vec::new();
        for topic in subscription.groups.iter().flat_map(|group| &group.topics) {
            partitions.extend(self.log.topic(topic)?.partitions.iter().cloned());
        }
        partitions.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        partitions.dedup_by(|a, b| a.id == b.id);
        self.remove_all();
        let names: Vec<_> = partitions.iter().map(|partition| partition.id.clone()).collect();
        for (partition, committed) in partitions.into_iter().zip(self.committed(&names)?) {
            let position = match committed {
                Some(committed) => committed.offset,
                None => self.reset(&partition, None)?,
            };
            self.add(partition, position);
        }
        self.events.push(Polled::Assigned(names));
        Ok(())
    }

    fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()> {
        let mut resolved = Vec::with_capacity(start.len());
        for (name, start) in start {
            let partition = self.log.partition(name)?;
            let position = self.resolve(&partition, *start)?;
            resolved.push((partition, position));
        }
        self.remove_all();
        for (partition, position) in resolved {
            self.add(partition, position);
        }
        Ok(())
    }

    fn poll(&mut self, wait: Duration) -> Result<Polled> {
        if let Some(event) = self.events.pop() {
            return Ok(event);
        }
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            self.log.shared.check()?;
            match self.mailbox.take(deadline) {
                Mailed::Nothing => return Ok(Polled::Idle),
                Mailed::Ready(slot) => {
                    if let Some(polled) = self.fetch(slot)? {
                        return Ok(polled);
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self, _revoked: &[TopicPartition]) -> Result<()> {
        Ok(())
    }

    fn unsubscribe(&mut self) -> Result<()> {
        self.remove_all();
        self.events.clear();
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
        let groups = self.log.groups.lock();
        let offsets = groups.get(&self.config.group_id);
        Ok(partitions.iter().map(|partition| offsets?.get(partition).cloned()).collect())
    }

    fn commit(&mut self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        self.need_group()?;
        if let Some((partition, _)) = offsets.iter().find(|(_, offset)| offset.metadata.len() > METADATA_BYTES_MAX) {
            return Err(Error::Invalid(format!(
                "{partition}: commit metadata is longer than {METADATA_BYTES_MAX} bytes"
            )));
        }
        self.log.groups.lock().entry(self.config.group_id.clone()).or_default().extend(offsets.iter().cloned());
        Ok(())
    }

    fn group(&self) -> GroupMetadata {
        GroupMetadata { group_id: self.config.group_id.clone(), generation: -1, member_id: String::new() }
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
