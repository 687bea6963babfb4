//! Which topics must have the same number of partitions, from the groups that a topology declares.
//!
//! Each declared group lists topics that are read together; groups that share a topic belong together.

use std::collections::{BTreeMap, BTreeSet};

use log_store::TopicName;

use super::java_order::hash_set_order;

/// Groups of topics, each in the order in which its sources name them.
pub(crate) type Declared = Vec<Vec<TopicName>>;

/// The groups with all that follows from them: no two share a topic. What counts when partitions are counted.
pub(crate) fn closed(declared: &[Vec<TopicName>]) -> Vec<BTreeSet<TopicName>> {
    let mut groups: Vec<BTreeSet<TopicName>> = Vec::new();
    for topics in declared {
        let mut group: BTreeSet<TopicName> = topics.iter().cloned().collect();
        let (touching, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|other| !other.is_disjoint(&group));
        group.extend(touching.into_iter().flatten());
        groups = apart;
        groups.push(group);
    }
    groups
}

/// The groups as Kafka Streams tells them: each declared one joins a single earlier one that it shares a topic with, the
/// first that Java's `HashSet` comes to. Two of them may share topics then, which [`closed`] would make one.
pub(crate) fn as_kafka_groups(declared: &[Vec<TopicName>]) -> BTreeSet<BTreeSet<TopicName>> {
    let mut groups: Vec<BTreeSet<TopicName>> = Vec::new();
    let mut group_of: BTreeMap<&TopicName, usize> = BTreeMap::new();
    for topics in declared {
        let names: Vec<&str> = topics.iter().map(TopicName::as_str).collect();
        let known = hash_set_order(&names).into_iter().find_map(|topic| group_of.get(&topics[topic]).copied());
        let group = known.unwrap_or(groups.len());
        if group == groups.len() {
            groups.push(BTreeSet::new());
        }
        groups[group].extend(topics.iter().cloned());
        group_of.extend(topics.iter().map(|topic| (topic, group)));
    }
    group_of.into_values().map(|group| groups[group].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Topics are letters; a group is a word.
    fn declared(words: &str) -> Declared {
        let topics = |word: &str| word.chars().map(|letter| TopicName::new(letter.to_string()).unwrap()).collect();
        words.split(' ').map(topics).collect()
    }

    fn told(groups: impl IntoIterator<Item = BTreeSet<TopicName>>) -> Vec<String> {
        groups.into_iter().map(|group| group.iter().map(TopicName::as_str).collect()).collect()
    }

    #[test]
    fn groups_that_share_a_topic_are_one() {
        assert_eq!(told(closed(&declared("ab cd bc e"))), ["abcd", "e"]);
    }

    #[test]
    fn kafka_puts_a_group_to_one_of_those_that_it_touches() {
        // `c` comes before `d` in a hash set, so the last group joins the first one, and the second keeps its own.
        assert_eq!(told(as_kafka_groups(&declared("ac bd cd"))), ["acd", "bd"]);
        assert_eq!(told(as_kafka_groups(&declared("ab b"))), ["ab"]);
        assert!(as_kafka_groups(&[Vec::new()]).is_empty());
    }
}
