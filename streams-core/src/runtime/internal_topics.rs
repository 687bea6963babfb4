//! The application's own topics on the log: created when they are missing, checked when they are there.

use std::collections::{BTreeMap, BTreeSet};

use log_store::{
    TopicName,
    client::{Admin, NewTopic},
};

use crate::{
    Error, Result,
    topology::{
        Topology,
        topics::{InternalTopicKind, PartTopics, TopicPlan, TopicSettings},
    },
};

/// Makes all internal topics ready; answers with the partition counts of all topics that are read.
///
/// # Errors
///
/// [`Error::Topology`] if the topology reads nothing; else it names every source topic that is missing, all topics that should have equally many partitions and
/// have not, and internal topics that exist with another number.
pub(crate) fn prepare(
    topology: &Topology,
    settings: &TopicSettings<'_>,
    admin: &mut dyn Admin,
) -> Result<BTreeMap<TopicName, u32>> {
    if topology.sources().next().is_none() {
        let problem = "nothing is read: add a source with at least one topic, or a global store";
        return Err(Error::Topology(vec![problem.to_owned()]));
    }
    let all = if topology.has_patterns() { admin.list_topics()? } else { Vec::new() };
    let plan = TopicPlan::of(topology, settings, all.iter())?;
    let used: BTreeSet<&TopicName> =
        plan.parts.iter().flat_map(|part| part.sources.iter().chain(part.internal.keys())).collect();
    let mut existing = BTreeMap::new();
    for topic in used {
        if let Some(found) = admin.describe_topic(topic)? {
            existing.insert(topic.clone(), found.partitions);
        }
    }
    let counts = plan.partition_counts(&existing)?;
    // A topic that serves as changelog has no count: it exists already.
    let internal = plan.parts.iter().flat_map(|part| &part.internal);
    let internal = internal.filter_map(|(name, topic)| Some((name, topic, *counts.get(name)?)));
    let mut problems = Vec::new();
    for (name, topic, needed) in internal.clone() {
        if let Some(found) = existing.get(name).filter(|found| **found != needed) {
            problems.push(different(name, topic.kind, needed, *found));
        }
    }
    // Nothing is created for an application that cannot start.
    refuse(problems)?;
    for (name, topic, needed) in internal {
        if !existing.contains_key(name)
            && let Some(found) = create(admin, name, needed, &topic.settings)?
            && found != needed
        {
            refuse(vec![different(name, topic.kind, needed, found)])?;
        }
        existing.insert(name.clone(), needed);
    }
    Ok(read_topics(&plan.parts, existing))
}

fn refuse(problems: Vec<String>) -> Result<()> {
    if problems.is_empty() { Ok(()) } else { Err(Error::Topology(problems)) }
}

fn different(name: &TopicName, kind: InternalTopicKind, needed: u32, found: u32) -> String {
    let way_out = match kind {
        InternalTopicKind::Repartition => {
            "delete it when all its records are processed, or go back to the former number"
        }
        _ => "the number of input partitions has changed; reset the application, or give it another id",
    };
    format!("internal topic {name} has {found} partitions, and the topology needs {needed}: {way_out}")
}

/// Creates a topic. `Some`: another instance was faster, and it has this many partitions.
fn create(
    admin: &mut dyn Admin,
    name: &TopicName,
    partitions: u32,
    settings: &BTreeMap<String, String>,
) -> Result<Option<u32>> {
    let topic = NewTopic { name: name.clone(), partitions, config: settings.clone() };
    match admin.create_topics(&[topic]) {
        Ok(()) => {
            tracing::info!(topic = %name, partitions, "created an internal topic");
            Ok(None)
        }
        Err(log_store::Error::TopicExists { .. }) => Ok(admin.describe_topic(name)?.map(|found| found.partitions)),
        Err(error) => Err(error.into()),
    }
}

fn read_topics(parts: &[PartTopics], mut counts: BTreeMap<TopicName, u32>) -> BTreeMap<TopicName, u32> {
    counts.retain(|name, _| parts.iter().any(|part| part.sources.contains(name)));
    counts
}

#[cfg(test)]
mod tests {
    use log_store::{
        Offset, Result as LogResult, TopicPartition,
        client::{CommittedOffset, OffsetSpec, TopicDescription},
    };

    use super::*;
    use crate::{
        StreamsConfig,
        topology::{Sink, Source, TopicPattern},
    };

    /// Topics with their partitions and settings, and nothing else.
    #[derive(Default)]
    struct Topics(BTreeMap<TopicName, NewTopic>);

