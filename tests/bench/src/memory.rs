//! Many stores, many keys: does the memory of the process stay near the one number that bounds it?

use anyhow::ensure;
use log_store::RecordView;
use serde::Serialize;
use streams_core::{
    processor::StoreHandle,
    runtime::Metric,
    serde::default_serde,
    state::{KeyValueStore, MemoryBudget},
};
use streams_dsl::prelude::*;

use crate::{
    Common, Setup,
    application::{Bench, close, start, wait_until_done},
    number, print,
    usage::{Figures, Started, reset_peak, rss_bytes},
};

/// Odd, so that multiplying by it makes of numbers other numbers, in no order.
const SCRAMBLE: u64 = 0x9E37_79B9_7F4A_7C15;

/// Keys that are looked up in the end.
const SAMPLES: u64 = 1_000;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Stores of each task
    #[arg(long, default_value_t = 100, value_name = "N")]
    stores: u64,

    /// Keys in all stores together
    #[arg(long, default_value = "50M", value_parser = number, value_name = "N")]
    keys: u64,

    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report {
    bench: &'static str,
    #[serde(flatten)]
    setup: Setup,
    stores: u64,
    keys: u64,
    budget_bytes: usize,
    /// Held when all keys are in.
    rss_bytes: u64,
    /// How far the peak lies above the budget; the program, its threads and the log's fresh batches are in it.
    peak_over_budget_bytes: i64,
    #[serde(flatten)]
    figures: Figures,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { stores, keys, common } = options;
    let bench = Bench::new(common)?;
    bench.create("keys", &[])?;
    let mut writer = bench.writer("keys")?;
    for number in 0..*keys {
        let key = number.wrapping_mul(SCRAMBLE).to_be_bytes();
        let value = number.to_be_bytes();
        writer.send_by_key(RecordView::new(writer.time(number), Some(&key), Some(&value)))?;
    }
    writer.flush()?;
    drop(writer);

    let streams = bench.application(topology(*stores)?)?;
    let _ = reset_peak();
    let started = Started::now();
    start(&streams)?;
    wait_until_done(&streams)?;
    let usage = started.usage();
    let rss_bytes = rss_bytes();
    let processed = streams.metric(Metric::ProcessTotal);
    ensure!(processed >= *keys, "{processed} records were processed of {keys}");
    look_up(&streams, *stores, *keys)?;
    close(&streams)?;

    let budget_bytes = common.memory.unwrap_or(MemoryBudget::DEFAULT_BYTES);
    print(
        common.json,
        &Report {
            bench: "memory",
            setup: common.setup(),
            stores: *stores,
            keys: *keys,
            budget_bytes,
            rss_bytes,
            peak_over_budget_bytes: usage.peak_rss_bytes.cast_signed() - i64::try_from(budget_bytes)?,
            figures: usage.figures(*keys),
        },
    )
}

fn store_name(number: u64) -> String {
    format!("numbers-{number:03}")
}

/// Counts each key in one of many stores.
fn topology(stores: u64) -> anyhow::Result<Topology> {
    let builder = StreamsBuilder::new();
    let names: Vec<String> = (0..stores).map(store_name).collect();
    for name in &names {
        builder.add_state_store(Stores::key_value_store_builder(
            Stores::persistent_key_value_store(name),
            default_serde::<u64>(),
            default_serde::<u64>(),
        ));
    }
    let count = {
        let names = names.clone();
        move || Keep { names: names.clone(), stores: Vec::new() }
    };
    builder.stream::<u64, u64>("keys").process_with::<(), (), _>(count, Processed::new().with_state_stores(names));
    Ok(builder.build()?)
}

/// Reads a row and writes it.
struct Keep {
    names: Vec<String>,
    stores: Vec<StoreHandle<KeyValueStore<u64, u64>>>,
}

impl Processor<u64, u64, (), ()> for Keep {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        self.stores = self.names.iter().map(|name| ctx.store_handle(name)).collect::<Result<_, _>>()?;
        Ok(())
    }

    fn process(&mut self, record: Record<u64, u64>, ctx: &mut ProcessorContext<'_, (), ()>) -> ProcessResult {
        let handle = self.stores[(record.value % self.stores.len() as u64) as usize];
        let store = ctx.store(handle);
        let known = store.get(&record.key)?.copied().unwrap_or(0);
        store.put(&record.key, known + record.value)?;
        Ok(())
    }
}

/// Looks some keys up.
fn look_up(streams: &Streams, stores: u64, keys: u64) -> anyhow::Result<()> {
    for sample in 0..SAMPLES.min(keys) {
        let number = sample * (keys / SAMPLES.min(keys));
        let kind = QueryableStoreTypes::key_value_store::<u64, u64>();
        let asked = StoreQueryParameters::from_name_and_type(store_name(number % stores), kind);
        let store = streams.store(asked.with_consistency(Consistency::LastWrite))?;
        let found = store.get(&number.wrapping_mul(SCRAMBLE))?;
        ensure!(found == Some(number), "key {number} holds {found:?}");
    }
    Ok(())
}
