//! What must be true of the log: what was sent, and what became of it.

use std::collections::BTreeMap;

use log_store::{
    Offset, RecordView, Result,
    client::{CommittedOffset, Producer},
};

use super::world::{COMPACTED, GROUPS, KEPT, TARGETS, target};

/// What the model knows of a transaction, or of a record or commit outside of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A transaction that is not decided: must not be seen.
    Open,
    /// Must be there.
    Committed,
    /// Must not be there.
    Aborted,
    /// A transaction: all or nothing.
    Unknown,
    /// Outside of transactions, and not acknowledged.
    Loose,
}

/// A record; its number is its timestamp.
struct Sent {
    unit: usize,
    to: usize,
    key: u8,
    value: Option<String>,
    /// Where it was appended, once that is known.
    offset: Option<u64>,
}

pub(super) struct Truth {
    /// The fate of each unit: a transaction, or a record or commit outside.
    fates: Vec<Fate>,
    is_transaction: Vec<bool>,
    records: Vec<Sent>,
    /// Per partition the numbers of records that may be there for readers of committed records, in the order of sends.
    alive: [Vec<usize>; TARGETS],
    /// Per group what was committed, in the order of sends: the last one counts whose unit is committed.
    commits: [Vec<(usize, CommittedOffset)>; GROUPS],
    next_commit: u64,
    /// Where the partition that keeps its end begins, at least and at most.
    start: (u64, u64),
    /// Last offset that the followers have seen, in each partition.
    followed: [[Option<u64>; TARGETS]; 2],
}

impl Truth {
    pub(super) fn new() -> Self {
        Truth {
            fates: Vec::new(),
            is_transaction: Vec::new(),
            records: Vec::new(),
            alive: [const { Vec::new() }; TARGETS],
            commits: [const { Vec::new() }; GROUPS],
            next_commit: 0,
            start: (0, 0),
            followed: Default::default(),
        }
    }

    pub(super) fn new_unit(&mut self, fate: Fate) -> usize {
        self.fates.push(fate);
        self.is_transaction.push(fate == Fate::Open);
        self.fates.len() - 1
    }

    pub(super) fn decide(&mut self, unit: usize, fate: Fate) {
        self.fates[unit] = fate;
    }

    /// Nobody can commit it any more, unless somebody did.
    pub(super) fn abort(&mut self, unit: Option<usize>) {
        if let Some(unit) = unit.filter(|unit| self.fates[*unit] == Fate::Open) {
            self.fates[unit] = Fate::Aborted;
        }
    }

    /// Sends records: a key, and whether it is deleted where keys count.
    pub(super) fn send(
        &mut self,
        producer: &mut dyn Producer,
        unit: usize,
        to: usize,
        records: &[(u8, bool)],
    ) -> Result<()> {
        let handle = producer.open(&target(to))?;
        for (key, is_deletion) in records {
            let number = self.records.len();
            let value = (to != COMPACTED || !is_deletion).then(|| format!("{unit}-{number:0>60}"));
            let view =
                RecordView::new(number as i64, Some(std::slice::from_ref(key)), value.as_ref().map(String::as_bytes));
            producer.send(handle, view)?;
            self.records.push(Sent { unit, to, key: *key, value, offset: None });
            self.alive[to].push(number);
        }
        Ok(())
    }

    /// Learns where the last `count` records that were sent to this partition are: they have just been flushed.
    pub(super) fn place(&mut self, producer: &mut dyn Producer, to: usize, count: usize) -> Result<()> {
        let handle = producer.open(&target(to))?;
        let end = producer.acknowledged(handle).expect("it has just written there").value();
        for (before_end, number) in self.alive[to].iter().rev().take(count).enumerate() {
            self.records[*number].offset = Some(end - 1 - before_end as u64);
        }
        Ok(())
    }

    /// What was sent outside of transactions is acknowledged.
    pub(super) fn acknowledge_loose(&mut self) {
        for fate in self.fates.iter_mut().filter(|fate| **fate == Fate::Loose) {
            *fate = Fate::Committed;
        }
    }

    /// The next offset that a group commits in a unit.
    pub(super) fn next_commit(&mut self, group: usize, unit: usize) -> CommittedOffset {
        self.next_commit += 1;
        let metadata = format!("number {}", self.next_commit);
        let committed = CommittedOffset { offset: Offset::new(self.next_commit), metadata };
        self.commits[group].push((unit, committed.clone()));
        committed
    }

