//! A task by hand: two inputs, a processor that can be told to fail, and a sink, with a producer that remembers.

use std::sync::Arc;

use log_store::{
    Header, HeadersView, Offset, RecordView, TopicName, TopicPartition,
    batch::{BatchBuilder, Compression, ProducerStamp, header::set_base_offset},
    client::{CommittedOffset, FetchedBatch, GroupMetadata, PartitionHandle, Producer},
};
use parking_lot::Mutex;

use super::{
    TaskId,
    context::TaskParts,
    record_collector::RecordCollector,
    sink_node::{SinkNode, SinkTarget},
    source_node::{Entrance, SourceNode},
    stream_task::{Input, StreamTask},
};
use crate::{
    ExceptionHandler, Handlers, Record,
    processor::{
        ProcessResult, Processor, ProcessorContext, Punctuation, PunctuationType,
        erased::{NodeCell, Typed},
    },
    serde::default_serde,
    time::TimestampExtractor,
};

type Sent = Arc<Mutex<Vec<String>>>;

/// Remembers what is sent, as `topic-partition key=value@time`.
struct Remembering {
    sent: Sent,
    targets: Vec<TopicPartition>,
}

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or("null".into(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

impl Producer for Remembering {
    fn open(&mut self, to: &TopicPartition) -> log_store::Result<PartitionHandle> {
        self.targets.push(to.clone());
        Ok(PartitionHandle(self.targets.len() as u32 - 1))
    }
    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> log_store::Result<()> {
        let to = &self.targets[to.0 as usize];
        if to.topic.as_str() == "out" && record.value.is_some_and(|value| value.starts_with(b"too-large")) {
            return Err(log_store::Error::Invalid("the record is too large".into()));
        }
        let headers: Vec<String> =
            record.headers.to_headers().as_slice().iter().map(|header| format!(" [{}]", header.key)).collect();
        let line = format!("{to} {}={}@{}{}", text(record.key), text(record.value), record.timestamp, headers.concat());
        self.sent.lock().push(line);
        Ok(())
    }
    fn flush(&mut self) -> log_store::Result<()> {
        Ok(())
    }
    fn acknowledged(&self, _: PartitionHandle) -> Option<Offset> {
        None
    }
    fn init_transactions(&mut self) -> log_store::Result<()> {
        Ok(())
    }
    fn begin(&mut self) -> log_store::Result<()> {
        Ok(())
    }
    fn send_offsets(&mut self, _: &[(TopicPartition, CommittedOffset)], _: &GroupMetadata) -> log_store::Result<()> {
        Ok(())
    }
    fn commit(&mut self) -> log_store::Result<()> {
        Ok(())
    }
    fn abort(&mut self) -> log_store::Result<()> {
        Ok(())
    }
}

/// Passes records on; fails on `error`, panics on `panic`, and tells the time when punctuated.
struct Moody;

impl Processor<String, String, String, String> for Moody {
    fn init(&mut self, ctx: &mut ProcessorContext<'_, String, String>) -> ProcessResult {
        ctx.schedule(std::time::Duration::from_millis(100), PunctuationType::StreamTime);
        ctx.schedule(std::time::Duration::from_millis(1_000), PunctuationType::WallClockTime);
        Ok(())
    }

    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        match record.value.as_str() {
            "error" => Err("told to fail".into()),
            "panic" => panic!("told to panic"),
            "where" => {
                let at = ctx.record_metadata().ok_or("no metadata")?;
                ctx.forward(record.with_value(format!("{}-{}:{}", at.topic, at.partition, at.offset)))
            }
            "later" => {
                let later = record.timestamp + 7;
                ctx.forward(record.with_timestamp(later))
            }
            _ => ctx.forward(record),
        }
    }

    fn punctuate(
        &mut self,
        _: Punctuation,
        timestamp: i64,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        assert_eq!(ctx.record_metadata(), None);
        if timestamp == 66_000 {
            return Err("a tick that fails".into());
        }
        ctx.forward(Record::new("tick".into(), String::new(), timestamp))
    }
}

/// Puts the context's time behind the value: what a store below would be told.
struct ContextTime;

impl Processor<String, String, String, String> for ContextTime {
    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        let value = format!("{}/{}", record.value, ctx.timestamp());
        ctx.forward(record.with_value(value))
    }
}

fn topic(name: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(name).unwrap(), 0)
}

