//! Rebalances as stories, and as a law over generated members.

use proptest::prelude::*;

use super::*;

const SESSION_MS: u64 = 1_000;

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn partitions(numbers: &[u32]) -> Partitions {
    numbers.iter().map(|number| TopicPartition::new(topic("t"), *number)).collect()
}

fn four(_: &TopicName) -> u32 {
    4
}

fn joining() -> Joining {
    Joining {
        preferred: Vec::new(),
        client_id: "c".to_owned(),
        groups: vec![CopartitionGroup { topics: vec![topic("t")] }],
        assignor: Assignor::CooperativeSticky,
        session_ms: SESSION_MS,
    }
}

fn join(group: &mut Group, now_ms: u64) -> String {
    group.join(joining(), now_ms, &four)
}

fn poll(group: &mut Group, member: &str, now_ms: u64) -> Step {
    group.poll(member, now_ms, &four)
}

fn may_commit(group: &Group, member: &str, generation: i32, numbers: &[u32]) -> bool {
    let who = GroupMetadata { group_id: "g".to_owned(), generation, member_id: member.to_owned() };
    group.check_commit(&who, &partitions(numbers)).is_ok()
}

#[test]
fn a_partition_moves_only_after_its_owner_has_acknowledged() {
    let mut group = Group::new("g");
    let a = join(&mut group, 0);
    assert_eq!(poll(&mut group, &a, 0), Step::Assigned(partitions(&[0, 1, 2, 3])));
    assert_eq!(poll(&mut group, &a, 0), Step::Nothing);

    let b = join(&mut group, 0);
    assert_eq!(poll(&mut group, &b, 0), Step::Nothing, "all are owned still");
    assert_eq!(poll(&mut group, &a, 0), Step::Revoked(partitions(&[2, 3])));
    assert_eq!(poll(&mut group, &a, 0), Step::Nothing, "it is told once");
    assert_eq!(poll(&mut group, &b, 0), Step::Nothing);
    assert!(may_commit(&group, &a, 2, &[0, 1, 2, 3]), "until it acknowledges it may commit");
    assert!(!may_commit(&group, &b, 2, &[2]));

    group.acknowledge(&a, &partitions(&[2]));
    assert_eq!(poll(&mut group, &b, 0), Step::Assigned(partitions(&[2])));
    group.acknowledge(&a, &partitions(&[3]));
    assert_eq!(poll(&mut group, &b, 0), Step::Assigned(partitions(&[3])));
    assert!(!may_commit(&group, &a, 2, &[2]));
    assert!(may_commit(&group, &b, 2, &[2, 3]));
}

#[test]
fn a_member_that_leaves_frees_its_partitions_at_once() {
    let mut group = Group::new("g");
    let (a, b) = (join(&mut group, 0), join(&mut group, 0));
    assert_eq!(poll(&mut group, &a, 0), Step::Assigned(partitions(&[0, 1])));
    assert_eq!(poll(&mut group, &b, 0), Step::Assigned(partitions(&[2, 3])));
    group.leave(&a, &four);
    assert_eq!(poll(&mut group, &b, 0), Step::Assigned(partitions(&[0, 1])));
    assert_eq!(poll(&mut group, &a, 0), Step::Expelled);
    assert!(!may_commit(&group, &a, 2, &[0]));
}

#[test]
fn a_silent_member_is_expelled_and_fenced() {
    let mut group = Group::new("g");
    let (a, b) = (join(&mut group, 0), join(&mut group, 0));
    poll(&mut group, &a, 0);
    poll(&mut group, &b, 500);
    assert_eq!(poll(&mut group, &b, SESSION_MS), Step::Nothing);
    assert_eq!(poll(&mut group, &b, SESSION_MS + 1), Step::Assigned(partitions(&[0, 1])));
    assert_eq!(poll(&mut group, &a, SESSION_MS + 1), Step::Expelled);
    assert!(!may_commit(&group, &a, 2, &[0]));

    // It comes back as another member.
    let again = join(&mut group, SESSION_MS + 1);
    assert_ne!(again, a);
}

#[test]
fn a_poll_in_time_after_a_long_pause_is_in_time() {
    let mut group = Group::new("g");
    let a = join(&mut group, 0);
    assert_eq!(poll(&mut group, &a, 100 * SESSION_MS), Step::Assigned(partitions(&[0, 1, 2, 3])));
}

#[test]
fn a_commit_with_an_old_generation_is_good_for_what_was_not_assigned_since() {
    let mut group = Group::new("g");
    let a = join(&mut group, 0);
    poll(&mut group, &a, 0);
    let b = join(&mut group, 0);
    poll(&mut group, &a, 0);
    group.acknowledge(&a, &partitions(&[2, 3]));
    group.leave(&b, &four);
    assert_eq!(poll(&mut group, &a, 0), Step::Assigned(partitions(&[2, 3])));
    assert!(may_commit(&group, &a, 1, &[0, 1]));
    assert!(!may_commit(&group, &a, 1, &[2]), "it was given up in between");
    assert!(may_commit(&group, &a, 3, &[0, 1, 2, 3]));
    assert!(!may_commit(&group, &a, 4, &[0]));
}

