//! Producers with transactions, zombies among them, against a model, with power cuts in between and disks that fail in
//! every way. Together with the model of `cleaning` an ordinary run makes more than 100,000 operations; `MODEL_CASES`
//! makes it longer. A failing case is printed, shrunk, and kept by its seed in `proptest-regressions`, from where it
//! replays first.
//!
//! What was acknowledged is there, once and in order; what was aborted is never seen by a reader of committed records;
//! nothing else appears; a transaction whose commit failed is all there or not at all, offsets included.
//!
//! The tests are alive: each of these mutants was made by hand, one at a time, and each made at least one test fail. Those
//! of compaction and recovery die in `cleaning_changes_nothing_that_is_true`, the others here or in `transactions`.
//!
//! * The decision is written before the data is synced; it is not synced itself.
//! * Opening aborts what the decisions call committed; it commits what they do not mention.
//! * A producer with an older epoch may add partitions to the transaction; one with a failed send may commit.
//! * Readers are not told of aborted transactions; the last stable offset is the log end.
//! * Offsets of a group count when they are sent.
//! * After a crash, snapshots of producers behind the recovery point are believed; the index of aborted transactions
//!   that opening rebuilds is not durable.
//! * Compaction leaves the old segments beside the new one; opening forgets a swap that a crash interrupted; aborted
//!   records count as the last of their key.
//! * Retention removes segments before the log start is written down; recovery keeps an empty segment that a power cut
//!   has brought back; segments before the log start are looked at like the others (`cleaning`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use log_store::{
    Error, Offset, RecordView, TopicPartition,
    client::{
        CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, LogClient, Polled, Producer, ProducerConfig, StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{CrashPlan, Faults, MemoryDirectory},
    },
};
use proptest::prelude::*;

use crate::support::{Failing, cases, create, failing, partition, read};

const PARTITIONS: u32 = 3;
const SLOTS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// A new producer in this slot takes over one of two transactional ids.
    New {
        slot: usize,
        id: u8,
    },
    Begin {
        slot: usize,
    },
    Send {
        slot: usize,
        partition: u32,
        count: usize,
        flush: bool,
    },
    Offsets {
        slot: usize,
    },
    End {
        slot: usize,
        commit: bool,
    },
    Plain {
        partition: u32,
        flush: bool,
    },
    Crash {
        seed: u64,
    },
    Close,
    /// The disk fails, from some call on.
    Fail(Failing),
}

fn op() -> impl Strategy<Value = Op> {
    let slot = 0..SLOTS;
    prop_oneof![
        2 => (slot.clone(), 0..2_u8).prop_map(|(slot, id)| Op::New { slot, id }),
        5 => slot.clone().prop_map(|slot| Op::Begin { slot }),
        9 => (slot.clone(), 0..PARTITIONS, 1..4_usize, any::<bool>())
            .prop_map(|(slot, partition, count, flush)| Op::Send { slot, partition, count, flush }),
        2 => slot.clone().prop_map(|slot| Op::Offsets { slot }),
        6 => (slot, prop::bool::weighted(0.7)).prop_map(|(slot, commit)| Op::End { slot, commit }),
        2 => (0..PARTITIONS, any::<bool>()).prop_map(|(partition, flush)| Op::Plain { partition, flush }),
        1 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        1 => Just(Op::Close),
        2 => failing().prop_map(Op::Fail),
    ]
}

/// What the model knows of a transaction, or of a record outside of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Not decided: must not be seen.
    Open,
    /// Must be there.
    Committed,
    /// Must not be there.
    Aborted,
    /// All or nothing.
    Unknown,
    /// A record outside of transactions that was not acknowledged.
    Loose,
}

struct Slot {
    producer: Box<dyn Producer>,
    id: u8,
    /// Number of its open transaction.
    open: Option<usize>,
    is_fenced: bool,
}