/// Records of `name` as `value@time`, from `offset` on; key "k". A value `bad` is no UTF-8.
fn batch(name: &str, offset: u64, records: &str) -> FetchedBatch {
    let mut builder = BatchBuilder::new();
    let mut count = 0;
    for record in records.split_whitespace() {
        let (value, time) = record.split_once('@').unwrap();
        let value = if value == "bad" { &[0xff][..] } else { value.as_bytes() };
        let header = [Header { key: "h".into(), value: None }];
        let headers = if value == b"headers" { HeadersView::Listed(&header) } else { HeadersView::EMPTY };
        let timestamp = time.parse().unwrap();
        builder.append(RecordView { timestamp, key: Some(b"k"), value: Some(value), headers }).unwrap();
        count += 1;
    }
    let mut bytes = builder.finish(ProducerStamp::NONE, Compression::None);
    set_base_offset(&mut bytes, Offset::new(offset));
    let (start, next) = (Offset::new(offset), Offset::new(offset + count));
    FetchedBatch { partition: topic(name), bytes: bytes.freeze(), start, next, aborted: Arc::from([]) }
}

struct Bench {
    task: StreamTask,
    producer: Box<dyn Producer>,
    sent: Sent,
}

impl Bench {
    /// `left` and `right` → moody → (context time →) `out`.
    fn new(handlers: Handlers, committed: Option<CommittedOffset>) -> Self {
        let cell = |name: &str, children: &[u32], processor| NodeCell {
            name: name.into(),
            children: children.into(),
            processor,
        };
        let sink =
            SinkNode::<String, String>::new(SinkTarget::Topic("out".into()), default_serde(), default_serde(), None);
        let nodes = vec![
            cell("left", &[2], Box::new(Entrance)),
            cell("right", &[2], Box::new(Entrance)),
            cell("moody", &[3], Box::new(Typed::<_, String, String, String, String>::new(Moody))),
            cell("time", &[4], Box::new(Typed::<_, String, String, String, String>::new(ContextTime))),
            cell("sink", &[], Box::new(sink)),
        ];
        let input = |index: u32, name: &str| Input {
            partition: topic(name),
            source_index: index,
            source_name: name.into(),
            source: Box::new(SourceNode::<String, String>::new(
                default_serde(),
                default_serde(),
                TimestampExtractor::LogAndSkipOnInvalidTimestamp,
            )),
            committed: committed.clone(),
        };
        let inputs = vec![input(0, "left"), input(1, "right")];
        let parts = TaskParts {
            id: TaskId { subtopology: 0, partition: 0 },
            application_id: "app".into(),
            node_names: nodes.iter().map(|node| node.name.to_string()).collect(),
            stores: Vec::new(),
            connections: Vec::new(),
            collector: RecordCollector::new(Arc::new(|topic| Ok(Some((TopicName::new(topic)?, 1)))), Vec::new()),
            source_changelogs: Vec::new(),
            handlers,
            dead_letter_topic: Some("dead".into()),
        };
        let sent = Sent::default();
        let mut producer: Box<dyn Producer> = Box::new(Remembering { sent: sent.clone(), targets: Vec::new() });
        let mut task = StreamTask::new(nodes, inputs, parts, 0);
        task.init(&mut producer).unwrap();
        Bench { task, producer, sent }
    }

    fn process(&mut self) -> crate::Result<usize> {
        self.task.process(&mut self.producer, usize::MAX, 0, &mut |_| true)
    }

    fn sent(&self) -> Vec<String> {
        std::mem::take(&mut *self.sent.lock())
    }
}

fn forgiving() -> Handlers {
    let go_on = ExceptionHandler::log_and_continue();
    Handlers { deserialization: go_on.clone(), processing: go_on.clone(), production: go_on }
}

/// Records of left and right, and what comes out.
fn check(handlers: Handlers, left: &str, right: &str, expected: &[&str]) {
    let mut bench = Bench::new(handlers, None);
    bench.task.add_records(batch("left", 0, left)).unwrap();
    bench.task.add_records(batch("right", 0, right)).unwrap();
    bench.process().unwrap();
    let sent = bench.sent();
    let is_result = |line: &&String| line.starts_with("out") && !line.contains("tick");
    let results: Vec<&str> = sent.iter().filter(is_result).map(String::as_str).collect();
    assert_eq!(results, expected);
}

