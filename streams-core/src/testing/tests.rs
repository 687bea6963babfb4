//! What the driver does, told as records in and records out. One line is one record: `topic key value @timestamp`.

use std::time::Duration;

use log_store::RecordView;

use super::TopologyTestDriver;
use crate::{
    Record, StreamsConfig,
    processor::{ProcessResult, Processor, ProcessorContext, Punctuation, PunctuationType},
    topology::{Sink, Source, TopicNameExtractor, TopicPattern, Topology},
};

type Text = Option<String>;

/// Forwards each record, with what it says of itself as value.
struct Tell(fn(&mut ProcessorContext<'_, Text, Text>, &Record<Text, Text>) -> String);

impl Processor<Text, Text, Text, Text> for Tell {
    fn process(&mut self, record: Record<Text, Text>, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        let told = (self.0)(ctx, &record);
        ctx.forward(record.with_value(Some(told)))
    }
}

/// Schedules a punctuation and forwards when it comes.
struct Punctual(PunctuationType);

impl Processor<Text, Text, Text, Text> for Punctual {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        ctx.schedule(Duration::from_millis(100), self.0);
        Ok(())
    }

    fn process(&mut self, record: Record<Text, Text>, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        ctx.forward(record)
    }

    fn punctuate(
        &mut self,
        _: Punctuation,
        timestamp: i64,
        ctx: &mut ProcessorContext<'_, Text, Text>,
    ) -> ProcessResult {
        ctx.forward(Record::new(Some("tick".into()), Some(ctx.stream_time().to_string()), timestamp))
    }
}

/// Forwards what it held back at each commit.
#[derive(Default)]
struct HoldBack(Option<Record<Text, Text>>);

impl Processor<Text, Text, Text, Text> for HoldBack {
    fn process(&mut self, record: Record<Text, Text>, _: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        self.0 = Some(record);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        self.0.take().map_or(Ok(()), |record| ctx.forward(record))
    }
}

fn source(name: &str, topic: &str) -> Source<Text, Text> {
    Source::new(name, topic)
}

fn sink(name: &str, topic: &str) -> Sink<Text, Text> {
    Sink::new(name, topic)
}

fn start(topology: &Topology) -> TopologyTestDriver {
    let config = StreamsConfig::builder("app").state_dir("unused").build().unwrap();
    TopologyTestDriver::with_topics(topology, config, 1_000, &["one-a", "one-b"]).unwrap()
}

fn pipe(driver: &TopologyTestDriver, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let timestamp = words[3].trim_start_matches('@').parse().unwrap();
    let record = RecordView::new(timestamp, Some(words[1].as_bytes()), Some(words[2].as_bytes()));
    driver.pipe_record(words[0], record).unwrap();
}

fn produced(driver: &TopologyTestDriver) -> Vec<String> {
    let text = |bytes: Option<Vec<u8>>| bytes.map_or("null".into(), |bytes| String::from_utf8(bytes).unwrap());
    let tell = |record: super::ProducedRecord| {
        format!("{} {} {} @{}", record.topic, text(record.key), text(record.value), record.timestamp)
    };
    driver.take_produced().into_iter().map(tell).collect()
}

#[track_caller]
fn check(topology: &Topology, input: &[&str], expected: &[&str]) {
    let driver = start(topology);
    for line in input {
        pipe(&driver, line);
    }
    assert_eq!(produced(&driver), expected);
}

#[test]
fn a_repartition_topic_is_read_back_under_its_full_name() {
    let mut topology = Topology::new();
    topology
        .add_internal_topic("x-repartition", None)
        .add_source(source("in", "in"))
        .add_sink(sink("to-x", "x-repartition"), &["in"])
        .add_source(source("from-x", "x-repartition"))
        .add_processor("where", &["from-x"], || {
            Tell(|ctx, _| ctx.record_metadata().map_or("none".into(), |at| format!("{}:{}", at.topic, at.offset)))
        })
        .add_sink(sink("out", "out"), &["where"]);
    check(
        &topology,
        &["in a 1 @10", "in b 2 @5"],
        &[
            "app-x-repartition a 1 @10",
            "out a app-x-repartition:0 @10",
            "app-x-repartition b 2 @5",
            "out b app-x-repartition:1 @5",
        ],
    );
}

#[test]
fn all_sub_topologies_are_one_task_with_one_stream_time() {
    let mut topology = Topology::new();
    for topic in ["left", "right"] {
        topology
            .add_source(source(topic, topic))
            .add_processor(format!("tell-{topic}"), &[topic], || Tell(|ctx, _| ctx.stream_time().to_string()))
            .add_sink(sink(&format!("sink-{topic}"), "out"), &[&format!("tell-{topic}")]);
    }
    check(&topology, &["left a x @50", "right b y @20"], &["out a 50 @50", "out b 50 @20"]);
}

#[test]
fn what_is_sent_in_one_step_is_processed_by_time_and_then_by_javas_heap() {
    // One record becomes three, in three topics that are read back; their results tell the order.
    let build = |timestamps: [i64; 3]| {
        let mut topology = Topology::new();
        topology.add_source(source("in", "in"));
        for (number, timestamp) in timestamps.into_iter().enumerate() {
            let (shift, topic) = (format!("shift-{number}"), format!("t{number}"));
            topology
                .add_processor(shift.as_str(), &["in"], move || Shift(timestamp))
                .add_sink(sink(&format!("to-{number}"), &topic), &[&shift])
                .add_source(source(&format!("from-{number}"), &topic))
                .add_sink(sink(&format!("out-{number}"), &format!("out{number}")), &[&format!("from-{number}")]);
        }
        topology
    };
    let outputs = |timestamps| {
        let driver = start(&build(timestamps));
        pipe(&driver, "in a 1 @0");
        produced(&driver)
            .into_iter()
            .filter(|line| line.starts_with("out"))
            .map(|line| line[..4].to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(outputs([30, 10, 20]), ["out1", "out2", "out0"]);
    // Java's heap moves its last element to the root: the third of three equals comes second.
    assert_eq!(outputs([7, 7, 7]), ["out0", "out2", "out1"]);
}

struct Shift(i64);

impl Processor<Text, Text, Text, Text> for Shift {
    fn process(&mut self, record: Record<Text, Text>, ctx: &mut ProcessorContext<'_, Text, Text>) -> ProcessResult {
        ctx.forward(record.with_timestamp(self.0))
    }
}

#[test]
fn a_commit_follows_each_record() {
    let mut topology = Topology::new();
    topology
        .add_source(source("in", "in"))
        .add_processor("hold", &["in"], HoldBack::default)
        .add_sink(sink("out", "out"), &["hold"]);
    check(&topology, &["in a 1 @1", "in a 2 @2"], &["out a 1 @1", "out a 2 @2"]);
}

#[test]
fn stream_time_punctuates_after_the_record_that_moved_it() {
    let mut topology = Topology::new();
    topology
        .add_source(source("in", "in"))
        .add_processor("punctual", &["in"], || Punctual(PunctuationType::StreamTime))
        .add_sink(sink("out", "out"), &["punctual"]);
    check(
        &topology,
        &["in a 1 @10", "in b 2 @250", "in c 3 @299"],
        &["out a 1 @10", "out tick 10 @10", "out b 2 @250", "out tick 250 @250", "out c 3 @299"],
    );
}

#[test]
fn the_wall_clock_punctuates_only_when_it_is_moved() {
    let mut topology = Topology::new();
    topology
        .add_source(source("in", "in"))
        .add_processor("punctual", &["in"], || Punctual(PunctuationType::WallClockTime))
        .add_processor("hold", &["punctual"], HoldBack::default)
        .add_sink(sink("out", "out"), &["hold"]);
    let driver = start(&topology);
    pipe(&driver, "in a 1 @10000");
    driver.advance_wall_clock_time(Duration::from_millis(99)).unwrap();
    driver.advance_wall_clock_time(Duration::from_millis(301)).unwrap();
    // Four firings are due and collapse into one; the commit after it lets go of what was held back.
    assert_eq!(produced(&driver), ["out a 1 @10000", "out tick 10000 @1400"]);
}

#[test]
fn topics_are_chosen_by_record_and_by_pattern() {
    let mut topology = Topology::new();
    topology.add_source(Source::<Text, Text>::new("in", TopicPattern::new("one-.").unwrap())).add_sink(
        Sink::<Text, Text>::new(
            "out",
            TopicNameExtractor::new(|record: &Record<Text, Text>, at| {
                format!("{}-{}", record.key.clone().unwrap_or_default(), at.map_or("?", |at| &at.topic))
            }),
        ),
        &["in"],
    );
    check(&topology, &["one-a x 1 @1", "one-b y 2 @2"], &["x-one-a x 1 @1", "y-one-b y 2 @2"]);
}

#[test]
fn a_topic_that_nobody_reads_takes_no_records() {
    let mut topology = Topology::new();
    topology.add_source(source("in", "in")).add_sink(sink("out", "out"), &["in"]);
    let error = start(&topology).pipe_record("out", RecordView::new(0, None, None)).expect_err("not read").to_string();
    assert!(error.contains("topic out"), "{error}");
}

#[test]
fn a_record_that_fails_leaves_what_came_before_it() {
    let mut topology = Topology::new();
    topology
        .add_source(source("in", "in"))
        .add_processor("picky", &["in"], || {
            Tell(|_, record| {
                assert!(record.value.as_deref() != Some("bad"), "no bad values");
                "good".into()
            })
        })
        .add_sink(sink("out", "out"), &["picky"]);
    let driver = start(&topology);
    pipe(&driver, "in a 1 @1");
    let error = driver.pipe_record("in", RecordView::new(2, None, Some(b"bad"))).expect_err("refused").to_string();
    assert!(error.contains("picky") && error.contains("in-0") && error.contains("no bad values"), "{error}");
    assert_eq!(produced(&driver), ["out a good @1"]);
}

#[test]
fn negative_timestamps_arrive_as_they_are() {
    let mut topology = Topology::new();
    topology.add_source(source("in", "in")).add_sink(sink("out", "out"), &["in"]);
    let error = start(&topology).pipe_record("in", RecordView::new(-5, None, None)).expect_err("refused").to_string();
    assert!(error.contains("timestamp -5 is negative"), "{error}");
}

#[test]
fn typed_topics_read_and_write() {
    let mut topology = Topology::new();
    topology
        .add_source(Source::<String, i64>::new("in", "in"))
        .add_sink(Sink::<String, i64>::new("out", "out"), &["in"]);
    let driver = start(&topology);
    let input = driver.create_input_topic::<String, i64>("in").with_timestamps(100, Duration::from_millis(5));
    let output = driver.create_output_topic::<String, i64>("out");
    input.pipe_key_values([("a".into(), 1), ("b".into(), 2)]).unwrap();
    assert_eq!(output.queue_size(), 2);
    let times: Vec<i64> = output.read_records().unwrap().into_iter().map(|record| record.timestamp).collect();
    assert_eq!(times, [100, 105]);
    assert_eq!(output.read_key_value().unwrap(), None);
    input.pipe_input("c".into(), 3).unwrap();
    let as_text = driver.create_output_topic::<String, i32>("out");
    assert!(as_text.read_record().is_err());
}
