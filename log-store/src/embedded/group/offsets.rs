//! Committed offsets in memory, as the records of `__consumer_offsets` say.
//!
//! Of several commits of one partition the one with the later record counts, whenever its transaction ends: that is what
//! a reader of the topic finds, too.

use std::collections::{BTreeMap, HashMap};

use super::record::OffsetKey;
use crate::{Offset, TopicPartition, batch::MarkerKind, client::CommittedOffset};

/// A commit, or a deletion, and where its record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None` is a deletion.
    pub(crate) committed: Option<CommittedOffset>,
    pub(crate) at: Offset,
}

/// The committed offsets of all groups.
#[derive(Debug, Default)]
pub(crate) struct CommittedOffsets {
    groups: BTreeMap<String, BTreeMap<TopicPartition, Entry>>,
    /// Commits in open transactions, by producer.
    pending: HashMap<i64, Vec<(OffsetKey, Entry)>>,
}

impl CommittedOffsets {
    /// Takes in a record that counts.
    pub(crate) fn apply(&mut self, key: OffsetKey, entry: Entry) {
        let offsets = self.groups.entry(key.group).or_default();
        match offsets.get(&key.partition) {
            Some(known) if known.at > entry.at => {}
            _ => _ = offsets.insert(key.partition, entry),
        }
    }

    /// Takes in a record of an open transaction.
    pub(crate) fn hold(&mut self, producer_id: i64, key: OffsetKey, entry: Entry) {
        self.pending.entry(producer_id).or_default().push((key, entry));
    }

    /// The transaction of a producer has ended. True if it had commits in it.
    pub(crate) fn end(&mut self, producer_id: i64, kind: MarkerKind) -> bool {
        let Some(held) = self.pending.remove(&producer_id) else { return false };
        if kind == MarkerKind::Commit {
            for (key, entry) in held {
                self.apply(key, entry);
            }
        }
        true
    }

    /// The committed offset of a partition.
    pub(crate) fn get(&self, group: &str, partition: &TopicPartition) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(partition)?.committed.as_ref()
    }

    /// True if an open transaction is about to decide one of these.
    pub(crate) fn is_undecided(&self, group: &str, partitions: &[TopicPartition]) -> bool {
        let concerns = |key: &OffsetKey| key.group == group && partitions.contains(&key.partition);
        self.pending.values().flatten().any(|(key, _)| concerns(key))
    }

    /// All committed offsets of a group.
    pub(crate) fn of_group<'a>(
        &'a self,
        group: &str,
    ) -> impl Iterator<Item = (&'a TopicPartition, &'a CommittedOffset)> + use<'a> {
        let entries = self.groups.get(group).into_iter().flatten();
        entries.filter_map(|(partition, entry)| Some((partition, entry.committed.as_ref()?)))
    }

    /// Every committed offset of a topic, in any group.
    pub(crate) fn keys(&self) -> impl Iterator<Item = OffsetKey> + '_ {
        self.groups.iter().flat_map(|(group, offsets)| {
            offsets
                .iter()
                .filter(|(_, entry)| entry.committed.is_some())
                .map(|(partition, _)| OffsetKey { group: group.clone(), partition: partition.clone() })
        })
    }

    /// Groups with a committed offset, sorted.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &str> {
        let has_some = |offsets: &BTreeMap<_, Entry>| offsets.values().any(|entry| entry.committed.is_some());
        self.groups.iter().filter(move |(_, offsets)| has_some(offsets)).map(|(group, _)| group.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicName;

    fn key() -> OffsetKey {
        let partition = TopicPartition::new(TopicName::new("t").unwrap(), 0);
        OffsetKey { group: "g".to_owned(), partition }
    }

    fn entry(offset: u64, at: u64) -> Entry {
        let committed = CommittedOffset { offset: Offset::new(offset), metadata: String::new() };
        Entry { committed: Some(committed), at: Offset::new(at) }
    }

    fn get(offsets: &CommittedOffsets) -> Option<u64> {
        offsets.get("g", &key().partition).map(|committed| committed.offset.value())
    }

    #[test]
    fn a_commit_in_a_transaction_counts_when_that_is_committed() {
        let mut offsets = CommittedOffsets::default();
        offsets.hold(1, key(), entry(5, 0));
        offsets.hold(2, key(), entry(7, 1));
        assert_eq!(get(&offsets), None);
        assert!(offsets.is_undecided("g", &[key().partition]));
        assert!(!offsets.is_undecided("other", &[key().partition]));
        assert!(offsets.end(2, MarkerKind::Abort));
        assert_eq!(get(&offsets), None);
        assert!(offsets.end(1, MarkerKind::Commit));
        assert_eq!(get(&offsets), Some(5));
        assert!(!offsets.is_undecided("g", &[key().partition]));
        assert!(!offsets.end(1, MarkerKind::Commit), "it ends once");
    }

    #[test]
    fn the_later_record_counts_whenever_its_transaction_ends() {
        let mut offsets = CommittedOffsets::default();
        offsets.hold(1, key(), entry(5, 0));
        offsets.apply(key(), entry(7, 1));
        offsets.end(1, MarkerKind::Commit);
        assert_eq!(get(&offsets), Some(7));
    }

    #[test]
    fn what_is_deleted_is_gone() {
        let mut offsets = CommittedOffsets::default();
        offsets.apply(key(), entry(5, 0));
        assert_eq!(offsets.groups().collect::<Vec<_>>(), ["g"]);
        offsets.apply(key(), Entry { committed: None, at: Offset::new(1) });
        assert_eq!(get(&offsets), None);
        assert_eq!(offsets.groups().count() + offsets.of_group("g").count() + offsets.keys().count(), 0);
    }
}