#[test]
fn the_oldest_head_of_all_inputs_goes_first() {
    check(
        Handlers::default(),
        "a@1 d@30",
        "b@2 c@3",
        &["out-0 k=a/1@1", "out-0 k=b/2@2", "out-0 k=c/3@3", "out-0 k=d/30@30"],
    );
}

#[test]
fn a_record_knows_where_it_comes_from() {
    check(Handlers::default(), "a@1 where@2", "x@0", &["out-0 k=x/0@0", "out-0 k=a/1@1", "out-0 k=left-0:1/2@2"]);
}

#[test]
fn a_new_time_is_the_context_of_what_follows() {
    check(Handlers::default(), "later@1 a@2", "x@0", &["out-0 k=x/0@0", "out-0 k=later/8@8", "out-0 k=a/2@2"]);
}

#[test]
fn headers_pass_through() {
    check(Handlers::default(), "headers@1", "x@0", &["out-0 k=x/0@0", "out-0 k=headers/1@1 [h]"]);
}

#[test]
fn records_that_fail_are_left_out_where_the_handlers_forgive() {
    check(forgiving(), "bad@1 error@2 panic@3 a@4", "x@0", &["out-0 k=x/0@0", "out-0 k=a/4@4"]);
    check(forgiving(), "a@4 bad@5", "panic@0 bad@1 b@5", &["out-0 k=a/4@4", "out-0 k=b/5@5"]);
}

#[test]
fn a_negative_time_drops_the_record_where_the_extractor_skips() {
    let mut bench = Bench::new(Handlers::default(), None);
    bench.task.add_records(batch("left", 0, "a@-5 b@1")).unwrap();
    assert_eq!(bench.process().unwrap(), 1);
    assert_eq!(bench.task.dropped_records(), 1);
}

fn failure(left: &str) -> String {
    let mut bench = Bench::new(Handlers::default(), None);
    bench.task.add_records(batch("left", 40, left)).unwrap();
    bench.process().unwrap_err().to_string()
}

#[test]
fn a_failure_names_node_topic_partition_and_offset() {
    let error = failure("a@1 error@2");
    assert!(
        error.starts_with("processor moody of task 0_0 failed on left-0, offset 41: told to fail; mend"),
        "{error}"
    );
    let panic = failure("panic@2");
    assert!(
        panic.starts_with("processor moody of task 0_0 failed on left-0, offset 40: panicked: told to panic; mend")
    );
    let bad = failure("a@1 a@1 bad@2");
    assert!(bad.starts_with("left-0, offset 42: cannot deserialize the value at source left: "), "{bad}");
}

#[test]
fn while_an_input_is_empty_the_others_wait_if_its_records_are_on_their_way() {
    let mut bench = Bench::new(Handlers::default(), None);
    bench.task.add_records(batch("left", 0, "a@1 b@2")).unwrap();
    let mut asked = Vec::new();
    let mut may_not = |empty: &mut dyn Iterator<Item = &TopicPartition>| {
        asked.extend(empty.cloned());
        false
    };
    let processed = bench.task.process(&mut bench.producer, 100, 0, &mut may_not).unwrap();
    assert_eq!((processed, asked), (0, vec![topic("right")]));
    bench.task.add_records(batch("right", 0, "c@2")).unwrap();
    assert_eq!(bench.task.process(&mut bench.producer, 100, 0, &mut |_| false).unwrap(), 2, "a, then b or c");
}

#[test]
fn positions_cover_what_is_processed_and_carry_the_partition_time() {
    let mut bench = Bench::new(Handlers::default(), None);
    bench.task.add_records(batch("left", 7, "a@10 b@5 c@30")).unwrap();
    bench.task.process(&mut bench.producer, 2, 0, &mut |_| true).unwrap();
    let positions = bench.task.positions();
    let expected = CommittedOffset { offset: Offset::new(9), metadata: super::commit_metadata::encode(10, &[]) };
    assert_eq!(positions, [(topic("left"), expected)]);
    bench.task.committed(&mut bench.producer).unwrap();
    assert_eq!(bench.task.positions(), [], "nothing moved since");
}

#[test]
fn stream_time_survives_a_restart() {
    let committed = CommittedOffset { offset: Offset::new(3), metadata: super::commit_metadata::encode(250, &[]) };
    let mut bench = Bench::new(Handlers::default(), Some(committed));
    bench.task.add_records(batch("left", 3, "a@10")).unwrap();
    bench.process().unwrap();
    // Late by the restored stream time; the punctuation sees 250, not 10.
    assert_eq!(bench.sent(), ["out-0 k=a/10@10", "out-0 tick=/250@250"]);
}

