//! The documented semantics of joins as tables: what each record on the left or right side causes.
//!
//! A line is `topic key=value @time | results`, a result is `key=value@time`, all in their order. `null` is null: a record
//! without a key, a deletion, or a side that is missing. The same tables are in Kafka's documentation of Kafka Streams;
//! results are those of Apache Kafka Streams 4.3.1.

use std::time::Duration;

use log_store::RecordView;
use streams_core::testing::TopologyTestDriver;
use streams_dsl::prelude::*;

/// A text that may be null.
type Text = Option<String>;

fn check(program: impl FnOnce(&StreamsBuilder), table: &str) {
    // Unmatched results come as soon as they are certain, and every update of a table is seen.
    let config = TopologyConfig { outer_join_emit_interval: Duration::ZERO, ..TopologyConfig::default() };
    let builder = StreamsBuilder::with_config(config);
    program(&builder);
    let topology = builder.build().expect("valid");
    let config = StreamsConfig::builder("app").statestore_cache_max_bytes(0).build().expect("valid");
    let driver = TopologyTestDriver::new(&topology, config).expect("it starts");
    let mut found = Vec::new();
    for line in rows(table) {
        let (given, _) = line.split_once('|').expect("a line has two sides");
        let [topic, record, time] = given.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (key, value) = record.split_once('=').expect("key=value");
        let time = time.trim_start_matches('@').parse().expect("a time");
        driver.pipe_record(topic, RecordView::new(time, bytes(key), bytes(value))).expect("it goes on");
        let results = driver.take_produced().into_iter().filter(|record| record.topic == "out");
        let results: Vec<String> = results
            .map(|record| format!("{}={}@{}", shown(record.key), shown(record.value), record.timestamp))
            .collect();
        found.push(format!("{}| {}", given, results.join(" ")).trim_end().to_owned());
    }
    let expected: Vec<&str> = rows(table).map(str::trim_end).collect();
    assert_eq!(found, expected);
}

/// The row of the right table that a left row names: by its first character.
fn foreign_key(value: &str) -> Option<Text> {
    value.get(..1).map(|first| Some(first.to_owned()))
}

fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().map(str::trim_start).filter(|line| !line.is_empty())
}

fn bytes(text: &str) -> Option<&[u8]> {
    (text != "null").then_some(text.as_bytes())
}

fn shown(bytes: Option<Vec<u8>>) -> String {
    bytes.map_or_else(|| "null".to_owned(), |bytes| String::from_utf8(bytes).expect("text"))
}

/// Both values of a join of streams.
fn pair(left: Option<&Text>, right: Option<&Text>) -> String {
    texts(left.and_then(Option::as_ref), right.and_then(Option::as_ref))
}

/// Both values of a join.
fn texts(left: Option<&String>, right: Option<&String>) -> String {
    let text = |side: Option<&String>| side.map_or("null", String::as_str).to_owned();
    format!("{}-{}", text(left), text(right))
}

fn ten_seconds() -> JoinWindows {
    JoinWindows::of_time_difference_and_grace(Duration::from_secs(10), Duration::from_secs(86_400))
}

type Stream = KStream<Text, Text>;

fn stream_stream(join: impl FnOnce(Stream, Stream) -> KStream<Text, String>) -> impl FnOnce(&StreamsBuilder) {
    |builder| join(builder.stream("left"), builder.stream("right")).to("out")
}

fn stream_table(
    join: impl FnOnce(Stream, KTable<Text, Text>) -> KStream<Text, String>,
) -> impl FnOnce(&StreamsBuilder) {
    |builder| join(builder.stream("left"), builder.table("right")).to("out")
}

fn stream_global(
    join: impl FnOnce(Stream, GlobalKTable<Text, Text>) -> KStream<Text, String>,
) -> impl FnOnce(&StreamsBuilder) {
    |builder| {
        let right = builder.global_table("right");
        join(builder.stream("left"), right).to("out");
    }
}

type Table = KTable<Text, String>;

fn table_table(join: impl FnOnce(Table, Table) -> Table) -> impl FnOnce(&StreamsBuilder) {
    |builder| join(builder.table("left"), builder.table("right")).to_stream().to("out")
}

#[test]
fn stream_stream_inner_join() {
    check(
        stream_stream(|l, r| l.join(&r, |_, a, b| pair(Some(a), Some(b)), ten_seconds())),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           |
        right k=a @4          | k=A-a@4
        left k=B @5           | k=B-a@5
        right k=b @6          | k=A-b@6 k=B-b@6
        left k=null @7        |
        right k=null @8       |
        left k=C @9           | k=C-a@9 k=C-b@9
        right k=c @10         | k=A-c@10 k=B-c@10 k=C-c@10
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @14         | k=A-d@14 k=B-d@14 k=C-d@14
        left k=D @15          | k=D-a@15 k=D-b@15 k=D-c@15 k=D-d@15
        left null=E @16       |
        right null=e @17      |
        ",
    );
}

