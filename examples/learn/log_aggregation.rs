//! Log aggregation: many streams of lines become one, is split by severity, and calls for help.
//!
//! Lines of all services go into one archive. Errors are counted per service in sliding windows, and the third error
//! within a minute is an alert, once.

use std::time::Duration;

use examples::println;
use streams_dsl::prelude::*;

const ALERT_AT: i64 = 3;

fn log_aggregation() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    // One stream of several topics. A pattern works, too, and finds topics that are made later.
    let lines = builder.stream::<String, String>(["web-log", "payment-log"]);
    lines.map_values(|service, line| format!("{service}: {line}")).to("log-archive");

    // Each record goes into the first branch that takes it; what no branch takes goes nowhere.
    let errors = lines.filter(|_, line| line.starts_with("ERROR"));

    // A sliding window reaches back from each record: no border of a fixed minute divides three errors in a row.
    let last_minute = SlidingWindows::of_time_difference_and_grace(Duration::from_secs(60), Duration::from_secs(5));
    errors
        .group_by_key()
        .windowed_by(last_minute)
        .count_with(Materialized::new("errors-within-a-minute").with_caching_disabled())
        .to_stream()
        .flat_map(|service, count| {
            // The window that ends with the newest error says how many there were up to now.
            count
                .filter(|count| *count == ALERT_AT)
                .map(|count| (service.key, format!("{count} errors within a minute")))
        })
        // The same three errors may lie in more than one window: one alert a minute is enough.
        .distinct(Duration::from_secs(60))
        .to("alerts");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    let app = EmbeddedStreams::temporary("log-aggregation", log_aggregation()?)?;
    let line = |service: &str, line: &str, second: i64| (service.to_owned(), line.to_owned(), second * 1_000);
    app.write(
        "payment-log",
        [
            line("payment", "ERROR no answer from the bank", 50),
            line("payment", "INFO paid", 55),
            line("payment", "ERROR no answer from the bank", 70),
            line("payment", "ERROR no answer from the bank", 90),
            line("payment", "ERROR no answer from the bank", 95),
        ],
    )?;
    app.write(
        "web-log",
        [line("web", "ERROR page not found", 10), line("web", "INFO started", 20), line("web", "ERROR oops", 100)],
    )?;
    app.run_until_idle()?;
    println!("{} lines in the archive", app.read::<String, String>("log-archive")?.len());
    for alert in app.read::<String, String>("alerts")? {
        println!("second {}  {}: {}", alert.timestamp / 1_000, alert.key, alert.value);
    }
    app.close()?;
    Ok(())
}
