//! State that is gone, that another topology wrote, or that lies in a source topic.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    client::{CommittedOffset, NewTopic, ProducerConfig, SharedClient},
};

use super::counting::{WAIT, World, read_texts};
use crate::{
    Error,
    ProcessingGuarantee::ExactlyOnceV2,
    Record, StreamsConfig,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    runtime::{State, Streams},
    serde::default_serde,
    state::{Changelog, ChangelogCleanup, KeyValueStore, StoreBuilder, Stores},
    topology::{Sink, Source, Topology},
};

fn counted_once(world: &World) {
    world.say(&["a"]);
    let streams = world.run(world.config(ExactlyOnceV2));
    world.wait_until_consumed();
    assert!(streams.close(WAIT));
}

#[test]
fn a_topology_without_the_store_that_wrote_the_state_is_refused() {
    let world = World::new(1);
    counted_once(&world);
    let mut changed = Topology::new();
    changed
        .add_source(Source::<String, String>::new("source", "words"))
        .add_sink(Sink::<String, String>::new("sink", "counts"), &["source"]);
    let config = world.config(ExactlyOnceV2).build().unwrap();
    let streams = Streams::new(changed, config.clone(), Arc::clone(&world.client)).unwrap();
    let error = streams.start().unwrap_err();
    assert!(matches!(error, Error::Incompatible(_)), "{error}");
    assert!(error.to_string().contains("- store counts"), "{error}");
    assert_eq!(streams.state(), State::Created);
    // What was refused has changed nothing, and the directory is free for the earlier program.
    counted_once(&world);
    assert_eq!(world.last_counts("counts")["a"], 2);
    // Without local state there is nothing that it could misread; but its changes still lie in the log.
    streams.clean_up().unwrap();
    let error = streams.start().unwrap_err();
    assert!(matches!(error, Error::Incompatible(_)), "{error}");
    world.log.admin().unwrap().delete_topics(&[TopicName::new("app-counts-changelog").unwrap()]).unwrap();
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
}

/// Passes words on, with a store of this name beside it.
fn topology_with_store(name: &str) -> Topology {
    let supplier = Stores::persistent_key_value_store(name);
    let store = Stores::key_value_store_builder(supplier, default_serde::<String>(), default_serde::<String>());
    let mut topology = Topology::new();
    let name = name.to_owned();
    topology
        .add_source(Source::<String, String>::new("source", "words"))
        .add_processor("replace", &["source"], move || Replace { name: name.clone(), handle: None })
        .add_state_store(store, &["replace"])
        .add_sink(Sink::<String, String>::new("sink", "counts"), &["replace"]);
    topology
}

#[test]
fn a_store_under_another_name_does_not_begin_empty_in_silence() {
    let world = World::new(1);
    counted_once(&world);
    // Another machine: nothing of the state that was written is here.
    let elsewhere = tempfile::tempdir().unwrap();
    let config = world.config(ExactlyOnceV2).state_dir(elsewhere.path()).build().unwrap();
    let streams = |config| Streams::new(topology_with_store("totals"), config, Arc::clone(&world.client)).unwrap();
    let error = streams(config.clone()).start().unwrap_err();
    assert!(matches!(error, Error::Incompatible(_)), "{error}");
    for part in
        ["application app", "- store counts", "app-counts-changelog", "+ store totals", "as they were", "delete"]
    {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    let totals = TopicName::new("app-totals-changelog").unwrap();
    assert_eq!(
        world.log.admin().unwrap().describe_topic(&totals).unwrap(),
        None,
        "nothing is made for what is refused"
    );
    // Where nothing was counted yet, names may change.
    let fresh = World::new(1);
    let renamed = Streams::new(topology_with_store("totals"), config, Arc::clone(&fresh.client)).unwrap();
    renamed.start().unwrap();
    renamed.wait_for(State::Running, WAIT).unwrap();
}

#[test]
fn topics_of_an_application_with_a_longer_name_are_left_alone() {
    let world = World::new(1);
    counted_once(&world);
    let mut admin = world.log.admin().unwrap();
    // `app-more` has counted, too; its topic looks like the changelog of a store `more-x` of `app`.
    let topic = TopicName::new("app-more-x-changelog").unwrap();
    admin.create_topics(&[NewTopic::new(topic.clone(), 1)]).unwrap();
    let mut producer = world.log.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&TopicPartition::new(topic, 0)).unwrap();
    producer.send(handle, RecordView::new(1, Some(b"k"), Some(b"v"))).unwrap();
    producer.flush().unwrap();
    let streams = world.streams(world.config(ExactlyOnceV2));
    let error = streams.start().unwrap_err().to_string();
    assert!(error.contains("- store more-x"), "{error}");
    let position = CommittedOffset { offset: Offset::new(1), ..CommittedOffset::default() };
    let words = TopicPartition::new(TopicName::new("words").unwrap(), 0);
    admin.alter_group_offsets("app-more", &[(words, position)]).unwrap();
    counted_once(&world);
}

