//! Who reads what: members × topics → assignment. Pure, and the same for the same input.
//!
//! * [`Assignor::CooperativeSticky`] keeps what it can where it is, and evens out the rest. Partition `n` of all topics
//!   of a copartition group is one unit that never splits; units of different groups are spread, too, so two members
//!   share two sub-topologies instead of taking one each.
//! * [`Assignor::Range`] and [`Assignor::RoundRobin`] are Kafka's, topic by topic.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    TopicName, TopicPartition,
    client::{Assignor, CopartitionGroup},
};

/// What a member wants, and what it was given last.
#[derive(Clone, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) member: &'a str,
    pub(crate) groups: &'a [CopartitionGroup],
    /// What it has copies of.
    pub(crate) preferred: &'a [TopicPartition],
    pub(crate) previous: &'a BTreeSet<TopicPartition>,
}

/// The partitions of each member, in the order of `wishes`.
pub(crate) type Assignment = Vec<BTreeSet<TopicPartition>>;

/// Assigns every partition of every topic that somebody wants to one member that wants it. `partitions_of` is the
/// number of partitions of a topic, 0 for a topic that does not exist.
pub(crate) fn assign(assignor: Assignor, wishes: &[Wish<'_>], partitions_of: &dyn Fn(&TopicName) -> u32) -> Assignment {
    if wishes.is_empty() {
        return Vec::new();
    }
    match assignor {
        Assignor::CooperativeSticky => sticky(wishes, partitions_of),
        Assignor::Range => range(wishes, partitions_of),
        Assignor::RoundRobin => round_robin(wishes, partitions_of),
    }
}

/// Each wanted topic, with the members that want it, sorted by name.
fn members_by_topic<'a>(wishes: &[Wish<'a>]) -> BTreeMap<&'a TopicName, Vec<usize>> {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_unstable_by_key(|member| wishes[*member].member);
    let mut topics: BTreeMap<&TopicName, Vec<usize>> = BTreeMap::new();
    for member in order {
        for topic in wishes[member].groups.iter().flat_map(|group| &group.topics) {
            let members = topics.entry(topic).or_default();
            if members.last() != Some(&member) {
                members.push(member);
            }
        }
    }
    topics
}

