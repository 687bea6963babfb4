//! The world of one seed: a disk, a log on it, instances of the application on the log, and a scheduler that lets one
//! of them take a step at a time. Everything is on one thread of the system; calls of the log are places where a stream
//! thread may be held up while others go on, as deep as [`DEPTH_MAX`].

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt, io,
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use log_store::{
    Error as LogError, RecordView, TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, LogClient, NewTopic, OffsetSpec, Polled, Producer, ProducerConfig, StartAt},
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{CrashPlan, MemoryDirectory},
    },
};
use streams_core::{
    Error, ProcessingGuarantee, StreamsConfig,
    state::{KeyValueStore, SimulatedDisk, StateStore},
    task::TaskId,
    testing::{SteppedStreams, SteppedThread},
    time::{Clock, ManualClock},
    topology::Topology,
};

use crate::{
    client::SimulatedClient,
    disk::SimulatedDirectory,
    program::{self, APPLICATION, CHANGELOGS, Output, PARTITIONS, Plan, START_MS, TOPICS},
    random::Random,
    trace::Trace,
};

/// So many stream threads may be held up inside of each other's calls.
const DEPTH_MAX: u32 = 2;

/// Rounds in which everything must have come out once nothing fails any more.
const CALM_ROUNDS_MAX: u32 = 4_000;

/// Rounds in which nothing more may come out.
const AFTER_ROUNDS: u32 = 20;

const COMMIT_INTERVAL: Duration = Duration::from_millis(10);

/// Longer than the engine lets a transaction be open.
const TRANSACTION_OVER: Duration = Duration::from_secs(11);

/// Longer than a member of a group may be silent.
const SESSION_OVER: Duration = Duration::from_secs(301);

/// What changes a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Name,
    Write,
    Sync,
}

/// What a seed is run with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// False: nothing fails, nobody is held up.
    pub(crate) is_chaotic: bool,
    pub(crate) guarantee: ProcessingGuarantee,
}

/// What is done to the disk after so many more operations.
#[derive(Clone, Copy, Debug)]
enum Fault {
    PowerCut,
    Failure(Disk),
}

/// What a crash has left.
struct Image {
    log: MemoryDirectory,
    states: Vec<SimulatedDisk>,
}

struct Instance {
    streams: Option<SteppedStreams>,
    disk: SimulatedDisk,
    folder: PathBuf,
}

/// The place of one stream thread.
struct Slot {
    instance: usize,
    number: u32,
    /// Elsewhere while it takes a turn.
    thread: Option<SteppedThread>,
    is_busy: bool,
    is_closing: bool,
    /// Held up until then.
    until: Duration,
}

/// What a run was like.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) crashes: u32,
    pub(crate) lost_calls: u32,
    pub(crate) fenced_or_failed: u32,
    pub(crate) held_up: u32,
    pub(crate) turns: u64,
}

impl Summary {
    pub(crate) fn add(&mut self, other: Summary) {
        self.crashes += other.crashes;
        self.lost_calls += other.lost_calls;
        self.fenced_or_failed += other.fenced_or_failed;
        self.held_up += other.held_up;
        self.turns += other.turns;
    }
}

/// See the module.
pub(crate) struct World {
    settings: Settings,
    topology: Topology,
    plan: Plan,
    random: RefCell<Random>,
    clock: Arc<ManualClock>,
    trace: RefCell<Trace>,
    is_chaotic: Cell<bool>,
    depth: Cell<u32>,
    memory: RefCell<MemoryDirectory>,
    fault: Cell<Option<(u64, Fault)>>,
    is_powered: Cell<bool>,
    /// The log has seen a failure, and takes no more writes.
    is_broken: Cell<bool>,
    image: RefCell<Option<Image>>,
    log: RefCell<Option<EmbeddedLog>>,
    input: RefCell<Option<Box<dyn Producer>>>,
    instances: RefCell<Vec<Instance>>,
    slots: RefCell<Vec<Slot>>,
    /// Transactional ids with offsets in an open transaction, and since when.
    undecided: RefCell<BTreeMap<String, Duration>>,
    summary: Cell<Summary>,
    /// An error that nothing explains.
    strange: RefCell<Option<String>>,
}

