//! The log as the stream threads see it: at each call the world may let others go first, or lose the call or its answer.

use std::{sync::Arc, time::Duration};

use log_store::{
    Offset, RecordView, Result, TopicPartition,
    client::{
        Admin, CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, Isolation, LogClient, PartitionHandle, Polled,
        Producer, ProducerConfig, StartAt, Subscription, Waker,
    },
    embedded::EmbeddedLog,
};

use crate::world::World;

#[derive(Debug)]
pub(crate) struct SimulatedClient(pub(crate) EmbeddedLog);

impl LogClient for SimulatedClient {
    fn admin(&self) -> Result<Box<dyn Admin>> {
        self.0.admin()
    }

    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        let inner = self.0.consumer(config)?;
        Ok(Box::new(SimulatedConsumer {
            inner,
            name: config.client_id.clone(),
            is_member: !config.group_id.is_empty(),
        }))
    }

    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        let name = config.transactional_id.clone().unwrap_or_else(|| config.client_id.clone());
        Ok(Box::new(SimulatedProducer { inner: self.0.producer(config)?, name }))
    }

    fn commit_interval_default(&self) -> Duration {
        self.0.commit_interval_default()
    }
}

struct SimulatedConsumer {
    inner: Box<dyn Consumer>,
    name: String,
    /// Restores are not: they move only between the turns of threads.
    is_member: bool,
}

impl SimulatedConsumer {
    fn pause_here(&self, call: &str) {
        if self.is_member {
            World::here().pause_here(&self.name, call);
        }
    }
}

impl Consumer for SimulatedConsumer {
    fn subscribe(&mut self, subscription: &Subscription) -> Result<()> {
        self.pause_here("subscribe");
        self.inner.subscribe(subscription)
    }

    fn assign(&mut self, start: &[(TopicPartition, StartAt)]) -> Result<()> {
        self.inner.assign(start)
    }

    fn poll(&mut self, _: Duration) -> Result<Polled> {
        self.pause_here("poll");
        // A poll may find out that partitions are assigned, and would then wait for their offsets to be decided.
        if self.is_member && World::here().is_undecided() {
            return Ok(Polled::Idle);
        }
        let polled = self.inner.poll(Duration::ZERO)?;
        match &polled {
            Polled::Idle => {}
            Polled::Batch(batch) => {
                World::here().note(format_args!("{} reads {} to {}", self.name, batch.partition, batch.next));
            }
            other => World::here().note(format_args!("{} {other:?}", self.name)),
        }
        Ok(polled)
    }

    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<()> {
        self.pause_here("acknowledge");
        self.inner.acknowledge(revoked)
    }

    fn unsubscribe(&mut self) -> Result<()> {
        self.inner.unsubscribe()
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.inner.resume(partitions);
    }

    fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> Result<()> {
        self.inner.seek(partition, to)
    }

    fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.inner.position(partition)
    }

    fn end_offset(&mut self, partition: &TopicPartition, isolation: Isolation) -> Result<Offset> {
        self.inner.end_offset(partition, isolation)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<CommittedOffset>>> {
        self.pause_here("committed");
        World::here().wait_until_decided();
        self.inner.committed(partitions)
    }

    fn commit(&mut self, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
        let inner = &mut self.inner;
        World::here().unreliable(&self.name, "commit offsets", || inner.commit(offsets))
    }

    fn group(&self) -> GroupMetadata {
        self.inner.group()
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.inner.waker()
    }
}

struct SimulatedProducer {
    inner: Box<dyn Producer>,
    name: String,
}

impl Producer for SimulatedProducer {
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle> {
        self.inner.open(to)
    }

    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
        World::here().pause_here(&self.name, "send");
        self.inner.send(to, record)
    }

    fn flush(&mut self) -> Result<()> {
        let inner = &mut self.inner;
        World::here().unreliable(&self.name, "flush", || inner.flush())
    }

    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        self.inner.acknowledged(partition)
    }

    fn init_transactions(&mut self) -> Result<()> {
        World::here().pause_here(&self.name, "init transactions");
        self.inner.init_transactions()?;
        World::here().decided(&self.name);
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.inner.begin()
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, CommittedOffset)], group: &GroupMetadata) -> Result<()> {
        let world = World::here();
        for (partition, offset) in offsets {
            world.note(format_args!("{} has consumed {partition} to {}", self.name, offset.offset));
        }
        let inner = &mut self.inner;
        let sent = world.unreliable(&self.name, "send offsets", || {
            world.undecided(&self.name);
            inner.send_offsets(offsets, group)
        });
        world.pause_here(&self.name, "before the commit");
        sent
    }

    fn commit(&mut self) -> Result<()> {
        let (world, name, inner) = (World::here(), &self.name, &mut self.inner);
        world.unreliable(name, "commit", || {
            inner.commit()?;
            world.decided(name);
            Ok(())
        })
    }

    fn abort(&mut self) -> Result<()> {
        World::here().pause_here(&self.name, "abort");
        self.inner.abort()?;
        World::here().decided(&self.name);
        Ok(())
    }
}
