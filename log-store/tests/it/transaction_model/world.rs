//! What the operations do to the log, and what they let the model expect.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use log_store::{
    Error, Offset, TopicName, TopicPartition,
    client::{
        CommittedOffset, Consumer, ConsumerConfig, GroupMetadata, Isolation, LogClient, Polled, Producer,
        ProducerConfig, StartAt,
    },
    clock::{Clock, ManualClock},
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Scope, Severity},
        storage::{CrashPlan, Directory, Faults, MemoryDirectory},
    },
};

use super::{
    Op,
    truth::{Fate, Truth},
};
use crate::support::{Failing, create, partition};

pub(super) const SLOTS: usize = 4;
/// Fewer than slots: they take each other's over.
pub(super) const IDS: usize = 3;
pub(super) const GROUPS: usize = 2;
/// Partitions: two that keep everything, one that is compacted, one that keeps its end.
pub(super) const TARGETS: usize = 4;
pub(super) const COMPACTED: usize = 2;
pub(super) const KEPT: usize = 3;
/// `retention.bytes` of the last.
const KEPT_BYTES: u64 = 2_500;

const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What happened in all cases together.
pub(super) static COUNTS: Counts = Counts::new();

macro_rules! counts {
    ($($name:ident >= $least:literal,)*) => {
        #[derive(Debug)]
        pub(super) struct Counts {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counts {
            const fn new() -> Self {
                Counts { $($name: AtomicU64::new(0),)* }
            }

            /// Enough happened for the model to mean something.
            pub(super) fn check(&self) {
                $(
                    let count = self.$name.load(Relaxed);
                    assert!(count >= $least, "{}: {count}, and no longer {}", stringify!($name), $least);
                )*
            }
        }

        impl fmt::Display for Counts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} {} ", self.$name.load(Relaxed), stringify!($name))?;)*
                Ok(())
            }
        }
    };
}

counts! {
    effective_operations >= 100_000,
    commits >= 6_000,
    aborts >= 2_500,
    zombies_refused >= 2_500,
    expired >= 120,
    group_commits >= 5_000,
    crashes >= 4_000,
    crashes_of_recovery >= 1_000,
    failures_met >= 1_000,
    compactions >= 800,
    retentions >= 100,
    verified >= 1_000,
}

pub(super) fn count(what: &AtomicU64) {
    what.fetch_add(1, Relaxed);
}

struct Slot {
    producer: Box<dyn Producer>,
    id: usize,
    /// Number of its open transaction.
    open: Option<usize>,
    /// When the log learned of the transaction.
    since: Option<Duration>,
    is_fenced: bool,
    /// A send of the open transaction failed: it can only be aborted.
    has_failed: bool,
}

pub(super) struct World {
    directory: MemoryDirectory,
    clock: Arc<ManualClock>,
    log: EmbeddedLog,
    plain: Box<dyn Producer>,
    /// Readers of all partitions that follow: of committed records, and of all.
    followers: [Box<dyn Consumer>; 2],
    slots: [Option<Slot>; SLOTS],
    truth: Truth,
    steps: u64,
}

pub(super) fn target(number: usize) -> TopicPartition {
    match number {
        COMPACTED => partition("compacted", 0),
        KEPT => partition("kept", 0),
        number => partition("t", u32::try_from(number).unwrap()),
    }
}

pub(super) fn group(number: usize) -> GroupMetadata {
    GroupMetadata { group_id: format!("g{number}"), generation: -1, member_id: String::new() }
}

fn open(directory: &MemoryDirectory, clock: &Arc<ManualClock>) -> log_store::Result<EmbeddedLog> {
    // Some reads come from memory and some from files; no threads, so that a seed replays.
    let config = LogConfig {
        preallocate_bytes: 2_000,
        checkpoint_bytes: 3_000,
        tail_bytes_max: 1_500,
        open_files_max: 6,
        ..LogConfig::default()
    };
    EmbeddedLog::open_stepped(Arc::new(directory.clone()), config, Arc::clone(clock) as Arc<dyn Clock>)
}

fn follower(log: &EmbeddedLog, isolation: Isolation) -> Box<dyn Consumer> {
    let mut reader = log.consumer(&ConsumerConfig { isolation, ..ConsumerConfig::default() }).unwrap();
    let start: Vec<_> = (0..TARGETS).map(|number| (target(number), StartAt::Beginning)).collect();
    reader.assign(&start).unwrap();
    reader
}