thread_local! {
    static HERE: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Why a seed has failed.
pub(crate) type Failure = String;

/// How it came out.
pub(crate) struct Run {
    pub(crate) output: Output,
    pub(crate) summary: Summary,
    pub(crate) trace: String,
}

/// Runs one seed in `folder`, which keeps only what identifies the instances.
pub(crate) fn run(settings: Settings, folder: &std::path::Path) -> (Result<Run, Failure>, String) {
    let world = Rc::new(World::new(settings, folder));
    HERE.with(|here| *here.borrow_mut() = Some(Rc::clone(&world)));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.live()));
    let outcome = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    });
    world.is_powered.set(false);
    world.drop_everything();
    HERE.with(|here| *here.borrow_mut() = None);
    let trace = world.trace.borrow().text().to_owned();
    let summary = world.summary.get();
    (outcome.map(|output| Run { output, summary, trace: trace.clone() }), trace)
}

impl World {
    fn new(settings: Settings, folder: &std::path::Path) -> Self {
        let mut random = Random::new(settings.seed);
        let plan = program::plan(settings.seed % program::PLANS);
        let count = if settings.is_chaotic { 1 + random.below(2) } else { 1 };
        let replay_max = [0, 3, 20, 1_000_000][random.below(4) as usize];
        let mut instances = Vec::new();
        let mut slots = Vec::new();
        for instance in 0..count as usize {
            let folder = folder.join(instance.to_string());
            prepare_folder(&folder, instance);
            instances.push(Instance { streams: None, disk: SimulatedDisk::new(replay_max), folder });
            let threads = if settings.is_chaotic { 1 + random.below(2) } else { 2 };
            for number in 1..=threads {
                let number = u32::try_from(number).expect("few");
                let slot =
                    Slot { instance, number, thread: None, is_busy: false, is_closing: false, until: Duration::ZERO };
                slots.push(slot);
            }
        }
        World {
            settings,
            topology: program::topology(),
            plan,
            random: RefCell::new(random),
            clock: Arc::new(ManualClock::new(START_MS)),
            trace: RefCell::default(),
            is_chaotic: Cell::new(false),
            depth: Cell::new(0),
            memory: RefCell::default(),
            fault: Cell::new(None),
            is_powered: Cell::new(true),
            is_broken: Cell::new(false),
            image: RefCell::new(None),
            log: RefCell::new(None),
            input: RefCell::new(None),
            instances: RefCell::new(instances),
            slots: RefCell::new(slots),
            undecided: RefCell::default(),
            summary: Cell::default(),
            strange: RefCell::new(None),
        }
    }

