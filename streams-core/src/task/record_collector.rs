//! The output side of a task: which partition, which handle, and the producer that is lent while the task runs.

use std::{collections::HashMap, sync::Arc};

use log_store::{
    HeadersView, Offset, RecordView, TopicName, TopicPartition,
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer},
};

use crate::{
    error::{Error, Result},
    partitioner::partition_of,
    state::ChangelogSink,
};

/// Answers how many partitions a topic has; `None` if it does not exist.
pub(crate) type PartitionCounts = Arc<dyn Fn(&str) -> Result<Option<(TopicName, u32)>> + Send + Sync>;

/// An output topic of the task, looked up once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(u32);

struct Target {
    topic: TopicName,
    /// One for each partition, opened at first use.
    handles: Vec<Option<PartitionHandle>>,
    /// Where records without a key go until [`KEYLESS_RUN`] of them have gone there.
    keyless_partition: u32,
    keyless_left: u32,
}

/// Records without a key stay on one partition for this long, so that batches fill (Kafka's sticky partitioning counts
/// bytes; the effect is the same).
const KEYLESS_RUN: u32 = 1_000;

/// Sends what the nodes of one task produce.
pub(crate) struct RecordCollector {
    producer: Box<dyn Producer>,
    counts: PartitionCounts,
    targets: Vec<Target>,
    by_name: HashMap<String, Route>,
    /// Changelogs of the task's stores, by store; `None` for a store without.
    changelogs: Vec<Option<Changelog>>,
}

struct Changelog {
    partition: TopicPartition,
    handle: Option<PartitionHandle>,
}

impl RecordCollector {
    /// `changelogs` has one entry for each store of the task.
    pub(crate) fn new(counts: PartitionCounts, changelogs: Vec<Option<TopicPartition>>) -> Self {
        let changelogs =
            changelogs.into_iter().map(|log| log.map(|partition| Changelog { partition, handle: None })).collect();
        RecordCollector {
            producer: Box::new(NoProducer),
            counts,
            targets: Vec::new(),
            by_name: HashMap::new(),
            changelogs,
        }
    }

    /// Exchanges the producer: lends the thread's to the task, or gives it back.
    pub(crate) fn swap_producer(&mut self, producer: &mut Box<dyn Producer>) {
        std::mem::swap(&mut self.producer, producer);
    }

    /// The route to `topic`.
    pub(crate) fn route(&mut self, topic: &str) -> Result<Route> {
        if let Some(route) = self.by_name.get(topic) {
            return Ok(*route);
        }
        let found = (self.counts)(topic)?.filter(|(_, count)| *count > 0);
        let (name, count) = found.ok_or_else(|| log_store::Error::UnknownTopic { name: topic.to_owned() })?;
        let route = Route(u32::try_from(self.targets.len()).expect("fewer than 4 billion topics"));
        let handles = vec![None; count as usize];
        self.targets.push(Target { topic: name, handles, keyless_partition: 0, keyless_left: KEYLESS_RUN });
        self.by_name.insert(topic.to_owned(), route);
        Ok(route)
    }

    /// Number of partitions behind `route`.
    #[inline]
    pub(crate) fn partitions(&self, route: Route) -> u32 {
        self.targets[route.0 as usize].handles.len() as u32
    }

    /// The topic behind `route`.
    pub(crate) fn topic(&self, route: Route) -> &str {
        self.targets[route.0 as usize].topic.as_str()
    }

    /// Partition of a record with this key when nothing else decides it.
    #[inline]
    pub(crate) fn default_partition(&mut self, route: Route, key: Option<&[u8]>) -> u32 {
        let target = &mut self.targets[route.0 as usize];
        let count = target.handles.len() as u32;
        match key {
            _ if count == 1 => 0,
            Some(key) => partition_of(key, count),
            None => {
                if target.keyless_left == 0 {
                    target.keyless_partition = (target.keyless_partition + 1) % count;
                    target.keyless_left = KEYLESS_RUN;
                }
                target.keyless_left -= 1;
                target.keyless_partition
            }
        }
    }