#[test]
fn stream_stream_left_join() {
    check(
        stream_stream(|l, r| l.left_join(&r, |_, a, b| pair(Some(a), b), ten_seconds())),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           |
        right k=a @4          | k=A-a@4
        left k=B @5           | k=B-a@5
        right k=b @6          | k=A-b@6 k=B-b@6
        left k=null @7        |
        right k=null @8       |
        left k=C @9           | k=C-a@9 k=C-b@9
        right k=c @10         | k=A-c@10 k=B-c@10 k=C-c@10
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @14         | k=A-d@14 k=B-d@14 k=C-d@14
        left k=D @15          | k=D-a@15 k=D-b@15 k=D-c@15 k=D-d@15
        left null=E @16       | null=E-null@16
        right null=e @17      |
        ",
    );
}

#[test]
fn stream_stream_outer_join() {
    check(
        stream_stream(|l, r| l.outer_join(&r, |_, a, b| pair(a, b), ten_seconds())),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           |
        right k=a @4          | k=A-a@4
        left k=B @5           | k=B-a@5
        right k=b @6          | k=A-b@6 k=B-b@6
        left k=null @7        |
        right k=null @8       |
        left k=C @9           | k=C-a@9 k=C-b@9
        right k=c @10         | k=A-c@10 k=B-c@10 k=C-c@10
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @14         | k=A-d@14 k=B-d@14 k=C-d@14
        left k=D @15          | k=D-a@15 k=D-b@15 k=D-c@15 k=D-d@15
        left null=E @16       | null=E-null@16
        right null=e @17      | null=null-e@17
        ",
    );
}

