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
/// [`Error::Topology`] names every source topic that is missing, all topics that should have equally many partitions and
/// have not, and internal topics that exist with another number.
pub(crate) fn prepare(
    topology: &Topology,
    settings: &TopicSettings<'_>,
    admin: &mut dyn Admin,
) -> Result<BTreeMap<TopicName, u32>> {
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
    let mut problems = Vec::new();
    for (name, topic) in plan.parts.iter().flat_map(|part| &part.internal) {
        // A topic that serves as changelog exists already.
        let Some(needed) = counts.get(name).copied() else { continue };
        let mut found = existing.get(name).copied();
        if found.is_none() {
            found = create(admin, name, needed, &topic.settings)?;
        }
        if found.is_some_and(|found| found != needed) {
            problems.push(format!(
                "internal topic {name} has {} partitions, and the topology needs {needed}: {}",
                found.unwrap_or_default(),
                match topic.kind {
                    InternalTopicKind::Repartition =>
                        "delete it when all its records are processed, or go back to the former number",
                    _ => "the number of input partitions has changed; reset the application, or give it another id",
                }
            ));
        }
        existing.insert(name.clone(), needed);
    }
    if problems.is_empty() { Ok(read_topics(&plan.parts, existing)) } else { Err(Error::Topology(problems)) }
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
