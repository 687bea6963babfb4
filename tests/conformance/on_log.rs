//! The same programs in the real runtime: on an embedded log, with one partition and with three, stopped and started
//! again half-way.
//!
//! Records are given one by one, each after everything that follows from the one before is committed; so outputs and
//! changelogs must be the JVM's, key by key, wherever partitions and pauses leave the result defined. What depends on
//! the greatest time seen (windows, suppression, joins of streams) runs in one partition and in one go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use log_store::{
    Header, NO_TIMESTAMP, Offset, TopicName, TopicPartition,
    client::{ConsumerConfig, Isolation, NewTopic, OffsetSpec, Polled, ProducerConfig, SharedClient, StartAt},
    embedded::{EmbeddedLog, LogConfig, storage::MemoryDirectory},
};
use serde_json::Value;
use streams_core::{
    ProcessingGuarantee, StreamsConfig, partition_of,
    runtime::{State, Streams},
};

use crate::{
    case::{Case, Sent, Step},
    program,
};

const WAIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_micros(300);

/// How a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) partitions: u32,
    /// After half of the input the application is closed and started again; without its files, if asked for.
    pub(crate) restart: Option<Restart>,
}

/// What a restart finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    WithFiles,
    WithoutFiles,
}

/// The ways in which the results of the case are defined.
pub(crate) fn ways(case: &Case) -> Vec<Way> {
    let once = Way { partitions: 1, restart: None };
    if !can_run(case) {
        return Vec::new();
    }
    if case.program.iter().any(hangs_on_stream_time) {
        return vec![once];
    }
    let keeps_state = !case.program.iter().any(forgets_on_restart);
    let restarted = |partitions, restart| Way { partitions, restart: keeps_state.then_some(restart) };
    let mut ways = vec![restarted(1, Restart::WithoutFiles)];
    if !case.program.iter().any(hangs_on_partitions) {
        ways.push(restarted(3, Restart::WithFiles));
    }
    ways
}

fn can_run(case: &Case) -> bool {
    let is_plain = |step: &Step| matches!(step, Step::Record(record) if record.timestamp.is_some_and(|at| at >= 0));
    // What one regrouping sends to two keys meets again in the next, in the order in which their tasks come to it.
    let regroupings = case.program.iter().filter(|json| op(json) == "group_table").count();
    case.expect.error.is_none()
        && case.input.iter().all(is_plain)
        // The driver takes records to topics that no log can have.
        && case.expect.output.iter().all(|record| TopicName::new(&record.topic).is_ok())
        && !case.program.iter().any(needs_the_driver)
        && regroupings < 2
}

fn op(json: &Value) -> &str {
    json["op"].as_str().expect("an operation")
}

fn function(json: &Value) -> &str {
    json["fn"].as_str().unwrap_or("")
}

/// Global tables are filled on their own time; punctuation and task time are those of the driver's single task; the
/// driver has one partition even where a program asks for more.
fn needs_the_driver(json: &Value) -> bool {
    op(json) == "global_table"
        || !json["punctuate"].is_null()
        || function(json) == "stream_time"
        || !json["partitions"].is_null()
}

fn hangs_on_stream_time(json: &Value) -> bool {
    matches!(op(json), "windowed_by" | "suppress" | "stream_stream_join")
        || !json["window"].is_null()
        || !json["grace_ms"].is_null()
        || !json["store"]["versioned_ms"].is_null()
}

fn forgets_on_restart(json: &Value) -> bool {
    json["logging"] == false || json["store"]["logging"] == false
}

/// State of processors lies where their records happen to be, and metadata tells where that is.
fn hangs_on_partitions(json: &Value) -> bool {
    let processes = matches!(op(json), "process" | "process_values");
    (processes && !json["store"].is_null()) || function(json) == "metadata" || !json["extractor"].is_null()
}

/// What the case shows in another way than the JVM's driver; `None` if nothing.
pub(crate) fn differences(case: &Case, way: Way) -> Option<String> {
    let world = World::new(case, way.partitions);
    let mut folder = tempfile::tempdir().expect("a folder");
    let mut streams = world.start(case, folder.path());
    for (number, step) in case.input.iter().enumerate() {
        if number == case.input.len() / 2
            && let Some(restart) = way.restart
        {
            assert!(streams.close(WAIT), "it closes in time");
            if restart == Restart::WithoutFiles {
                folder = tempfile::tempdir().expect("a folder");
            }
            streams = world.start(case, folder.path());
        }
        let Step::Record(record) = step else { continue };
        world.give(record);
        if let Err(problem) = world.settle(&streams) {
            return Some(format!("step {number}: {problem}"));
        }
    }
    assert!(streams.close(WAIT), "it closes in time");
    let mut different = world.compare_outputs(case);
    different.extend(world.compare_changelogs(case));
    (!different.is_empty()).then(|| different.join("\n  "))
}