    pub(super) fn forget_last_commit(&mut self, group: usize) {
        self.commits[group].pop();
    }

    pub(super) fn start_of_kept(&self) -> u64 {
        self.start.0
    }

    /// Something is under way that may move the start up to there.
    pub(super) fn start_may_move(&mut self, to: u64) {
        self.start.1 = self.start.1.max(to);
    }

    /// It is there now, and stays.
    pub(super) fn start_has_moved(&mut self, to: u64) {
        assert!(to >= self.start.0, "the log began at {}, and now at {to}", self.start.0);
        self.start = (to, to);
    }

    /// Another process reads from the beginning.
    pub(super) fn begin_life(&mut self) {
        self.followed = Default::default();
    }

    /// The number of a record that was found: nothing is found that was never sent there.
    pub(super) fn recognise(&self, number: usize, offset: Offset, found: &RecordView<'_>) -> usize {
        let name = usize::try_from(found.timestamp).unwrap();
        let sent = &self.records[name];
        assert_eq!(sent.to, number, "record {name} of unit {} is elsewhere", sent.unit);
        assert_eq!(found.key, Some(&[sent.key][..]), "key of record {name}");
        assert_eq!(found.value, sent.value.as_ref().map(String::as_bytes), "value of record {name}");
        assert_eq!(sent.offset.unwrap_or(offset.value()), offset.value(), "offset of record {name}");
        name
    }

    /// A follower has come to a record.
    pub(super) fn see(&mut self, number: usize, offset: Offset, found: &RecordView<'_>, is_committed: bool) {
        let name = self.recognise(number, offset, found);
        self.records[name].offset = Some(offset.value());
        let last = &mut self.followed[usize::from(is_committed)][number];
        assert!(last.is_none_or(|last| last < offset.value()), "a reader comes to offset {offset} after {last:?}");
        *last = Some(offset.value());
        let fate = self.fate_of(name);
        assert!(!is_committed || self.is_visible(name), "record {name} is seen and {fate:?}");
    }

    fn fate_of(&self, name: usize) -> Fate {
        self.fates[self.records[name].unit]
    }

    /// For readers of committed records.
    fn is_visible(&self, name: usize) -> bool {
        matches!(self.fate_of(name), Fate::Committed | Fate::Loose | Fate::Unknown)
    }

    /// Compares a partition: all that is in it and what is committed, by offset and number; where it begins, and where
    /// readers of committed records must stop.
    pub(super) fn compare(
        &mut self,
        number: usize,
        all: &[(u64, usize)],
        committed: &[(u64, usize)],
        (start, stable): (u64, u64),
        is_live: bool,
    ) {
        let places: BTreeMap<usize, u64> = all.iter().map(|(offset, name)| (*name, *offset)).collect();
        assert_eq!(places.len(), all.len(), "a record is twice in {}", target(number));
        assert!(all.is_sorted_by(|one, next| one.0 < next.0), "offsets of {}", target(number));
        for (offset, name) in all {
            self.records[*name].offset = Some(*offset);
        }
        if !is_live {
            self.learn(number, &places, committed, start);
        }
        let mut visible = all.to_vec();
        visible.retain(|(offset, name)| *offset < stable && self.is_visible(*name));
        assert_eq!(committed, visible, "what is committed in {}", target(number));
        self.compare_order(number, all);
        let first_open = all.iter().find(|(_, name)| self.fate_of(*name) == Fate::Open).map(|(offset, _)| *offset);
        // Of a transaction the first record may be deleted, which is where readers stop.
        let first_open = if number == KEPT { Some(start) } else { first_open };
        let held_at = first_open.or(all.last().map(|(offset, _)| offset + 1)).unwrap_or(0);
        assert!(stable >= held_at, "readers of {} stop at {stable}, nothing is open before {held_at}", target(number));
        // What must be there.
        for &name in &self.alive[number] {
            let Sent { unit, offset, .. } = &self.records[name];
            let is_needed = match (self.fates[*unit], number) {
                (Fate::Open, COMPACTED) => offset.is_some(),
                // Deleted, and no more than that: what was never synced may be lost with the whole first segment.
                (Fate::Committed, KEPT) => offset.expect("it was flushed") >= start.min(self.start.1),
                (fate, COMPACTED) => fate == Fate::Committed && self.is_last(name),
                (fate, _) => fate == Fate::Committed && number < COMPACTED,
            };
            assert!(
                !is_needed || places.contains_key(&name),
                "record {name} of unit {unit} in {} is lost",
                target(number)
            );
        }
        if number == COMPACTED {
            self.compare_table(all);
        }
    }

