//! Laws that hold for any input.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use streams_core::testing::TopologyTestDriver;
use streams_dsl::prelude::*;

/// A record: is it of the left topic, key, value, time.
type Given = (bool, u8, i64, i64);

/// A result: key, value, time.
type Told<V> = (String, V, i64);

fn given(times: std::ops::Range<i64>) -> impl Strategy<Value = Vec<Given>> {
    vec((any::<bool>(), 0_u8..3, 0_i64..4, times), 0..60)
}

/// Gives all records to the topics `left` and `right`, one after the other, and reads `out`.
fn run<V: Data>(
    builder: &StreamsBuilder,
    cache_bytes: usize,
    records: &[Given],
    value: impl Fn(i64) -> Option<i64>,
) -> Vec<Told<V>> {
    let topology = builder.build().expect("valid");
    let config = StreamsConfig::builder("app").statestore_cache_max_bytes(cache_bytes).build().expect("valid");
    let driver = TopologyTestDriver::new(&topology, config).expect("it starts");
    let [left, right] = ["left", "right"].map(|topic| driver.create_input_topic::<String, Option<i64>>(topic));
    for (is_left, key, number, time) in records {
        let topic = if *is_left { &left } else { &right };
        topic.pipe_input_at(key.to_string(), value(*number), *time).expect("it goes on");
    }
    let out = driver.create_output_topic::<String, V>("out").read_records().expect("records of these types");
    out.into_iter().map(|record| (record.key, record.value, record.timestamp)).collect()
}

fn builder() -> StreamsBuilder {
    StreamsBuilder::with_config(TopologyConfig {
        outer_join_emit_interval: Duration::ZERO,
        ..TopologyConfig::default()
    })
}

fn sides(left: Option<&i64>, right: Option<&i64>) -> String {
    format!("{left:?} {right:?}")
}

/// Joins left with right, or right with left, and always tells the left value first.
fn joined(records: &[Given], before_ms: i64, after_ms: i64, is_outer: bool, is_mirrored: bool) -> Vec<Told<String>> {
    let builder = builder();
    let difference = Duration::from_millis(before_ms.unsigned_abs().max(after_ms.unsigned_abs()));
    let windows = JoinWindows::of_time_difference_and_grace(difference, Duration::from_millis(5));
    let (left, right) = (builder.stream::<String, i64>("left"), builder.stream::<String, i64>("right"));
    let result = match (is_outer, is_mirrored) {
        (false, false) => {
            left.join(&right, |_, l, r| sides(Some(l), Some(r)), windows.before_ms(before_ms).after_ms(after_ms))
        }
        (false, true) => {
            right.join(&left, |_, r, l| sides(Some(l), Some(r)), windows.before_ms(after_ms).after_ms(before_ms))
        }
        (true, false) => {
            left.outer_join(&right, |_, l, r| sides(l, r), windows.before_ms(before_ms).after_ms(after_ms))
        }
        (true, true) => right.outer_join(&left, |_, r, l| sides(l, r), windows.before_ms(after_ms).after_ms(before_ms)),
    };
    result.to("out");
    let mut results = run(&builder, 0, records, Some);
    results.sort();
    results
}

/// The last value of each key.
fn last<V>(results: Vec<Told<V>>) -> BTreeMap<String, V> {
    results.into_iter().map(|(key, value, _)| (key, value)).collect()
}

/// A key and its window in one text.
fn window_key(key: &Windowed<String>) -> String {
    format!("{} {} {}", key.key, key.window.start, key.window.end)
}

const SIZE_MS: i64 = 10;
const GRACE_MS: i64 = 4;

/// Counts in windows, or only what is final of them.
fn counted(records: &[Given], is_final: bool) -> Vec<Told<Option<i64>>> {
    let builder = builder();
    let (size, grace) = (Duration::from_millis(SIZE_MS as u64), Duration::from_millis(GRACE_MS as u64));
    let windows = TimeWindows::of_size_and_grace(size, grace);
    let mut counts = builder.stream::<String, i64>("left").group_by_key().windowed_by(windows).count();
    if is_final {
        counts = counts.suppress_until_window_closes(Suppressed::until_window_closes(BufferConfig::unbounded()));
    }
    counts.to_stream().select_key(|key, _| window_key(key)).to("out");
    run(&builder, 0, records, Some)
}