/// Of each topic, a run of neighbouring partitions for each member; the first members get one more.
fn range(wishes: &[Wish<'_>], partitions_of: &dyn Fn(&TopicName) -> u32) -> Assignment {
    let mut assignment = vec![BTreeSet::new(); wishes.len()];
    for (topic, members) in members_by_topic(wishes) {
        let partitions = partitions_of(topic) as usize;
        let (each, more) = (partitions / members.len(), partitions % members.len());
        let mut next = 0;
        for (rank, member) in members.into_iter().enumerate() {
            let count = each + usize::from(rank < more);
            assignment[member]
                .extend((next..next + count).map(|number| TopicPartition::new(topic.clone(), number as u32)));
            next += count;
        }
    }
    assignment
}

/// All partitions of all topics, dealt out one after the other; a member that does not want a topic is passed over.
fn round_robin(wishes: &[Wish<'_>], partitions_of: &dyn Fn(&TopicName) -> u32) -> Assignment {
    let mut order: Vec<usize> = (0..wishes.len()).collect();
    order.sort_unstable_by_key(|member| wishes[*member].member);
    let mut assignment = vec![BTreeSet::new(); wishes.len()];
    let mut turn = 0;
    for (topic, members) in members_by_topic(wishes) {
        for number in 0..partitions_of(topic) {
            // Somebody wants it, so this ends within one round.
            while !members.contains(&order[turn % order.len()]) {
                turn += 1;
            }
            assignment[order[turn % order.len()]].insert(TopicPartition::new(topic.clone(), number));
            turn += 1;
        }
    }
    assignment
}

/// What cannot be split: partition `number` of all topics of a group.
struct Unit {
    group: usize,
    number: u32,
}

/// Units of each member: in all, and of each group.
struct Load {
    units: usize,
    by_group: Vec<usize>,
}

fn sticky(wishes: &[Wish<'_>], partitions_of: &dyn Fn(&TopicName) -> u32) -> Assignment {
    let groups = distinct_groups(wishes);
    let wants: Vec<Vec<usize>> = groups
        .iter()
        .map(|group| (0..wishes.len()).filter(|member| wants_group(&wishes[*member], group)).collect())
        .collect();
    let units: Vec<Unit> = groups
        .iter()
        .enumerate()
        .flat_map(|(group, topics)| {
            let count = topics.iter().map(|topic| partitions_of(topic)).max().unwrap_or(0);
            (0..count).map(move |number| Unit { group, number })
        })
        .collect();

    let mut loads: Vec<Load> = wishes.iter().map(|_| Load { units: 0, by_group: vec![0; groups.len()] }).collect();
    let take = |loads: &mut Vec<Load>, member: usize, unit: &Unit| {
        loads[member].units += 1;
        loads[member].by_group[unit.group] += 1;
    };
    // Keep.
    let mut owners: Vec<Option<usize>> = Vec::with_capacity(units.len());
    for unit in &units {
        let had = |member: &&usize| {
            groups[unit.group]
                .iter()
                .any(|topic| wishes[**member].previous.contains(&TopicPartition::new((*topic).clone(), unit.number)))
        };
        let owner = wants[unit.group].iter().find(had).copied();
        if let Some(owner) = owner {
            take(&mut loads, owner, unit);
        }
        owners.push(owner);
    }
    // Fill.
    for (unit, owner) in units.iter().zip(&mut owners) {
        if owner.is_none() {
            let has_copy = |member: usize| {
                let of_unit = |topic: &&TopicName| TopicPartition::new((*topic).clone(), unit.number);
                groups[unit.group].iter().any(|topic| wishes[member].preferred.contains(&of_unit(topic)))
            };
            let least =
                |member: &&usize| (!has_copy(**member), loads[**member].units, loads[**member].by_group[unit.group]);
            let member =
                *wants[unit.group].iter().min_by_key(least).expect("a group is there because a member wants it");
            take(&mut loads, member, unit);
            *owner = Some(member);
        }
    }
    // Even out: every move brings two members closer, so this ends.
    while let Some((unit, to)) = best_move(&units, &owners, &loads, &wants) {
        let from = owners[unit].replace(to).expect("every unit has an owner by now");
        let group = units[unit].group;
        loads[from].units -= 1;
        loads[from].by_group[group] -= 1;
        take(&mut loads, to, &units[unit]);
    }

    let mut assignment = vec![BTreeSet::new(); wishes.len()];
    for (unit, owner) in units.iter().zip(owners) {
        let owner = owner.expect("every unit has an owner by now");
        let partitions = groups[unit.group].iter().filter(|topic| unit.number < partitions_of(topic));
        assignment[owner].extend(partitions.map(|topic| TopicPartition::new((*topic).clone(), unit.number)));
    }
    assignment
}

/// A unit that goes from a member to one that has at least two fewer: from the fullest member, of the group in which
/// the two differ most.
fn best_move(units: &[Unit], owners: &[Option<usize>], loads: &[Load], wants: &[Vec<usize>]) -> Option<(usize, usize)> {
    let mut best: Option<((usize, isize), (usize, usize))> = None;
    for (number, (unit, owner)) in units.iter().zip(owners).enumerate() {
        let Some(from) = *owner else { continue };
        for to in wants[unit.group].iter().copied() {
            let gap = loads[from].units.saturating_sub(loads[to].units);
            let difference = loads[from].by_group[unit.group] as isize - loads[to].by_group[unit.group] as isize;
            if gap >= 2 && best.as_ref().is_none_or(|(rank, _)| (gap, difference) >= *rank) {
                best = Some(((gap, difference), (number, to)));
            }
        }
    }
    best.map(|(_, found)| found)
}

/// The groups that members want, each once, in the order of their topics. A topic that is in several groups counts for
/// the first of them only, so that nothing is assigned twice.
fn distinct_groups<'a>(wishes: &[Wish<'a>]) -> Vec<Vec<&'a TopicName>> {
    let mut all: Vec<Vec<&TopicName>> = Vec::new();
    for group in wishes.iter().flat_map(|wish| wish.groups) {
        let mut topics: Vec<&TopicName> = group.topics.iter().collect();
        topics.sort_unstable();
        topics.dedup();
        all.push(topics);
    }
    all.sort_unstable();
    all.dedup();
    let mut seen = BTreeSet::new();
    for group in &mut all {
        group.retain(|topic| seen.insert(*topic));
    }
    all.retain(|group| !group.is_empty());
    all
}

