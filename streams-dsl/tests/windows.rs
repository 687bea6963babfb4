//! Laws of aggregations in windows: told by computing them again from all records.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use streams_core::testing::TopologyTestDriver;
use streams_dsl::prelude::*;

/// A record: key, value, time.
type Given = (u8, i64, i64);

/// Sums by key, start and end of the window.
type Sums = BTreeMap<(String, i64, i64), i64>;

/// Longer than any test.
const EVER: Duration = Duration::from_secs(1_000_000);

fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

fn builder() -> StreamsBuilder {
    StreamsBuilder::with_config(TopologyConfig { emit_interval: Duration::ZERO, ..TopologyConfig::default() })
}

fn source(builder: &StreamsBuilder) -> KGroupedStream<String, i64> {
    builder.stream::<String, i64>("in").group_by_key()
}

/// All results, in order: the window and its sum, or none once it has become part of another.
fn run(
    builder: &StreamsBuilder,
    sums: &KTable<Windowed<String>, i64>,
    is_caching: bool,
    records: &[Given],
) -> Vec<((String, i64, i64), Option<i64>)> {
    sums.to_stream().select_key(|key, _| format!("{} {} {}", key.key, key.window.start, key.window.end)).to("out");
    let cache_bytes = if is_caching { 1 << 20 } else { 0 };
    let config =
        StreamsConfig::builder("app").statestore_cache_max_bytes(cache_bytes).build().expect("a valid configuration");
    let driver = TopologyTestDriver::new(&builder.build().expect("a valid topology"), config).expect("a driver");
    let input = driver.create_input_topic::<String, i64>("in");
    for (key, value, time) in records {
        input.pipe_input_at(key.to_string(), *value, *time).expect("the record is processed");
    }
    let results = driver.create_output_topic::<String, Option<i64>>("out").read_records().expect("results can be read");
    let window = |text: &str| {
        let mut parts = text.split(' ');
        let mut number = || parts.next().and_then(|part| part.parse::<i64>().ok()).expect("key, start and end");
        (number().to_string(), number(), number())
    };
    results.into_iter().map(|result| (window(&result.key), result.value)).collect()
}

/// What is there in the end.
fn last(results: Vec<((String, i64, i64), Option<i64>)>) -> Sums {
    let last: BTreeMap<_, _> = results.into_iter().collect();
    last.into_iter().filter_map(|(window, sum)| Some((window, sum?))).collect()
}

/// The sums of the records within windows, ends included or not.
fn sums(records: &[Given], windows: impl IntoIterator<Item = (u8, i64, i64)>, has_end: bool) -> Sums {
    let mut sums = Sums::new();
    for (key, start, end) in windows.into_iter().collect::<BTreeSet<_>>() {
        let last = if has_end { end } else { end - 1 };
        let within = records.iter().filter(|(other, _, time)| *other == key && (start..=last).contains(time));
        let values: Vec<i64> = within.map(|(_, value, _)| *value).collect();
        if !values.is_empty() {
            sums.insert((key.to_string(), start, end), values.iter().sum());
        }
    }
    sums
}

fn hopping(records: &[Given], size: i64, advance: i64) -> Sums {
    let first = |time: i64| (time - size + advance).max(0) / advance * advance;
    let of = |(key, _, time): &Given| {
        let key = *key;
        (first(*time)..=*time)
            .step_by(usize::try_from(advance).expect("a positive advance"))
            .map(move |start| (key, start, start + size))
    };
    sums(records, records.iter().flat_map(of), false)
}

fn sliding(records: &[Given], difference: i64) -> Sums {
    let of = |(key, _, time): &Given| [(*key, time - difference, *time), (*key, time + 1, time + 1 + difference)];
    sums(records, records.iter().flat_map(of), true)
}

