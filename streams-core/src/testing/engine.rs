//! The one task of a test, and the loop that Kafka's driver runs around it.
//!
//! A record that is piped in is queued; then, while anything is queued, one record is processed, a commit is made, and what
//! was sent to topics that the topology reads is queued again, in the order of sending. Records of global topics go
//! straight into their stores.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap, VecDeque},
    mem,
    sync::Arc,
    time::Duration,
};

use log_store::{
    HeadersView, Offset, RecordView, TopicName, TopicPartition,
    batch::{BatchBuilder, Compression, ProducerStamp, header::set_base_offset},
    client::{FetchedBatch, Producer},
};

use super::capture::{CapturingProducer, ProducedRecord, Sent};
use crate::{
    Error, ExceptionHandler, Handlers, Result, StreamsConfig,
    handler::Response,
    runtime::{
        blueprint::{Blueprint, Surroundings},
        global_stores::Vacant,
    },
    state::{StateStore, StoreContext},
    task::{TaskId, stream_task::StreamTask},
    time::DefaultTimestampExtractor,
    topology::{
        Topology,
        subtopology::{SubTopology, subtopologies},
        topics::{TopicPlan, TopicSettings},
    },
};

/// All sub-topologies as one task.
const MAIN: TaskId = TaskId { subtopology: 0, partition: 0 };
/// All global stores as another.
const GLOBAL: TaskId = TaskId { subtopology: 1, partition: 0 };

/// The state of a test.
pub(super) struct Engine {
    main: StreamTask,
    global: StreamTask,
    /// The main task holds the global stores for its processors to read; they change places while they are filled.
    global_stores: usize,
    producer: Box<dyn Producer>,
    sent: Sent,
    /// Topics that the main task and the global task read, with the next offset of each.
    main_topics: HashMap<String, Input>,
    global_topics: HashMap<String, Input>,
    wall_clock_ms: i64,
    produced: VecDeque<ProducedRecord>,
    pub(super) plan: TopicPlan,
}

struct Input {
    partition: TopicPartition,
    next: Offset,
}

impl Engine {
    pub(super) fn new(
        topology: &Topology,
        config: &StreamsConfig,
        extra_topics: &[TopicName],
        wall_clock_ms: i64,
    ) -> Result<Self> {
        topology.validate()?;
        let settings = TopicSettings::of(config);
        let plan = TopicPlan::of(topology, &settings, extra_topics.iter())?;
        let sources = plan.parts.iter().flat_map(|part| &part.sources);
        let existing: BTreeMap<TopicName, u32> = sources.chain(extra_topics).map(|topic| (topic.clone(), 1)).collect();

        let (global, main): (Vec<_>, Vec<_>) = subtopologies(topology).into_iter().partition(|part| part.is_global);
        let parts = [SubTopology::merged(&main), SubTopology::merged(&global)];
        let main = Blueprint::draw_parts(topology, &parts, &existing, surroundings(config, config.handlers.clone()))?;
        let mut handlers = config.handlers.clone();
        handlers.deserialization = global_deserialization_handler();
        let mut global_surroundings = surroundings(config, handlers);
        global_surroundings.dead_letter_topic = None;
        global_surroundings.timestamp_extractor = DefaultTimestampExtractor::FailOnInvalidTimestamp;
        let global = Blueprint::draw_parts(topology, &parts, &existing, global_surroundings)?;

        let mut stores = open_stores(&main, MAIN)?;
        let global_stores = open_stores(&global, GLOBAL)?;
        let vacant = global_stores.iter().map(|_| Box::new(Vacant) as Box<dyn StateStore>).collect();
        let count = global_stores.len();
        stores.extend(global_stores);
        let committed = HashMap::new();
        let sent = Sent::default();
        let mut engine = Engine {
            main_topics: inputs(&main, MAIN),
            global_topics: inputs(&global, GLOBAL),
            main: main.make_task(MAIN, stores, &committed, wall_clock_ms),
            global: global.make_task(GLOBAL, vacant, &committed, wall_clock_ms),
            global_stores: count,
            producer: Box::new(CapturingProducer::new(Arc::clone(&sent))),
            sent,
            wall_clock_ms,
            produced: VecDeque::new(),
            plan,
        };
        engine.with_global_stores(|global, producer| global.init(producer))?;
        engine.main.init(&mut engine.producer)?;
        Ok(engine)
    }

    /// Puts one record into the topology and processes all that follows from it.
    pub(super) fn pipe(&mut self, topic: &str, record: RecordView<'_>) -> Result<()> {
        let is_main = self.main_topics.contains_key(topic);
        let is_global = self.global_topics.contains_key(topic);
        if !is_main && !is_global {
            return Err(Error::IllegalState(format!("no source of the topology reads topic {topic}")));
        }
        if is_main {
            self.enqueue(topic, record)?;
            self.complete()?;
        }
        if is_global { self.fill_global(topic, record) } else { Ok(()) }
    }

    pub(super) fn advance_wall_clock(&mut self, by: Duration) -> Result<()> {
        let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.wall_clock_ms = self.wall_clock_ms.saturating_add(millis);
        self.main.punctuate_wall_clock(&mut self.producer, self.wall_clock_ms)?;
        self.commit()?;
        self.complete()
    }

    pub(super) fn wall_clock_ms(&self) -> i64 {
        self.wall_clock_ms
    }

    /// Takes all that was sent.
    pub(super) fn take_produced(&mut self) -> Vec<ProducedRecord> {
        mem::take(&mut self.produced).into()
    }

    /// What was sent and not yet taken.
    pub(super) fn produced(&self) -> impl Iterator<Item = &ProducedRecord> {
        self.produced.iter()
    }