#[test]
fn punctuations_follow_their_clocks() {
    let mut bench = Bench::new(Handlers::default(), None);
    bench.task.add_records(batch("left", 0, "a@50 b@99 c@350")).unwrap();
    bench.process().unwrap();
    let ticks = |bench: &Bench| -> Vec<String> {
        bench.sent().into_iter().filter_map(|line| line.split_once("@").map(|(_, time)| time.to_owned())).collect()
    };
    assert_eq!(ticks(&bench), ["50", "50", "99", "350", "350"]);
    bench.task.punctuate_wall_clock(&mut bench.producer, 999).unwrap();
    assert_eq!(ticks(&bench), Vec::<String>::new());
    bench.task.punctuate_wall_clock(&mut bench.producer, 3_500).unwrap();
    assert_eq!(ticks(&bench), ["3500"]);
    assert_eq!(bench.task.next_wall_clock_punctuation(), Some(4_000));
}

#[test]
fn a_result_that_the_log_refuses_goes_to_the_production_handler() {
    check(forgiving(), "too-large@1 a@2", "x@0", &["out-0 k=x/0@0", "out-0 k=a/2@2"]);
    let error = failure("too-large@1");
    assert!(error.starts_with("cannot produce to out from node sink: the record is too large; mend"), "{error}");
}

/// Headers of a letter, by their short names.
const ERRORS: &str = " [exception] [message] [stacktrace] [topic] [partition] [offset]";

/// The letters about some records of left, without what is common to all; key `k`.
fn check_letters(handlers: Handlers, left: &str, expected: &[&str]) {
    let mut bench = Bench::new(handlers, None);
    bench.task.add_records(batch("left", 70, left)).unwrap();
    let _ = bench.process();
    let letters = bench.sent().into_iter().filter_map(|line| line.strip_prefix("dead-0 k=").map(str::to_owned));
    let letters: Vec<String> = letters.map(|line| line.replace("__streams.errors.", "").replace(ERRORS, "")).collect();
    assert_eq!(letters, expected);
}

#[test]
fn what_the_handlers_are_asked_about_is_a_dead_letter_whatever_they_say() {
    for handlers in [forgiving(), Handlers::default()] {
        check_letters(handlers.clone(), "a@1 bad@2", &["\u{fffd}@2"]);
        check_letters(handlers.clone(), "a@1 error@2", &["error@2"]);
        check_letters(handlers.clone(), "panic@3", &["panic@3"]);
        check_letters(handlers.clone(), "a@1 too-large@4", &["too-large@4"]);
    }
    check_letters(
        forgiving(),
        "bad@1 error@2 a@3 panic@4 bad@5 too-large@6",
        &["\u{fffd}@1", "error@2", "panic@4", "\u{fffd}@5", "too-large@6"],
    );
}

#[test]
fn a_dead_letter_says_what_went_wrong_and_where() {
    let error = crate::Error::Processing {
        node: "moody".into(),
        task: "0_0".into(),
        topic: "left".into(),
        partition: 0,
        offset: 7,
        reason: "told to fail".into(),
    };
    let header = [Header { key: "h".into(), value: None }].into_iter().collect();
    let letter = super::dead_letter::DeadLetter::new(&error, Some(&topic("left")), 7, 5, header);
    let headers = letter.headers.as_slice().iter();
    let headers: Vec<String> =
        headers.map(|header| format!("{}={}", header.key, text(header.value.as_deref()))).collect();
    assert_eq!(
        headers,
        [
            "h=null",
            "__streams.errors.exception=streams_core::Error::Processing",
            "__streams.errors.message=told to fail",
            &format!("__streams.errors.stacktrace={error}"),
            "__streams.errors.topic=left",
            "__streams.errors.partition=0",
            "__streams.errors.offset=7",
        ]
    );
}

#[test]
fn a_letter_of_a_punctuation_has_no_record() {
    let mut bench = Bench::new(forgiving(), None);
    bench.task.add_records(batch("left", 0, "a@1")).unwrap();
    bench.process().unwrap();
    bench.sent();
    bench.task.punctuate_wall_clock(&mut bench.producer, 66_000).unwrap();
    let sent = bench.sent();
    assert_eq!(sent.iter().filter(|line| line.starts_with("dead-0 null=null@66000")).count(), 1, "{sent:?}");
}