    /// The world of this thread of the system.
    pub(crate) fn here() -> Rc<World> {
        HERE.with(|here| here.borrow().clone().expect("a simulation runs on this thread"))
    }

    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        let time = self.clock.wall_clock_ms() - START_MS;
        self.trace.borrow_mut().line(time, what);
    }

    fn count(&self, change: impl FnOnce(&mut Summary)) {
        let mut summary = self.summary.get();
        change(&mut summary);
        self.summary.set(summary);
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    fn chance(&self, one_in: u64) -> bool {
        self.random.borrow_mut().chance(one_in)
    }

    fn pass(&self, time: Duration) {
        self.clock.advance(time);
    }

    // ---- the disk

    pub(crate) fn is_powered(&self) -> bool {
        self.is_powered.get()
    }

    /// Asked before each operation that changes the disk.
    pub(crate) fn disk(&self, operation: Disk, path: &str) -> io::Result<()> {
        if !self.is_powered() {
            return Err(io::Error::other("the power is off"));
        }
        if operation == Disk::Sync && self.is_chaotic.get() {
            let slow = if self.chance(400) { 12_000 } else { 3 };
            self.pass(Duration::from_millis(self.below(slow)));
        }
        let Some((left, fault)) = self.fault.get() else { return Ok(()) };
        let is_hit = match fault {
            Fault::PowerCut => true,
            Fault::Failure(of) => of == operation,
        };
        if left > 0 || !is_hit {
            self.fault.set(Some((left.saturating_sub(1), fault)));
            return Ok(());
        }
        self.fault.set(None);
        self.note(format_args!("{fault:?} at {operation:?} of {path}"));
        match fault {
            Fault::PowerCut => {
                self.cut_power();
                Err(io::Error::other("the power is off"))
            }
            Fault::Failure(_) => {
                self.is_broken.set(true);
                Err(io::Error::other("injected failure"))
            }
        }
    }

    /// Nothing reaches a disk from here on.
    fn cut_power(&self) {
        let mut random = self.random.borrow_mut();
        let plan = match random.below(4) {
            0 => CrashPlan::ProcessOnly,
            1 => CrashPlan::LoseAll,
            _ => CrashPlan::Random(random.next()),
        };
        let log = self.memory.borrow().crash(plan);
        let mut kept = |writes: usize| match plan {
            CrashPlan::LoseAll => 0,
            _ => usize::try_from(random.below(writes as u64 + 1)).expect("at most all"),
        };
        let states = self.instances.borrow().iter().map(|instance| instance.disk.crash(&mut kept)).collect();
        drop(random);
        self.note(format_args!("the power is off: {plan:?}"));
        self.is_powered.set(false);
        *self.image.borrow_mut() = Some(Image { log, states });
        self.count(|summary| summary.crashes += 1);
    }

    fn drop_everything(&self) {
        let threads: Vec<SteppedThread> =
            self.slots.borrow_mut().iter_mut().filter_map(|slot| slot.thread.take()).collect();
        drop(threads);
        let streams: Vec<_> = self.instances.borrow_mut().iter_mut().map(|instance| instance.streams.take()).collect();
        drop(streams);
        drop(self.input.borrow_mut().take());
        let log = self.log.borrow_mut().take();
        drop(log);
        self.undecided.borrow_mut().clear();
    }

    /// The process is gone, and a new one starts on what it left.
    fn restart(&self) -> Result<(), Failure> {
        loop {
            if self.is_powered() {
                self.cut_power();
            }
            self.drop_everything();
            let image = self.image.borrow_mut().take().expect("the power was cut");
            *self.memory.borrow_mut() = image.log;
            for (instance, disk) in self.instances.borrow_mut().iter_mut().zip(image.states) {
                instance.disk = disk;
            }
            self.is_powered.set(true);
            self.is_broken.set(false);
            self.note(format_args!("restart"));
            match self.open() {
                Ok(()) => return Ok(()),
                Err(_) if !self.is_powered() || self.is_broken.get() => {}
                Err(error) => return Err(format!("the restart failed: {error}")),
            }
        }
    }

    // ---- the log and the application

    fn open(&self) -> Result<(), Error> {
        let directory = SimulatedDirectory(self.memory.borrow().clone());
        let config = LogConfig {
            preallocate_bytes: 0,
            checkpoint_bytes: 3_000,
            cleaner_bytes_per_second: None,
            ..LogConfig::default()
        };
        let log = EmbeddedLog::open_stepped(Arc::new(directory), config, Arc::clone(&self.clock) as Arc<dyn Clock>)?;
        let mut admin = log.admin()?;
        for topic in TOPICS {
            let name = TopicName::new(topic)?;
            if admin.describe_topic(&name)?.is_none() {
                admin.create_topics(&[NewTopic::new(name, PARTITIONS)])?;
            }
        }
        *self.input.borrow_mut() = Some(log.producer(&ProducerConfig::default())?);
        *self.log.borrow_mut() = Some(log);
        let count = self.instances.borrow().len();
        for instance in 0..count {
            self.start(instance)?;
        }
        Ok(())
    }

    fn log(&self) -> EmbeddedLog {
        self.log.borrow().clone().expect("the log is open")
    }

    fn start(&self, instance: usize) -> Result<(), Error> {
        let (disk, folder) = {
            let instances = self.instances.borrow();
            (instances[instance].disk.clone(), instances[instance].folder.clone())
        };
        let config = StreamsConfig::builder(APPLICATION)
            .client_id(format!("{APPLICATION}-{instance}"))
            .state_dir(folder)
            .processing_guarantee(self.settings.guarantee)
            .commit_interval(COMMIT_INTERVAL)
            .poll_wait(Duration::ZERO)
            .repartition_purge_interval(Duration::from_millis(200))
            .topic_setting("segment.bytes", "1500")
            .topic_setting("min.cleanable.dirty.ratio", "0.01")
            .topic_setting("delete.retention.ms", "1000")
            .build()?;
        let client = Arc::new(SimulatedClient(self.log()));
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let streams = SteppedStreams::start(&self.topology, &config, client, clock, &disk)?;
        self.instances.borrow_mut()[instance].streams = Some(streams);
        Ok(())
    }

    /// Starts the thread of a slot that has none.
    fn spawn(&self, index: usize) {
        let (instance, number) = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index];
            if slot.thread.is_some() || slot.is_busy {
                return;
            }
            slot.is_busy = true;
            slot.is_closing = false;
            slot.until = Duration::ZERO;
            (slot.instance, slot.number)
        };
        self.note(format_args!("spawn {instance}-{number}"));
        let streams = self.instances.borrow_mut()[instance].streams.take();
        if let Some(streams) = streams {
            let spawned = streams.spawn(number);
            self.instances.borrow_mut()[instance].streams = Some(streams);
            match spawned {
                Ok(thread) => self.slots.borrow_mut()[index].thread = Some(thread),
                Err(error) => self.explain(&error),
            }
        }
        self.slots.borrow_mut()[index].is_busy = false;
    }

    /// Lets the thread of a slot take one turn, if it is there.
    fn turn(&self, index: usize) {
        let mut thread = {
            let mut slots = self.slots.borrow_mut();
            let slot = &mut slots[index];
            let Some(thread) = slot.thread.take() else { return };
            slot.is_busy = true;
            thread
        };
        self.count(|summary| summary.turns += 1);
        if thread.turn() {
            self.slots.borrow_mut()[index].thread = Some(thread);
        } else if let Some(error) = thread.end() {
            self.note(format_args!("thread {index} ends: {error}"));
            self.explain(&error);
        } else {
            self.note(format_args!("thread {index} ends"));
        }
        self.slots.borrow_mut()[index].is_busy = false;
    }

    /// Is there a reason for this error?
    fn explain(&self, error: &Error) {
        self.count(|summary| summary.fenced_or_failed += 1);
        let is_lost_call = matches!(error, Error::Log(LogError::TimedOut { .. }));
        // The directory of a task is in the hands of a thread that is held up, for longer than anybody waits.
        let is_held_up = error.to_string().contains("still in use by another thread");
        let is_explained = is_held_up || is_lost_call;
        if self.is_powered() && !self.is_broken.get() && !(is_explained && self.settings.is_chaotic) {
            self.strange.borrow_mut().get_or_insert_with(|| format!("an error without a reason: {error}"));
        }
    }

    fn restore(&self, instance: usize) -> bool {
        let streams = self.instances.borrow_mut()[instance].streams.take();
        let Some(streams) = streams else { return false };
        let worked = streams.restore();
        self.instances.borrow_mut()[instance].streams = Some(streams);
        worked
    }

    // ---- calls of the log

    /// A call of a stream thread is about to be made: others may go first.
    pub(crate) fn pause_here(&self, who: &str, call: &str) {
        if !self.is_chaotic.get() || self.depth.get() >= DEPTH_MAX {
            return;
        }
        let one_in = match call {
            "poll" | "send" => 400,
            "before the commit" | "after the commit" => 12,
            _ => 25,
        };
        if !self.chance(one_in) {
            return;
        }
        self.note(format_args!("{who} is held up at {call}"));
        self.count(|summary| summary.held_up += 1);
        self.depth.set(self.depth.get() + 1);
        let long = match self.below(10) {
            0 => SESSION_OVER,
            1..4 => TRANSACTION_OVER,
            _ => Duration::ZERO,
        };
        for _ in 0..1 + self.below(30) {
            self.pass(long / 8);
            self.step();
            if !self.is_powered() || self.is_broken.get() {
                break;
            }
        }
        self.depth.set(self.depth.get() - 1);
        self.note(format_args!("{who} goes on with {call}"));
    }

    /// A call that may not be made, or whose answer may be lost.
    pub(crate) fn unreliable(
        &self,
        who: &str,
        call: &str,
        make: impl FnOnce() -> log_store::Result<()>,
    ) -> log_store::Result<()> {
        self.pause_here(who, call);
        let lost = || LogError::TimedOut { what: format!("{call} (simulated)"), waited_ms: 0 };
        let is_unlucky = self.is_chaotic.get() && self.chance(60);
        if is_unlucky && self.chance(2) {
            self.note(format_args!("{who}: {call} is lost"));
            self.count(|summary| summary.lost_calls += 1);
            return Err(lost());
        }
        let made = make();
        self.note(format_args!("{who}: {call}: {}", if made.is_ok() { "done" } else { "refused" }));
        if is_unlucky {
            self.note(format_args!("{who}: the answer to {call} is lost"));
            self.count(|summary| summary.lost_calls += 1);
            return made.and(Err(lost()));
        }
        self.pause_here(who, &format!("after the {call}"));
        made
    }

    pub(crate) fn undecided(&self, transactional_id: &str) {
        self.undecided.borrow_mut().insert(transactional_id.to_owned(), self.clock.monotonic());
    }

    pub(crate) fn decided(&self, transactional_id: &str) {
        self.undecided.borrow_mut().remove(transactional_id);
    }

    /// True if a transaction holds offsets that whoever asks for them would wait for.
    pub(crate) fn is_undecided(&self) -> bool {
        if self.undecided.borrow().is_empty() {
            return false;
        }
        self.abort_expired();
        let now = self.clock.monotonic();
        self.undecided.borrow_mut().retain(|_, since| now - *since < TRANSACTION_OVER);
        !self.undecided.borrow().is_empty()
    }

    /// Whoever waits for a decision, waits at most until the transaction is over.
    pub(crate) fn wait_until_decided(&self) {
        while self.is_undecided() {
            self.pass(TRANSACTION_OVER);
        }
    }

    fn abort_expired(&self) {
        // A failure breaks the log, which tells everybody else.
        let _ = self.log().abort_expired();
    }

    // ---- the scheduler

    /// Something happens.
    fn step(&self) {
        let slots = self.slots.borrow().len();
        let slot = usize::try_from(self.below(slots as u64)).expect("few");
        match self.below(1_000) {
            0..620 => {
                let is_awake = self.slots.borrow()[slot].until <= self.clock.monotonic();
                if is_awake {
                    self.turn(slot);
                    let micros = self.below(2_000);
                    self.pass(Duration::from_micros(micros));
                }
            }
            620..760 => {
                let instance = self.slots.borrow()[slot].instance;
                self.restore(instance);
            }
            760..830 => self.produce(1 + self.below(5)),
            830..890 => self.pass(Duration::from_millis(1 + self.below(30))),
            890..895 => self.pass(Duration::from_millis(self.below(15_000))),
            895..897 => self.pass(SESSION_OVER),
            897..917 => {
                let cleaned = self.log().clean();
                self.note(format_args!("clean: {cleaned:?}"));
            }
            917..935 => self.abort_expired(),
            935..950 => {
                let time = [20, 2_000, 15_000, 400_000][self.below(4) as usize];
                let until = self.clock.monotonic() + Duration::from_millis(self.below(time));
                self.note(format_args!("thread {slot} sleeps"));
                self.slots.borrow_mut()[slot].until = until;
            }
            950..958 => {
                let mut slots = self.slots.borrow_mut();
                if let Some(thread) = &slots[slot].thread {
                    thread.close();
                    slots[slot].is_closing = true;
                }
            }
            958..985 => self.spawn(slot),
            985..991 if self.fault.get().is_none() => {
                let after = self.below(80);
                let fault = match self.below(5) {
                    0 => Fault::Failure(Disk::Sync),
                    1 => Fault::Failure(Disk::Write),
                    _ => Fault::PowerCut,
                };
                self.fault.set(Some((after, fault)));
            }
            _ => {}
        }
    }

    /// Writes the next events, wherever there are some.
    fn produce(&self, count: u64) {
        let mut input = self.input.borrow_mut();
        let Some(producer) = input.as_mut() else { return };
        let mut admin = match self.log().admin() {
            Ok(admin) => admin,
            Err(_) => return,
        };
        let mut left = count;
        for (number, events) in self.plan.iter().enumerate() {
            let partition = partition("events", number);
            let Ok(Some(next)) = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadUncommitted)) else {
                return;
            };
            let next = usize::try_from(next.value()).expect("few events");
            for event in events.iter().skip(next) {
                if left == 0 {
                    return;
                }
                left -= 1;
                let key = Some(event.key.as_bytes());
                let record = RecordView::new(event.timestamp, key, Some(event.value.as_bytes()));
                let sent = producer.open(&partition).and_then(|handle| producer.send(handle, record));
                if sent.and_then(|()| producer.flush()).is_err() {
                    return;
                }
            }
        }
    }

    fn live(&self) -> Result<Output, Failure> {
        self.open().map_err(|error| format!("the first start failed: {error}"))?;
        let slots = self.slots.borrow().len();
        (0..slots).for_each(|slot| self.spawn(slot));
        if self.settings.is_chaotic {
            self.is_chaotic.set(true);
            for _ in 0..400 + self.below(2_000) {
                self.step();
                if !self.is_powered() || self.is_broken.get() {
                    self.restart()?;
                }
                self.check_strange()?;
            }
            self.is_chaotic.set(false);
            self.fault.set(None);
            self.note(format_args!("calm"));
            if self.chance(2) {
                self.restart()?;
            }
        }
        self.finish()
    }

    fn check_strange(&self) -> Result<(), Failure> {
        self.strange.borrow().clone().map_or(Ok(()), Err)
    }

    /// Nothing fails any more: everything comes out.
    fn finish(&self) -> Result<Output, Failure> {
        let slots = self.slots.borrow().len();
        let mut after = None;
        for round in 0..CALM_ROUNDS_MAX {
            self.produce(20);
            for slot in 0..slots {
                self.spawn(slot);
                self.turn(slot);
            }
            let instances = self.instances.borrow().len();
            for instance in 0..instances {
                while self.restore(instance) && self.chance(3) {}
            }
            // What zombies and crashed threads left open ends by its timeout.
            self.pass(if round % 64 == 63 { TRANSACTION_OVER } else { Duration::from_millis(7) });
            self.abort_expired();
            self.check_strange()?;
            if after.is_none() && round % 16 == 15 && self.is_complete() {
                after = Some(round + AFTER_ROUNDS);
            }
            if after == Some(round) {
                return Ok(self.output());
            }
        }
        Err(format!("not everything came out: {}", self.missing()))
    }

    /// True if every input is consumed, committed, and nothing waits in an outbox.
    fn is_complete(&self) -> bool {
        self.missing().is_empty()
    }

    fn missing(&self) -> String {
        let total: usize = self.plan.iter().map(Vec::len).sum();
        let output = self.output();
        let count = |topic: &str| output[topic].values().map(Vec::len).sum::<usize>();
        let mut missing = String::new();
        for topic in ["counts", "letters"] {
            if count(topic) < total {
                missing += &format!("{topic} has {} of {total}; ", count(topic));
            }
        }
        let by_value: i64 = output["values"].values().filter_map(|values| number(values.last()?.as_deref()?)).sum();
        if by_value < i64::try_from(total).expect("few") {
            missing += &format!("values count {by_value} of {total}; ");
        }
        let mut in_outbox = 0;
        self.with_stores(&mut |_, store| {
            if store.name() == "outbox"
                && let Some(store) = (store as &mut dyn std::any::Any).downcast_mut::<KeyValueStore<String, String>>()
            {
                in_outbox += store.prefix_scan(b"letter-").map_or(1, Iterator::count);
            }
        });
        if in_outbox > 0 {
            missing += &format!("{in_outbox} letters are not posted");
        }
        missing
    }

    /// Calls `visit` with the stores of all threads.
    pub(crate) fn with_stores(&self, visit: &mut dyn FnMut(TaskId, &mut dyn StateStore)) {
        let mut slots = self.slots.borrow_mut();
        for slot in slots.iter_mut() {
            if let Some(thread) = &mut slot.thread {
                thread.with_stores(visit);
            }
        }
    }

    fn output(&self) -> Output {
        let topics = TOPICS[1..].iter().chain(&CHANGELOGS);
        let mut output: Output = topics.map(|topic| ((*topic).to_owned(), self.read(topic))).collect();
        // The stores themselves, as the tasks see them.
        let stores = output.entry("stores".to_owned()).or_default();
        self.with_stores(&mut |task, store| {
            let name = store.name().to_owned();
            for (key, value) in crate::expect::rows(store) {
                stores.entry(format!("{task} {name} {key}").into_bytes()).or_default().push(Some(value.into_bytes()));
            }
        });
        output
    }

    /// All that a topic holds: for each key its values in order.
    fn read(&self, topic: &str) -> BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> {
        let isolation = match self.settings.guarantee {
            ProcessingGuarantee::ExactlyOnceV2 => Isolation::ReadCommitted,
            ProcessingGuarantee::AtLeastOnce => Isolation::ReadUncommitted,
        };
        let log = self.log();
        let mut consumer =
            log.consumer(&ConsumerConfig { isolation, ..ConsumerConfig::default() }).expect("an open log");
        let partitions: Vec<_> = (0..PARTITIONS as usize).map(|number| partition(topic, number)).collect();
        let start: Vec<_> = partitions.iter().map(|partition| (partition.clone(), StartAt::Beginning)).collect();
        consumer.assign(&start).expect("topics that exist");
        let mut values: BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>> = BTreeMap::new();
        while let Polled::Batch(batch) = consumer.poll(Duration::ZERO).expect("a log that can be read") {
            let mut cursor = batch.cursor();
            while let Some(at) = cursor.advance().expect("a whole batch") {
                let record = cursor.view(&at);
                let mut key = record.key.unwrap_or_default().to_vec();
                if CHANGELOGS.contains(&topic) {
                    // A key may be in several.
                    key.insert(0, b'0' + u8::try_from(batch.partition.partition).expect("few partitions"));
                }
                values.entry(key).or_default().push(record.value.map(<[u8]>::to_vec));
            }
        }
        values
    }
}

/// A number as its serde writes it.
pub(crate) fn number(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(bytes.try_into().ok()?))
}

fn partition(topic: &str, number: usize) -> TopicPartition {
    let number = u32::try_from(number).expect("few partitions");
    TopicPartition::new(TopicName::new(topic).expect("a legal name"), number)
}

/// An empty folder with the identity of the instance: two runs of one seed have the same.
fn prepare_folder(folder: &std::path::Path, instance: usize) {
    let home = folder.join(APPLICATION);
    if home.exists() {
        std::fs::remove_dir_all(&home).expect("a folder of ours");
    }
    std::fs::create_dir_all(&home).expect("a folder for the instance");
    let identity = format!("{{\"processId\":\"00000000-0000-4000-8000-00000000000{instance}\"}}");
    std::fs::write(home.join("kafka-streams-process-metadata"), identity).expect("a small file");
}
