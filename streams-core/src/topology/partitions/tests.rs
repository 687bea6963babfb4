//! Partition counts, told as sub-topologies in, counts or complaints out.

use std::collections::BTreeMap;

use log_store::TopicName;

use super::Counts;
use crate::topology::topics::{InternalTopicKind, InternalTopicPlan, PartTopics, TopicPlan};

fn name(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn counts(list: &[(&str, u32)]) -> Counts {
    list.iter().map(|(topic, count)| (name(topic), *count)).collect()
}

/// Each part is `sources > sinks` with `store!` for a changelog. Sources in `own` are repartition topics, with the count
/// that is fixed for them or 0.
fn plan(parts: &[&str], own: &[(&str, u32)], together: &[&[&str]]) -> TopicPlan {
    let parts = parts.iter().map(|part| {
        let (sources, sinks) = part.split_once('>').unwrap();
        let mut topics = PartTopics::default();
        for source in sources.split_whitespace() {
            topics.sources.insert(name(source));
            if let Some((_, fixed)) = own.iter().find(|(known, _)| *known == source) {
                let partitions = (*fixed > 0).then_some(*fixed);
                topics.internal.insert(name(source), internal(InternalTopicKind::Repartition, partitions));
            }
        }
        for sink in sinks.split_whitespace() {
            match sink.strip_suffix('!') {
                Some(store) => {
                    topics.internal.insert(name(store), internal(InternalTopicKind::Changelog, None));
                }
                None => {
                    topics.sinks.insert(name(sink));
                }
            }
        }
        topics
    });
    let copartitioned = together.iter().map(|group| group.iter().map(|topic| name(topic)).collect());
    TopicPlan { parts: parts.collect(), copartitioned: copartitioned.collect() }
}

fn internal(kind: InternalTopicKind, partitions: Option<u32>) -> InternalTopicPlan {
    InternalTopicPlan { kind, partitions, is_source: false, settings: BTreeMap::new() }
}

const EXISTING: &[(&str, u32)] = &[("a", 2), ("b", 3), ("c", 3)];

fn check(plan: &TopicPlan, expected: &[(&str, u32)]) {
    assert_eq!(plan.partition_counts(&counts(EXISTING)).unwrap(), counts(expected));
}

fn check_refused(plan: &TopicPlan, texts: &[&str]) {
    let error = plan.partition_counts(&counts(EXISTING)).expect_err("refused").to_string();
    for text in texts {
        assert!(error.contains(text), "{text:?} is not in {error:?}");
    }
}

#[test]
fn a_repartition_topic_is_as_wide_as_the_widest_that_feeds_it() {
    check(&plan(&["a > r", "b > r", "r > s!"], &[("r", 0)], &[]), &[("r", 3), ("s", 3)]);
}

#[test]
fn counts_travel_down_a_chain_in_any_order() {
    check(&plan(&["q > out", "r > q", "a > r"], &[("q", 0), ("r", 0)], &[]), &[("q", 2), ("r", 2)]);
}

#[test]
fn a_fixed_count_stays_and_is_inherited() {
    check(&plan(&["a > r", "r > q x!", "q > out"], &[("r", 7), ("q", 0)], &[]), &[("r", 7), ("q", 7), ("x", 7)]);
}

#[test]
fn a_loop_takes_what_enters_it() {
    check(&plan(&["a r > r"], &[("r", 0)], &[]), &[("r", 2)]);
}

#[test]
fn a_count_that_follows_from_nothing_is_refused() {
    check_refused(&plan(&["r > q", "q > r"], &[("r", 0), ("q", 0)], &[]), &["partitions of q", "partitions of r"]);
}

#[test]
fn a_repartition_topic_is_as_wide_as_the_topic_it_is_joined_with() {
    check(&plan(&["a > r", "r b > out s!"], &[("r", 0)], &[&["r", "b"]]), &[("r", 3), ("s", 3)]);
}

#[test]
fn joined_repartition_topics_are_as_wide_as_the_widest() {
    let own = [("r", 0), ("q", 0)];
    check(&plan(&["a > r", "b > q", "r q > out"], &own, &[&["r", "q"]]), &[("r", 3), ("q", 3)]);
    let own = [("r", 0), ("q", 1)];
    check(&plan(&["a > r", "b > q", "r q > out"], &own, &[&["r", "q"]]), &[("r", 1), ("q", 1)]);
}

#[test]
fn topics_that_differ_are_named() {
    check_refused(&plan(&["a b > out"], &[], &[&["a", "b"]]), &["a has 2", "b has 3", "read together"]);
    check_refused(&plan(&["b > r", "r b > out"], &[("r", 5)], &[&["r", "b"]]), &["b has 3", "r has 5"]);
    let own = [("r", 5), ("q", 6)];
    check_refused(&plan(&["a > r q", "r q > out"], &own, &[&["r", "q"]]), &["q has 6", "r has 5"]);
}

#[test]
fn all_missing_topics_are_named() {
    check_refused(
        &plan(&["a x > out", "y > out"], &[], &[]),
        &["topic x of sub-topology 0", "topic y of sub-topology 1"],
    );
}