#[test]
fn records_that_wait_between_two_parts_are_not_forgotten() {
    let world = World::new(1);
    counted_once(&world);
    let topic = TopicName::new("app-by-word-repartition").unwrap();
    world.log.admin().unwrap().create_topics(&[NewTopic::new(topic.clone(), 1)]).unwrap();
    // A topic in which nothing waits may go.
    counted_once(&world);
    let mut producer = world.log.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&TopicPartition::new(topic, 0)).unwrap();
    producer.send(handle, RecordView::new(1, Some(b"k"), Some(b"v"))).unwrap();
    producer.flush().unwrap();
    let error = world.streams(world.config(ExactlyOnceV2)).start().unwrap_err().to_string();
    assert!(error.contains("- topic app-by-word-repartition") && error.contains("1 records wait"), "{error}");
}

#[test]
fn a_changelog_that_was_deleted_is_not_made_again_in_silence() {
    let world = World::new(1);
    counted_once(&world);
    let changelog = TopicName::new("app-counts-changelog").unwrap();
    world.log.admin().unwrap().delete_topics(std::slice::from_ref(&changelog)).unwrap();
    let streams = world.streams(world.config(ExactlyOnceV2));
    let error = streams.start().unwrap_err().to_string();
    assert!(error.contains("app-counts-changelog") && error.contains("deleted"), "{error}");
    assert_eq!(world.log.admin().unwrap().describe_topic(&changelog).unwrap(), None);
}

#[test]
fn a_store_without_a_changelog_keeps_what_its_files_hold() {
    let world = World::new(1);
    for count in 1..=2 {
        world.say(&["a"]);
        let config = world.config(ExactlyOnceV2).build().unwrap();
        let topology = world.topology_with(Changelog::Disabled);
        let streams = Streams::new(topology, config, Arc::clone(&world.client)).unwrap();
        streams.start().unwrap();
        world.wait_until_consumed();
        assert!(streams.close(WAIT));
        assert_eq!(world.last_counts("counts")["a"], count);
    }
    assert!(world.read("app-counts-changelog").is_empty());
}

type Values = KeyValueStore<String, String>;

/// Answers with the value before, and keeps the new one in the store of this name.
struct Replace {
    name: String,
    handle: Option<StoreHandle<Values>>,
}

impl Processor<String, String, String, String> for Replace {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, String>) -> ProcessResult {
        self.handle = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let store = ctx.store(self.handle.unwrap());
        let before = store.get(&record.key)?.cloned().unwrap_or_else(|| "nothing".into());
        store.put(&record.key, record.value.clone())?;
        ctx.forward(record.with_value(before))
    }
}

fn replace(log: &SharedClient, directory: &Path, changelog: Changelog, values: &[&str]) {
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&TopicPartition::new(TopicName::new("values-in").unwrap(), 0)).unwrap();
    for value in values {
        producer.send(handle, RecordView::new(1, Some(b"k"), Some(value.as_bytes()))).unwrap();
    }
    producer.flush().unwrap();

    let supplier = Stores::persistent_key_value_store("values");
    let store = Stores::key_value_store_builder(supplier, default_serde::<String>(), default_serde::<String>());
    let store: Arc<dyn StoreBuilder> = match changelog {
        Changelog::SourceTopic { topic, .. } => Arc::new(store.with_source_topic_as_changelog(topic)),
        _ => Arc::new(store),
    };
    let mut topology = Topology::new();
    topology
        .add_source(Source::<String, String>::new("source", "values-in"))
        .add_processor("replace", &["source"], || Replace { name: "values".into(), handle: None })
        .add_state_store(store, &["replace"])
        .add_sink(Sink::<String, String>::new("sink", "values-out"), &["replace"]);
    let config = StreamsConfig::builder("values-app").state_dir(directory).build().unwrap();
    let streams = Streams::new(topology, config, Arc::clone(log)).unwrap();
    streams.start().unwrap();
    streams.wait_for(State::Running, WAIT).unwrap();
    let deadline = std::time::Instant::now() + WAIT;
    while streams.lags().unwrap().iter().any(|lag| lag.lag > 0) {
        assert!(std::time::Instant::now() < deadline, "{:?}", streams.lags());
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(streams.close(WAIT));
    assert_eq!(streams.error().map(|error| error.to_string()), None);
}

#[test]
fn state_in_rocksdb_goes_on_and_is_rebuilt_from_changelog_or_source_topic() {
    let own = Changelog::Topic { cleanup: ChangelogCleanup::Compact, config: BTreeMap::new() };
    let source = Changelog::SourceTopic { topic: "values-in".into(), cleanup: ChangelogCleanup::Compact };
    for changelog in [own, source] {
        let log = super::log();
        let topics = ["values-in", "values-out"].map(|name| NewTopic::new(TopicName::new(name).unwrap(), 1));
        log.admin().unwrap().create_topics(&topics).unwrap();
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        replace(&log, first.path(), changelog.clone(), &["1", "2"]);
        replace(&log, first.path(), changelog.clone(), &["3"]);
        // A new directory: the store is restored up to what was processed, and not to what waits in the source topic.
        replace(&log, second.path(), changelog.clone(), &["4", "5"]);
        // The old directory again: its files lie behind, and catch up.
        replace(&log, first.path(), changelog.clone(), &["6"]);
        let answers: Vec<String> = read_texts(&log, "values-out", 6).into_iter().map(|(_, value)| value).collect();
        assert_eq!(answers, ["nothing", "1", "2", "3", "4", "5"], "{changelog:?}");
    }
}
