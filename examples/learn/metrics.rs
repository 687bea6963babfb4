//! Metrics: windows of time, and one final result for each of them.
//!
//! A window is open for as long as records for it may come. `suppress` holds its result back until that is over, so that
//! a dashboard gets one number per host and minute instead of one for each measurement.

use std::time::Duration;

use examples::println;
use serde::{Deserialize, Serialize};
use streams_dsl::prelude::*;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Load {
    measurements: u32,
    sum: f64,
    most: f64,
}

impl Data for Load {
    type Serde = Postcard;
}

impl Load {
    fn with(self, percent: f64) -> Load {
        Load { measurements: self.measurements + 1, sum: self.sum + percent, most: self.most.max(percent) }
    }
}

fn metrics() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    // One minute each, and ten seconds more for measurements that come late. What comes later still is dropped: the
    // number that was published does not change any more.
    let minutes = TimeWindows::of_size_and_grace(Duration::from_secs(60), Duration::from_secs(10));
    builder
        .stream::<String, f64>("cpu-percent")
        .group_by_key()
        .windowed_by(minutes)
        .aggregate_with(Load::default, |_, percent, load: Load| load.with(*percent), Materialized::new("load"))
        .suppress_until_window_closes(Suppressed::until_window_closes(BufferConfig::unbounded()))
        .to_stream()
        // A table's stream may carry deletions; a closed window is never deleted.
        .flat_map(|host, load| {
            load.map(|Load { measurements, sum, most }| {
                let minute = host.window.start / 60_000;
                (host.key, format!("minute {minute}: mean {:.1}, most {most:.1}", sum / f64::from(measurements)))
            })
        })
        .to("load-per-minute");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("metrics", metrics()?)?;
    let measured = [
        ("web", 10.0, 1_000),
        ("web", 30.0, 31_000),
        ("db", 80.0, 59_999),
        ("web", 50.0, 61_000),
        ("web", 20.0, 59_000),  // late, within the grace
        ("web", 40.0, 75_000),  // closes the first minute: its end and the grace have passed
        ("web", 99.0, 30_000),  // too late
        ("web", 60.0, 200_000), // closes the second minute
    ];
    app.write("cpu-percent", measured.map(|(host, percent, time)| (host.to_owned(), percent, time)))?;
    app.run_until_idle()?;
    for record in app.read::<String, String>("load-per-minute")? {
        println!("{} {}", record.key, record.value);
    }
    // The last minute is still open: no record has come yet that could not belong to it.
    app.close()?;
    Ok(())
}
