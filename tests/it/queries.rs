//! Stores of a running application, read from other threads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{LogClient, NewTopic, Producer, ProducerConfig},
    embedded::storage::MemoryDirectory,
    partition_of,
};
use streams_core::{
    Error,
    query::{ReadOnlyKeyValueStore, StoreQueryParameters},
    state::VersionedRecord,
};
use streams_dsl::prelude::*;
use tempfile::TempDir;

const PARTITIONS: u32 = 3;
const WAIT: Duration = Duration::from_secs(60);
const MINUTE: i64 = 60_000;

/// Words on a log in memory, and an application that keeps stores of every kind about them.
struct World {
    log: EmbeddedLog,
    producer: Box<dyn Producer>,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let log = EmbeddedLog::open_in(Arc::new(MemoryDirectory::new()), LogConfig::default()).unwrap();
        let topics = ["words", "prices"].map(|name| NewTopic::new(TopicName::new(name).unwrap(), PARTITIONS));
        log.admin().unwrap().create_topics(&topics).unwrap();
        let producer = log.producer(&ProducerConfig::default()).unwrap();
        World { log, producer, folder: TempDir::new().unwrap() }
    }

    fn topology() -> Topology {
        let builder = StreamsBuilder::new();
        let words = builder.stream::<String, String>("words").group_by_key();
        let _counts = words.count_with(Materialized::new("counts"));
        let minutes = TimeWindows::of_size_with_no_grace(Duration::from_secs(60));
        let _by_minute = words
            .windowed_by(minutes)
            .count_with(Materialized::new("by-minute").with_retention(Duration::from_secs(3_600)));
        let sessions = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(10));
        let _sessions = words.windowed_by(sessions).count_with(Materialized::new("sessions"));
        let prices = Materialized::versioned("prices-store", Duration::from_secs(3_600));
        builder.table_with::<String, i64>("prices", Consumed::new(), prices);
        builder.build().unwrap()
    }

    /// An application that is not started; `adapt` has the last word on its settings.
    fn application(
        &self,
        adapt: impl FnOnce(streams_core::StreamsConfigBuilder) -> streams_core::StreamsConfigBuilder,
    ) -> Streams {
        let config = StreamsConfig::builder("queries").state_dir(self.folder.path()).num_stream_threads(2);
        Streams::new(Self::topology(), adapt(config).build().unwrap(), Arc::new(self.log.clone())).unwrap()
    }

    fn run(&self) -> Streams {
        let streams = self.application(|config| config);
        streams.start().unwrap();
        streams.wait_for(State::Running, WAIT).unwrap();
        streams
    }

    fn send(&mut self, topic: &str, key: &str, value: Option<&[u8]>, timestamp: i64) {
        let partition = partition_of(key.as_bytes(), PARTITIONS);
        let to = TopicPartition::new(TopicName::new(topic).unwrap(), partition);
        let handle = self.producer.open(&to).unwrap();
        self.producer.send(handle, RecordView::new(timestamp, Some(key.as_bytes()), value)).unwrap();
    }

    fn say(&mut self, words: &[(&str, i64)]) {
        for (word, timestamp) in words {
            self.send("words", word, Some(b"."), *timestamp);
        }
        self.producer.flush().unwrap();
    }
}

fn wait_until_consumed(streams: &Streams) {
    let deadline = Instant::now() + WAIT;
    while streams.lags().unwrap().iter().any(|partition| partition.lag > 0) {
        assert!(Instant::now() < deadline, "{:?}", streams.error());
        std::thread::sleep(Duration::from_millis(2));
    }
    // A commit is in the log a moment before its rows are shown. The stream threads answer this when they are done.
    let kind = QueryableStoreTypes::key_value_store::<String, i64>();
    let query = StoreQueryParameters::from_name_and_type("counts", kind).with_consistency(Consistency::LastWrite);
    streams.store(query).unwrap().all().unwrap().for_each(drop);
}

fn counts(streams: &Streams) -> ReadOnlyKeyValueStore<String, i64> {
    streams.store(StoreQueryParameters::from_name_and_type("counts", QueryableStoreTypes::key_value_store())).unwrap()
}

fn text(word: &str) -> String {
    word.to_owned()
}

