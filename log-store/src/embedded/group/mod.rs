//! Consumer groups: who reads what, and how far.
//!
//! Members live in this process and are forgotten with it, since nobody else can have the log open. Committed offsets are
//! records of `__consumer_offsets`, in Kafka's format. It has a single partition here: Kafka has fifty to spread the
//! groups over many brokers, and each would be one more file to sync. A topic that comes from a broker keeps the count
//! that it has, and each group the partition that Kafka gives it.
//!
//! Committed offsets do not expire. (In Kafka they do, seven days after the last member left: there, nobody could delete
//! those of applications that never return.)

mod assignor;
mod member;
mod membership;
mod offsets;
pub(super) mod record;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Condvar, Mutex, MutexGuard};

pub(crate) use self::{
    member::{GROUP_SLOT, Membership},
    membership::Step,
};
use self::{
    membership::{Group, Joining},
    offsets::{CommittedOffsets, Entry},
    record::{OffsetKey, decode_key, decode_value, encode_key, encode_value},
};
use super::{Durability, consumer_watch::Watch, log::Inner, partition::Partition, transaction::Identity};
use crate::{
    Error, RecordView, Result, TopicName, TopicPartition,
    batch::{BatchBuilder, Compression, MarkerKind, ProducerStamp},
    client::{CommittedOffset, GroupDescription, GroupMetadata, Isolation, NewTopic},
};

/// Kafka's name for the topic of committed offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Longest note beside a committed offset, in bytes.
const METADATA_BYTES_MAX: usize = 4096;

/// Longest name of a group, in bytes.
const NAME_BYTES_MAX: usize = 1000;

/// Most offsets in one record batch: far below the largest batch that a topic takes.
const BATCH_OFFSETS_MAX: usize = 200;

/// Bytes read at once when the topic is loaded.
const LOAD_BYTES: usize = 1 << 20;

/// The groups of a log.
#[derive(Default)]
pub(crate) struct Groups {
    state: Mutex<State>,
    /// A transaction with commits in it has ended.
    decided: Condvar,
}

#[derive(Default)]
struct State {
    is_loaded: bool,
    offsets: CommittedOffsets,
    groups: HashMap<String, Members>,
}

struct Members {
    group: Group,
    /// How each member is told to look again.
    watches: HashMap<String, Arc<Watch>>,
}

impl Members {
    fn tell_all(&self) {
        for watch in self.watches.values() {
            watch.notify();
        }
    }
}

