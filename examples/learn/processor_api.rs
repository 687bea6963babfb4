//! The Processor API: a node of your own, with a store and a timer.
//!
//! Operators cover most needs; where they end, a processor goes on. This one collects sensor readings and gives a report
//! of all sensors every ten seconds of event time, which no operator does.

use std::time::Duration;

use examples::println;
use streams_core::{
    processor::{Punctuation, StoreHandle},
    serde::default_serde,
    state::KeyValueStore,
};
use streams_dsl::prelude::*;

/// Name of the store. Its changelog topic is `{application}-readings-changelog`: after a crash nothing is missing.
const READINGS: &str = "readings";

#[derive(Default)]
struct Report {
    readings: Option<StoreHandle<KeyValueStore<String, f64>>>,
}

impl Processor<String, f64, String, String> for Report {
    /// Called once for each task, before its first record.
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, String>) -> ProcessResult {
        self.readings = Some(ctx.store_handle(READINGS)?);
        // Stream time is the time of the records: a replay gives the same reports. With wall-clock time it would not.
        ctx.schedule(Duration::from_secs(10), PunctuationType::StreamTime);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, f64>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let readings = ctx.store(self.readings.ok_or("init comes first")?);
        readings.put(&record.key, record.value)?;
        Ok(())
    }

    fn punctuate(
        &mut self,
        _which: Punctuation,
        timestamp: i64,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let readings = ctx.store(self.readings.ok_or("init comes first")?);
        let mut lines = Vec::new();
        for row in readings.all()? {
            let (sensor, value) = row?;
            lines.push(format!("{sensor}={value}"));
        }
        if lines.is_empty() {
            return Ok(());
        }
        ctx.forward(Record::new("all".to_owned(), lines.join(" "), timestamp))
    }
}

fn reports() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder.add_state_store(Stores::key_value_store_builder(
        Stores::persistent_key_value_store(READINGS),
        default_serde::<String>(),
        default_serde::<f64>(),
    ));
    builder
        .stream::<String, f64>("temperature")
        .process_with(Report::default, Processed::new().with_state_stores([READINGS]))
        .to("reports");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("reports", reports()?)?;
    let readings =
        [("attic", 21.5, 1), ("cellar", 12.0, 2), ("attic", 22.0, 9), ("attic", 23.5, 12), ("cellar", 11.5, 25)];
    app.write("temperature", readings.map(|(sensor, value, second)| (sensor.to_owned(), value, second * 1_000)))?;
    app.run_until_idle()?;
    for record in app.read::<String, String>("reports")? {
        println!("second {}: {}", record.timestamp / 1_000, record.value);
    }
    app.close()?;
    Ok(())
}