#[test]
fn without_members_anybody_commits_and_with_members_only_they() {
    let mut group = Group::new("g");
    assert!(may_commit(&group, "", -1, &[0]));
    let a = join(&mut group, 0);
    assert!(!may_commit(&group, "", -1, &[0]));
    // A topic that the group does not read has no owner to protect.
    let who = GroupMetadata { group_id: "g".to_owned(), generation: 1, member_id: a };
    assert!(group.check_commit(&who, &[TopicPartition::new(topic("other"), 0)]).is_ok());
    assert!(group.check_commit(&who, &partitions(&[0])).is_err());
}

#[test]
fn a_revocation_that_is_taken_back_before_it_is_told_never_happened() {
    let mut group = Group::new("g");
    let a = join(&mut group, 0);
    poll(&mut group, &a, 0);
    let b = join(&mut group, 0);
    group.leave(&b, &four);
    assert_eq!(poll(&mut group, &a, 0), Step::Nothing);
}

#[test]
fn new_partitions_are_assigned_once_they_are_there() {
    let mut group = Group::new("g");
    let a = group.join(joining(), 0, &|_| 1);
    assert_eq!(group.poll(&a, 0, &|_| 1), Step::Assigned(partitions(&[0])));
    group.refresh(&|_| 2);
    assert_eq!(group.poll(&a, 0, &|_| 2), Step::Assigned(partitions(&[1])));
}

#[derive(Clone, Debug)]
enum Event {
    Join,
    Leave(usize),
    Poll(usize),
    Acknowledge(usize),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Join),
        1 => (0..6_usize).prop_map(Event::Leave),
        6 => (0..6_usize).prop_map(Event::Poll),
        3 => (0..6_usize).prop_map(Event::Acknowledge),
        1 => (0..700_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    /// As members see it: nobody is given what another still holds, and once all have polled and acknowledged, every
    /// partition has exactly one reader.
    #[test]
    fn a_partition_has_one_reader(events in prop::collection::vec(event(), 0..80)) {
        let mut group = Group::new("g");
        let mut now_ms = 0;
        // What each member believes to hold, and what it was told to give up.
        let mut members: Vec<(String, BTreeSet<TopicPartition>, Partitions)> = Vec::new();
        let step = |group: &mut Group, members: &mut Vec<(String, BTreeSet<TopicPartition>, Partitions)>, who: usize, now_ms: u64| {
            match poll(group, &members[who].0, now_ms) {
                Step::Nothing => {}
                Step::Assigned(new) => {
                    for partition in new {
                        let alive: Vec<_> = group.describe().into_iter().map(|member| member.member_id).collect();
                        for (other, holds, _) in members.iter() {
                            assert!(!holds.contains(&partition) || !alive.contains(other), "{partition} is held by {other}");
                        }
                        members[who].1.insert(partition);
                    }
                }
                Step::Revoked(gone) => {
                    assert!(gone.iter().all(|partition| members[who].1.contains(partition)));
                    members[who].2.extend(gone);
                }
                Step::Expelled => {
                    members.remove(who);
                }
            }
        };
        for event in events {
            match event {
                Event::Join => members.push((join(&mut group, now_ms), BTreeSet::new(), Vec::new())),
                Event::Leave(who) if who < members.len() => {
                    let (id, ..) = members.remove(who);
                    group.leave(&id, &four);
                }
                Event::Poll(who) if who < members.len() => step(&mut group, &mut members, who, now_ms),
                Event::Acknowledge(who) if who < members.len() => {
                    let (id, holds, revoked) = &mut members[who];
                    group.acknowledge(id, revoked);
                    for partition in revoked.drain(..) {
                        holds.remove(&partition);
                    }
                }
                Event::Wait(ms) => now_ms += ms,
                _ => {}
            }
        }
        // Left alone, it comes to rest.
        for _ in 0..8 {
            let mut who = 0;
            while who < members.len() {
                let before = members.len();
                step(&mut group, &mut members, who, now_ms);
                if members.len() == before {
                    let (id, holds, revoked) = &mut members[who];
                    group.acknowledge(id, revoked);
                    for partition in revoked.drain(..) {
                        holds.remove(&partition);
                    }
                    who += 1;
                }
            }
        }
        let held: Vec<_> = members.iter().flat_map(|(_, holds, _)| holds.iter()).collect();
        let distinct: BTreeSet<_> = held.iter().collect();
        prop_assert_eq!(held.len(), distinct.len());
        prop_assert_eq!(held.len(), if members.is_empty() { 0 } else { 4 });
    }
}
