//! The driver as a test sees it.

use std::{
    cell::{RefCell, RefMut},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use log_store::{RecordView, TopicName};

use super::{
    capture::ProducedRecord,
    engine::Engine,
    topic::{TestInputTopic, TestOutputTopic},
};
use crate::{
    Result, StreamsConfig,
    serde::{Data, SharedSerde, default_serde},
    state::StateStore,
    time::{Clock, SystemClock},
    topology::{InternalTopicKind, Topology, copartition::as_kafka_groups, topics::InternalTopicPlan},
};

/// Runs a topology record by record, without a log, threads or files (Kafka's `TopologyTestDriver`).
///
/// How it runs, where that decides what comes out:
///
/// * Every topic has one partition, and all sub-topologies are one task: its stream time is the greatest timestamp of any
///   record, repartition topics included.
/// * Each record is processed to the end before the next one, smallest timestamp first; then stream-time punctuations
///   run, and a commit is made. Caching is therefore nearly invisible.
/// * The wall clock moves only by [`advance_wall_clock_time`](Self::advance_wall_clock_time).
/// * Persistent stores keep their rows in memory.
///
/// After an error the driver is of no more use, except for reading what came out before.
#[derive(Clone)]
pub struct TopologyTestDriver {
    engine: Rc<RefCell<Engine>>,
}

/// A topic that the application would create for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its full name.
    pub name: String,
    /// What it is for.
    pub kind: InternalTopicKind,
    /// Number of partitions that the topology fixes; `None`: derived from other topics.
    pub partitions: Option<u32>,
    /// Its settings under Kafka's names.
    pub settings: BTreeMap<String, String>,
}

impl TopologyTestDriver {
    /// Starts a topology, its wall clock showing the time now.
    ///
    /// # Errors
    ///
    /// What is wrong with the topology, or what a processor's `init` answered.
    pub fn new(topology: &Topology, config: StreamsConfig) -> Result<Self> {
        Self::at(topology, config, SystemClock::new().wall_clock_ms())
    }

    /// Starts a topology, its wall clock showing `wall_clock_ms`.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::new`].
    pub fn at(topology: &Topology, config: StreamsConfig, wall_clock_ms: i64) -> Result<Self> {
        Self::with_topics(topology, config, wall_clock_ms, &[])
    }

    /// Starts a topology with sources that read topics by pattern: `topics` are those that exist.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::new`].
    pub fn with_topics(
        topology: &Topology,
        config: StreamsConfig,
        wall_clock_ms: i64,
        topics: &[&str],
    ) -> Result<Self> {
        let topics: Vec<TopicName> = topics.iter().map(TopicName::new).collect::<log_store::Result<_>>()?;
        let engine = Engine::new(topology, &config, &topics, wall_clock_ms)?;
        Ok(TopologyTestDriver { engine: Rc::new(RefCell::new(engine)) })
    }

    /// A topic to put records into, with the default serdes of its types.
    pub fn create_input_topic<K: Data, V: Data>(&self, topic: impl Into<String>) -> TestInputTopic<K, V> {
        self.create_input_topic_with(topic, default_serde(), default_serde())
    }

