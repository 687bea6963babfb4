//! One consumer group: members, generations, and who owns which partition. Decides only; reads no clock.
//!
//! Whenever members come or go the generation rises and a new target is computed. Each member is then brought to its
//! target alone, when it polls: what it must give up is revoked first, and goes to its next owner only once the member
//! has acknowledged; everything else it keeps reading (a cooperative rebalance).
//!
//! Invariant: a partition has at most one owner. It may commit until it acknowledges a revocation, or is expelled.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::assignor::{Wish, assign};
use crate::{
    Error, Result, TopicName, TopicPartition,
    client::{Assignor, CopartitionGroup, GroupMetadata, MemberDescription, Partitions},
};

/// What a member does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    Nothing,
    /// These are the member's from now on.
    Assigned(Partitions),
    /// Give these up and acknowledge.
    Revoked(Partitions),
    /// The member is not in the group any more: all that it owned is somebody else's. It may join again.
    Expelled,
}

/// Who joins.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) client_id: String,
    pub(crate) groups: Vec<CopartitionGroup>,
    /// What it has copies of.
    pub(crate) preferred: Vec<TopicPartition>,
    pub(crate) assignor: Assignor,
    /// Longest time between two polls.
    pub(crate) session_ms: u64,
}

struct Member {
    joining: Joining,
    /// Order of joining: the first member's assignor is the group's.
    number: u64,
    last_seen_ms: u64,
    target: BTreeSet<TopicPartition>,
    /// With the generation in which it was assigned.
    owned: BTreeMap<TopicPartition, i32>,
    /// Part of `owned`: told to give up, not acknowledged.
    revoking: BTreeSet<TopicPartition>,
}

/// The state of one group.
pub(crate) struct Group {
    name: String,
    generation: i32,
    members: BTreeMap<String, Member>,
    owners: HashMap<TopicPartition, String>,
    joined: u64,
}

