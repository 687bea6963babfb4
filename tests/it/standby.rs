//! Standby tasks: an instance takes over what another one had, without reading its changelogs again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{LogClient, NewTopic, ProducerConfig},
    embedded::storage::MemoryDirectory,
    partition_of,
};
use streams_core::{
    query::{QueryableStoreTypes, StoreQueryParameters},
    runtime::Metric,
};
use streams_dsl::prelude::*;
use tempfile::TempDir;

const PARTITIONS: u32 = 4;
const WORDS: u64 = 2_000;
const WAIT: Duration = Duration::from_secs(60);

struct World {
    log: EmbeddedLog,
    store_type: StoreType,
    folder: TempDir,
}

impl World {
    fn new(store_type: StoreType) -> Self {
        let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::new()), LogConfig::default()).unwrap();
        log.admin().unwrap().create_topics(&[NewTopic::new(TopicName::new("words").unwrap(), PARTITIONS)]).unwrap();
        World { log, store_type, folder: TempDir::new().unwrap() }
    }

    fn run(&self, name: &str, replicas: usize) -> Streams {
        let builder = StreamsBuilder::new();
        let counts = Materialized::new("counts").with_store_type(self.store_type);
        let _counts = builder.stream::<String, String>("words").group_by_key().count_with(counts);
        let config = StreamsConfig::builder("standby")
            .client_id(name)
            .num_standby_replicas(replicas)
            .state_dir(self.folder.path().join(name))
            .build()
            .unwrap();
        let streams = Streams::new(builder.build().unwrap(), config, Arc::new(self.log.clone())).unwrap();
        streams.start().unwrap();
        streams.wait_for(State::Running, WAIT).unwrap();
        streams
    }

    /// Says every word once.
    fn say(&self) {
        let mut producer = self.log.producer(&ProducerConfig::default()).unwrap();
        for number in 0..WORDS {
            let word = word(number);
            let partition = partition_of(word.as_bytes(), PARTITIONS);
            let handle = producer.open(&TopicPartition::new(TopicName::new("words").unwrap(), partition)).unwrap();
            producer.send(handle, RecordView::new(1, Some(word.as_bytes()), Some(b"."))).unwrap();
        }
        producer.flush().unwrap();
    }
}

fn word(number: u64) -> String {
    format!("word-{number}")
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_consumed(streams: &Streams) -> bool {
    streams.lags().unwrap().iter().all(|partition| partition.lag == 0)
}

#[track_caller]
fn check_takeover(store_type: StoreType) {
    let world = World::new(store_type);
    let one = world.run("one", 1);
    let two = world.run("two", 1);
    world.say();
    wait_until("everything is counted", || is_consumed(&one));
    let instances = [&one, &two];
    let total = |metric| instances.iter().map(|streams| streams.metric(metric)).sum::<u64>();
    wait_until("every task has a standby", || total(Metric::StandbyTasks) == u64::from(PARTITIONS));
    wait_until("the standbys have everything", || total(Metric::StandbyRecordsTotal) >= WORDS);
    // Then the group is told, which moves nothing.
    std::thread::sleep(Duration::from_millis(500));
    wait_until("both run", || instances.iter().all(|streams| streams.state() == State::Running));
    let before = two.metric(Metric::RestoreRecordsTotal);
    assert!(one.close(WAIT));
    wait_until("the other one has all tasks", || {
        two.state() == State::Running && two.metric(Metric::StandbyTasks) == 0 && is_running_all(&two)
    });
    assert_eq!(two.metric(Metric::RestoreRecordsTotal), before, "nothing was left to restore");
    world.say();
    wait_until("everything is counted again", || is_consumed(&two));
    let kind = QueryableStoreTypes::key_value_store::<String, i64>();
    let counts = two.store(StoreQueryParameters::from_name_and_type("counts", kind)).unwrap();
    // Readers see a commit a moment after its offsets.
    wait_until("every word is counted twice", || {
        (0..WORDS).all(|number| counts.get(&word(number)).unwrap() == Some(2))
    });
    assert!(two.close(WAIT));
    assert_eq!(two.error().map(|error| error.to_string()), None);
}

/// True if every partition can be read here.
fn is_running_all(streams: &Streams) -> bool {
    (0..PARTITIONS).all(|partition| {
        let kind = QueryableStoreTypes::key_value_store::<String, i64>();
        let query = StoreQueryParameters::from_name_and_type("counts", kind).with_partition(partition);
        streams.store(query).is_ok()
    })
}

#[test]
fn stores_in_files_are_taken_over_without_a_restore() {
    check_takeover(StoreType::RocksDb);
}

#[test]
fn stores_in_memory_are_taken_over_without_a_restore() {
    check_takeover(StoreType::InMemory);
}

#[test]
fn one_instance_alone_keeps_no_copies() {
    let world = World::new(StoreType::InMemory);
    let one = world.run("one", 2);
    world.say();
    wait_until("everything is counted", || is_consumed(&one));
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(one.metric(Metric::StandbyTasks), 0);
    assert!(one.close(WAIT));
}