#[test]
fn every_kind_of_store_can_be_read() {
    let mut world = World::new();
    let streams = world.run();
    world.say(&[("a", 0), ("b", 1), ("a", 5_000), ("a", 70_000), ("abc", 70_000), ("a", 71_000)]);
    for (price, time) in [(5_i64, 100), (7, 200)] {
        world.send("prices", "tea", Some(&price.to_be_bytes()), time);
    }
    world.say(&[]);
    wait_until_consumed(&streams);

    for consistency in [Consistency::LastCommit, Consistency::LastWrite] {
        let kind = QueryableStoreTypes::key_value_store::<String, i64>();
        let query = StoreQueryParameters::from_name_and_type("counts", kind).with_consistency(consistency);
        let counts = streams.store(query.clone()).unwrap();
        assert_eq!(counts.get(&text("a")).unwrap(), Some(4));
        assert_eq!(counts.get(&text("z")).unwrap(), None);
        let all = |rows: streams_core::query::KeyValueRows<'_, String, i64>| {
            rows.collect::<Result<BTreeMap<_, _>, _>>().unwrap()
        };
        let everything = BTreeMap::from([(text("a"), 4), (text("abc"), 1), (text("b"), 1)]);
        assert_eq!(all(counts.all().unwrap()), everything);
        assert_eq!(all(counts.reverse_all().unwrap()), everything);
        assert_eq!(all(counts.range(Some(&text("aa")), Some(&text("b"))).unwrap()).len(), 2, "both ends are included");
        assert_eq!(all(counts.prefix_scan(b"a").unwrap()).len(), 2);
        assert_eq!(counts.approximate_num_entries().unwrap(), 3);
        let home = partition_of(b"a", PARTITIONS);
        let elsewhere = streams.store(query.with_partition((home + 1) % PARTITIONS)).unwrap();
        assert_eq!(elsewhere.get(&text("a")).unwrap(), None);
        let timed = QueryableStoreTypes::timestamped_key_value_store::<String, i64>();
        let query = StoreQueryParameters::from_name_and_type("counts", timed).with_consistency(consistency);
        let found = streams.store(query).unwrap().get(&text("a")).unwrap().unwrap();
        assert_eq!((found.value, found.timestamp), (4, 71_000));

        let kind = QueryableStoreTypes::window_store::<String, i64>();
        let query = StoreQueryParameters::from_name_and_type("by-minute", kind).with_consistency(consistency);
        let windows = streams.store(query).unwrap();
        assert_eq!(windows.fetch(&text("a"), 0).unwrap(), Some(2));
        assert_eq!(windows.fetch_range(&text("a"), 0, MINUTE).unwrap(), [(0, 2), (MINUTE, 2)]);
        assert_eq!(windows.fetch_all(MINUTE, MINUTE).unwrap().len(), 2);
        assert_eq!(windows.all().unwrap().len(), 4);

        let kind = QueryableStoreTypes::session_store::<String, i64>();
        let query = StoreQueryParameters::from_name_and_type("sessions", kind).with_consistency(consistency);
        let sessions = streams.store(query).unwrap();
        let of_a = [(Window::new(70_000, 71_000), 2)];
        assert_eq!(sessions.find_sessions(&text("a"), 60_000, i64::MAX).unwrap(), of_a);
        assert_eq!(sessions.fetch(&text("a")).unwrap().last(), Some(&of_a[0]));
        assert_eq!(sessions.fetch_session(&text("a"), of_a[0].0).unwrap(), Some(2));
        assert_eq!(sessions.find_sessions_ending(70_500, 80_000).unwrap().len(), 1);

        let kind = QueryableStoreTypes::versioned_key_value_store::<String, i64>();
        let query = StoreQueryParameters::from_name_and_type("prices-store", kind).with_consistency(consistency);
        let prices = streams.store(query).unwrap();
        let old = VersionedRecord { value: 5, timestamp: 100, valid_to: Some(200) };
        assert_eq!(prices.get_as_of(&text("tea"), 150).unwrap(), Some(old));
        assert_eq!(prices.get(&text("tea")).unwrap().map(|found| found.value), Some(7));
        assert_eq!(prices.get_as_of(&text("tea"), 50).unwrap(), None);
    }
    assert!(streams.close(WAIT));
}

