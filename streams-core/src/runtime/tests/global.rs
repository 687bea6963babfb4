//! Global stores: complete before anything is processed, kept up to date, read by every task.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{NewTopic, ProducerConfig, SharedClient},
};

use super::counting::WAIT;
use crate::{
    ProcessingGuarantee::AtLeastOnce,
    Record, StreamsConfig,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    query::{Consistency, QueryableStoreTypes, StoreQueryParameters},
    runtime::{State, Streams},
    serde::default_serde,
    state::{KeyValueStore, Stores},
    topology::{Sink, Source, Topology},
};

type Names = KeyValueStore<String, String>;

/// Keeps the table of names.
#[derive(Default)]
struct Keep(Option<StoreHandle<Names>>);

impl Processor<String, String, (), ()> for Keep {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        self.0 = Some(ctx.store_handle("names")?);
        Ok(())
    }

    fn process(&mut self, record: Record<String, String>, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        Ok(ctx.store(self.0.unwrap()).put(&record.key, record.value)?)
    }
}

/// Answers with the name behind each id.
#[derive(Default)]
struct Look(Option<StoreHandle<Names>>);

impl Processor<String, String, String, String> for Look {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, String>) -> ProcessResult {
        self.0 = Some(ctx.store_handle("names")?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        if record.value == "panic!" {
            panic!("with the global store in hand");
        }
        let name = ctx.store(self.0.unwrap()).get(&record.value)?.cloned().unwrap_or_else(|| "nobody".into());
        ctx.forward(record.with_value(name))
    }
}

fn topology(is_persistent: bool) -> Topology {
    let supplier = match is_persistent {
        true => Stores::persistent_key_value_store("names"),
        false => Stores::in_memory_key_value_store("names"),
    };
    let names = Stores::key_value_store_builder(supplier, default_serde::<String>(), default_serde::<String>());
    let mut topology = Topology::new();
    topology
        .add_global_store(
            Arc::new(names) as Arc<dyn crate::state::StoreBuilder>,
            Source::<String, String>::new("names-source", "names"),
            "keep",
            Keep::default,
        )
        .add_source(Source::<String, String>::new("ids-source", "ids"))
        .add_processor("look", &["ids-source"], Look::default)
        .add_sink(Sink::<String, String>::new("sink", "answers"), &["look"]);
    topology
}

fn log(name_partitions: u32) -> SharedClient {
    let log = super::log();
    let topics = [("names", name_partitions), ("ids", 2), ("answers", 1)];
    let topics = topics.map(|(name, partitions)| NewTopic::new(TopicName::new(name).unwrap(), partitions));
    log.admin().unwrap().create_topics(&topics).unwrap();
    log
}

fn put(log: &SharedClient, topic: &str, records: &[(u32, &str, &str)]) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    for (partition, key, value) in records {
        let handle = producer.open(&TopicPartition::new(TopicName::new(topic).unwrap(), *partition)).unwrap();
        producer.send(handle, RecordView::new(1, Some(key.as_bytes()), Some(value.as_bytes()))).unwrap();
    }
    producer.flush().unwrap();
}

/// Waits for as many answers, and gives the last of each question.
fn answers(log: &SharedClient, count: usize) -> BTreeMap<String, String> {
    let found = super::counting::read_texts(log, "answers", count);
    assert_eq!(found.len(), count, "{found:?}");
    found.into_iter().collect()
}

fn start(log: &SharedClient, is_persistent: bool, threads: usize, state_dir: &std::path::Path) -> Streams {
    let config = StreamsConfig::builder("global-app")
        .processing_guarantee(AtLeastOnce)
        .commit_interval(Duration::from_millis(10))
        .num_stream_threads(threads)
        .state_dir(state_dir)
        .build()
        .unwrap();
    let streams = Streams::new(topology(is_persistent), config, Arc::clone(log)).unwrap();
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    streams
}