    /// Takes the first record that was sent to `topic`.
    pub(super) fn take_next(&mut self, topic: &str) -> Option<ProducedRecord> {
        let place = self.produced.iter().position(|record| record.topic == topic)?;
        self.produced.remove(place)
    }

    pub(super) fn stores(&mut self) -> &mut [Box<dyn StateStore>] {
        self.main.stores()
    }

    pub(super) fn store<S: StateStore>(&mut self, name: &str) -> Option<&mut S> {
        let store = self.main.stores().iter_mut().find(|store| store.name() == name)?;
        let store: &mut dyn Any = &mut **store;
        store.downcast_mut()
    }

    pub(super) fn dropped_records(&self) -> u64 {
        self.main.dropped_records() + self.global.dropped_records()
    }

    fn enqueue(&mut self, topic: &str, record: RecordView<'_>) -> Result<()> {
        let Some(input) = self.main_topics.get_mut(topic) else { return Ok(()) };
        add(&mut self.main, input, record)?;
        // Each record is read as soon as it is queued: the order in which queues become non-empty decides between equal
        // timestamps.
        self.main.process(&mut self.producer, 0, self.wall_clock_ms, &mut |_| true)?;
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        self.capture()?;
        while self.main.process(&mut self.producer, 1, self.wall_clock_ms, &mut |_| true)? > 0 {
            self.commit()?;
            self.capture()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        commit(&mut self.main, &mut self.producer)
    }

    /// Notes what was sent, and queues what the topology reads itself.
    fn capture(&mut self) -> Result<()> {
        let sent = mem::take(&mut *self.sent.lock());
        for record in sent {
            self.produced.push_back(record.clone());
            let view = RecordView {
                timestamp: record.timestamp,
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: HeadersView::from(&record.headers),
            };
            self.enqueue(&record.topic, view)?;
            self.fill_global(&record.topic, view)?;
        }
        Ok(())
    }

    fn fill_global(&mut self, topic: &str, record: RecordView<'_>) -> Result<()> {
        let Some(input) = self.global_topics.get_mut(topic) else { return Ok(()) };
        add(&mut self.global, input, record)?;
        let wall_clock_ms = self.wall_clock_ms;
        self.with_global_stores(|global, producer| {
            while global.process(producer, 1, wall_clock_ms, &mut |_| true)? > 0 {
                commit(global, producer)?;
            }
            Ok(())
        })
    }

    /// Lends the global stores to the task that fills them.
    fn with_global_stores(
        &mut self,
        call: impl FnOnce(&mut StreamTask, &mut Box<dyn Producer>) -> Result<()>,
    ) -> Result<()> {
        self.exchange_global_stores();
        let result = call(&mut self.global, &mut self.producer);
        self.exchange_global_stores();
        result
    }

    fn exchange_global_stores(&mut self) {
        let held = self.main.stores();
        let own = held.len() - self.global_stores;
        held[own..].swap_with_slice(self.global.stores());
    }
}

fn surroundings(config: &StreamsConfig, handlers: Handlers) -> Surroundings {
    let held_bytes_max = config.statestore_cache_max_bytes;
    Surroundings {
        application_id: config.application_id.as_str().into(),
        handlers,
        dead_letter_topic: config.dead_letter_topic.as_deref().map(Arc::from),
        timestamp_extractor: config.default_timestamp_extractor,
        // As Kafka's driver, it takes records to topics of any name.
        counts: Arc::new(|topic| Ok(Some((TopicName::unchecked(topic), 1)))),
        store_contexts: Arc::new(move |task| Ok(StoreContext::in_memory(task).with_held_bytes_max(held_bytes_max))),
    }
}

/// Kafka's driver leaves out what a global source cannot read, and fails on a negative timestamp.
fn global_deserialization_handler() -> ExceptionHandler {
    ExceptionHandler::new(|error| match error {
        Error::Deserialization { part: "timestamp", .. } => Response::Fail,
        _ => Response::Continue,
    })
}

fn open_stores(blueprint: &Blueprint, task: TaskId) -> Result<Vec<Box<dyn StateStore>>> {
    let opened = blueprint.open_stores(task, &HashMap::new(), &Arc::default())()?;
    let ready = opened.into_iter().map(|opened| {
        let mut store = opened.store;
        store.restored(Offset::ZERO)?;
        Ok(store)
    });
    ready.collect()
}

fn inputs(blueprint: &Blueprint, task: TaskId) -> HashMap<String, Input> {
    let partitions = blueprint.partitions_of(task).into_iter();
    partitions.map(|partition| (partition.topic.to_string(), Input { partition, next: Offset::ZERO })).collect()
}

/// Queues one record at the next offset of its topic.
fn add(task: &mut StreamTask, input: &mut Input, record: RecordView<'_>) -> Result<()> {
    let mut batch = BatchBuilder::new();
    batch.append(record)?;
    let mut bytes = batch.finish(ProducerStamp::NONE, Compression::None);
    set_base_offset(&mut bytes, input.next);
    let start = input.next;
    input.next = start.next();
    let batch = FetchedBatch {
        partition: input.partition.clone(),
        bytes: bytes.freeze(),
        start,
        next: input.next,
        aborted: Arc::new([]),
    };
    task.add_records(batch).map_err(|batch| Error::IllegalState(format!("{} is no input of the test", batch.partition)))
}

fn commit(task: &mut StreamTask, producer: &mut Box<dyn Producer>) -> Result<()> {
    task.flush(producer)?;
    task.write_changelogs(producer)?;
    task.committed(producer)
}
