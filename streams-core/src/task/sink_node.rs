//! The exit of a topology: a typed record becomes bytes, with a topic and a partition.

use std::{any::Any, sync::Arc};

use log_store::{HeadersView, RecordView};

use super::record_collector::Route;
use crate::{
    Record,
    partitioner::{Partitions, StreamPartitioner},
    processor::{
        ProcessResult, Punctuation, RecordMetadata,
        erased::{ErasedProcessor, Position, take},
    },
    serde::{Encoded, SharedSerde},
};

/// Chooses the topic of each record (Kafka's `TopicNameExtractor`).
pub(crate) type TopicExtractor<K, V> = Arc<dyn Fn(&Record<K, V>, Option<&RecordMetadata>) -> String + Send + Sync>;

/// Where a sink writes.
pub(crate) enum SinkTarget<K, V> {
    /// One topic, under its full name.
    Topic(String),
    /// A topic for each record.
    Dynamic(TopicExtractor<K, V>),
}

/// A sink of records of `K` and `V`.
pub(crate) struct SinkNode<K, V> {
    target: SinkTarget<K, V>,
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    /// Route of the one topic, or of the topic of the last record.
    route: Option<Route>,
    key_bytes: Vec<u8>,
    value_bytes: Vec<u8>,
}

impl<K: 'static, V: 'static> SinkNode<K, V> {
    pub(crate) fn new(
        target: SinkTarget<K, V>,
        key: SharedSerde<K>,
        value: SharedSerde<V>,
        partitioner: Option<Arc<dyn StreamPartitioner<K, V>>>,
    ) -> Self {
        SinkNode { target, key, value, partitioner, route: None, key_bytes: Vec::new(), value_bytes: Vec::new() }
    }

    /// The route of this record's topic.
    #[inline]
    fn route_for(&mut self, record: &Record<K, V>, at: &mut Position<'_>) -> ProcessResult<Route> {
        match (&self.target, self.route) {
            (SinkTarget::Topic(_), Some(route)) => Ok(route),
            (SinkTarget::Topic(topic), None) => {
                let route = at.task.collector().route(topic)?;
                self.route = Some(route);
                Ok(route)
            }
            (SinkTarget::Dynamic(choose), _) => {
                let topic = choose(record, at.task.record_metadata().as_ref());
                Ok(at.task.collector().route(&topic)?)
            }
        }
    }

    fn send(&mut self, record: &Record<K, V>, at: &mut Position<'_>) -> ProcessResult {
        let route = self.route_for(record, at)?;
        self.key_bytes.clear();
        self.value_bytes.clear();
        let key = self.key.serialize(&record.key, &mut self.key_bytes);
        let key = at.task.check_serialized(key, route, "key")?;
        let value = self.value.serialize(&record.value, &mut self.value_bytes);
        let value = at.task.check_serialized(value, route, "value")?;
        let (Some(key), Some(value)) = (key, value) else { return Ok(()) };
        let view = RecordView {
            timestamp: record.timestamp,
            key: (key == Encoded::Bytes).then_some(&self.key_bytes[..]),
            value: (value == Encoded::Bytes).then_some(&self.value_bytes[..]),
            headers: HeadersView::from(&record.headers),
        };
        let collector = at.task.collector();
        let chosen = self.partitioner.as_ref().map(|partitioner| {
            let count = collector.partitions(route);
            partitioner.partitions(collector.topic(route), &record.key, &record.value, count)
        });
        match chosen {
            None | Some(Partitions::Default) => {
                let decides = view.key.map(|key| self.key.partition_bytes(key));
                let partition = collector.default_partition(route, decides);
                let sent = collector.send(route, partition, view);
                at.task.check_sent(sent, route)
            }
            Some(Partitions::To(partitions)) if partitions.is_empty() => {
                at.task.drop_record("the partitioner chose no partition");
                Ok(())
            }
            Some(Partitions::To(partitions)) => partitions.into_iter().try_for_each(|partition| {
                let sent = at.task.collector().send(route, partition, view);
                at.task.check_sent(sent, route)
            }),
        }
    }
}

impl<K: 'static, V: 'static> ErasedProcessor for SinkNode<K, V> {
    fn init(&mut self, _at: Position<'_>) -> ProcessResult {
        // Routes belong to the task's collector; a sink that serves a new task starts without one.
        self.route = None;
        Ok(())
    }

    #[inline]
    fn process(&mut self, slot: &mut dyn Any, mut at: Position<'_>) -> ProcessResult {
        self.send(&take(slot), &mut at)
    }

    fn punctuate(&mut self, _: Punctuation, _: i64, _: Position<'_>) -> ProcessResult {
        Ok(())
    }

    fn flush(&mut self, _: Position<'_>) -> ProcessResult {
        Ok(())
    }

    fn close(&mut self) {}
}
