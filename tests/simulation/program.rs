//! The application under simulation, its input, and what of its output must be the same in every run.
//!
//! Whatever the order in which partitions are read and threads take turns, these are fixed: all records of `counts`,
//! `windows` and `letters` for each key, in order (their input is one partition), the last record for each key of
//! `values` (which caching thins out, after a repartition), and the last record for each key of every changelog.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use log_store::{Headers, partition_of};
use streams_core::{processor::Punctuation, serde::default_serde, state::KeyValueStore};
use streams_dsl::prelude::*;

use crate::random::Random;

/// Partitions of every topic.
pub(crate) const PARTITIONS: u32 = 3;

/// Where the clock stands at the beginning.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// The application.
pub(crate) const APPLICATION: &str = "sim";

/// Topics that it reads and writes, beside its own.
pub(crate) const TOPICS: [&str; 5] = ["events", "counts", "windows", "letters", "values"];

/// Results of which every record counts.
pub(crate) const EXACT: [&str; 3] = ["counts", "windows", "letters"];

/// Its changelogs.
pub(crate) const CHANGELOGS: [&str; 4] =
    ["sim-by-key-changelog", "sim-by-window-changelog", "sim-by-value-changelog", "sim-outbox-changelog"];

/// Counts by key, by window and by value, and posts every event through an outbox that a punctuation empties.
pub(crate) fn topology() -> Topology {
    let builder = StreamsBuilder::new();
    let outbox = Stores::key_value_store_builder::<String, String>(
        Stores::persistent_key_value_store("outbox"),
        default_serde(),
        default_serde(),
    );
    builder.add_state_store(outbox);
    let events = builder.stream::<String, String>("events");
    let by_key = events.group_by_key();
    by_key.count_with(Materialized::new("by-key").with_caching_disabled()).to_stream().to("counts");
    by_key
        .windowed_by(TimeWindows::of_size_and_grace(Duration::from_millis(100), Duration::from_millis(50)))
        .count_with(Materialized::new("by-window").with_caching_disabled())
        .to_stream()
        .map(|windowed, count| (format!("{}@{}", windowed.key, windowed.window.start), count))
        .to("windows");
    events.process_with(|| Outbox, Processed::new().with_state_stores(["outbox"])).to("letters");
    events
        .group_by(|_, value| value.split('-').next().unwrap_or_default().to_owned())
        .count_with(Materialized::new("by-value"))
        .to_stream()
        .to("values");
    builder.build().expect("a legal topology")
}

/// Writes each event into its store; a punctuation posts what is there, in order, and forgets it.
struct Outbox;

const NEXT: &str = "next";

impl Processor<String, String, String, String> for Outbox {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, String>) -> ProcessResult {
        ctx.schedule(Duration::from_millis(40), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let handle = ctx.store_handle::<KeyValueStore<String, String>>("outbox")?;
        let store = ctx.store(handle);
        let number: u64 = store.get(&NEXT.to_owned())?.map_or(Ok(0), |number| number.parse())?;
        store.put(&format!("letter-{number:08}"), format!("{}={}@{}", record.key, record.value, record.timestamp))?;
        store.put(&NEXT.to_owned(), (number + 1).to_string())?;
        Ok(())
    }

    fn punctuate(&mut self, _: Punctuation, _: i64, ctx: &mut ProcessorContext<'_, String, String>) -> ProcessResult {
        let handle = ctx.store_handle::<KeyValueStore<String, String>>("outbox")?;
        let letters: Vec<(String, String)> = ctx.store(handle).prefix_scan(b"letter-")?.collect::<Result<_, _>>()?;
        for (number, letter) in letters {
            ctx.store(handle).delete(&number)?;
            let (key, rest) = letter.split_once('=').ok_or("a letter without a key")?;
            let (value, timestamp) = rest.split_once('@').ok_or("a letter without a time")?;
            let timestamp = timestamp.parse()?;
            let headers = Headers::default();
            ctx.forward(Record { key: key.to_owned(), value: value.to_owned(), timestamp, headers })?;
        }
        Ok(())
    }
}

/// One record of the input.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) timestamp: i64,
}

/// What is written to each partition of `events`, in order.
pub(crate) type Plan = Arc<Vec<Vec<Event>>>;

/// There are so many inputs: each has been seen by a run without failures, which says what is to come out.
pub(crate) const PLANS: u64 = 16;

pub(crate) fn plan(number: u64) -> Plan {
    let mut random = Random::new(number ^ 0xfeed);
    let mut partitions = vec![Vec::new(); PARTITIONS as usize];
    for index in 0..40 + random.below(80) {
        let key = format!("key-{}", random.below(7));
        let value = format!("v{}-{index}", random.below(4));
        // Some are too late for their window.
        let timestamp = START_MS + index.cast_signed() * 9 - random.below(160).cast_signed();
        partitions[partition_of(key.as_bytes(), PARTITIONS) as usize].push(Event { key, value, timestamp });
    }
    Arc::new(partitions)
}

/// What came out: for each topic and key all values in order, as bytes.
pub(crate) type Output = BTreeMap<String, BTreeMap<Vec<u8>, Vec<Option<Vec<u8>>>>>;