struct World {
    directory: MemoryDirectory,
    log: EmbeddedLog,
    plain: Box<dyn Producer>,
    reader: Box<dyn Consumer>,
    slots: [Option<Slot>; SLOTS],
    /// The fate of each unit: a transaction, or a record outside.
    fates: Vec<Fate>,
    /// The units that are transactions.
    transactions: BTreeSet<usize>,
    /// Of each transaction, the offset that it commits for the group.
    offsets: BTreeMap<usize, u64>,
    /// Per partition, what was sent: unit and value, in order.
    sent: Vec<Vec<(usize, String)>>,
    next_value: u64,
}

fn config() -> LogConfig {
    LogConfig { preallocate_bytes: 2_000, checkpoint_bytes: 3_000, ..LogConfig::default() }
}

fn topic(number: u32) -> TopicPartition {
    partition("t", number)
}

fn group() -> GroupMetadata {
    GroupMetadata { group_id: "g".to_owned(), generation: -1, member_id: String::new() }
}

fn open(directory: &MemoryDirectory) -> EmbeddedLog {
    EmbeddedLog::open_in(Arc::new(directory.clone()), config()).unwrap()
}

fn reader(log: &EmbeddedLog) -> Box<dyn Consumer> {
    let mut reader = log.consumer(&ConsumerConfig::default()).unwrap();
    let start: Vec<_> = (0..PARTITIONS).map(|number| (topic(number), StartAt::Beginning)).collect();
    reader.assign(&start).unwrap();
    reader
}

impl World {
    fn new() -> Self {
        let directory = MemoryDirectory::new();
        let log = open(&directory);
        create(&log, "t", PARTITIONS, &[("segment.bytes", "1500"), ("index.interval.bytes", "300")]);
        World {
            plain: log.producer(&ProducerConfig::default()).unwrap(),
            reader: reader(&log),
            directory,
            log,
            slots: [None, None, None],
            fates: Vec::new(),
            transactions: BTreeSet::new(),
            offsets: BTreeMap::new(),
            sent: vec![Vec::new(); PARTITIONS as usize],
            next_value: 0,
        }
    }

    fn step(&mut self, op: &Op) {
        let result = match op {
            Op::New { slot, id } => self.take_over(*slot, *id),
            Op::Begin { slot } => {
                if let Some(Slot { producer, open: open @ None, .. }) = &mut self.slots[*slot] {
                    let begun = producer.begin();
                    if begun.is_ok() {
                        self.fates.push(Fate::Open);
                        *open = Some(self.fates.len() - 1);
                        self.transactions.insert(self.fates.len() - 1);
                    }
                    begun
                } else {
                    Ok(())
                }
            }
            Op::Send { slot, partition, count, flush } => self.send(*slot, *partition, *count, *flush),
            Op::Offsets { slot } => match &mut self.slots[*slot] {
                Some(Slot { producer, open: Some(unit), is_fenced, .. }) => {
                    let offset = CommittedOffset { offset: Offset::new(*unit as u64), metadata: String::new() };
                    let sent = producer.send_offsets(&[(topic(0), offset)], &group());
                    assert!(!*is_fenced || sent.is_err(), "a zombie has committed offsets");
                    if sent.is_ok() {
                        self.offsets.insert(*unit, *unit as u64);
                    }
                    sent
                }
                _ => Ok(()),
            },
            Op::End { slot, commit } => self.end(*slot, *commit),
            Op::Plain { partition, flush } => self.send_plain(*partition, *flush),
            Op::Crash { seed } => {
                self.crash(CrashPlan::Random(*seed));
                Ok(())
            }
            Op::Close => {
                let log = self.log.clone();
                let closed = log.close();
                if closed.is_ok() {
                    self.directory.set_faults(Faults::default());
                    self.forget_open(Fate::Aborted);
                    self.reopen(self.directory.clone());
                }
                closed
            }
            Op::Fail(failing) => {
                self.directory.set_faults(failing.faults());
                Ok(())
            }
        };
        match result {
            Ok(()) | Err(Error::Invalid(_) | Error::ProducerFenced { .. }) => {}
            // A failed write or sync: nothing goes on but a new opening.
            Err(_) => self.crash(CrashPlan::Random(self.next_value)),
        }
        self.look();
    }