impl Group {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Group { name: name.into(), generation: 0, members: BTreeMap::new(), owners: HashMap::new(), joined: 0 }
    }

    /// Rises with every change of members or topics.
    pub(crate) fn generation(&self) -> i32 {
        self.generation
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a member and returns its id, which nobody had before. `partitions_of` is the number of partitions of a
    /// topic, 0 for none.
    pub(crate) fn join(&mut self, joining: Joining, now_ms: u64, partitions_of: &dyn Fn(&TopicName) -> u32) -> String {
        self.joined += 1;
        let client = if joining.client_id.is_empty() { "consumer" } else { joining.client_id.as_str() };
        let id = format!("{client}-{:06}", self.joined);
        let member = Member {
            joining,
            number: self.joined,
            last_seen_ms: now_ms,
            target: BTreeSet::new(),
            owned: BTreeMap::new(),
            revoking: BTreeSet::new(),
        };
        self.members.insert(id.clone(), member);
        self.rebalance(partitions_of);
        id
    }

    /// Removes a member: what it owned is free at once. No error if it is gone already.
    pub(crate) fn leave(&mut self, member: &str, partitions_of: &dyn Fn(&TopicName) -> u32) {
        if self.remove(member) {
            self.rebalance(partitions_of);
        }
    }

    /// Takes in that a member wants something else.
    pub(crate) fn change(&mut self, member: &str, joining: Joining, partitions_of: &dyn Fn(&TopicName) -> u32) {
        if let Some(known) = self.members.get_mut(member) {
            known.joining = joining;
            self.rebalance(partitions_of);
        }
    }

    /// Takes in that topics were created, deleted, or have another number of partitions.
    pub(crate) fn refresh(&mut self, partitions_of: &dyn Fn(&TopicName) -> u32) {
        if !self.members.is_empty() {
            self.rebalance(partitions_of);
        }
    }

    /// A sign of life of a member, and what it does next. Members that were silent for too long are expelled on the
    /// way. Does not change anything else when it answers `Nothing`.
    pub(crate) fn poll(&mut self, member: &str, now_ms: u64, partitions_of: &dyn Fn(&TopicName) -> u32) -> Step {
        if let Some(known) = self.members.get_mut(member) {
            known.last_seen_ms = now_ms;
        }
        self.expel_silent(now_ms, partitions_of);
        let Some(known) = self.members.get_mut(member) else { return Step::Expelled };

        let revoked: Partitions = known
            .owned
            .keys()
            .filter(|partition| !known.target.contains(*partition) && !known.revoking.contains(*partition))
            .cloned()
            .collect();
        if !revoked.is_empty() {
            known.revoking.extend(revoked.iter().cloned());
            return Step::Revoked(revoked);
        }
        let free: Partitions =
            known.target.iter().filter(|partition| !self.owners.contains_key(*partition)).cloned().collect();
        if free.is_empty() {
            return Step::Nothing;
        }
        for partition in &free {
            known.owned.insert(partition.clone(), self.generation);
            self.owners.insert(partition.clone(), member.to_owned());
        }
        Step::Assigned(free)
    }

    /// Frees partitions that were revoked from a member. What was not revoked from it stays.
    pub(crate) fn acknowledge(&mut self, member: &str, partitions: &[TopicPartition]) {
        let Some(known) = self.members.get_mut(member) else { return };
        for partition in partitions {
            if known.revoking.remove(partition) {
                known.owned.remove(partition);
                self.owners.remove(partition);
            }
        }
    }

    /// True if the member may commit offsets of these partitions: they are its own since the generation that it
    /// names or an earlier one. (A partition that no member reads is anybody's in the group; the group is anybody's while
    /// it has no members.)
    ///
    /// # Errors
    ///
    /// `MemberFenced`.
    pub(crate) fn check_commit<'a>(
        &self,
        who: &GroupMetadata,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
    ) -> Result<()> {
        let fenced = |reason: String| {
            Err(Error::MemberFenced { group: self.name.clone(), member: who.member_id.clone(), reason })
        };
        if who.member_id.is_empty() {
            return if self.members.is_empty() {
                Ok(())
            } else {
                fenced(format!("the group has {} members, and only they may commit", self.members.len()))
            };
        }
        let Some(member) = self.members.get(&who.member_id) else {
            return fenced("it is not a member (any more): it left, or did not poll for too long".to_owned());
        };
        if who.generation > self.generation {
            return fenced(format!("generation {} is yet to come; it is {} now", who.generation, self.generation));
        }
        for partition in partitions {
            match (member.owned.get(partition), self.owners.get(partition)) {
                (Some(since), _) if *since <= who.generation => {}
                (Some(since), _) => {
                    let ours = who.generation;
                    return fenced(format!("generation {ours} is over: {partition} was assigned again in {since}"));
                }
                (None, Some(owner)) => return fenced(format!("{partition} is read by {owner}")),
                (None, None) if self.is_wanted(partition) => {
                    return fenced(format!("{partition} is not assigned to it"));
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// The members, by id.
    pub(crate) fn describe(&self) -> Vec<MemberDescription> {
        self.members
            .iter()
            .map(|(id, member)| MemberDescription {
                member_id: id.clone(),
                client_id: member.joining.client_id.clone(),
                partitions: member.owned.keys().cloned().collect(),
            })
            .collect()
    }

    fn is_wanted(&self, partition: &TopicPartition) -> bool {
        self.members
            .values()
            .any(|member| member.joining.groups.iter().any(|group| group.topics.contains(&partition.topic)))
    }

    fn expel_silent(&mut self, now_ms: u64, partitions_of: &dyn Fn(&TopicName) -> u32) {
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| now_ms.saturating_sub(member.last_seen_ms) > member.joining.session_ms)
            .map(|(id, _)| id.clone())
            .collect();
        if silent.is_empty() {
            return;
        }
        for member in silent {
            tracing::warn!(group = self.name, member, "expelled: it did not poll for its session's length");
            self.remove(&member);
        }
        self.rebalance(partitions_of);
    }

    fn remove(&mut self, member: &str) -> bool {
        let Some(gone) = self.members.remove(member) else { return false };
        for partition in gone.owned.keys() {
            self.owners.remove(partition);
        }
        true
    }

    fn rebalance(&mut self, partitions_of: &dyn Fn(&TopicName) -> u32) {
        self.generation += 1;
        let Some(assignor) =
            self.members.values().min_by_key(|member| member.number).map(|first| first.joining.assignor)
        else {
            return;
        };
        let wishes: Vec<Wish<'_>> = self
            .members
            .iter()
            .map(|(id, member)| Wish {
                member: id,
                groups: &member.joining.groups,
                preferred: &member.joining.preferred,
                previous: &member.target,
            })
            .collect();
        let targets = assign(assignor, &wishes, partitions_of);
        for (member, target) in self.members.values_mut().zip(targets) {
            member.target = target;
        }
    }
}

#[cfg(test)]
mod tests;