#[test]
fn stream_table_inner_join() {
    check(
        stream_table(|l, r| l.join_table(&r, |_, a, b| pair(Some(a), Some(b)))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           |
        right k=a @4          |
        left k=B @5           | k=B-a@5
        right k=b @6          |
        left k=null @7        |
        right k=null @8       |
        left k=C @9           |
        right k=c @10         |
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @7          |
        left k=D @6           | k=D-d@6
        left k=null @2        |
        right k=null @3       |
        right k=e @14         |
        left k=E @15          | k=E-e@15
        left k=null @10       |
        right k=null @9       |
        left k=F @4           |
        right k=f @3          |
        ",
    );
}

#[test]
fn stream_table_left_join() {
    check(
        stream_table(|l, r| l.left_join_table(&r, |_, a, b| pair(Some(a), b))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           | k=A-null@3
        right k=a @4          |
        left k=B @5           | k=B-a@5
        right k=b @6          |
        left k=null @7        |
        right k=null @8       |
        left k=C @9           | k=C-null@9
        right k=c @10         |
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @7          |
        left k=D @6           | k=D-d@6
        left k=null @2        |
        right k=null @3       |
        right k=e @14         |
        left k=E @15          | k=E-e@15
        left k=null @10       |
        right k=null @9       |
        left k=F @4           | k=F-null@4
        right k=f @3          |
        ",
    );
}

#[test]
fn stream_global_table_inner_join() {
    check(
        stream_global(|l, r| l.join_global(&r, |k, _| k.clone(), |_, a, b| pair(Some(a), Some(b)))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           |
        right k=a @4          |
        left k=B @5           | k=B-a@5
        right k=b @6          |
        left k=null @7        |
        right k=null @8       |
        left k=C @9           |
        right k=c @10         |
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @7          |
        left k=D @6           | k=D-d@6
        left k=null @2        |
        right k=null @3       |
        right k=e @14         |
        left k=E @15          | k=E-e@15
        left k=null @10       |
        right k=null @9       |
        left k=F @4           |
        right k=f @3          |
        ",
    );
}

#[test]
fn stream_global_table_left_join() {
    check(
        stream_global(|l, r| l.left_join_global(&r, |k, _| k.clone(), |_, a, b| pair(Some(a), b))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           | k=A-null@3
        right k=a @4          |
        left k=B @5           | k=B-a@5
        right k=b @6          |
        left k=null @7        |
        right k=null @8       |
        left k=C @9           | k=C-null@9
        right k=c @10         |
        right k=null @11      |
        left k=null @12       |
        right k=null @13      |
        right k=d @7          |
        left k=D @6           | k=D-d@6
        left k=null @2        |
        right k=null @3       |
        right k=e @14         |
        left k=E @15          | k=E-e@15
        left k=null @10       |
        right k=null @9       |
        left k=F @4           | k=F-null@4
        right k=f @3          |
        ",
    );
}

#[test]
fn table_table_inner_join() {
    check(
        table_table(|l, r| l.join(&r, |_, a, b| texts(Some(a), Some(b)))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           |
        right k=a @4          | k=A-a@4
        left k=B @5           | k=B-a@5
        right k=b @6          | k=B-b@6
        left k=null @7        | k=null@7
        right k=null @8       |
        left k=C @9           |
        right k=c @10         | k=C-c@10
        right k=null @11      | k=null@11
        left k=null @12       |
        right k=null @13      |
        right k=d @7          |
        left k=D @6           | k=D-d@7
        left k=null @2        | k=null@7
        right k=null @3       |
        right k=e @14         |
        left k=E @15          | k=E-e@15
        left k=null @10       | k=null@14
        right k=null @9       |
        left k=F @4           |
        right k=f @3          | k=F-f@4
        ",
    );
}

#[test]
fn table_table_left_join() {
    check(
        table_table(|l, r| l.left_join(&r, |_, a, b| texts(Some(a), b))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           | k=A-null@3
        right k=a @4          | k=A-a@4
        left k=B @5           | k=B-a@5
        right k=b @6          | k=B-b@6
        left k=null @7        | k=null@7
        right k=null @8       |
        left k=C @9           | k=C-null@9
        right k=c @10         | k=C-c@10
        right k=null @11      | k=C-null@11
        left k=null @12       | k=null@12
        right k=null @13      |
        right k=d @7          |
        left k=D @6           | k=D-d@7
        left k=null @2        | k=null@7
        right k=null @3       |
        right k=e @14         |
        left k=E @15          | k=E-e@15
        left k=null @10       | k=null@14
        right k=null @9       |
        left k=F @4           | k=F-null@4
        right k=f @3          | k=F-f@4
        ",
    );
}

#[test]
fn table_table_outer_join() {
    check(
        table_table(|l, r| l.outer_join(&r, |_, a, b| texts(a, b))),
        "
        left k=null @1        |
        right k=null @2       |
        left k=A @3           | k=A-null@3
        right k=a @4          | k=A-a@4
        left k=B @5           | k=B-a@5
        right k=b @6          | k=B-b@6
        left k=null @7        | k=null-b@7
        right k=null @8       | k=null@8
        left k=C @9           | k=C-null@9
        right k=c @10         | k=C-c@10
        right k=null @11      | k=C-null@11
        left k=null @12       | k=null@12
        right k=null @13      |
        right k=d @7          | k=null-d@7
        left k=D @6           | k=D-d@7
        left k=null @2        | k=null-d@7
        right k=null @3       | k=null@3
        right k=e @14         | k=null-e@14
        left k=E @15          | k=E-e@15
        left k=null @10       | k=null-e@14
        right k=null @9       | k=null@9
        left k=F @4           | k=F-null@4
        right k=f @3          | k=F-f@4
        ",
    );
}

#[test]
fn foreign_key_inner_join() {
    check(
        table_table(|l, r| l.join_foreign_key(&r, |_, value| foreign_key(value), |_, a, b| texts(Some(a), Some(b)))),
        "
        left k=1 @1           |
        right 1=foo @2        | k=1-foo@2
        left k=1x @3          | k=1x-foo@3
        left k=2 @4           | k=null@4
        right 2=bar @5        | k=2-bar@5
        left k=null @6        | k=null@6
        left k=3 @7           |
        right 3=baz @8        | k=3-baz@8
        right 3=null @9       | k=null@9
        left k=null @10       | k=null@10
        left k=null @11       |
        right 3=qux @12       |
        left q=4 @13          |
        left r=4 @14          |
        right 4=z @15         | q=4-z@15 r=4-z@15
        right 4=y @16         | q=4-y@16 r=4-y@16
        left q=5 @17          | q=null@17
        right 4=null @18      | r=null@18
        right null=v @19      |
        ",
    );
}

#[test]
fn foreign_key_left_join() {
    check(
        table_table(|l, r| l.left_join_foreign_key(&r, |_, value| foreign_key(value), |_, a, b| texts(Some(a), b))),
        "
        left k=1 @1           | k=1-null@1
        right 1=foo @2        | k=1-foo@2
        left k=1x @3          | k=1x-foo@3
        left k=2 @4           | k=2-null@4
        right 2=bar @5        | k=2-bar@5
        left k=null @6        | k=null@6
        left k=3 @7           | k=3-null@7
        right 3=baz @8        | k=3-baz@8
        right 3=null @9       | k=3-null@9
        left k=null @10       | k=null@10
        left k=null @11       |
        right 3=qux @12       |
        left q=4 @13          | q=4-null@13
        left r=4 @14          | r=4-null@14
        right 4=z @15         | q=4-z@15 r=4-z@15
        right 4=y @16         | q=4-y@16 r=4-y@16
        left q=5 @17          | q=5-null@17
        right 4=null @18      | r=4-null@18
        right null=v @19      |
        ",
    );
}
