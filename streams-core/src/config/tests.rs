//! Settings told as properties in, settings or complaints out.

use std::time::Duration;

use super::{ProcessingGuarantee, StreamsConfig};
use crate::time::DefaultTimestampExtractor;

fn read(properties: &[(&str, &str)]) -> Result<StreamsConfig, String> {
    let basics = [("application.id", "app"), ("state.dir", "/state")];
    let all = basics.iter().chain(properties).copied();
    StreamsConfig::from_properties(all).map_err(|error| error.to_string())
}

#[test]
fn without_properties_there_are_the_defaults() {
    let config = read(&[]).unwrap();
    assert_eq!(config.processing_guarantee, ProcessingGuarantee::ExactlyOnceV2);
    assert_eq!(config.client_id, "app");
    assert_eq!(config.commit_interval, None);
    assert_eq!(config.statestore_cache_max_bytes, 10 << 20);
    assert_eq!(config.max_task_idle, Some(Duration::ZERO));
}

#[test]
fn a_java_applications_properties_are_understood() {
    let config = read(&[
        ("bootstrap.servers", "a:1,b:2"),
        ("processing.guarantee", "at_least_once"),
        ("commit.interval.ms", " 250 "),
        ("max.task.idle.ms", "-1"),
        ("default.timestamp.extractor", "org.apache.kafka.streams.processor.WallclockTimestampExtractor"),
        ("default.key.serde", "org.apache.kafka.common.serialization.Serdes$StringSerde"),
        ("deserialization.exception.handler", "org.apache.kafka.streams.errors.LogAndContinueExceptionHandler"),
        ("topic.retention.ms", "1000"),
        ("producer.linger.ms", "5"),
        ("topology.optimization", "all"),
        ("__emit.interval.ms.kstreams.windowed.aggregation__", "0"),
        ("client.id", ""),
    ])
    .unwrap();
    assert_eq!(config.processing_guarantee, ProcessingGuarantee::AtLeastOnce);
    assert_eq!(config.commit_interval, Some(Duration::from_millis(250)));
    assert_eq!(config.max_task_idle, None);
    assert_eq!(config.default_timestamp_extractor, DefaultTimestampExtractor::WallclockTimestampExtractor);
    assert_eq!(config.topic_settings["retention.ms"], "1000");
    assert_eq!(config.client_settings["bootstrap.servers"], "a:1,b:2");
    assert_eq!(config.client_settings["producer.linger.ms"], "5");
    assert_eq!(config.client_id, "app");
}

fn check_refused(properties: &[(&str, &str)], expected: &[&str]) {
    let error = read(properties).expect_err("refused");
    for text in expected {
        assert!(error.contains(text), "{text:?} is not in {error:?}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    check_refused(&[("num.stream.thread", "2")], &["num.stream.thread is no", "did you mean num.stream.threads?"]);
    check_refused(&[("colour", "red")], &["colour is no property of Kafka Streams"]);
    check_refused(&[("num.stream.threads", "0")], &["num.stream.threads is 0", "between 1 and"]);
    check_refused(&[("commit.interval.ms", "-5")], &["commit.interval.ms is \"-5\"", "milliseconds"]);
    check_refused(&[("processing.guarantee", "exactly_once")], &["at_least_once or exactly_once_v2"]);
    check_refused(&[("default.timestamp.extractor", "com.mine.Extractor")], &["com.mine.Extractor", "sources"]);
    check_refused(&[("errors.dead.letter.queue.topic.name", "a b")], &["errors.dead.letter.queue.topic.name"]);
}

#[test]
fn all_mistakes_are_told_at_once() {
    check_refused(
        &[("colour", "red"), ("poll.ms", "soon"), ("num.stream.threads", "0")],
        &["colour", "soon", "threads is 0"],
    );
}

#[test]
fn an_application_needs_a_name_that_topics_can_bear() {
    for id in ["", "a b", "a/b", "..", &"x".repeat(250)] {
        let error = StreamsConfig::builder(id).state_dir("/state").build().expect_err("refused").to_string();
        assert!(error.contains("application.id"), "{error}");
    }
}
