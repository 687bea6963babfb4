//! Testing a topology: no log, no threads, no files, and a clock that stands still.
//!
//! `TopologyTestDriver` runs a topology inside a unit test, one record after the other. What takes an hour in production
//! takes a line here. Run the tests below with `cargo test --example testing-a-topology`.

use std::time::Duration;

use examples::println;
use streams_dsl::prelude::*;

/// The topology under test: a door that is used three times without a pause of five minutes.
fn busy_doors() -> streams_core::Result<Topology> {
    let builder = StreamsBuilder::new();
    builder
        .stream::<String, String>("doors")
        .group_by_key()
        .windowed_by(SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(300)))
        .count_with(Materialized::new("uses").with_caching_disabled())
        .to_stream()
        .filter(|_, count| count.is_some_and(|count| count >= 3))
        .map(|door, count| (door.key, count.unwrap_or(0)))
        .to("busy-doors");
    builder.build()
}

fn main() -> anyhow::Result<()> {
    println!("{}", busy_doors()?.describe());
    println!("run its tests: cargo test --example testing-a-topology");
    Ok(())
}

#[cfg(test)]
mod tests {
    use streams_core::testing::TopologyTestDriver;

    use super::*;

    fn driver() -> TopologyTestDriver {
        let config = StreamsConfig::builder("busy-doors").state_dir("unused").build().unwrap();
        TopologyTestDriver::new(&busy_doors().unwrap(), config).unwrap()
    }

    /// Uses of the front door at these seconds, and what was reported of it. Results depend on event time alone, so a
    /// test says when things happen.
    fn check(seconds: &[i64], expected: &[i64]) {
        let driver = driver();
        let doors = driver.create_input_topic::<String, String>("doors");
        for second in seconds {
            doors.pipe_input_at("front".to_owned(), "open".to_owned(), second * 1_000).unwrap();
        }
        let busy = driver.create_output_topic::<String, i64>("busy-doors").read_key_values().unwrap();
        assert_eq!(busy.into_iter().map(|(_, uses)| uses).collect::<Vec<_>>(), expected, "{seconds:?}");
    }

    #[test]
    fn three_uses_without_a_pause_make_a_door_busy() {
        check(&[0, 60], &[]);
        check(&[0, 60, 120], &[3]);
        check(&[0, 60, 120, 180], &[3, 4]);
    }

    #[test]
    fn a_pause_starts_again() {
        check(&[0, 60, 361], &[]);
        check(&[0, 60, 361, 400, 500], &[3]);
    }

    #[test]
    fn a_use_that_is_told_late_counts_where_it_belongs() {
        check(&[0, 290, 100], &[3]);
    }

    #[test]
    fn the_names_of_topics_and_stores_are_as_they_were() {
        // A change of a name is a migration: state and topics are called by them.
        assert_eq!(driver().store_names(), ["uses"]);
    }
}