    /// After a crash: what of that which was in doubt is there.
    fn learn(&mut self, number: usize, places: &BTreeMap<usize, u64>, committed: &[(u64, usize)], start: u64) {
        if number == 0 {
            let found: Vec<usize> = committed.iter().map(|(_, name)| self.records[*name].unit).collect();
            for (unit, fate) in self.fates.iter_mut().enumerate().filter(|(_, fate)| **fate == Fate::Unknown) {
                *fate = if found.contains(&unit) { Fate::Committed } else { Fate::Aborted };
            }
        }
        let mut is_cut = false;
        for &name in &self.alive[number] {
            let unit = self.records[name].unit;
            if self.fates[unit] == Fate::Loose {
                let is_there = places.contains_key(&name);
                assert!(!(is_cut && is_there), "record {name} is in {}, and one before it is not", target(number));
                // Before anything of a partition is synced, its first segment may be lost with all that is in it.
                is_cut |= !is_there && start == 0;
                self.fates[unit] = if is_there { Fate::Committed } else { Fate::Aborted };
            }
        }
    }

    /// What one producer sent is in its order; where each send is flushed, what all sent.
    fn compare_order(&self, number: usize, all: &[(u64, usize)]) {
        let mut last: BTreeMap<Option<usize>, usize> = BTreeMap::new();
        let mut last_committed = None;
        for (_, name) in all {
            let unit = self.records[*name].unit;
            let before = last.insert(self.is_transaction[unit].then_some(unit), *name);
            assert!(before.is_none_or(|before| before < *name), "record {name} in {} comes late", target(number));
            if number >= COMPACTED && self.fates[unit] == Fate::Committed {
                assert!(last_committed < Some(*name), "record {name} in {} comes late", target(number));
                last_committed = Some(*name);
            }
        }
    }

    /// True for the last committed record with its key, if that is no deletion: those may go.
    fn is_last(&self, name: usize) -> bool {
        let key = self.records[name].key;
        let is_one = |other: &&usize| self.records[**other].key == key && self.fate_of(**other) == Fate::Committed;
        self.records[name].value.is_some() && self.alive[COMPACTED].iter().rev().find(is_one) == Some(&name)
    }

    /// The last record of each key is the last that was committed; a deletion may have gone, with all before it.
    fn compare_table(&self, all: &[(u64, usize)]) {
        let mut found: BTreeMap<u8, usize> = BTreeMap::new();
        for (_, name) in all.iter().filter(|(_, name)| self.is_visible(*name)) {
            found.insert(self.records[*name].key, *name);
        }
        let mut expected: BTreeMap<u8, usize> = BTreeMap::new();
        for name in self.alive[COMPACTED].iter().filter(|name| self.fate_of(**name) == Fate::Committed) {
            expected.insert(self.records[*name].key, *name);
        }
        for (key, name) in &found {
            assert_eq!(expected.get(key), Some(name), "the last record of key {key}");
        }
    }

    /// Where the partition begins that keeps its end: what was deleted does not come back.
    pub(super) fn compare_start(&mut self, start: u64) {
        assert!(start >= self.start.0, "the log begins at {start}, and not at {} or later", self.start.0);
        self.start = (start, start);
    }

    /// The group is where the last committed one of its commits left it.
    pub(super) fn compare_group(&mut self, group: usize, found: Option<&CommittedOffset>, is_live: bool) {
        for (unit, committed) in self.commits[group].iter().rev() {
            match self.fates[*unit] {
                Fate::Committed => {
                    assert_eq!(found, Some(committed), "the offset of group {group}");
                    return;
                }
                Fate::Loose if found == Some(committed) => {
                    self.fates[*unit] = Fate::Committed;
                    return;
                }
                Fate::Loose if !is_live => self.fates[*unit] = Fate::Aborted,
                _ => {}
            }
        }
        assert_eq!(found, None, "the offset of group {group}");
    }

    /// Forgets what is aborted: it comes back no more.
    pub(super) fn settle(&mut self) {
        let (fates, records) = (&self.fates, &self.records);
        for alive in &mut self.alive {
            alive.retain(|name| fates[records[*name].unit] != Fate::Aborted);
        }
        for commits in &mut self.commits {
            commits.retain(|(unit, _)| fates[*unit] != Fate::Aborted);
        }
    }
}
