//! Programs of the golden cases: their description is Kafka Streams' to the letter.

use std::time::Duration;

use streams_dsl::prelude::*;

/// Checks what `program` describes itself as. (A case's text ends with empty lines or not, as its topology does.)
fn check(expected: &str, program: impl FnOnce(&StreamsBuilder)) {
    let builder = StreamsBuilder::new();
    program(&builder);
    let topology = builder.build().expect("valid");
    assert_eq!(topology.describe().to_string().trim_end(), expected.trim_end());
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn flat_map() {
    check(include_str!("describe/stateless-31.txt"), |builder| {
        let swapped = builder.stream::<String, String>("in1").flat_map(|k, v| vec![(v.clone(), k.clone())]);
        swapped.to("out1");
    });
}

#[test]
fn a_count_with_a_name_for_its_repartition() {
    check(include_str!("describe/aggregate-1.txt"), |builder| {
        let grouped = builder.stream::<String, String>("in1").group_by_key_with(Grouped::new().with_name("grouped-0"));
        // Kafka burns a name where a count is given settings without one, as the program of the case does.
        grouped.count_with(Materialized::unnamed()).to_stream().to("out1");
    });
}

#[test]
fn a_table_grouped_again() {
    check(include_str!("describe/table-aggregate-41.txt"), |builder| {
        let counts = builder.table::<String, String>("in1").group_by(|_, v| (v.clone(), v.to_uppercase())).count();
        counts.to_stream().to_with("out1", Produced::new().with_name("sink-0"));
    });
}

#[test]
fn stream_table_join() {
    check(include_str!("describe/join-stream-table-11.txt"), |builder| {
        let (stream, table) = (builder.stream::<String, String>("in1"), builder.table::<String, String>("in2"));
        stream.left_join_table(&table, |_, v, _| v.clone()).to("out1");
    });
}

#[test]
fn a_stream_joined_with_itself() {
    check(include_str!("describe/join-stream-stream-47.txt"), |builder| {
        let stream = builder.stream::<String, i64>("in1");
        let windows = JoinWindows::of_time_difference_and_grace(ms(15), ms(6)).after_ms(-7);
        stream.outer_join(&stream, |_, left, right| left.unwrap_or(&0) + right.unwrap_or(&0), windows).to("out1");
    });
}

#[test]
fn tumbling_windows() {
    check(include_str!("describe/window-tumbling-46.txt"), |builder| {
        let grouped = builder.stream::<String, String>("in1").group_by_key();
        let windowed = grouped.windowed_by(TimeWindows::of_size_with_no_grace(ms(9)));
        windowed.count_with(Materialized::unnamed()).to_stream().to("out1");
    });
}

#[test]
fn session_windows() {
    check(include_str!("describe/window-session-44.txt"), |builder| {
        let grouped = builder.stream::<String, String>("in1").group_by_key();
        let windows = SessionWindows::of_inactivity_gap_and_grace(ms(1200), ms(100));
        let counts = grouped.windowed_by(windows).count_with(Materialized::unnamed());
        counts.to_stream().to("out1");
    });
}

#[test]
fn sliding_windows() {
    check(include_str!("describe/window-sliding-1.txt"), |builder| {
        let grouped = builder.stream::<String, String>("in1").group_by_key();
        let windows = SlidingWindows::of_time_difference_and_grace(ms(5), ms(3));
        grouped.windowed_by(windows).count().to_stream().to("out1");
    });
}

#[test]
fn suppressed_for_a_time() {
    check(include_str!("describe/suppress-11.txt"), |builder| {
        let buffer = BufferConfig::max_bytes(348).emit_early_when_full();
        let table = builder.table::<String, String>("in1");
        table.suppress(Suppressed::until_time_limit(ms(300_000), buffer)).to_stream().to("out1");
    });
}

#[test]
fn suppressed_until_windows_close() {
    check(include_str!("describe/suppress-45.txt"), |builder| {
        let grouped = builder.stream::<String, String>("in1").group_by_key();
        let counts = grouped.windowed_by(SlidingWindows::of_time_difference_and_grace(ms(5), ms(15))).count();
        let suppressed = Suppressed::until_window_closes(BufferConfig::unbounded()).with_name("suppress-0");
        counts.suppress_until_window_closes(suppressed).to_stream().to("out1");
    });
}

#[test]
fn cogrouped() {
    check(include_str!("describe/cogroup-37.txt"), |builder| {
        let grouped = builder.stream::<String, i64>("in1").group_by_key();
        let sums = grouped.cogroup(|_, v, sum: i64| sum + v).aggregate(|| 0);
        sums.to_stream().to_with("out1", Produced::new().with_name("sink-0"));
    });
}

#[test]
fn table_table_join() {
    check(include_str!("describe/join-table-table-47.txt"), |builder| {
        let (left, right) = (builder.table::<String, String>("in1"), builder.table::<String, String>("in2"));
        let joined = left.left_join_with(&right, |_, v, _| v.clone(), Named::new("table-join-0"));
        joined.to_stream().to("out1");
    });
}

#[test]
fn foreign_key_join() {
    check(include_str!("describe/join-foreign-key-6.txt"), |builder| {
        let (left, right) = (builder.table::<String, String>("in1"), builder.table::<String, String>("in2"));
        let joined = left.join_foreign_key(&right, |k, v| Some(format!("{k}{v}")), |_, v, _| v.clone());
        joined.to_stream().to("out1");
    });
}

#[test]
fn global_table_join() {
    check(include_str!("describe/join-global-46.txt"), |builder| {
        let table = builder.global_table::<String, String>("in1");
        let stream = builder.stream::<String, String>("in2");
        stream.join_global(&table, |k, _| k.clone(), |_, v, rate| format!("{v}+{rate}")).to("out1");
    });
}
