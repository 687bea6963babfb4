//! Internal topics of the application that its topology no longer uses.
//!
//! Local state is compared by its fingerprint, which goes with [`super::Streams::clean_up`] and is not there in another
//! `state.dir`. What a store holds is its changelog: a store under another name would begin empty in silence, while the
//! application goes on from its committed positions. So the topics on the log are compared, too.

use std::collections::BTreeSet;

use log_store::{
    Offset, TopicName, TopicPartition,
    client::{Admin, CommittedOffset, Isolation, OffsetSpec},
};

use crate::{
    Error, Result,
    state::{Changelog, StoreBuilder},
    topology::Topology,
};

const CHANGELOG: &str = "-changelog";
const REPARTITION: &str = "-repartition";

/// Refuses a topology that leaves changelogs with changes, or repartition topics with waiting records, behind. Where the
/// application has no committed position it begins anew: nothing could be missed then.
///
/// # Errors
///
/// [`Error::Incompatible`] with the differences and the way out.
pub(crate) fn refuse(topology: &Topology, application_id: &str, admin: &mut dyn Admin) -> Result<()> {
    let prefix = format!("{application_id}-");
    let changelog = |store: &dyn StoreBuilder| format!("{prefix}{}{CHANGELOG}", store.name());
    let mut used: BTreeSet<String> =
        topology.internal_topics.iter().map(|topic| format!("{prefix}{}", topic.name)).collect();
    used.extend(topology.stores.iter().map(|store| changelog(&*store.builder)));
    let existing = admin.list_topics()?;
    let mut unused: Vec<&TopicName> = existing.iter().filter(|topic| is_unused(topic, &prefix, &used)).collect();
    if unused.is_empty() {
        return Ok(());
    }
    // `app-b-counts-changelog` is a topic of `app-b`, although it looks like one of `app`, too.
    let mut others = admin.list_groups()?;
    others.retain(|group| group.starts_with(&prefix));
    unused.retain(|topic| !others.iter().any(|other| is_of(topic, other)));
    let committed = admin.group_offsets(application_id)?;
    if committed.is_empty() {
        return Ok(());
    }
    let mut lines = Vec::new();
    let mut orphans = Vec::new();
    for topic in unused {
        if let Some(line) = left_behind(topic, &prefix, &committed, admin)? {
            lines.push(line);
            orphans.push(topic.as_str());
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    for store in topology.stores.iter().filter(|store| !store.is_global) {
        let is_logged = matches!(store.builder.changelog(), Changelog::Topic { .. });
        let topic = changelog(&*store.builder);
        if is_logged && !existing.iter().any(|known| known.as_str() == topic) {
            lines.push(format!("+ store {} is new and would begin empty", store.builder.name()));
        }
    }
    Err(Error::Incompatible(format!(
        "the topology of application {application_id} does not fit its topics on the log:\n  {}\nrun the earlier program \
         again, or name stores and topics as they were; or, if what they hold may go, delete {}; or start under another \
         application.id",
        lines.join("\n  "),
        orphans.join(", ")
    )))
}

fn is_unused(topic: &TopicName, prefix: &str, used: &BTreeSet<String>) -> bool {
    let name = topic.as_str();
    let is_internal =
        name.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(CHANGELOG) || rest.ends_with(REPARTITION));
    is_internal && !used.contains(name)
}

fn is_of(topic: &TopicName, application_id: &str) -> bool {
    topic.as_str().strip_prefix(application_id).is_some_and(|rest| rest.starts_with('-'))
}

/// What is lost without `topic`; `None` if it holds nothing of use.
fn left_behind(
    topic: &TopicName,
    prefix: &str,
    committed: &[(TopicPartition, CommittedOffset)],
    admin: &mut dyn Admin,
) -> Result<Option<String>> {
    let Some(description) = admin.describe_topic(topic)? else { return Ok(None) };
    let mut count = 0;
    let name = topic.as_str().strip_prefix(prefix).unwrap_or(topic.as_str());
    let store = name.strip_suffix(CHANGELOG);
    for number in 0..description.partitions {
        let partition = TopicPartition::new(topic.clone(), number);
        let start = admin.list_offset(&partition, OffsetSpec::Earliest)?.unwrap_or(Offset::ZERO);
        let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadCommitted))?.unwrap_or(start);
        let position = committed.iter().find(|(known, _)| *known == partition).map(|(_, position)| position.offset);
        let from = if store.is_some() { start } else { position.unwrap_or(start).max(start) };
        count += end.offsets_since(from);
    }
    let line = match store {
        _ if count == 0 => return Ok(None),
        Some(store) => format!("- store {store} is gone or has another name; its changes lie in topic {topic}"),
        None => format!("- topic {topic} is gone or has another name; {count} records wait in it"),
    };
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(topic: &str, expected: bool) {
        let used = BTreeSet::from(["app-counts-changelog".to_owned()]);
        assert_eq!(is_unused(&TopicName::new(topic).unwrap(), "app-", &used), expected, "{topic}");
    }

    #[test]
    fn only_internal_topics_of_the_application_count() {
        check("app-counts-changelog", false);
        check("app-totals-changelog", true);
        check("app-by-word-repartition", true);
        check("app-results", false);
        check("other-totals-changelog", false);
        check("changelog", false);
    }

    #[test]
    fn a_longer_application_id_has_topics_of_its_own() {
        let topic = TopicName::new("app-b-counts-changelog").unwrap();
        assert!(is_of(&topic, "app-b"));
        assert!(!is_of(&topic, "app-bc") && !is_of(&TopicName::new("app-bc-x").unwrap(), "app-b"));
    }
}