    /// A topic to put records into.
    pub fn create_input_topic_with<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        key: SharedSerde<K>,
        value: SharedSerde<V>,
    ) -> TestInputTopic<K, V> {
        TestInputTopic::new(self.clone(), topic.into(), key, value)
    }

    /// A topic to read results from, with the default serdes of its types.
    pub fn create_output_topic<K: Data, V: Data>(&self, topic: impl Into<String>) -> TestOutputTopic<K, V> {
        self.create_output_topic_with(topic, default_serde(), default_serde())
    }

    /// A topic to read results from.
    pub fn create_output_topic_with<K: 'static, V: 'static>(
        &self,
        topic: impl Into<String>,
        key: SharedSerde<K>,
        value: SharedSerde<V>,
    ) -> TestOutputTopic<K, V> {
        TestOutputTopic::new(self.clone(), topic.into(), key, value)
    }

    /// Puts a record of bytes into a topic and processes all that follows from it.
    ///
    /// # Errors
    ///
    /// What the exception handlers did not forgive; or if no source reads the topic.
    pub fn pipe_record(&self, topic: &str, record: RecordView<'_>) -> Result<()> {
        self.engine.borrow_mut().pipe(topic, record)
    }

    /// Moves the wall clock on. Wall-clock punctuations that are due run, each once, and a commit follows.
    ///
    /// # Errors
    ///
    /// As [`TopologyTestDriver::pipe_record`].
    pub fn advance_wall_clock_time(&self, by: Duration) -> Result<()> {
        self.engine.borrow_mut().advance_wall_clock(by)
    }

    /// What the wall clock shows, in milliseconds.
    #[must_use]
    pub fn wall_clock_ms(&self) -> i64 {
        self.engine.borrow().wall_clock_ms()
    }

    /// Takes all records sent since the last call, in the order of sending over all topics, changelogs and repartition
    /// topics included. Output topics no longer see them.
    #[must_use]
    pub fn take_produced(&self) -> Vec<ProducedRecord> {
        self.engine.borrow_mut().take_produced()
    }

    /// Takes the next record sent to `topic`.
    pub(super) fn take_next(&self, topic: &str) -> Option<ProducedRecord> {
        self.engine.borrow_mut().take_next(topic)
    }

    /// Number of records sent to `topic` and not yet read.
    pub(super) fn queue_size(&self, topic: &str) -> usize {
        self.engine.borrow().produced().filter(|record| record.topic == topic).count()
    }

    /// Names of the topics that have records which were not yet read, internal ones included.
    #[must_use]
    pub fn produced_topic_names(&self) -> BTreeSet<String> {
        self.engine.borrow().produced().map(|record| record.topic.clone()).collect()
    }

    /// The store called `name`, local or global, for looking into it and for filling it beforehand; `None` if there is
    /// none of this name and type. Give it back before the next record is piped in.
    ///
    /// ```no_run
    /// # fn check(driver: &streams_core::testing::TopologyTestDriver) {
    /// use streams_core::state::TimestampedKeyValueStore;
    ///
    /// let counts = driver.store::<TimestampedKeyValueStore<String, i64>>("counts");
    /// assert!(counts.is_some());
    /// # }
    /// ```
    #[must_use]
    pub fn store<S: StateStore>(&self, name: &str) -> Option<RefMut<'_, S>> {
        RefMut::filter_map(self.engine.borrow_mut(), |engine| engine.store::<S>(name)).ok()
    }

    /// Names of all stores, sorted.
    #[must_use]
    pub fn store_names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.engine.borrow_mut().stores().iter().map(|store| store.name().to_owned()).collect();
        names.sort();
        names
    }

    /// Records that operators and handlers have dropped (`dropped-records-total`).
    #[must_use]
    pub fn dropped_records(&self) -> u64 {
        self.engine.borrow().dropped_records()
    }

    /// Topics that the application would create for itself, by name; a source topic that serves as changelog is among
    /// them.
    #[must_use]
    pub fn internal_topics(&self) -> Vec<InternalTopic> {
        let engine = self.engine.borrow();
        let all: BTreeMap<&TopicName, &InternalTopicPlan> =
            engine.plan.parts.iter().flat_map(|part| &part.internal).collect();
        let describe = |(name, plan): (&TopicName, &InternalTopicPlan)| InternalTopic {
            name: name.to_string(),
            kind: plan.kind,
            partitions: plan.partitions,
            settings: plan.settings.clone(),
        };
        all.into_iter().map(describe).collect()
    }

    /// Sets of topics that must have the same number of partitions, as Kafka Streams tells them: sets that share a topic
    /// are not always one.
    #[must_use]
    pub fn copartition_groups(&self) -> BTreeSet<BTreeSet<String>> {
        let engine = self.engine.borrow();
        let groups = as_kafka_groups(&engine.plan.copartitioned).into_iter();
        groups.map(|group| group.iter().map(ToString::to_string).collect()).collect()
    }
}