impl Inner {
    /// Commits offsets of a group, durably, outside any transaction.
    pub(crate) fn commit_offsets(
        &self,
        who: &GroupMetadata,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<()> {
        check_offsets(&who.group_id, offsets)?;
        let mut state = self.loaded_groups()?;
        if let Some(members) = state.groups.get(&who.group_id) {
            members.group.check_commit(who, offsets.iter().map(|(partition, _)| partition))?;
        } else if !who.member_id.is_empty() {
            return Err(not_a_member(who));
        }
        let changes = offsets.iter().map(|(partition, committed)| (partition.clone(), Some(committed.clone())));
        self.write_offsets(&mut state, &who.group_id, changes.collect(), None)?;
        drop(state);
        self.make_durable()
    }

    /// Makes offsets of a group part of a producer's transaction.
    pub(crate) fn commit_offsets_in_transaction(
        &self,
        transactional_id: &str,
        identity: Identity,
        who: &GroupMetadata,
        offsets: &[(TopicPartition, CommittedOffset)],
    ) -> Result<()> {
        check_offsets(&who.group_id, offsets)?;
        if offsets.is_empty() {
            return Ok(());
        }
        let mut state = self.loaded_groups()?;
        if let Some(members) = state.groups.get(&who.group_id) {
            members.group.check_commit(who, offsets.iter().map(|(partition, _)| partition))?;
        } else if !who.member_id.is_empty() {
            return Err(not_a_member(who));
        }
        let partition = self.offsets_partition(&who.group_id)?;
        self.add_to_transaction(transactional_id, identity, &partition.id)?;
        let changes = offsets.iter().map(|(partition, committed)| (partition.clone(), Some(committed.clone())));
        self.write_offsets(&mut state, &who.group_id, changes.collect(), Some(identity))
    }

    /// The transaction of a producer has ended: its commits count, or are gone.
    pub(crate) fn end_offsets(&self, producer_id: i64, kind: MarkerKind) {
        if self.groups.state.lock().offsets.end(producer_id, kind) {
            self.groups.decided.notify_all();
        }
    }

    /// Committed offsets of a group. Waits for transactions that are about to decide one of them; each ends at its
    /// timeout at the latest.
    pub(crate) fn committed_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<Option<CommittedOffset>>> {
        let mut state = self.loaded_groups()?;
        while state.offsets.is_undecided(group, partitions) {
            self.shared.check()?;
            // A log that is closed meanwhile wakes nobody.
            self.groups.decided.wait_for(&mut state, Duration::from_secs(1));
        }
        Ok(partitions.iter().map(|partition| state.offsets.get(group, partition).cloned()).collect())
    }

    /// All committed offsets of a group.
    pub(crate) fn group_offsets(&self, group: &str) -> Result<Vec<(TopicPartition, CommittedOffset)>> {
        let state = self.loaded_groups()?;
        let offsets = state.offsets.of_group(group);
        Ok(offsets.map(|(partition, committed)| (partition.clone(), committed.clone())).collect())
    }

    /// Forgets a group without members and its offsets.
    pub(crate) fn delete_group(&self, group: &str) -> Result<()> {
        let mut state = self.loaded_groups()?;
        if state.groups.get(group).is_some_and(|members| !members.group.is_empty()) {
            return Err(has_members(group));
        }
        state.groups.remove(group);
        let gone: Vec<_> = state.offsets.of_group(group).map(|(partition, _)| (partition.clone(), None)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        self.write_offsets(&mut state, group, gone, None)?;
        drop(state);
        self.make_durable()
    }

    /// Forgets the offsets of topics that were deleted: a topic of the same name created later starts anew.
    pub(crate) fn forget_offsets_of(&self, topics: &[TopicName]) -> Result<()> {
        let mut state = self.loaded_groups()?;
        let gone: Vec<OffsetKey> = state.offsets.keys().filter(|key| topics.contains(&key.partition.topic)).collect();
        let groups: BTreeSet<&str> = gone.iter().map(|key| key.group.as_str()).collect();
        for group in groups {
            let own = gone.iter().filter(|key| key.group == group);
            self.write_offsets(&mut state, group, own.map(|key| (key.partition.clone(), None)).collect(), None)?;
        }
        for members in state.groups.values_mut() {
            members.group.refresh(&|topic| self.partition_count(topic));
            members.tell_all();
        }
        drop(state);
        if gone.is_empty() { Ok(()) } else { self.make_durable() }
    }

    /// Groups with members or committed offsets, sorted.
    pub(crate) fn list_groups(&self) -> Result<Vec<String>> {
        let state = self.loaded_groups()?;
        let with_members = state.groups.iter().filter(|(_, members)| !members.group.is_empty());
        let names: BTreeSet<&str> = with_members.map(|(name, _)| name.as_str()).chain(state.offsets.groups()).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// The members of a group; `None` if it has neither members nor offsets.
    pub(crate) fn describe_group(&self, group: &str) -> Result<Option<GroupDescription>> {
        let state = self.loaded_groups()?;
        let members = state.groups.get(group).map(|members| &members.group);
        if members.is_none_or(Group::is_empty) && state.offsets.of_group(group).next().is_none() {
            return Ok(None);
        }
        Ok(Some(GroupDescription {
            generation: members.map_or(0, Group::generation),
            members: members.map(Group::describe).unwrap_or_default(),
        }))
    }

    /// After a crash with a looser [`Durability`]: a group may have committed records that are lost. It goes on at the
    /// end of what is left, or records written from now on would be passed over.
    pub(crate) fn cut_offsets_to_log_ends(&self) -> Result<()> {
        let mut state = self.loaded_groups()?;
        for key in state.offsets.keys().collect::<Vec<_>>() {
            let Some(committed) = state.offsets.get(&key.group, &key.partition).cloned() else { continue };
            let Ok(log_end) = self.partition(&key.partition).and_then(|found| found.end(Isolation::ReadUncommitted))
            else {
                continue;
            };
            if committed.offset > log_end {
                tracing::warn!(
                    group = key.group, partition = %key.partition, committed = %committed.offset, %log_end,
                    "records that the group had read were lost; it goes on at the log end"
                );
                let cut = CommittedOffset { offset: log_end, ..committed };
                self.write_offsets(&mut state, &key.group, vec![(key.partition, Some(cut))], None)?;
            }
        }
        Ok(())
    }

    fn join_group(&self, group: &str, joining: Joining, watch: &Arc<Watch>) -> Result<String> {
        let now_ms = self.transactions.now_ms();
        let mut state = self.loaded_groups()?;
        let members = state
            .groups
            .entry(group.to_owned())
            .or_insert_with(|| Members { group: Group::new(group), watches: HashMap::new() });
        let member = members.group.join(joining, now_ms, &|topic| self.partition_count(topic));
        members.watches.insert(member.clone(), Arc::clone(watch));
        members.tell_all();
        Ok(member)
    }

    /// Changes what a member wants.
    fn rejoin_group(&self, group: &str, member: &str, joining: Joining) {
        let mut state = self.groups.state.lock();
        if let Some(members) = state.groups.get_mut(group) {
            members.group.change(member, joining, &|topic| self.partition_count(topic));
            members.tell_all();
        }
    }

    /// What a member does next, and the generation.
    fn poll_group(&self, group: &str, member: &str) -> (Step, i32) {
        let now_ms = self.transactions.now_ms();
        let mut state = self.groups.state.lock();
        let Some(members) = state.groups.get_mut(group) else { return (Step::Expelled, -1) };
        let before = members.group.generation();
        let step = members.group.poll(member, now_ms, &|topic| self.partition_count(topic));
        if step == Step::Expelled {
            members.watches.remove(member);
        }
        if members.group.generation() != before {
            members.tell_all();
        }
        (step, members.group.generation())
    }

    fn acknowledge_in_group(&self, group: &str, member: &str, partitions: &[TopicPartition]) {
        if let Some(members) = self.groups.state.lock().groups.get_mut(group) {
            members.group.acknowledge(member, partitions);
            members.tell_all();
        }
    }

    fn leave_group(&self, group: &str, member: &str) {
        if let Some(members) = self.groups.state.lock().groups.get_mut(group) {
            members.watches.remove(member);
            members.group.leave(member, &|topic| self.partition_count(topic));
            members.tell_all();
        }
    }

    fn partition_count(&self, topic: &TopicName) -> u32 {
        self.topics.read().get(topic).map_or(0, |topic| u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX))
    }

    /// Writes commits and deletions, and takes them in: at once, or with the end of the transaction.
    fn write_offsets(
        &self,
        state: &mut State,
        group: &str,
        changes: Vec<(TopicPartition, Option<CommittedOffset>)>,
        transaction: Option<Identity>,
    ) -> Result<()> {
        let partition = self.offsets_partition(group)?;
        let stamp = transaction.map_or(ProducerStamp::NONE, |identity| ProducerStamp {
            id: identity.producer_id,
            epoch: identity.epoch,
            sequence: -1,
            is_transactional: true,
        });
        let now_ms = self.shared.now_ms();
        for chunk in changes.chunks(BATCH_OFFSETS_MAX) {
            let mut builder = BatchBuilder::new();
            for (of, committed) in chunk {
                let key = encode_key(group, of);
                let value = committed.as_ref().map(|committed| encode_value(committed, now_ms));
                builder.append(RecordView::new(now_ms, Some(&key), value.as_deref()))?;
            }
            let appended = partition.append(builder.finish(stamp, Compression::None))?;
            for (number, (of, committed)) in chunk.iter().enumerate() {
                let key = OffsetKey { group: group.to_owned(), partition: of.clone() };
                let entry = Entry { committed: committed.clone(), at: appended.base.plus(number as u64) };
                match transaction {
                    Some(identity) => state.offsets.hold(identity.producer_id, key, entry),
                    None => state.offsets.apply(key, entry),
                }
            }
        }
        Ok(())
    }

    fn make_durable(&self) -> Result<()> {
        match self.shared.config.durability {
            Durability::Fsync => self.sync(),
            Durability::Interval(_) | Durability::Never => self.shared.check(),
        }
    }

    /// The partition that a group's offsets are in; the topic is made with the first commit.
    fn offsets_partition(&self, group: &str) -> Result<Arc<Partition>> {
        let name = offsets_topic();
        let topic = match self.topic(&name) {
            Ok(topic) => topic,
            Err(_) => {
                let new = NewTopic::new(name.clone(), 1)
                    .with_config("cleanup.policy", "compact")
                    .with_config("segment.bytes", (100 << 20).to_string());
                match self.create_topics(&[new]) {
                    Ok(()) | Err(Error::TopicExists { .. }) => self.topic(&name)?,
                    Err(error) => return Err(error),
                }
            }
        };
        let number = java_hash(group).unsigned_abs() as usize & 0x7fff_ffff;
        Ok(Arc::clone(&topic.partitions[number % topic.partitions.len()]))
    }

    /// The state, with the topic of offsets read.
    fn loaded_groups(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.groups.state.lock();
        if !state.is_loaded {
            if let Ok(topic) = self.topic(&offsets_topic()) {
                for partition in &topic.partitions {
                    load(partition, &mut state.offsets)?;
                }
            }
            state.is_loaded = true;
        }
        Ok(state)
    }
}

/// Reads all that is committed. Every transaction of an earlier run has ended by now.
fn load(partition: &Arc<Partition>, offsets: &mut CommittedOffsets) -> Result<()> {
    let mut from = partition.log_start()?;
    while let Some(fetched) = partition.fetch(from, LOAD_BYTES, Isolation::ReadCommitted)? {
        let batch = partition.as_batch(&fetched, from);
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance()? {
            let at = record.offset;
            let view = cursor.view(&record);
            let Some(key) = view.key.and_then(decode_key) else { continue };
            let committed = match view.value {
                None => None,
                Some(value) => match decode_value(value) {
                    Some(committed) => Some(committed),
                    None => {
                        tracing::warn!(partition = %partition.id, offset = %at, "a committed offset cannot be read");
                        continue;
                    }
                },
            };
            offsets.apply(key, Entry { committed, at });
        }
        from = fetched.next;
    }
    Ok(())
}

fn check_offsets(group: &str, offsets: &[(TopicPartition, CommittedOffset)]) -> Result<()> {
    if group.is_empty() || group.len() > NAME_BYTES_MAX {
        return Err(Error::Invalid(format!("the name of a group has 1 to {NAME_BYTES_MAX} bytes")));
    }
    match offsets.iter().find(|(_, offset)| offset.metadata.len() > METADATA_BYTES_MAX) {
        None => Ok(()),
        Some((partition, _)) => {
            Err(Error::Invalid(format!("{partition}: commit metadata is longer than {METADATA_BYTES_MAX} bytes")))
        }
    }
}

fn not_a_member(who: &GroupMetadata) -> Error {
    Error::MemberFenced {
        group: who.group_id.clone(),
        member: who.member_id.clone(),
        reason: "the group has no members (any more)".to_owned(),
    }
}

fn has_members(group: &str) -> Error {
    Error::Invalid(format!("group {group:?} has members; stop them first"))
}

fn offsets_topic() -> TopicName {
    TopicName::new(OFFSETS_TOPIC).expect("a legal name")
}

/// Java's hash of a string, by which Kafka finds the partition of a group.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}
