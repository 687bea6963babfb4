//! Which partition a record goes to that names none.

use std::{collections::HashMap, time::SystemTime};

use parking_lot::Mutex;

use super::ProducerRecord;
use crate::{TopicName, partition_of};

/// Chooses partitions. Called by every thread that sends, for records that name no partition.
pub trait Partitioner: Send + Sync {
    /// A partition below `partitions`, which is at least 1.
    fn partition(&self, record: &ProducerRecord, partitions: u32) -> u32;
}

/// Kafka's own choice: the hash of the key; records without one stay in a partition until a batch of them is full, and
/// then go on in another one. So batches are large although no key holds them together.
#[derive(Debug)]
pub struct StickyPartitioner {
    batch_bytes: usize,
    topics: Mutex<HashMap<TopicName, Sticky>>,
}

#[derive(Debug)]
struct Sticky {
    partition: u32,
    bytes: usize,
    random: u64,
}

impl StickyPartitioner {
    /// Goes on to another partition after so many bytes, about.
    #[must_use]
    pub fn new(batch_bytes: usize) -> Self {
        StickyPartitioner { batch_bytes, topics: Mutex::default() }
    }

    fn stick(&self, record: &ProducerRecord, partitions: u32) -> u32 {
        let mut topics = self.topics.lock();
        let sticky = match topics.get_mut(&record.topic) {
            Some(sticky) => sticky,
            None => {
                // Producers that start together should not begin with the same partition.
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                let mut sticky = Sticky { partition: 0, bytes: 0, random: u64::from(now.subsec_nanos()) };
                sticky.go_on(partitions);
                topics.entry(record.topic.clone()).or_insert(sticky)
            }
        };
        if sticky.bytes >= self.batch_bytes {
            sticky.go_on(partitions);
        }
        sticky.bytes += record.len_bytes();
        sticky.partition
    }
}

impl Sticky {
    /// To another partition, if there is another.
    fn go_on(&mut self, partitions: u32) {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let steps = (self.random >> 33) as u32 % partitions.saturating_sub(1).max(1);
        self.partition = (self.partition + 1 + steps) % partitions;
        self.bytes = 0;
    }
}

impl Partitioner for StickyPartitioner {
    fn partition(&self, record: &ProducerRecord, partitions: u32) -> u32 {
        match &record.key {
            Some(key) => partition_of(key, partitions),
            None => self.stick(record, partitions),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: Option<&'static str>) -> ProducerRecord {
        let record = ProducerRecord::new(TopicName::new("t").unwrap(), vec![0; 100]);
        key.into_iter().fold(record, ProducerRecord::with_key)
    }

    #[test]
    fn a_key_decides() {
        let partitioner = StickyPartitioner::new(1_000);
        for key in ["a", "b", "c"] {
            for _ in 0..50 {
                assert_eq!(partitioner.partition(&record(Some(key)), 8), partition_of(key.as_bytes(), 8));
            }
        }
    }

    #[test]
    fn without_a_key_whole_batches_go_to_all_partitions_in_turn() {
        let partitioner = StickyPartitioner::new(10 * record(None).len_bytes());
        let chosen: Vec<u32> = (0..5_000).map(|_| partitioner.partition(&record(None), 4)).collect();
        let runs: Vec<&[u32]> = chosen.chunk_by(|a, b| a == b).collect();
        assert!(runs.iter().all(|run| run.len() == 10), "a batch stays together, and the next one goes elsewhere");
        for partition in 0..4 {
            let count = chosen.iter().filter(|one| **one == partition).count();
            assert!((800..1_800).contains(&count), "{count} of 5000 records in partition {partition}");
        }
    }

    #[test]
    fn one_partition_is_enough() {
        let partitioner = StickyPartitioner::new(0);
        assert!((0..10).all(|_| partitioner.partition(&record(None), 1) == 0));
    }
}