/// Asking for `counts` is refused, and the message says `why`.
#[track_caller]
fn check_refused(streams: &Streams, why: &str) {
    let kind = QueryableStoreTypes::key_value_store::<String, i64>();
    let refused = streams.store(StoreQueryParameters::from_name_and_type("counts", kind)).err().unwrap();
    assert!(matches!(refused, Error::InvalidStateStore { .. }), "{refused}");
    assert!(refused.to_string().contains(why), "{refused}");
}

#[test]
fn what_cannot_be_read_says_why() {
    let world = World::new();
    let streams = world.application(|config| config);
    check_refused(&streams, "CREATED, not RUNNING");
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    let unknown =
        StoreQueryParameters::from_name_and_type("none", QueryableStoreTypes::key_value_store::<String, i64>());
    assert!(streams.store(unknown).err().unwrap().to_string().contains("no task on this instance"));
    let other = StoreQueryParameters::from_name_and_type("counts", QueryableStoreTypes::key_value_store::<i32, i64>());
    assert!(streams.store(other).err().unwrap().to_string().contains("with the type that it was made with"));
    let kind = QueryableStoreTypes::session_store::<String, i64>();
    let other = StoreQueryParameters::from_name_and_type("by-minute", kind);
    assert!(streams.store(other).err().unwrap().to_string().contains("with the type that it was made with"));

    let held = counts(&streams);
    let kind = QueryableStoreTypes::window_store::<String, i64>();
    let windows = streams.store(StoreQueryParameters::from_name_and_type("by-minute", kind)).unwrap();
    streams.remove_stream_thread(WAIT).unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    for refused in [held.get(&text("a")).unwrap_err(), windows.fetch(&text("a"), 0).unwrap_err()] {
        assert!(matches!(refused, Error::InvalidStateStore { .. }), "{refused}");
        assert!(refused.to_string().contains("ask Streams::store again"), "{refused}");
    }
    assert!(streams.close(WAIT));
    check_refused(&streams, "NOT_RUNNING, not RUNNING");
}

#[test]
fn a_commit_is_seen_as_a_whole_and_a_write_at_once() {
    let mut world = World::new();
    let streams = world.application(|config| config.commit_interval(Duration::from_secs(3_600)));
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    let committed = counts(&streams);
    let kind = QueryableStoreTypes::key_value_store::<String, i64>();
    let query = StoreQueryParameters::from_name_and_type("counts", kind).with_consistency(Consistency::LastWrite);
    let written = streams.store(query).unwrap();
    world.say(&[("a", 0)]);
    let deadline = Instant::now() + WAIT;
    while written.get(&text("a")).unwrap() != Some(1) {
        assert!(Instant::now() < deadline, "the write is not seen");
    }
    assert_eq!(committed.get(&text("a")).unwrap(), None, "nothing is committed for an hour");
    assert!(streams.close(WAIT));
}

#[test]
fn readers_see_counts_that_only_rise_while_the_application_works() {
    let mut world = World::new();
    let streams = world.run();
    world.say(&[("warm", 0)]);
    wait_until_consumed(&streams);
    let is_done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    let words: Vec<String> = (0..50).map(|number| format!("word-{number}")).collect();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (streams, words, is_done, reads) = (&streams, &words, &is_done, &reads);
            scope.spawn(move || {
                let counts = counts(streams);
                let mut seen = BTreeMap::new();
                let mut rounds = 0;
                while !is_done.load(Ordering::Relaxed) || rounds == 0 {
                    for word in words {
                        let now = counts.get(word).unwrap().unwrap_or(0);
                        let before = seen.insert(word, now).unwrap_or(0);
                        assert!(now >= before, "{word} went from {before} back to {now}");
                    }
                    for row in counts.prefix_scan(b"word-").unwrap() {
                        let (word, count) = row.unwrap();
                        assert!(count >= seen[&word], "{word} went from {} back to {count}", seen[&word]);
                    }
                    reads.fetch_add(words.len() as u64, Ordering::Relaxed);
                    rounds += 1;
                }
            });
        }
        for round in 0..300 {
            let said: Vec<(&str, i64)> = words.iter().map(|word| (word.as_str(), round)).collect();
            world.say(&said);
        }
        wait_until_consumed(&streams);
        is_done.store(true, Ordering::Relaxed);
    });
    let counts = counts(&streams);
    for word in &words {
        assert_eq!(counts.get(word).unwrap(), Some(300));
    }
    assert!(reads.into_inner() > 0);
    assert!(streams.close(WAIT));
}