#[test]
fn a_global_store_is_complete_before_the_first_record_is_processed() {
    for (is_persistent, partitions) in [(true, 1), (true, 3), (false, 1), (false, 3)] {
        let (log, state_dir) = (log(partitions), tempfile::tempdir().unwrap());
        put(&log, "ids", &[(0, "q1", "1"), (1, "q2", "2")]);
        put(&log, "names", &[(0, "1", "ann"), (partitions - 1, "2", "bob")]);
        let streams = start(&log, is_persistent, 1, state_dir.path());
        let found = answers(&log, 2);
        assert_eq!((found["q1"].as_str(), found["q2"].as_str()), ("ann", "bob"));

        put(&log, "names", &[(0, "3", "cleo")]);
        // The table is read by another thread: wait until it has the new name.
        let mut asked = 2;
        loop {
            put(&log, "ids", &[(0, "q3", "3")]);
            asked += 1;
            if answers(&log, asked)["q3"] == "cleo" {
                break;
            }
        }
        drop(streams);

        // Another start finds the same table, however it was kept.
        put(&log, "names", &[(0, "1", "anna")]);
        put(&log, "ids", &[(0, "q4", "1"), (0, "q5", "2"), (0, "q6", "4")]);
        let streams = start(&log, is_persistent, 2, state_dir.path());
        let found = answers(&log, asked + 3);
        assert_eq!((&*found["q4"], &*found["q5"], &*found["q6"]), ("anna", "bob", "nobody"));
        assert_eq!(streams.threads().len(), 2);
        assert!(streams.close(WAIT));
        assert_eq!(streams.error().map(|error| error.to_string()), None);
    }
}

#[test]
fn a_panic_with_the_global_store_in_hand_gives_it_back() {
    let (log, state_dir) = (log(1), tempfile::tempdir().unwrap());
    put(&log, "names", &[(0, "1", "ann")]);
    let config = StreamsConfig::builder("global-app")
        .processing_guarantee(AtLeastOnce)
        .processing_exception_handler(crate::ExceptionHandler::log_and_continue())
        .state_dir(state_dir.path())
        .build()
        .unwrap();
    let streams = Streams::new(topology(false), config, Arc::clone(&log)).unwrap();
    streams.start().unwrap();
    put(&log, "ids", &[(0, "q1", "panic!"), (0, "q2", "1")]);
    assert_eq!(answers(&log, 1)["q2"], "ann");
    assert!(streams.close(WAIT));
}

#[test]
fn a_global_store_is_read_by_other_threads_as_soon_as_it_is_complete() {
    let kind = || QueryableStoreTypes::key_value_store::<String, String>();
    let (one, three) = ("1".to_owned(), "3".to_owned());
    for (is_persistent, partitions) in [(true, 1), (true, 3), (false, 1), (false, 3)] {
        let (log, state_dir) = (log(partitions), tempfile::tempdir().unwrap());
        put(&log, "names", &[(0, "1", "ann"), (partitions - 1, "2", "bob")]);
        let streams = start(&log, is_persistent, 1, state_dir.path());
        for consistency in [Consistency::LastCommit, Consistency::LastWrite] {
            let query = StoreQueryParameters::from_name_and_type("names", kind()).with_consistency(consistency);
            let names = streams.store(query.clone()).unwrap();
            assert_eq!(names.get(&one).unwrap().as_deref(), Some("ann"), "{consistency:?}");
            let rows: Vec<_> = names.all().unwrap().map(|row| row.unwrap().1).collect();
            assert_eq!(rows[..2], ["ann", "bob"], "{consistency:?}");

            // It is one store, whatever partition is asked for, and stays where it is when threads come.
            let whole = streams.store(query.with_partition(7)).unwrap();
            assert_eq!(whole.get(&"2".to_owned()).unwrap().as_deref(), Some("bob"));
            streams.add_stream_thread().unwrap();
            assert_eq!(names.get(&one).unwrap().as_deref(), Some("ann"));

            // What is written later is seen later.
            let name = format!("{consistency:?}");
            put(&log, "names", &[(0, "3", &name)]);
            while names.get(&three).unwrap().as_ref() != Some(&name) {
                std::thread::yield_now();
            }
        }
        assert!(streams.close(WAIT));
    }
}

#[test]
fn a_global_store_that_cannot_be_read_says_why() {
    let (log, state_dir) = (log(1), tempfile::tempdir().unwrap());
    let streams = start(&log, true, 1, state_dir.path());
    let names = QueryableStoreTypes::key_value_store::<String, String>();
    let numbers = || QueryableStoreTypes::key_value_store::<String, i64>();
    let refusal = |name: &str| {
        let refused = streams.store(StoreQueryParameters::from_name_and_type(name, numbers()));
        refused.err().unwrap().to_string()
    };
    assert!(refusal("names").contains("ask for it with the type that it was made with"), "{}", refusal("names"));
    assert!(refusal("surnames").contains("surnames"), "{}", refusal("surnames"));

    let read = streams.store(StoreQueryParameters::from_name_and_type("names", names)).unwrap();
    assert_eq!(read.get(&"1".to_owned()).unwrap(), None);
    assert!(streams.close(WAIT));
    assert!(read.get(&"1".to_owned()).is_err());
}