    /// Sends one record.
    #[inline]
    pub(crate) fn send(&mut self, route: Route, partition: u32, record: RecordView<'_>) -> Result<()> {
        let target = &mut self.targets[route.0 as usize];
        let Some(slot) = target.handles.get_mut(partition as usize) else {
            return Err(Error::Production {
                topic: target.topic.to_string(),
                node: String::new(),
                reason: format!("partition {partition} does not exist: the topic has {}", target.handles.len()),
            });
        };
        let handle = match *slot {
            Some(handle) => handle,
            None => *slot.insert(self.producer.open(&TopicPartition::new(target.topic.clone(), partition))?),
        };
        Ok(self.producer.send(handle, record)?)
    }

    /// Where store `index` logs its changes; `None` for a store without a changelog.
    pub(crate) fn changelog(&mut self, index: usize) -> Result<Option<ChangelogWriter<'_>>> {
        let Some(changelog) = &mut self.changelogs[index] else { return Ok(None) };
        let handle = match changelog.handle {
            Some(handle) => handle,
            None => *changelog.handle.insert(self.producer.open(&changelog.partition)?),
        };
        Ok(Some(ChangelogWriter { producer: &mut *self.producer, handle }))
    }

    /// The offset after the last acknowledged record of store `index`'s changelog, if anything was logged.
    pub(crate) fn changelog_end(&self, index: usize) -> Option<Offset> {
        let handle = self.changelogs[index].as_ref()?.handle?;
        self.producer.acknowledged(handle)
    }
}

/// Writes one store's changes to its changelog partition.
pub(crate) struct ChangelogWriter<'a> {
    producer: &'a mut dyn Producer,
    handle: PartitionHandle,
}

impl ChangelogSink for ChangelogWriter<'_> {
    #[inline]
    fn log(&mut self, key: &[u8], value: Option<&[u8]>, timestamp: i64, headers: HeadersView<'_>) -> Result<()> {
        let sent = self.producer.send(self.handle, RecordView { timestamp, key: Some(key), value, headers });
        sent.map_err(|error| refused_change(error, key))
    }
}

/// A change that the changelog cannot take is a value that is too large: whoever mends it must know whose.
#[cold]
fn refused_change(error: log_store::Error, key: &[u8]) -> Error {
    /// Bytes of a key that are shown.
    const SHOWN: usize = 200;
    match error {
        log_store::Error::Invalid(reason) => {
            let shown = key[..key.len().min(SHOWN)].escape_ascii();
            Error::Log(log_store::Error::Invalid(format!(
                "the changelog refuses the state of key \"{shown}\": {reason}"
            )))
        }
        other => other.into(),
    }
}

/// Stands in while no producer is lent: a task produces only while its thread runs it.
struct NoProducer;

impl NoProducer {
    fn refuse<T>() -> log_store::Result<T> {
        Err(log_store::Error::Invalid("a task produced outside its thread's turn".into()))
    }
}

impl Producer for NoProducer {
    fn open(&mut self, _: &TopicPartition) -> log_store::Result<PartitionHandle> {
        Self::refuse()
    }
    fn send(&mut self, _: PartitionHandle, _: RecordView<'_>) -> log_store::Result<()> {
        Self::refuse()
    }
    fn flush(&mut self) -> log_store::Result<()> {
        Self::refuse()
    }
    fn acknowledged(&self, _: PartitionHandle) -> Option<Offset> {
        None
    }
    fn init_transactions(&mut self) -> log_store::Result<()> {
        Self::refuse()
    }
    fn begin(&mut self) -> log_store::Result<()> {
        Self::refuse()
    }
    fn send_offsets(&mut self, _: &[(TopicPartition, CommittedOffset)], _: &GroupMetadata) -> log_store::Result<()> {
        Self::refuse()
    }
    fn commit(&mut self) -> log_store::Result<()> {
        Self::refuse()
    }
    fn abort(&mut self) -> log_store::Result<()> {
        Self::refuse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_30_a_change_that_the_changelog_refuses_is_named_by_its_key() {
        let mut writer = ChangelogWriter { producer: &mut NoProducer, handle: PartitionHandle(0) };
        let refused = writer.log(b"alice\xff", Some(b"much"), 1, HeadersView::EMPTY).unwrap_err().to_string();
        assert!(refused.contains(r#"key "alice\xff""#) && refused.contains("outside its thread"), "{refused}");
    }
}