fn sessions(records: &[Given], gap: i64) -> Sums {
    let mut times: Vec<(u8, i64)> = records.iter().map(|(key, _, time)| (*key, *time)).collect();
    times.sort_unstable();
    let mut sessions: Vec<(u8, i64, i64)> = Vec::new();
    for (key, time) in times {
        match sessions.last_mut() {
            Some((other, _, end)) if *other == key && time - *end <= gap => *end = time,
            _ => sessions.push((key, time, time)),
        }
    }
    sums(records, sessions, true)
}

fn given(times: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Given>> {
    vec((0_u8..3, 1_i64..100, times), 0..50)
}

/// As time passes: none is late.
fn in_order(mut records: Vec<Given>) -> Vec<Given> {
    records.sort_by_key(|(_, _, time)| *time);
    records
}

/// Checks that each window came once, and answers all.
fn once(results: Vec<((String, i64, i64), Option<i64>)>) -> Result<Sums, TestCaseError> {
    let count = results.len();
    let all = last(results);
    prop_assert_eq!(all.len(), count, "a window came twice");
    Ok(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn hopping_windows_hold_what_falls_into_them(
        records in given(0..200), size in 1_i64..30, part in 1_i64..30, is_caching: bool,
    ) {
        let advance = part.min(size);
        let builder = builder();
        let windows = TimeWindows::of_size_and_grace(millis(size), EVER).advance_by(millis(advance));
        let table = source(&builder).windowed_by(windows).reduce(|sum, value| sum + value);
        prop_assert_eq!(last(run(&builder, &table, is_caching, &records)), hopping(&records, size, advance));
    }

    #[test]
    fn sliding_windows_hold_what_falls_into_them(
        records in given(30..200), difference in 1_i64..30, is_caching: bool,
    ) {
        let builder = builder();
        let windows = SlidingWindows::of_time_difference_and_grace(millis(difference), EVER);
        let table = source(&builder).windowed_by(windows).reduce(|sum, value| sum + value);
        prop_assert_eq!(last(run(&builder, &table, is_caching, &records)), sliding(&records, difference));
    }

    #[test]
    fn sessions_are_the_same_in_whatever_order_their_records_come(
        records in given(0..200), gap in 0_i64..20, is_caching: bool,
    ) {
        let builder = builder();
        let windows = SessionWindows::of_inactivity_gap_and_grace(millis(gap), EVER);
        let table = source(&builder).windowed_by(windows).reduce(|sum, value| sum + value);
        prop_assert_eq!(last(run(&builder, &table, is_caching, &records)), sessions(&records, gap));
    }

    #[test]
    fn a_window_that_has_closed_is_told_once(
        records in given(0..300), size in 1_i64..30, part in 1_i64..30, grace in 0_i64..20, is_caching: bool,
    ) {
        let (records, advance) = (in_order(records), part.min(size));
        let builder = builder();
        let windows = TimeWindows::of_size_and_grace(millis(size), millis(grace)).advance_by(millis(advance));
        let windowed = source(&builder).windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose);
        let table = windowed.reduce_with(|sum, value| sum + value, Materialized::new("sums").with_retention(EVER));
        let results = once(run(&builder, &table, is_caching, &records))?;
        let now = records.last().map_or(0, |(_, _, time)| *time);
        let mut expected = hopping(&records, size, advance);
        expected.retain(|(_, _, end), _| *end <= now - grace);
        prop_assert_eq!(results, expected);
    }

    #[test]
    fn a_session_that_has_closed_is_told_once(records in given(0..300), gap in 0_i64..20, grace in 0_i64..20) {
        let records = in_order(records);
        let builder = builder();
        let windows = SessionWindows::of_inactivity_gap_and_grace(millis(gap), millis(grace));
        let windowed = source(&builder).windowed_by(windows).emit_strategy(EmitStrategy::OnWindowClose);
        let table = windowed.reduce_with(|sum, value| sum + value, Materialized::new("sums").with_retention(EVER));
        let results = once(run(&builder, &table, false, &records))?;
        let now = records.last().map_or(0, |(_, _, time)| *time);
        let mut expected = sessions(&records, gap);
        expected.retain(|(_, _, end), _| *end < now - grace - gap);
        prop_assert_eq!(results, expected);
    }
}