proptest! {
    #[test]
    fn a_join_of_streams_is_symmetric(
        records in given(0..40),
        before_ms in 0_i64..12,
        after_ms in 0_i64..12,
        is_outer: bool,
    ) {
        let plain = joined(&records, before_ms, after_ms, is_outer, false);
        prop_assert_eq!(plain, joined(&records, before_ms, after_ms, is_outer, true));
    }

    #[test]
    fn a_join_of_streams_finds_every_pair_within_its_window(records in given(0..30), reach_ms in 0_i64..40) {
        // With a window as long as all time no record is late and none is forgotten.
        let mut expected = Vec::new();
        for (number, (is_left, key, value, time)) in records.iter().enumerate() {
            for (other_is_left, other_key, other_value, other_time) in &records[..number] {
                if is_left != other_is_left && key == other_key && time.abs_diff(*other_time) <= reach_ms.unsigned_abs() {
                    let (l, r) = if *is_left { (value, other_value) } else { (other_value, value) };
                    expected.push((key.to_string(), sides(Some(l), Some(r)), *time.max(other_time)));
                }
            }
        }
        expected.sort();
        let builder = builder();
        let windows = JoinWindows::of_time_difference_and_grace(
            Duration::from_millis(reach_ms.unsigned_abs()),
            Duration::from_secs(60),
        );
        let (left, right) = (builder.stream::<String, i64>("left"), builder.stream::<String, i64>("right"));
        left.join(&right, |_, l, r| sides(Some(l), Some(r)), windows).to("out");
        let mut found = run(&builder, 0, &records, Some);
        found.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_join_of_tables_is_a_join_of_their_last_rows(records in given(0..20), cache in prop_oneof![Just(0), Just(1 << 20)]) {
        let value = |number: i64| (number > 0).then_some(number);
        let mut tables = [BTreeMap::new(), BTreeMap::new()];
        for (is_left, key, number, _) in &records {
            let table = &mut tables[usize::from(!is_left)];
            match value(*number) {
                Some(number) => table.insert(key.to_string(), number),
                None => table.remove(&key.to_string()),
            };
        }
        let keys: BTreeSet<&String> = tables.iter().flat_map(BTreeMap::keys).collect();
        let row = |key: &&String| ((*key).clone(), sides(tables[0].get(*key), tables[1].get(*key)));
        let expected: BTreeMap<String, String> = keys.iter().map(row).collect();
        let builder = builder();
        let (left, right) = (builder.table::<String, i64>("left"), builder.table::<String, i64>("right"));
        left.outer_join(&right, |_, l, r| sides(l, r)).to_stream().to("out");
        let found: BTreeMap<String, Option<String>> = last(run(&builder, cache, &records, value));
        let found: BTreeMap<String, String> = found.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn an_aggregate_of_a_table_equals_one_from_scratch(
        records in given(0..20),
        cache in prop_oneof![Just(0), Just(1 << 20)],
    ) {
        let value = |number: i64| (number > 0).then_some(number);
        let mut rows = BTreeMap::new();
        for (_, key, number, _) in records.iter().filter(|(is_left, ..)| *is_left) {
            match value(*number) {
                Some(number) => rows.insert(*key, number),
                None => rows.remove(key),
            };
        }
        // Sums of the keys by value.
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for (key, number) in &rows {
            *expected.entry(number.to_string()).or_default() += i64::from(*key) + 1;
        }
        let builder = builder();
        builder.stream::<String, Option<i64>>("right").for_each(|_, _| {});
        let grouped = builder
            .table::<String, i64>("left")
            .group_by(|key, number| (number.to_string(), key.parse::<i64>().unwrap() + 1));
        grouped.aggregate(|| 0_i64, |_, more, sum| sum + more, |_, less, sum| sum - less).to_stream().to("out");
        let found: BTreeMap<String, Option<i64>> = last(run(&builder, cache, &records, value));
        let found: BTreeMap<String, i64> =
            found.into_iter().filter_map(|(key, sum)| Some((key, sum.filter(|sum| *sum != 0)?))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_suppression_tells_each_closed_window_once_and_what_it_came_to(records in given(0..120)) {
        let records: Vec<Given> = records.into_iter().map(|(_, key, value, time)| (true, key, value, time)).collect();
        let now = records.iter().map(|(.., time)| *time).max().unwrap_or(-1);
        // A window closes when a record comes that is later than its end and the grace period.
        let is_closed = |key: &str| {
            let end: i64 = key.rsplit(' ').next().unwrap().parse().unwrap();
            end + GRACE_MS <= now
        };
        let expected: BTreeMap<String, Option<i64>> =
            last(counted(&records, false)).into_iter().filter(|(key, _)| is_closed(key)).collect();
        let finals = counted(&records, true);
        let once: BTreeSet<&String> = finals.iter().map(|(key, ..)| key).collect();
        prop_assert_eq!(once.len(), finals.len());
        prop_assert_eq!(last(finals), expected);
    }
}
