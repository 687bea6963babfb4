//! The world of one seed: a disk, a log on it, instances of the application on the log, and a scheduler that lets one
//! of them take a step at a time. Everything is on one thread of the system; calls of the log are places where a stream
//! thread may be held up while others go on, as deep as [`DEPTH_MAX`].

mod calls;
mod ending;
mod process;

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

/// Rounds in which every copy has caught up: a look at the group and more steps than a changelog has batches.
const COPY_ROUNDS: u32 = 500;

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
    /// Several instances, each with copies of what the others do.
    pub(crate) has_standbys: bool,
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
    /// Stores that a standby task had at the end, equal to those of the task.
    pub(crate) copies: u32,
}

impl Summary {
    pub(crate) fn add(&mut self, other: Summary) {
        self.crashes += other.crashes;
        self.lost_calls += other.lost_calls;
        self.fenced_or_failed += other.fenced_or_failed;
        self.held_up += other.held_up;
        self.turns += other.turns;
        self.copies += other.copies;
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
        let least = if settings.has_standbys { 2 } else { 1 };
        let count = if settings.is_chaotic { least + random.below(2) } else { 1 };
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

    /// Something happens.
    fn step(&self) {
        let slots = self.slots.borrow().len();
        let slot = usize::try_from(self.below(slots as u64)).expect("few");
        if self.settings.has_standbys && self.chance(4) {
            let instance = self.slots.borrow()[slot].instance;
            self.step_standbys(instance);
        }
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