fn wants_group(wish: &Wish<'_>, group: &[&TopicName]) -> bool {
    group.iter().all(|topic| wish.groups.iter().any(|wanted| wanted.topics.contains(topic)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topic(name: &str) -> TopicName {
        TopicName::new(name).unwrap()
    }

    fn groups(text: &str) -> Vec<CopartitionGroup> {
        let group = |names: &str| CopartitionGroup { topics: names.split('+').map(topic).collect() };
        text.split(' ').filter(|names| !names.is_empty()).map(group).collect()
    }

    fn show(partitions: &BTreeSet<TopicPartition>) -> String {
        partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    /// Members by what they want and what they had; topics by name with their partition counts.
    fn check(assignor: Assignor, topics: &str, members: &[(&str, &str)], expected: &[&str]) {
        let counts: BTreeMap<String, u32> = topics
            .split(' ')
            .map(|entry| entry.split_once(':').unwrap())
            .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
            .collect();
        let parse = |text: &str| -> BTreeSet<TopicPartition> {
            text.split(' ')
                .filter(|name| !name.is_empty())
                .map(|name| name.rsplit_once('-').unwrap())
                .map(|(name, number)| TopicPartition::new(topic(name), number.parse().unwrap()))
                .collect()
        };
        let parsed: Vec<_> = members.iter().map(|(wanted, had)| (groups(wanted), parse(had))).collect();
        let names: Vec<String> = (0..members.len()).map(|number| format!("m{number}")).collect();
        let wishes: Vec<Wish<'_>> = parsed
            .iter()
            .zip(&names)
            .map(|((groups, previous), member)| Wish { member, groups, preferred: &[], previous })
            .collect();
        let count = |name: &TopicName| counts.get(name.as_str()).copied().unwrap_or(0);
        let got: Vec<String> = assign(assignor, &wishes, &count).iter().map(show).collect();
        assert_eq!(got, expected, "{topics} for {members:?}");
    }

    const STICKY: Assignor = Assignor::CooperativeSticky;

    #[test]
    fn one_member_gets_all() {
        check(STICKY, "a:2 b:1", &[("a b", "")], &["a-0 a-1 b-0"]);
    }

    #[test]
    fn copartitioned_topics_stay_together() {
        check(STICKY, "a:2 b:2", &[("a+b", ""), ("a+b", "")], &["a-0 b-0", "a-1 b-1"]);
        // Not the same count: a unit has what there is.
        check(STICKY, "a:3 b:1", &[("a+b", ""), ("a+b", "")], &["a-0 a-2 b-0", "a-1"]);
    }

    #[test]
    fn two_members_share_two_sub_topologies() {
        check(STICKY, "a:1 b:1", &[("a b", ""), ("a b", "")], &["a-0", "b-0"]);
        check(STICKY, "a:2 b:2", &[("a b", ""), ("a b", "")], &["a-0 b-0", "a-1 b-1"]);
    }

    #[test]
    fn a_new_member_takes_its_share_of_every_group() {
        check(STICKY, "a:2 b:2", &[("a b", "a-0 a-1 b-0 b-1"), ("a b", "")], &["a-0 b-0", "a-1 b-1"]);
    }

    #[test]
    fn what_a_member_had_stays_with_it() {
        check(STICKY, "a:4", &[("a", "a-3"), ("a", "a-0 a-2")], &["a-1 a-3", "a-0 a-2"]);
        check(STICKY, "a:3", &[("a", ""), ("a", "a-0 a-1")], &["a-2", "a-0 a-1"]);
    }

    #[test]
    fn more_members_than_partitions_leave_some_idle() {
        check(STICKY, "a:1", &[("a", ""), ("a", "a-0")], &["", "a-0"]);
    }

    #[test]
    fn a_member_gets_only_what_it_wants() {
        check(STICKY, "a:2 b:2", &[("a", ""), ("a b", "")], &["a-0 a-1", "b-0 b-1"]);
        check(STICKY, "a:1", &[("a missing", "")], &["a-0"]);
    }

    #[test]
    fn ranges_are_neighbours_and_the_first_members_get_more() {
        let two = [("a b", ""), ("a b", "")];
        check(Assignor::Range, "a:3 b:3", &two, &["a-0 a-1 b-0 b-1", "a-2 b-2"]);
        check(Assignor::Range, "a:2 b:1", &[("a", ""), ("a b", ""), ("b", "")], &["a-0", "a-1 b-0", ""]);
    }

    #[test]
    fn round_robin_deals_over_topics() {
        let two = [("a b", ""), ("a b", "")];
        check(Assignor::RoundRobin, "a:3 b:3", &two, &["a-0 a-2 b-1", "a-1 b-0 b-2"]);
        let three = [("a", ""), ("a b", ""), ("a b c", "")];
        check(Assignor::RoundRobin, "a:1 b:2 c:3", &three, &["a-0", "b-0", "b-1 c-0 c-1 c-2"]);
    }

    #[test]
    fn what_is_free_goes_to_who_has_a_copy_and_stays_there() {
        let groups = [CopartitionGroup { topics: vec![topic("t")] }];
        let unit = |number| TopicPartition::new(topic("t"), number);
        let previous = [BTreeSet::from([unit(0)]), BTreeSet::from([unit(1)]), BTreeSet::new()];
        for (has_copy, expected) in [(0, [2, 1, 1]), (1, [1, 2, 1]), (2, [2, 1, 1])] {
            let copy = [unit(2)];
            let wishes: Vec<Wish<'_>> = ["a", "b", "c"]
                .into_iter()
                .enumerate()
                .map(|(number, member)| Wish {
                    member,
                    groups: &groups,
                    preferred: if number == has_copy { &copy } else { &[] },
                    previous: &previous[number],
                })
                .collect();
            let assigned = assign(Assignor::CooperativeSticky, &wishes, &|_| 4);
            assert!(assigned[has_copy].contains(&unit(2)), "{has_copy}: {assigned:?}");
            assert_eq!(assigned.iter().map(BTreeSet::len).collect::<Vec<_>>(), expected);
        }
    }

    proptest! {
        /// Whatever members come and go: everything is assigned once, units do not split, loads differ by one at most,
        /// a second look changes nothing, and no more moves than needed.
        #[test]
        fn sticky_is_complete_even_and_at_rest(
            counts in prop::collection::vec(0..6_u32, 1..5),
            steps in prop::collection::vec((any::<bool>(), 0..6_usize), 1..12),
        ) {
            // Topic 0 and 1 are one group, the others alone.
            let names: Vec<TopicName> = (0..counts.len()).map(|number| topic(&format!("t{number}"))).collect();
            let mut wanted = vec![CopartitionGroup { topics: names.iter().take(2).cloned().collect() }];
            wanted.extend(names.iter().skip(2).map(|name| CopartitionGroup { topics: vec![name.clone()] }));
            let count = |name: &TopicName| counts[names.iter().position(|known| known == name).unwrap()];
            let units: usize = wanted.iter().map(|group| group.topics.iter().map(&count).max().unwrap() as usize).sum();
            let unit_of = |partition: &TopicPartition| {
                let group = wanted.iter().position(|group| group.topics.contains(&partition.topic)).unwrap();
                (group, partition.partition)
            };

            let mut members: Vec<(String, BTreeSet<TopicPartition>)> = Vec::new();
            for (number, (joins, who)) in steps.into_iter().enumerate() {
                if joins || members.is_empty() {
                    members.push((format!("m{number:02}"), BTreeSet::new()));
                } else {
                    let who = who % members.len();
                    members.remove(who);
                }
                if members.is_empty() {
                    continue;
                }
                let solve = |members: &[(String, BTreeSet<TopicPartition>)]| {
                    let wishes: Vec<_> = members
                        .iter()
                        .map(|(member, previous)| Wish { member, groups: &wanted, preferred: &[], previous })
                        .collect();
                    assign(STICKY, &wishes, &count)
                };
                let after = solve(&members);
                let all: Vec<_> = after.iter().flatten().collect();
                let distinct: BTreeSet<_> = all.iter().collect();
                let expected: u32 = counts.iter().sum();
                prop_assert_eq!((all.len(), distinct.len()), (expected as usize, expected as usize));

                let loads: Vec<BTreeSet<_>> = after.iter().map(|one| one.iter().map(&unit_of).collect()).collect();
                prop_assert_eq!(loads.iter().map(BTreeSet::len).sum::<usize>(), units, "a unit was split");
                if let (Some(least), Some(most)) = (loads.iter().map(BTreeSet::len).min(), loads.iter().map(BTreeSet::len).max()) {
                    prop_assert!(most - least <= 1, "{} and {}", least, most);
                }
                // What stays is at least what fits into an even share.
                for ((_, before), after) in members.iter().zip(&loads) {
                    let before: BTreeSet<_> = before.iter().map(&unit_of).collect();
                    let kept = before.intersection(after).count();
                    prop_assert!(kept >= before.len().min(units / loads.len()), "{} of {} kept", kept, before.len());
                }
                for ((_, previous), after) in members.iter_mut().zip(&after) {
                    previous.clone_from(after);
                }
                prop_assert_eq!(solve(&members), after, "a second look moves something");
            }
        }
    }
}
