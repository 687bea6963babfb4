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
    use std::sync::Arc;

    use log_store::{
        client::LogClient,
        embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory},
    };

    use super::*;
    use crate::{
        StreamsConfig,
        topology::{Sink, Source, TopicPattern},
    };

    /// A log with these topics.
    fn log(topics: &[(&str, u32)]) -> Box<dyn Admin> {
        let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::default()), LogConfig::default()).unwrap();
        let mut admin = log.admin().unwrap();
        let topics = topics.iter().map(|(topic, partitions)| NewTopic::new(name(topic), *partitions));
        admin.create_topics(&topics.collect::<Vec<_>>()).unwrap();
        admin
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

    fn prepare_on(topology: &Topology, admin: &mut dyn Admin) -> Result<BTreeMap<TopicName, u32>> {
        let config = StreamsConfig::builder("app").state_dir("unused").topic_setting("segment.ms", "7");
        prepare(topology, &TopicSettings::of(&config.build()?), admin)
    }

    #[track_caller]
    fn check_refused(topology: &Topology, topics: &[(&str, u32)], texts: &[&str]) {
        let mut admin = log(topics);
        let before = admin.list_topics().unwrap();
        let error = prepare_on(topology, &mut *admin).expect_err("refused").to_string();
        for text in texts {
            assert!(error.contains(text), "{text:?} is not in {error}");
        }
        assert_eq!(admin.list_topics().unwrap(), before, "nothing is created");
    }

    #[test]
    fn a_missing_topic_is_created_once_with_its_settings() {
        let mut admin = log(&[("in", 2), ("more-a", 3), ("other", 9)]);
        let counts = prepare_on(&topology(), &mut *admin).unwrap();
        let expected = [(name("app-x-repartition"), 3), (name("in"), 2), (name("more-a"), 3)];
        assert_eq!(counts, BTreeMap::from(expected.clone()));
        let settings = admin.describe_topic(&name("app-x-repartition")).unwrap().expect("created").config;
        assert_eq!((&*settings["retention.ms"], &*settings["segment.ms"]), ("-1", "7"));
        assert_eq!(prepare_on(&topology(), &mut *admin).unwrap(), BTreeMap::from(expected));
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
