//! Runs a case through the test driver and writes down everything that can be observed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use log_store::{Header, NO_TIMESTAMP};
use streams_core::{
    ProcessingGuarantee, StreamsConfig,
    testing::{ProducedRecord, TopologyTestDriver},
    topology::InternalTopicKind,
};

use crate::{
    case::{Case, Failure, InternalTopic, Observed, Sent, Step},
    program, stores,
};

const APPLICATION_ID: &str = "app";
const INITIAL_WALL_CLOCK_MS: i64 = 1_000_000;

/// Everything that can be observed of the case.
pub(crate) fn run(case: &Case) -> Observed {
    let failed = |stage: &str, step, error: streams_core::Error| {
        Some(Failure { stage: stage.to_owned(), step, message: error.to_string() })
    };
    let mut seen = Observed::default();
    let topology = match program::build(&case.program, &case.config) {
        Ok(topology) => topology,
        Err(error) => return Observed { error: failed("build", None, error), ..seen },
    };
    seen.describe = Some(topology.describe().to_string());
    let driver = match TopologyTestDriver::at(&topology, config(&case.config), INITIAL_WALL_CLOCK_MS) {
        Ok(driver) => driver,
        Err(error) => return Observed { error: failed("start", None, error), ..seen },
    };
    seen.internal_topics = driver.internal_topics().into_iter().map(internal_topic).collect();
    seen.copartition = driver.copartition_groups();
    for (step, input) in case.input.iter().enumerate() {
        let result = feed(&driver, input);
        for record in driver.take_produced() {
            let sent = sent(step, record);
            let of_kind = |kind: &str| seen.internal_topics.get(&sent.topic).is_some_and(|topic| topic.kind == kind);
            match () {
                () if of_kind("repartition") => seen.repartition.push(sent),
                () if seen.internal_topics.contains_key(&sent.topic) => seen.changelog.push(sent),
                () => seen.output.push(sent),
            }
        }
        if let Err(error) = result {
            seen.error = failed("input", Some(step), error);
            return seen;
        }
    }
    seen.stores = Some(stores::contents(&driver, &times(case, &seen), &keys(case, &seen)));
    seen.dropped_records = Some(driver.dropped_records());
    seen
}

/// The range of time in which the JVM was asked for windows and sessions: what happened, and some hours around it.
fn times(case: &Case, seen: &Observed) -> RangeInclusive<i64> {
    const AROUND_MS: i64 = 10_000_000;
    let given = case.input.iter().filter_map(|step| match step {
        Step::Record(record) => record.timestamp.filter(|timestamp| *timestamp >= 0),
        Step::AdvanceWall(_) => None,
    });
    let sent = [&seen.output, &seen.changelog, &seen.repartition];
    let made = sent.into_iter().flatten().filter_map(|record| record.timestamp);
    let (first, last) = given.chain(made).fold((i64::MAX, 0), |(first, last), time| (time.min(first), time.max(last)));
    let first = if first == i64::MAX { 0 } else { first };
    first.saturating_sub(AROUND_MS).max(0)..=last.saturating_add(AROUND_MS)
}

/// Texts that were keys, or could have become keys.
fn keys(case: &Case, seen: &Observed) -> BTreeSet<String> {
    let given = case.input.iter().filter_map(|step| match step {
        Step::Record(record) => Some([&record.key, &record.value]),
        Step::AdvanceWall(_) => None,
    });
    let made = [&seen.output, &seen.changelog, &seen.repartition].into_iter().flatten().map(|record| &record.key);
    let texts = given.flatten().chain(made).flatten();
    texts.filter_map(|bytes| String::from_utf8(bytes.clone()).ok()).collect()
}

fn config(settings: &BTreeMap<String, String>) -> StreamsConfig {
    let mut config = StreamsConfig::builder(APPLICATION_ID).processing_guarantee(ProcessingGuarantee::AtLeastOnce);
    if let Some(bytes) = settings.get("statestore.cache.max.bytes") {
        config = config.statestore_cache_max_bytes(bytes.parse().expect("bytes"));
    }
    config.build().expect("the settings are right")
}

fn feed(driver: &TopologyTestDriver, input: &Step) -> streams_core::Result<()> {
    match input {
        Step::AdvanceWall(millis) => driver.advance_wall_clock_time(Duration::from_millis(*millis)),
        Step::Record(record) => record.with_view(|view| driver.pipe_record(&record.topic, view)),
    }
}

fn sent(step: usize, record: ProducedRecord) -> Sent {
    let header = |header: &Header| (header.key.clone(), header.value.as_ref().map(|value| value.to_vec()));
    Sent {
        step,
        headers: record.headers.as_slice().iter().map(header).collect(),
        topic: record.topic,
        key: record.key,
        value: record.value,
        timestamp: Some(record.timestamp).filter(|timestamp| *timestamp != NO_TIMESTAMP),
    }
}

fn internal_topic(topic: streams_core::testing::InternalTopic) -> (String, InternalTopic) {
    let kind = match topic.kind {
        InternalTopicKind::Repartition => "repartition",
        InternalTopicKind::Changelog => "changelog",
        InternalTopicKind::WindowedChangelog => "windowed-changelog",
        InternalTopicKind::VersionedChangelog => "versioned-changelog",
    };
    (topic.name, InternalTopic { kind: kind.to_owned(), partitions: topic.partitions, config: topic.settings })
}
