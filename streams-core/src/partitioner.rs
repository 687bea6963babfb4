//! Which partition a record goes to: as its sink says, else by [`partition_of`] its serialised key.

pub use log_store::{murmur2, partition_of};
use smallvec::SmallVec;

/// Chooses partitions for the records of a sink, by their typed key and value.
pub trait StreamPartitioner<K, V>: Send + Sync {
    /// Partitions for a record going to `topic`, which has `partitions` of them.
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: u32) -> Partitions;
}

impl<K, V, F> StreamPartitioner<K, V> for F
where
    F: Fn(&str, &K, &V, u32) -> Partitions + Send + Sync,
{
    fn partitions(&self, topic: &str, key: &K, value: &V, partitions: u32) -> Partitions {
        self(topic, key, value, partitions)
    }
}

/// A partitioner's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitions {
    /// As without a partitioner: by the hash of the serialised key.
    Default,
    /// To each of these. None at all drops the record.
    To(SmallVec<[u32; 2]>),
}

impl Partitions {
    /// To one partition.
    #[must_use]
    pub fn one(partition: u32) -> Self {
        Partitions::To(SmallVec::from_slice(&[partition]))
    }
}