    fn take_over(&mut self, slot: usize, id: u8) -> log_store::Result<()> {
        let config = ProducerConfig { transactional_id: Some(format!("id{id}")), ..ProducerConfig::default() };
        let mut producer = self.log.producer(&config)?;
        producer.init_transactions()?;
        // What the slot held before is a zombie that nobody hears of again: it must not take anything back.
        if let Some(old) = self.slots[slot].take() {
            if let Some(unit) = old.open {
                self.fates[unit] = Fate::Aborted;
            }
            drop(old);
        }
        for other in self.slots.iter_mut().flatten().filter(|other| other.id == id) {
            other.is_fenced = true;
            if let Some(unit) = other.open {
                self.fates[unit] = Fate::Aborted;
            }
        }
        self.slots[slot] = Some(Slot { producer, id, open: None, is_fenced: false });
        Ok(())
    }

    fn send(&mut self, slot: usize, partition: u32, count: usize, flush: bool) -> log_store::Result<()> {
        let Some(Slot { producer, open: Some(unit), is_fenced, .. }) = &mut self.slots[slot] else { return Ok(()) };
        let handle = producer.open(&topic(partition))?;
        for _ in 0..count {
            let value = format!("{}-{}", *unit, self.next_value);
            self.next_value += 1;
            producer.send(handle, RecordView::new(self.next_value as i64, None, Some(value.as_bytes())))?;
            self.sent[partition as usize].push((*unit, value));
        }
        if !flush {
            return Ok(());
        }
        let flushed = producer.flush();
        assert!(!*is_fenced || flushed.is_err(), "a zombie has written");
        flushed
    }

    fn end(&mut self, slot: usize, commit: bool) -> log_store::Result<()> {
        let Some(Slot { producer, open, is_fenced, .. }) = &mut self.slots[slot] else { return Ok(()) };
        let Some(unit) = *open else { return Ok(()) };
        let ended = if commit { producer.commit() } else { producer.abort() };
        if *is_fenced {
            assert!(ended.is_err(), "a zombie has ended a transaction");
            return Ok(());
        }
        match &ended {
            Ok(()) => {
                self.fates[unit] = if commit { Fate::Committed } else { Fate::Aborted };
                *open = None;
            }
            // A send before had failed: it can only be aborted.
            Err(Error::Invalid(_)) => {}
            Err(_) if commit => self.fates[unit] = Fate::Unknown,
            Err(_) => self.fates[unit] = Fate::Aborted,
        }
        ended
    }

    fn send_plain(&mut self, partition: u32, flush: bool) -> log_store::Result<()> {
        let handle = self.plain.open(&topic(partition))?;
        let unit = self.fates.len();
        let value = format!("{unit}-{}", self.next_value);
        self.next_value += 1;
        self.fates.push(Fate::Loose);
        self.plain.send(handle, RecordView::new(0, None, Some(value.as_bytes())))?;
        self.sent[partition as usize].push((unit, value));
        if flush {
            self.plain.flush()?;
            for fate in self.fates.iter_mut().filter(|fate| **fate == Fate::Loose) {
                *fate = Fate::Committed;
            }
        }
        Ok(())
    }

    fn forget_open(&mut self, fate: Fate) {
        for slot in self.slots.iter_mut().flatten() {
            if let Some(unit) = slot.open
                && self.fates[unit] == Fate::Open
            {
                self.fates[unit] = fate;
            }
        }
    }

    fn crash(&mut self, plan: CrashPlan) {
        let mut image = self.directory.crash(plan);
        self.forget_open(Fate::Aborted);
        // Now and then the next process dies, too, while it recovers on a disk that fails.
        if let CrashPlan::Random(seed) = plan
            && seed % 3 == 0
        {
            image.set_faults(Failing::by_number(seed / 3).faults());
            std::mem::forget(EmbeddedLog::open_in(Arc::new(image.clone()), config()));
            image = image.crash(CrashPlan::Random(seed / 3));
        }
        self.reopen(image);
    }

