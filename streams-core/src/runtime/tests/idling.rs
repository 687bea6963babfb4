//! `max.task.idle.ms`: which of two inputs goes first, and how long one waits for the other.

use std::time::{Duration, Instant};

use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{NewTopic, ProducerConfig, SharedClient},
};

use super::counting::{WAIT, read_texts};
use crate::{
    Record, StreamsConfig,
    processor::{ProcessResult, Processor, ProcessorContext},
    runtime::{State, Streams},
    topology::{Sink, Source, Topology},
};

/// Passes records on as they come.
#[derive(Default)]
struct Merge;

impl Processor<String, String, String, String> for Merge {
    fn process(
        &mut self,
        record: Record<String, String>,
        ctx: &mut ProcessorContext<'_, String, String>,
    ) -> ProcessResult {
        ctx.forward(record)
    }
}

/// An application that merges `left` and `right`.
struct Merging {
    log: SharedClient,
    state_dir: tempfile::TempDir,
}

impl Merging {
    fn new() -> Self {
        let log = super::log();
        let topics = ["left", "right", "out"].map(|name| NewTopic::new(TopicName::new(name).unwrap(), 1));
        log.admin().unwrap().create_topics(&topics).unwrap();
        Merging { log, state_dir: tempfile::tempdir().unwrap() }
    }

    /// Appends records with these times.
    fn say(&self, topic: &str, times: &[i64]) {
        let mut producer = self.log.producer(&ProducerConfig::default()).unwrap();
        let to = producer.open(&TopicPartition::new(TopicName::new(topic).unwrap(), 0)).unwrap();
        for time in times {
            let value = format!("{topic} {time}");
            producer.send(to, RecordView::new(*time, Some(b"k"), Some(value.as_bytes()))).unwrap();
        }
        producer.flush().unwrap();
    }

    fn start(&self, idle: Option<Duration>) -> Streams {
        let mut topology = Topology::new();
        topology
            .add_source(Source::<String, String>::new("from-left", "left"))
            .add_source(Source::<String, String>::new("from-right", "right"))
            .add_processor("merge", &["from-left", "from-right"], || Merge)
            .add_sink(Sink::<String, String>::new("sink", "out"), &["merge"]);
        let config = StreamsConfig::builder("app")
            .commit_interval(Duration::from_millis(5))
            .max_task_idle(idle)
            .state_dir(self.state_dir.path());
        let streams = Streams::new(topology, config.build().unwrap(), SharedClient::clone(&self.log)).unwrap();
        streams.start().unwrap();
        streams.wait_for(State::Running, WAIT).unwrap();
        streams
    }

    /// What came out, as soon as it is so much.
    fn out(&self, count: usize) -> Vec<String> {
        read_texts(&self.log, "out", count).into_iter().map(|(_, value)| value).collect()
    }
}

const IDLE: Duration = Duration::from_millis(500);

#[test]
fn what_lies_in_both_topics_comes_out_by_time() {
    for idle in [Duration::ZERO, IDLE] {
        let merging = Merging::new();
        merging.say("left", &[10, 20, 30]);
        merging.say("right", &[15, 25, 35]);
        let _streams = merging.start(Some(idle));
        let expected = ["left 10", "right 15", "left 20", "right 25", "left 30", "right 35"];
        assert_eq!(merging.out(6), expected, "{idle:?}");
    }
}

#[test]
fn without_idling_an_empty_topic_is_not_waited_for() {
    for idle in [None, Some(Duration::ZERO)] {
        let merging = Merging::new();
        let _streams = merging.start(idle);
        merging.say("left", &[10, 20]);
        assert_eq!(merging.out(2), ["left 10", "left 20"]);
        merging.say("right", &[5]);
        assert_eq!(merging.out(3), ["left 10", "left 20", "right 5"]);
    }
}

#[test]
fn a_record_that_comes_while_the_task_idles_has_its_turn_by_time() {
    // A machine that is busy for half a second proves nothing: then it is tried again.
    for _ in 0..10 {
        let merging = Merging::new();
        let _streams = merging.start(Some(IDLE));
        let since = Instant::now();
        merging.say("left", &[10, 20]);
        std::thread::sleep(IDLE / 10);
        merging.say("right", &[5, 15, 25]);
        if since.elapsed() < IDLE {
            assert_eq!(merging.out(4), ["right 5", "left 10", "right 15", "left 20"]);
            return;
        }
    }
    panic!("this machine was never quick enough");
}

#[test]
fn a_task_does_not_idle_longer_than_it_may() {
    let merging = Merging::new();
    let _streams = merging.start(Some(IDLE));
    let since = Instant::now();
    merging.say("left", &[10, 20]);
    assert_eq!(merging.out(2), ["left 10", "left 20"]);
    assert!(since.elapsed() >= IDLE, "it went on after {:?}", since.elapsed());
    // The wait for the other topic is over until something comes from there.
    let since = Instant::now();
    merging.say("left", &[30]);
    assert_eq!(merging.out(3), ["left 10", "left 20", "left 30"]);
    assert!(since.elapsed() < WAIT / 2, "{:?}", since.elapsed());
    merging.say("right", &[1]);
    assert_eq!(merging.out(4), ["left 10", "left 20", "left 30", "right 1"]);
    let since = Instant::now();
    merging.say("left", &[40]);
    assert_eq!(merging.out(5).last().map(String::as_str), Some("left 40"));
    assert!(since.elapsed() >= IDLE, "it went on after {:?}", since.elapsed());
}