fn followers(log: &EmbeddedLog) -> [Box<dyn Consumer>; 2] {
    [Isolation::ReadCommitted, Isolation::ReadUncommitted].map(|isolation| follower(log, isolation))
}

impl World {
    pub(super) fn new() -> Self {
        let directory = MemoryDirectory::new();
        let clock = Arc::new(ManualClock::new(100_000));
        let log = open(&directory, &clock).unwrap();
        let small = [("segment.bytes", "1024"), ("index.interval.bytes", "300"), ("retention.ms", "-1")];
        let with = |more: &[(&'static str, &'static str)]| [&small[..], more].concat();
        let compacted =
            [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01"), ("delete.retention.ms", "60000")];
        create(&log, "t", 2, &small);
        create(&log, "compacted", 1, &with(&compacted));
        create(&log, "kept", 1, &with(&[("retention.bytes", "2500")]));
        let mut world = World {
            plain: log.producer(&ProducerConfig::default()).unwrap(),
            followers: followers(&log),
            directory,
            clock,
            log,
            slots: [const { None }; SLOTS],
            truth: Truth::new(),
            steps: 0,
        };
        // The topic of committed offsets is there from now on, and compacted often.
        world.commit_plain(0).unwrap();
        let offsets = TopicName::new("__consumer_offsets").unwrap();
        let often = [("segment.bytes", "1024"), ("min.cleanable.dirty.ratio", "0.01"), ("delete.retention.ms", "0")];
        let often = often.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        world.log.alter_topic(&offsets, &often.into()).unwrap();
        world
    }

    pub(super) fn step(&mut self, op: &Op) {
        self.steps += 1;
        let done = match op {
            Op::TakeOver { slot, id } => self.take_over(*slot, *id).map(|()| true),
            Op::Send { slot, to, records, is_flushed } => self.send(*slot, *to, records, *is_flushed),
            Op::Offsets { slot, group } => self.send_offsets(*slot, *group),
            Op::End { slot, is_commit } => self.end(*slot, *is_commit),
            Op::Plain { to, records, is_flushed } => self.send_plain(*to, records, *is_flushed),
            Op::Commit { group } => self.commit_plain(*group).map(|()| true),
            Op::Clean => self.clean(),
            Op::Trim { percent } => self.trim(*percent),
            Op::Wait { seconds } => self.wait(*seconds).map(|()| true),
            Op::Look => self.check(true).map(|()| true),
            Op::Crash { seed } => {
                self.crash(CrashPlan::Random(*seed));
                Ok(true)
            }
            Op::Close => self.close(),
            Op::Fail(failing) => {
                self.directory.set_faults(failing.faults());
                Ok(false)
            }
        };
        match done {
            Ok(true) => count(&COUNTS.effective_operations),
            Ok(false) => {}
            // A failed write or sync: nothing goes on but a new opening.
            Err(_) => {
                count(&COUNTS.effective_operations);
                count(&COUNTS.failures_met);
                self.crash(CrashPlan::Random(self.steps));
            }
        }
        self.follow();
    }

    /// The last word: what is left after a power cut, and after another.
    pub(super) fn finish(&mut self) {
        self.directory.set_faults(Faults::default());
        self.crash(CrashPlan::LoseAll);
        self.crash(CrashPlan::ProcessOnly);
    }

    fn take_over(&mut self, slot: usize, id: usize) -> log_store::Result<()> {
        let config = ProducerConfig {
            transactional_id: Some(format!("id{id}")),
            transaction_timeout: TRANSACTION_TIMEOUT,
            ..ProducerConfig::default()
        };
        let mut producer = self.log.producer(&config)?;
        producer.init_transactions()?;
        // What the slot held before is a zombie that nobody hears of again: it must not take anything back.
        if let Some(old) = self.slots[slot].take() {
            self.truth.abort(old.open);
            drop(old);
        }
        for other in self.slots.iter_mut().flatten().filter(|other| other.id == id) {
            other.is_fenced = true;
            self.truth.abort(other.open);
        }
        self.slots[slot] = Some(Slot { producer, id, open: None, since: None, is_fenced: false, has_failed: false });
        Ok(())
    }

    /// Sees to it that a transaction is open in this slot. Its first record is in a partition that keeps everything, so
    /// that its fate can be told after a crash.
    fn begin(&mut self, slot: usize) -> log_store::Result<usize> {
        if self.slots[slot].is_none() {
            self.take_over(slot, slot % IDS)?;
        }
        let Some(Slot { producer, open, since, has_failed, .. }) = &mut self.slots[slot] else { unreachable!() };
        if let Some(unit) = *open {
            return Ok(unit);
        }
        producer.begin()?;
        let unit = self.truth.new_unit(Fate::Open);
        (*open, *since, *has_failed) = (Some(unit), None, false);
        self.truth.send(&mut **producer, unit, 0, &[(0, false)])?;
        Ok(unit)
    }

    fn send(&mut self, slot: usize, to: usize, records: &[(u8, bool)], is_flushed: bool) -> log_store::Result<bool> {
        let unit = self.begin(slot)?;
        let Some(slot) = &mut self.slots[slot] else { unreachable!() };
        if slot.has_failed {
            let producer = &mut *slot.producer;
            let refused = self.truth.send(producer, unit, to, records);
            assert!(refused.is_err(), "a transaction goes on after a failed send");
            return Ok(true);
        }
        self.truth.send(&mut *slot.producer, unit, to, records)?;
        // Where their order counts, records are appended in the order of the sends.
        if !is_flushed && to < COMPACTED {
            return Ok(true);
        }
        slot.since.get_or_insert(self.clock.monotonic());
        let flushed = slot.producer.flush();
        slot.has_failed = flushed.is_err();
        match flushed {
            Ok(()) => {
                assert!(!slot.is_fenced, "a zombie has written");
                self.truth.place(&mut *slot.producer, to, records.len())?;
                Ok(true)
            }
            Err(_) if slot.is_fenced => {
                count(&COUNTS.zombies_refused);
                Ok(true)
            }
            Err(error) => self.go_on_if_full(error),
        }
    }

    fn send_offsets(&mut self, slot: usize, of: usize) -> log_store::Result<bool> {
        let unit = self.begin(slot)?;
        let now = self.clock.monotonic();
        let Some(slot) = &mut self.slots[slot] else { unreachable!() };
        let offset = self.truth.next_commit(of, unit);
        let sent = slot.producer.send_offsets(&[(target(0), offset)], &group(of));
        assert!(!(slot.is_fenced || slot.has_failed) || sent.is_err(), "a zombie has sent offsets");
        if let Err(error) = sent {
            self.truth.forget_last_commit(of);
            let is_refused = slot.is_fenced || slot.has_failed;
            slot.has_failed = true;
            slot.since.get_or_insert(now);
            return if is_refused { Ok(true) } else { self.go_on_if_full(error) };
        }
        slot.since.get_or_insert(now);
        count(&COUNTS.group_commits);
        Ok(true)
    }

    fn end(&mut self, number: usize, is_commit: bool) -> log_store::Result<bool> {
        let unit = self.begin(number)?;
        let Some(slot) = &mut self.slots[number] else { unreachable!() };
        let ended = if is_commit { slot.producer.commit() } else { slot.producer.abort() };
        if slot.is_fenced {
            // An abort of what the log never heard of has nothing to be refused.
            assert!(ended.is_err() || !is_commit, "a zombie has committed");
            count(&COUNTS.zombies_refused);
            self.truth.abort(Some(unit));
            self.slots[number] = None;
            return Ok(true);
        }
        match ended {
            Ok(()) => {
                assert!(!(is_commit && slot.has_failed), "a transaction is committed after a failed send");
                self.truth.decide(unit, if is_commit { Fate::Committed } else { Fate::Aborted });
                count(if is_commit { &COUNTS.commits } else { &COUNTS.aborts });
                (slot.open, slot.has_failed) = (None, false);
                Ok(true)
            }
            // It can only be aborted.
            Err(Error::Invalid(_)) if slot.has_failed && is_commit => Ok(true),
            Err(error) => {
                self.truth.decide(unit, if is_commit { Fate::Unknown } else { Fate::Aborted });
                Err(error)
            }
        }
    }

    fn send_plain(&mut self, to: usize, records: &[(u8, bool)], is_flushed: bool) -> log_store::Result<bool> {
        for record in records {
            let unit = self.truth.new_unit(Fate::Loose);
            match self.truth.send(&mut *self.plain, unit, to, std::slice::from_ref(record)) {
                Ok(()) => {}
                Err(error) if to < COMPACTED => return self.go_on_if_full(error),
                Err(error) => return Err(error),
            }
        }
        if !is_flushed && to < COMPACTED {
            return Ok(true);
        }
        match self.plain.flush() {
            Ok(()) => {
                self.truth.acknowledge_loose();
                self.truth.place(&mut *self.plain, to, records.len())?;
                Ok(true)
            }
            // What was sent waits for the next flush. Where order counts it must not.
            Err(error) if to < COMPACTED => self.go_on_if_full(error),
            Err(error) => Err(error),
        }
    }

    fn commit_plain(&mut self, of: usize) -> log_store::Result<()> {
        let config = ConsumerConfig { group_id: group(of).group_id, ..ConsumerConfig::default() };
        let mut consumer = self.log.consumer(&config)?;
        let unit = self.truth.new_unit(Fate::Loose);
        let offset = self.truth.next_commit(of, unit);
        consumer.commit(&[(target(0), offset)])?;
        self.truth.decide(unit, Fate::Committed);
        count(&COUNTS.group_commits);
        Ok(())
    }

    /// A full disk refuses, and takes again once there is space; any other failure ends the log.
    fn go_on_if_full(&mut self, error: Error) -> log_store::Result<bool> {
        if !error.is_storage_full() {
            return Err(error);
        }
        count(&COUNTS.failures_met);
        self.directory.set_faults(Faults::default());
        Ok(true)
    }

    fn clean(&mut self) -> log_store::Result<bool> {
        let start = self.truth.start_of_kept();
        self.truth.start_may_move(u64::MAX);
        let report = self.log.clean()?;
        if report.compacted_partitions > 0 {
            count(&COUNTS.compactions);
        }
        if report.deleted_bytes > 0 {
            count(&COUNTS.retentions);
        }
        let found = self.log_start(KEPT)?;
        if found > start {
            let entries = self.directory.list(&target(KEPT).to_string()).unwrap();
            let logs = entries.iter().filter(|entry| entry.name.ends_with(".log"));
            let left: u64 = logs.map(|entry| entry.len).sum();
            assert!(left >= KEPT_BYTES, "retention has left {left} bytes of {KEPT_BYTES}");
        }
        self.truth.start_has_moved(found);
        Ok(true)
    }

    fn trim(&mut self, percent: u64) -> log_store::Result<bool> {
        let start = self.log_start(KEPT)?;
        let end = self.followers[1].end_offset(&target(KEPT), Isolation::ReadUncommitted)?.value();
        let before = start + (end - start) * percent / 100;
        // In doubt from now on.
        self.truth.start_may_move(before);
        self.log.admin()?.delete_records(&[(target(KEPT), Offset::new(before))])?;
        self.truth.start_has_moved(before);
        Ok(before > start)
    }

    fn wait(&mut self, seconds: u64) -> log_store::Result<()> {
        self.clock.advance(Duration::from_secs(seconds));
        let now = self.clock.monotonic();
        let aborted = self.log.abort_expired();
        for slot in self.slots.iter_mut().flatten().filter(|slot| !slot.is_fenced && slot.open.is_some()) {
            if slot.since.is_some_and(|since| now - since > TRANSACTION_TIMEOUT) {
                slot.is_fenced = true;
                self.truth.abort(slot.open);
                count(&COUNTS.expired);
            }
        }
        aborted
    }

    fn close(&mut self) -> log_store::Result<bool> {
        self.log.clone().close()?;
        self.directory.set_faults(Faults::default());
        self.forget_open();
        let verified = inspect::verify(&self.directory, &Scope::All, &mut |finding| {
            assert!(finding.severity != Severity::Error, "after a close in order: {finding:?}");
        });
        assert!(verified.unwrap().batches > 0);
        count(&COUNTS.verified);
        self.reopen(self.directory.clone());
        Ok(true)
    }

    fn forget_open(&mut self) {
        for slot in self.slots.iter().flatten() {
            self.truth.abort(slot.open);
        }
    }

    fn crash(&mut self, plan: CrashPlan) {
        count(&COUNTS.crashes);
        let mut image = self.directory.crash(plan);
        self.forget_open();
        // Now and then the next process dies, too, while it recovers on a disk that fails.
        if let CrashPlan::Random(seed) = plan
            && seed % 3 == 0
        {
            count(&COUNTS.crashes_of_recovery);
            image.set_faults(Failing::by_number(seed / 3).faults());
            std::mem::forget(open(&image, &self.clock));
            image = image.crash(CrashPlan::Random(seed / 3));
        }
        self.reopen(image);
    }

    fn reopen(&mut self, directory: MemoryDirectory) {
        let log = open(&directory, &self.clock).unwrap();
        let plain = log.producer(&ProducerConfig::default()).unwrap();
        let new_followers = followers(&log);
        // The old process is gone: nothing of it may run any more.
        for slot in &mut self.slots {
            std::mem::forget(slot.take());
        }
        std::mem::forget(std::mem::replace(&mut self.plain, plain));
        std::mem::forget(std::mem::replace(&mut self.followers, new_followers));
        std::mem::forget(std::mem::replace(&mut self.log, log));
        self.directory = directory;
        self.truth.begin_life();
        self.check(false).unwrap();
    }

    fn log_start(&self, number: usize) -> log_store::Result<u64> {
        let mut reader = self.log.consumer(&ConsumerConfig::default())?;
        reader.assign(&[(target(number), StartAt::Beginning)])?;
        Ok(reader.position(&target(number)).expect("it is assigned").value())
    }

    /// The readers that follow see what they may, at once.
    fn follow(&mut self) {
        for (follower, is_committed) in self.followers.iter_mut().zip([true, false]) {
            loop {
                let batch = match follower.poll(Duration::ZERO) {
                    Ok(Polled::Batch(batch)) => batch,
                    Ok(_) | Err(Error::Poisoned { .. } | Error::Io { .. }) => break,
                    Err(error) => panic!("a reader is refused: {error}"),
                };
                let number = (0..TARGETS).find(|number| target(*number) == batch.partition).unwrap();
                let mut cursor = batch.cursor();
                while let Some(at) = cursor.advance().unwrap() {
                    self.truth.see(number, at.offset, &cursor.view(&at), is_committed);
                }
            }
        }
    }

    /// Compares the whole log with the model. After a crash the model learns what was lost.
    fn check(&mut self, is_live: bool) -> log_store::Result<()> {
        for number in 0..TARGETS {
            let all = self.read(number, Isolation::ReadUncommitted, None)?;
            let committed = self.read(number, Isolation::ReadCommitted, None)?;
            let end = self.followers[0].end_offset(&target(number), Isolation::ReadCommitted)?;
            let start = self.log_start(number)?;
            self.truth.compare(number, &all, &committed, (start, end.value()), is_live);
            if number == KEPT {
                self.truth.compare_start(start);
            }
            // From the middle it is the same.
            if let Some(from) = committed.get(self.steps as usize % committed.len().max(1)).map(|(offset, _)| *offset) {
                let rest: Vec<_> = committed.iter().copied().filter(|(offset, _)| *offset >= from).collect();
                assert_eq!(self.read(number, Isolation::ReadCommitted, Some(from))?, rest, "{number} from {from}");
            }
        }
        for of in 0..GROUPS {
            let found = self.log.admin()?.group_offsets(&group(of).group_id)?;
            let found: Option<CommittedOffset> = found.into_iter().next().map(|(_, committed)| committed);
            self.truth.compare_group(of, found.as_ref(), is_live);
        }
        if !is_live {
            self.truth.settle();
        }
        Ok(())
    }

    /// Offset and number of the records that are there now.
    fn read(&self, number: usize, isolation: Isolation, from: Option<u64>) -> log_store::Result<Vec<(u64, usize)>> {
        let mut reader = self.log.consumer(&ConsumerConfig { isolation, ..ConsumerConfig::default() })?;
        let start = from.map_or(StartAt::Beginning, |from| StartAt::Offset(Offset::new(from)));
        reader.assign(&[(target(number), start)])?;
        let mut found = Vec::new();
        while let Polled::Batch(batch) = reader.poll(Duration::ZERO)? {
            let mut cursor = batch.cursor();
            while let Some(at) = cursor.advance()? {
                found.push((at.offset.value(), self.truth.recognise(number, at.offset, &cursor.view(&at))));
            }
        }
        let end = reader.end_offset(&target(number), isolation)?;
        let position = reader.position(&target(number)).expect("it is assigned");
        assert!(
            position >= end,
            "a reader of {} stops at {position}, before the end {end}, {isolation:?} {from:?}",
            target(number)
        );
        Ok(found)
    }
}
