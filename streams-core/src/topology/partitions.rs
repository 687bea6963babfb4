//! How many partitions the application's own topics get.
//!
//! A repartition topic has as many as the largest topic of the sub-topologies that write it; topics that are read
//! together have equally many; a changelog has one for each task.

use std::collections::{BTreeMap, BTreeSet};

use log_store::TopicName;

use super::{
    copartition::closed,
    topics::{InternalTopicKind, TopicPlan},
};
use crate::{Error, Result};

type Counts = BTreeMap<TopicName, u32>;

impl TopicPlan {
    /// Counts of all internal topics. `existing` are those of the topics that are not the application's own.
    ///
    /// # Errors
    ///
    /// [`Error::Topology`] with all missing topics, or all topics whose counts do not agree.
    pub(crate) fn partition_counts(&self, existing: &Counts) -> Result<Counts> {
        self.refuse_missing_sources(existing)?;
        let mut counts = self.fixed_counts();
        self.infer(existing, &mut counts)?;
        let mut problems = Vec::new();
        for group in closed(&self.copartitioned) {
            if let Err(problem) = self.enforce(&group, existing, &mut counts) {
                problems.push(problem);
            }
        }
        if !problems.is_empty() {
            return Err(Error::Topology(problems));
        }
        for part in &self.parts {
            let tasks = part.sources.iter().filter_map(|topic| counts.get(topic).or_else(|| existing.get(topic))).max();
            let Some(tasks) = tasks.copied() else { continue };
            for (name, topic) in &part.internal {
                if topic.kind != InternalTopicKind::Repartition && !topic.is_source {
                    counts.insert(name.clone(), tasks);
                }
            }
        }
        Ok(counts)
    }

    fn repartition_topics(&self) -> impl Iterator<Item = (&TopicName, Option<u32>)> {
        let all = self.parts.iter().flat_map(|part| &part.internal);
        all.filter(|(_, topic)| topic.kind == InternalTopicKind::Repartition)
            .map(|(name, topic)| (name, topic.partitions))
    }

    fn is_repartition(&self, name: &TopicName) -> bool {
        self.repartition_topics().any(|(known, _)| known == name)
    }

    fn refuse_missing_sources(&self, existing: &Counts) -> Result<()> {
        let mut missing = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            for topic in
                part.sources.iter().filter(|topic| !self.is_repartition(topic) && !existing.contains_key(*topic))
            {
                missing.push(format!("source topic {topic} of sub-topology {number} does not exist; create it first"));
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(Error::Topology(missing)) }
    }

    fn fixed_counts(&self) -> Counts {
        self.repartition_topics().filter_map(|(name, count)| Some((name.clone(), count?))).collect()
    }

    /// Counts follow from topics further up, as long as that leads on.
    fn infer(&self, existing: &Counts, counts: &mut Counts) -> Result<()> {
        loop {
            // A topic waits until all that feed it are known; in a loop, where that never happens, those that are known
            // decide.
            let mut found = self.next_counts(existing, counts, true);
            if found.is_empty() {
                found = self.next_counts(existing, counts, false);
            }
            if found.is_empty() {
                break;
            }
            counts.extend(found);
        }
        let unknown = self.repartition_topics().filter(|(name, _)| !counts.contains_key(*name));
        let problems: Vec<String> = unknown
            .map(|(name, _)| {
                format!(
                    "the number of partitions of {name} does not follow from any source topic: no sub-topology that reads \
                     an existing topic writes it; give it a number"
                )
            })
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(Error::Topology(problems)) }
    }

    fn next_counts(&self, existing: &Counts, counts: &Counts, needs_all: bool) -> Counts {
        let unknown = self.repartition_topics().map(|(name, _)| name).filter(|name| !counts.contains_key(*name));
        unknown
            .filter_map(|name| Some((name.clone(), self.largest_upstream(name, existing, counts, needs_all)?)))
            .collect()
    }

    fn largest_upstream(&self, topic: &TopicName, existing: &Counts, counts: &Counts, needs_all: bool) -> Option<u32> {
        let writers = self.parts.iter().filter(|part| part.sinks.contains(topic));
        let feeding =
            writers.flat_map(|part| &part.sources).map(|source| counts.get(source).or_else(|| existing.get(source)));
        let mut largest = None;
        for count in feeding {
            match count {
                None if needs_all => return None,
                known => largest = largest.max(known.copied()),
            }
        }
        largest
    }

    /// Gives the topics of one group equal counts.
    fn enforce(&self, group: &BTreeSet<TopicName>, existing: &Counts, counts: &mut Counts) -> Result<(), String> {
        let fixed: Counts =
            self.repartition_topics().filter_map(|(name, count)| Some((name.clone(), count?))).collect();
        let (own, foreign): (Vec<&TopicName>, Vec<&TopicName>) =
            group.iter().partition(|name| self.is_repartition(name));
        let decided = match (equal(&foreign, existing)?, equal(&own, &fixed)?) {
            (Some((count, _)), None) | (None, Some((count, _))) => Some(count),
            (Some((count, topic)), Some((own_count, own_topic))) if count != own_count => {
                return Err(different(topic, count, own_topic, own_count));
            }
            (Some((count, _)), Some(_)) => Some(count),
            (None, None) => own.iter().filter_map(|name| counts.get(*name)).max().copied(),
        };
        if let Some(decided) = decided {
            counts.extend(own.into_iter().map(|name| (name.clone(), decided)));
        }
        Ok(())
    }
}

/// The one count of those topics that have a count, with a topic that has it.
fn equal<'a>(topics: &[&'a TopicName], counts: &Counts) -> Result<Option<(u32, &'a TopicName)>, String> {
    let mut first: Option<(u32, &TopicName)> = None;
    for topic in topics {
        let Some(count) = counts.get(*topic).copied() else { continue };
        match first {
            Some((expected, other)) if expected != count => return Err(different(other, expected, topic, count)),
            Some(_) => {}
            None => first = Some((count, topic)),
        }
    }
    Ok(first)
}

fn different(one: &TopicName, one_count: u32, other: &TopicName, other_count: u32) -> String {
    format!(
        "topics {one} and {other} are read together, so they need the same number of partitions: {one} has {one_count}, \
         {other} has {other_count}; repartition one of them"
    )
}

#[cfg(test)]
mod tests;