    impl Topics {
        fn with(topics: &[(&str, u32)]) -> Self {
            let topics = topics.iter().map(|(topic, partitions)| NewTopic::new(name(topic), *partitions));
            Topics(topics.map(|topic| (topic.name.clone(), topic)).collect())
        }

        fn list(&self) -> Vec<String> {
            self.0.values().map(|topic| format!("{} {}", topic.name, topic.partitions)).collect()
        }
    }

    impl Admin for Topics {
        fn create_topics(&mut self, topics: &[NewTopic]) -> LogResult<()> {
            for topic in topics {
                if self.0.contains_key(&topic.name) {
                    return Err(log_store::Error::TopicExists { name: topic.name.to_string() });
                }
                self.0.insert(topic.name.clone(), topic.clone());
            }
            Ok(())
        }

        fn list_topics(&mut self) -> LogResult<Vec<TopicName>> {
            Ok(self.0.keys().cloned().collect())
        }

        fn describe_topic(&mut self, topic: &TopicName) -> LogResult<Option<TopicDescription>> {
            Ok(self.0.get(topic).map(|topic| TopicDescription {
                name: topic.name.clone(),
                topic_id: [0; 16],
                partitions: topic.partitions,
                config: topic.config.clone(),
            }))
        }

        fn delete_topics(&mut self, _: &[TopicName]) -> LogResult<()> {
            unreachable!()
        }

        fn list_offset(&mut self, _: &TopicPartition, _: OffsetSpec) -> LogResult<Option<Offset>> {
            unreachable!()
        }

        fn delete_records(&mut self, _: &[(TopicPartition, Offset)]) -> LogResult<()> {
            unreachable!()
        }

        fn group_offsets(&mut self, _: &str) -> LogResult<Vec<(TopicPartition, CommittedOffset)>> {
            unreachable!()
        }

        fn alter_group_offsets(&mut self, _: &str, _: &[(TopicPartition, CommittedOffset)]) -> LogResult<()> {
            unreachable!()
        }

        fn delete_group(&mut self, _: &str) -> LogResult<()> {
            unreachable!()
        }
    }

    fn name(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    /// `in` and whatever begins with `more-` go through a repartition topic.
    fn topology() -> Topology {
        let mut topology = Topology::new();
        topology
            .add_internal_topic("x-repartition", None)
            .add_source(Source::<String, String>::new("in", "in"))
            .add_source(Source::<String, String>::new("more", TopicPattern::new("more-.*").unwrap()))
            .add_sink(Sink::<String, String>::new("to-x", "x-repartition"), &["in", "more"])
            .add_source(Source::<String, String>::new("x", "x-repartition"));
        topology
    }

    fn prepare_on(topology: &Topology, topics: &mut Topics) -> Result<BTreeMap<TopicName, u32>> {
        let config = StreamsConfig::builder("app").state_dir("unused").topic_setting("min.insync.replicas", "2");
        prepare(topology, &TopicSettings::of(&config.build()?), topics)
    }

    #[track_caller]
    fn check_refused(topology: &Topology, topics: &[(&str, u32)], texts: &[&str]) {
        let mut topics = Topics::with(topics);
        let before = topics.list();
        let error = prepare_on(topology, &mut topics).expect_err("refused").to_string();
        for text in texts {
            assert!(error.contains(text), "{text:?} is not in {error}");
        }
        assert_eq!(topics.list(), before, "nothing is created");
    }

    #[test]
    fn a_missing_topic_is_created_once_with_its_settings() {
        let mut topics = Topics::with(&[("in", 2), ("more-a", 3), ("other", 9)]);
        let counts = prepare_on(&topology(), &mut topics).unwrap();
        let expected = [(name("app-x-repartition"), 3), (name("in"), 2), (name("more-a"), 3)];
        assert_eq!(counts, BTreeMap::from(expected.clone()));
        let settings = &topics.0[&name("app-x-repartition")].config;
        assert_eq!((&*settings["retention.ms"], &*settings["min.insync.replicas"]), ("-1", "2"));
        assert_eq!(prepare_on(&topology(), &mut topics).unwrap(), BTreeMap::from(expected));
    }

    #[test]
    fn an_internal_topic_of_another_size_is_refused() {
        let topics = [("in", 2), ("app-x-repartition", 5)];
        check_refused(&topology(), &topics, &["app-x-repartition has 5 partitions", "needs 2", "processed"]);
    }

    #[test]
    fn a_missing_source_topic_is_refused() {
        check_refused(&topology(), &[("more-a", 1)], &["source topic in of sub-topology 0 does not exist"]);
    }

    #[test]
    fn a_topology_that_reads_nothing_is_refused() {
        check_refused(&Topology::new(), &[], &["nothing is read"]);
    }
}