    fn reopen(&mut self, directory: MemoryDirectory) {
        let log = open(&directory);
        let plain = log.producer(&ProducerConfig::default()).unwrap();
        let new_reader = reader(&log);
        // The old process is gone: nothing of it may run any more.
        for slot in &mut self.slots {
            std::mem::forget(slot.take());
        }
        std::mem::forget(std::mem::replace(&mut self.plain, plain));
        std::mem::forget(std::mem::replace(&mut self.reader, new_reader));
        std::mem::forget(std::mem::replace(&mut self.log, log));
        self.directory = directory;
        self.check();
    }

    /// A reader that follows sees nothing that is not committed by then.
    fn look(&mut self) {
        loop {
            let batch = match self.reader.poll(Duration::ZERO) {
                Ok(Polled::Batch(batch)) => batch,
                Ok(_) | Err(Error::Poisoned { .. } | Error::Io { .. }) => return,
                Err(error) => panic!("a reader is refused: {error}"),
            };
            let mut cursor = batch.cursor();
            while let Some(record) = cursor.advance().unwrap() {
                let value = String::from_utf8(cursor.view(&record).value.unwrap().to_vec()).unwrap();
                let fate = self.fate_of(&value);
                assert!(!matches!(fate, Fate::Open | Fate::Aborted), "{value} is seen and {fate:?}");
            }
        }
    }

    fn fate_of(&self, value: &str) -> Fate {
        self.fates[value.split_once('-').unwrap().0.parse::<usize>().unwrap()]
    }

    /// Compares the whole log with the model, and lets the model forget what turned out to be lost.
    fn check(&mut self) {
        let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
        for number in 0..PARTITIONS {
            let values = read(&self.log, &topic(number));
            let mut last: BTreeMap<Option<usize>, usize> = BTreeMap::new();
            for value in &values {
                // Nothing that was never sent; and what one producer sent, in its order and once.
                let place = self.sent[number as usize].iter().position(|(_, sent)| sent == value);
                let place = place.unwrap_or_else(|| panic!("{value} appears in {number}"));
                let unit = self.sent[number as usize][place].0;
                let sender = self.transactions.contains(&unit).then_some(unit);
                let before = last.insert(sender, place);
                assert!(before.is_none_or(|before| before < place), "{value} is out of order or twice in {number}");
                *seen.entry(unit).or_default() += 1;
            }
        }
        for (unit, fate) in self.fates.iter_mut().enumerate() {
            let sent = self.sent.iter().flatten().filter(|(of, _)| *of == unit).count();
            let found = seen.get(&unit).copied().unwrap_or(0);
            match fate {
                Fate::Committed => assert_eq!(found, sent, "unit {unit} was acknowledged"),
                Fate::Open | Fate::Aborted => assert_eq!(found, 0, "unit {unit} is {fate:?}"),
                // Only offsets: nobody can tell.
                Fate::Unknown if sent == 0 => {}
                Fate::Unknown | Fate::Loose => {
                    assert!(found == 0 || found == sent, "unit {unit}: {found} of {sent}");
                    *fate = if found > 0 { Fate::Committed } else { Fate::Aborted };
                }
            }
        }
        for sent in &mut self.sent {
            let fates = &self.fates;
            sent.retain(|(unit, _)| fates[*unit] != Fate::Aborted);
        }
        // The group is where the last of its committed transactions left it.
        let committed = |unit: &usize| matches!(self.fates[*unit], Fate::Committed | Fate::Unknown);
        let found = self.log.admin().unwrap().group_offsets("g").unwrap();
        let found = found.first().map(|(_, offset)| offset.offset.value());
        let possible: Vec<u64> =
            self.offsets.iter().filter(|(unit, _)| committed(unit)).map(|(_, offset)| *offset).collect();
        match found {
            Some(found) => assert!(possible.contains(&found), "offset {found} is of no committed transaction"),
            // A transaction without records: nobody can tell whether it was committed.
            None => assert!(
                self.offsets.keys().all(|unit| !committed(unit) || !seen.contains_key(unit)),
                "offsets are lost: {possible:?}"
            ),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1_200), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn transactions_are_all_or_nothing_whatever_happens(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        world.directory.set_faults(Faults::default());
        world.crash(CrashPlan::LoseAll);
        world.crash(CrashPlan::ProcessOnly);
    }
}