/// A log with the topics of a case.
struct World {
    log: SharedClient,
    partitions: u32,
    /// Topics that the application reads: all that it must have consumed before the next record comes.
    inputs: BTreeSet<TopicName>,
}

/// Records of one key, in order: value, time, headers.
type Told = (Option<Vec<u8>>, Option<i64>, Vec<(String, Option<Vec<u8>>)>);
type ByKey = BTreeMap<(String, Option<Vec<u8>>), Vec<Told>>;

impl World {
    fn new(case: &Case, partitions: u32) -> Self {
        let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::default()), LogConfig::default()).expect("a log");
        let log: SharedClient = Arc::new(log);
        let mut given: BTreeSet<&str> = BTreeSet::new();
        let mut inputs: BTreeSet<TopicName> = BTreeSet::new();
        for json in &case.program {
            if matches!(op(json), "stream" | "table") {
                let topics = json["topics"].as_array().into_iter().flatten().chain([&json["topic"]]);
                inputs.extend(topics.filter_map(Value::as_str).map(topic_name));
            }
            given.extend(json["topic"].as_str());
        }
        given.extend(inputs.iter().map(TopicName::as_str));
        given.extend(case.input.iter().filter_map(|step| match step {
            Step::Record(record) => Some(record.topic.as_str()),
            Step::AdvanceWall(_) => None,
        }));
        given.extend(case.expect.output.iter().map(|record| record.topic.as_str()));
        let topics: Vec<NewTopic> = given
            .into_iter()
            .map(|name| NewTopic::new(topic_name(name), partitions).with_config("retention.ms", "-1"))
            .collect();
        log.admin().expect("an admin").create_topics(&topics).expect("new topics");
        let own = case.expect.internal_topics.iter().filter(|(_, topic)| topic.kind == "repartition");
        inputs.extend(own.map(|(name, _)| topic_name(name)));
        World { log, partitions, inputs }
    }

    fn start(&self, case: &Case, folder: &std::path::Path) -> Streams {
        let topology = program::build(&case.program, &case.config).expect("the driver has run it");
        let mut config = StreamsConfig::builder("app")
            .processing_guarantee(ProcessingGuarantee::AtLeastOnce)
            .commit_interval(Duration::from_millis(1))
            .poll_wait(Duration::from_millis(1))
            .state_dir(folder);
        if let Some(bytes) = case.config.get("statestore.cache.max.bytes") {
            config = config.statestore_cache_max_bytes(bytes.parse().expect("bytes"));
        }
        let streams = Streams::new(topology, config.build().expect("settings"), Arc::clone(&self.log)).expect("valid");
        streams.start().expect("it starts");
        streams.wait_for(State::Running, WAIT).expect("it runs");
        streams
    }

    fn give(&self, record: &Sent) {
        let mut producer = self.log.producer(&ProducerConfig::default()).expect("a producer");
        let partition = record.key.as_deref().map_or(0, |key| partition_of(key, self.partitions));
        let to = TopicPartition::new(topic_name(&record.topic), partition);
        let handle = producer.open(&to).expect("a topic");
        record.with_view(|view| producer.send(handle, view)).expect("room");
        producer.flush().expect("a log that takes it");
    }

    /// Waits until all that was given, and all that followed from it, is committed.
    fn settle(&self, streams: &Streams) -> Result<(), String> {
        let mut admin = self.log.admin().expect("an admin");
        let deadline = Instant::now() + WAIT;
        loop {
            // Committed first, ends afterwards: what is equal then was equal in between.
            let committed = admin.group_offsets("app").expect("a group");
            let at = |partition: &TopicPartition| {
                let found = committed.iter().find(|(known, _)| known == partition);
                found.map_or(Offset::ZERO, |(_, committed)| committed.offset)
            };
            let is_settled = self.inputs.iter().all(|topic| {
                (0..self.partitions).all(|number| {
                    let partition = TopicPartition::new(topic.clone(), number);
                    let end = admin.list_offset(&partition, OffsetSpec::Latest(Isolation::ReadUncommitted));
                    end.is_ok_and(|end| at(&partition) == end.unwrap_or(Offset::ZERO))
                })
            });
            if is_settled {
                return Ok(());
            }
            if let Some(error) = streams.error() {
                return Err(format!("it failed: {error}"));
            }
            if Instant::now() > deadline {
                return Err(format!("it stands still at {committed:?}"));
            }
            thread::sleep(STEP);
        }
    }

    fn read(&self, topic: &str, records: &mut ByKey) {
        let name = topic_name(topic);
        let partitions = self.log.admin().expect("an admin").describe_topic(&name).expect("a log");
        for number in 0..partitions.map_or(0, |description| description.partitions) {
            let partition = TopicPartition::new(name.clone(), number);
            let mut consumer = self.log.consumer(&ConsumerConfig::default()).expect("a consumer");
            consumer.assign(&[(partition.clone(), StartAt::Beginning)]).expect("a topic");
            let end = consumer.end_offset(&partition, Isolation::ReadCommitted).expect("an end");
            while consumer.position(&partition).expect("a position") < end {
                let Polled::Batch(batch) = consumer.poll(Duration::from_millis(100)).expect("a batch") else {
                    continue;
                };
                let mut cursor = batch.cursor();
                while let Some(at) = cursor.advance().expect("a record") {
                    let record = cursor.view(&at);
                    let header =
                        |header: &Header| (header.key.clone(), header.value.as_ref().map(|value| value.to_vec()));
                    let told = (
                        record.value.map(<[u8]>::to_vec),
                        Some(record.timestamp).filter(|at| *at != NO_TIMESTAMP),
                        record.headers.to_headers().as_slice().iter().map(header).collect(),
                    );
                    records.entry((topic.to_owned(), record.key.map(<[u8]>::to_vec))).or_default().push(told);
                }
            }
        }
    }

    fn compare_outputs(&self, case: &Case) -> Vec<String> {
        let mut expected = by_key(&case.expect.output);
        let mut found = ByKey::new();
        for topic in case.expect.output.iter().map(|record| &record.topic).collect::<BTreeSet<_>>() {
            self.read(topic, &mut found);
        }
        // With caching, commits decide how many updates there are. Subscriptions answer when they come to it.
        let is_exact = case.config.get("statestore.cache.max.bytes").is_some_and(|bytes| bytes == "0")
            && !case.program.iter().any(|json| op(json) == "fk_join");
        if !is_exact {
            expected.values_mut().for_each(keep_last);
            found.values_mut().for_each(keep_last);
        }
        compare("output", &expected, &found)
    }

    /// The last row of each key, of all stores that a reader can see.
    fn compare_changelogs(&self, case: &Case) -> Vec<String> {
        let readable = |kind: &str| !matches!(kind, "internal" | "unreadable" | "window");
        let stores = case.expect.stores.iter().flatten().filter(|(_, store)| readable(&store.kind));
        let topics: BTreeSet<String> = stores.map(|(name, _)| format!("app-{name}-changelog")).collect();
        let logged: Vec<Sent> =
            case.expect.changelog.iter().filter(|record| topics.contains(&record.topic)).cloned().collect();
        let mut found = ByKey::new();
        for topic in &topics {
            self.read(topic, &mut found);
        }
        let mut expected = by_key(&logged);
        expected.values_mut().for_each(keep_last);
        found.values_mut().for_each(keep_last);
        compare("changelog", &expected, &found)
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName::new(name).expect("a name of a topic")
}

fn by_key(records: &[Sent]) -> ByKey {
    let mut all = ByKey::new();
    for record in records {
        let told = (record.value.clone(), record.timestamp, record.headers.clone());
        all.entry((record.topic.clone(), record.key.clone())).or_default().push(told);
    }
    all
}

fn keep_last(records: &mut Vec<Told>) {
    records.drain(..records.len().saturating_sub(1));
}

fn compare(what: &str, expected: &ByKey, found: &ByKey) -> Vec<String> {
    let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let different = keys.into_iter().filter(|key| expected.get(*key) != found.get(*key));
    let text = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let show = |records: Option<&Vec<Told>>| -> Vec<String> {
        records
            .into_iter()
            .flatten()
            .map(|(value, at, headers)| format!("{:?} @{at:?} {headers:?}", text(value)))
            .collect()
    };
    different
        .map(|key| {
            let (topic, bytes) = key;
            format!(
                "{what} {topic} {:?}\n    expected {:?}\n    got      {:?}",
                text(bytes),
                show(expected.get(key)),
                show(found.get(key))
            )
        })
        .collect()
}
