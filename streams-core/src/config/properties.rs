//! Kafka Streams' property names, and what becomes of each.

use std::time::Duration;

use super::{ProcessingGuarantee, StreamsConfig, StreamsConfigBuilder, nearest::nearest};
use crate::{Error, Result, handler::ExceptionHandler, time::DefaultTimestampExtractor};

type Builder = StreamsConfigBuilder;
type Applied = Result<Builder, String>;

/// What becomes of a property.
#[derive(Clone, Copy)]
enum Use {
    /// It is a setting of [`StreamsConfig`].
    Set(fn(Builder, &str) -> Applied),
    /// It shapes the topology: the DSL reads it.
    Topology,
    /// It belongs to the clients of the log.
    Client,
    /// It means nothing here, for this reason.
    Pointless(&'static str),
}

use Use::{Client, Pointless, Set, Topology};

const SERDES: &str = "types name their serdes";
const JAVA_CLASS: &str = "it names a Java class; set it in code";
const CLASSIC_ASSIGNOR: &str = "the log assigns partitions";
const METRICS: &str = "metrics are always on";

const KNOWN: &[(&str, Use)] = &[
    ("acceptable.recovery.lag", Pointless(CLASSIC_ASSIGNOR)),
    ("allow.os.group.write.access", Pointless("the umask decides")),
    // The builder has it from the start.
    ("application.id", Set(|builder, _| Ok(builder))),
    ("application.server", Pointless("instances do not answer each other's queries")),
    ("bootstrap.servers", Client),
    ("buffered.records.per.partition", Pointless("buffers are bounded in bytes")),
    ("built.in.metrics.version", Pointless(METRICS)),
    ("cache.max.bytes.buffering", Set(|builder, text| Ok(builder.statestore_cache_max_bytes(number(text)?)))),
    ("client.id", Set(|builder, text| Ok(if text.is_empty() { builder } else { builder.client_id(text) }))),
    ("client.rack", Client),
    ("commit.interval.ms", Set(|builder, text| Ok(builder.commit_interval(millis(text)?)))),
    ("config.providers", Pointless(JAVA_CLASS)),
    ("connections.max.idle.ms", Client),
    ("default.client.supplier", Pointless(JAVA_CLASS)),
    ("default.deserialization.exception.handler", Set(deserialization_handler)),
    ("default.dsl.store", Topology),
    ("default.interactive.query.isolation.level", Pointless("queries choose it")),
    ("default.key.serde", Pointless(SERDES)),
    ("default.list.key.serde.inner", Pointless(SERDES)),
    ("default.list.key.serde.type", Pointless(SERDES)),
    ("default.list.value.serde.inner", Pointless(SERDES)),
    ("default.list.value.serde.type", Pointless(SERDES)),
    ("default.production.exception.handler", Set(production_handler)),
    ("default.timestamp.extractor", Set(timestamp_extractor)),
    ("default.value.serde", Pointless(SERDES)),
    ("deserialization.exception.handler", Set(deserialization_handler)),
    ("dsl.store.format", Topology),
    ("dsl.store.suppliers.class", Topology),
    ("enable.metrics.push", Pointless(METRICS)),
    ("enable.transactional.statestores", Pointless("uncommitted writes never reach the files")),
    ("ensure.explicit.internal.resource.naming", Topology),
    ("errors.dead.letter.queue.topic.name", Set(|builder, text| Ok(builder.dead_letter_topic(text)))),
    ("group.protocol", Pointless(CLASSIC_ASSIGNOR)),
    ("log.summary.interval.ms", Pointless(METRICS)),
    ("max.task.idle.ms", Set(max_task_idle)),
    ("max.warmup.replicas", Pointless(CLASSIC_ASSIGNOR)),
    ("metadata.cluster.check.enable", Client),
    ("metadata.max.age.ms", Client),
    ("metadata.recovery.rebootstrap.trigger.ms", Client),
    ("metadata.recovery.strategy", Client),
    ("metric.reporters", Pointless(JAVA_CLASS)),
    ("metrics.num.samples", Pointless(METRICS)),
    ("metrics.recording.level", Pointless(METRICS)),
    ("metrics.sample.window.ms", Pointless(METRICS)),
    ("num.standby.replicas", Set(|builder, text| Ok(builder.num_standby_replicas(number(text)?)))),
    ("num.stream.threads", Set(|builder, text| Ok(builder.num_stream_threads(number(text)?)))),
    ("poll.ms", Set(|builder, text| Ok(builder.poll_wait(millis(text)?)))),
    ("probing.rebalance.interval.ms", Pointless(CLASSIC_ASSIGNOR)),
    ("processing.exception.handler", Set(processing_handler)),
    ("processing.exception.handler.global.enabled", Pointless("global stores use the handler too")),
    ("processing.guarantee", Set(processing_guarantee)),
    ("processor.wrapper.class", Pointless(JAVA_CLASS)),
    ("production.exception.handler", Set(production_handler)),
    ("rack.aware.assignment.non_overlap_cost", Pointless(CLASSIC_ASSIGNOR)),
    ("rack.aware.assignment.strategy", Pointless(CLASSIC_ASSIGNOR)),
    ("rack.aware.assignment.tags", Pointless(CLASSIC_ASSIGNOR)),
    ("rack.aware.assignment.traffic_cost", Pointless(CLASSIC_ASSIGNOR)),
    ("receive.buffer.bytes", Client),
    ("reconnect.backoff.max.ms", Client),
    ("reconnect.backoff.ms", Client),
    ("repartition.purge.interval.ms", Set(|builder, text| Ok(builder.repartition_purge_interval(millis(text)?)))),
    ("replication.factor", Client),
    ("request.timeout.ms", Client),
    ("retries", Client),
    ("retry.backoff.ms", Client),
    ("rocksdb.config.setter", Pointless(JAVA_CLASS)),
    ("security.protocol", Client),
    ("send.buffer.bytes", Client),
    ("state.cleanup.delay.ms", Set(|builder, text| Ok(builder.state_cleanup_delay(millis(text)?)))),
    ("state.cleanup.dir.max.age.ms", Pointless("state of other applications is left alone")),
    ("state.dir", Set(|builder, text| Ok(builder.state_dir(text)))),
    ("statestore.cache.max.bytes", Set(|builder, text| Ok(builder.statestore_cache_max_bytes(number(text)?)))),
    ("statestore.uncommitted.max.bytes", Set(uncommitted_max_bytes)),
    ("task.assignor.class", Pointless(CLASSIC_ASSIGNOR)),
    ("task.timeout.ms", Set(|builder, text| Ok(builder.task_timeout(millis(text)?)))),
    ("topology.description.push.enabled", Pointless("there is nobody to push it to")),
    ("topology.optimization", Topology),
    ("upgrade.from", Pointless(CLASSIC_ASSIGNOR)),
    ("window.size.ms", Pointless(SERDES)),
    ("windowed.inner.class.serde", Pointless(SERDES)),
    (
        "windowstore.changelog.additional.retention.ms",
        Set(|builder, text| Ok(builder.window_changelog_additional_retention(millis(text)?))),
    ),
];

/// Prefixes under which any name belongs to a client.
const CLIENT_PREFIXES: [&str; 12] = [
    "consumer.",
    "main.consumer.",
    "restore.consumer.",
    "global.consumer.",
    "producer.",
    "admin.",
    "client.tag.",
    "sasl.",
    "ssl.",
    "security.",
    "metrics.context.",
    "socket.",
];

const TOPIC_PREFIX: &str = "topic.";

/// Reads properties; reports all that is wrong with them at once.
pub(super) fn read<K: AsRef<str>, V: AsRef<str>>(properties: impl Iterator<Item = (K, V)>) -> Result<StreamsConfig> {
    let properties: Vec<(K, V)> = properties.collect();
    let id = properties.iter().find(|(name, _)| name.as_ref() == "application.id");
    let mut builder = StreamsConfig::builder(id.map_or("", |(_, id)| id.as_ref()));
    let mut problems = Vec::new();
    for (name, value) in &properties {
        let (name, value) = (name.as_ref(), value.as_ref().trim());
        match apply(builder.clone(), name, value) {
            Ok(applied) => builder = applied,
            Err(problem) => problems.push(problem),
        }
    }
    match builder.build() {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(Error::Config(problems.join("; "))),
        Err(error) => {
            problems.push(error.to_string());
            Err(Error::Config(problems.join("; ")))
        }
    }
}

fn apply(builder: Builder, name: &str, value: &str) -> Applied {
    let known = KNOWN.iter().find(|(known, _)| *known == name);
    if let Some((_, what)) = known {
        return match what {
            Set(set) => set(builder, value).map_err(|reason| format!("{name} is {value:?}; {reason}")),
            Client => Ok(builder.client_setting(name, value)),
            Topology => Ok(builder),
            Pointless(reason) => {
                tracing::info!(property = name, reason, "property has no effect");
                Ok(builder)
            }
        };
    }
    if let Some(setting) = name.strip_prefix(TOPIC_PREFIX) {
        return Ok(builder.topic_setting(setting, value));
    }
    if CLIENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return Ok(builder.client_setting(name, value));
    }
    // Kafka's internal settings, which it does not document.
    if name.starts_with("__") && name.ends_with("__") {
        return Ok(builder);
    }
    let guess = nearest(name, KNOWN.iter().map(|(known, _)| *known));
    Err(match guess {
        Some(guess) => format!("{name} is no property of Kafka Streams; did you mean {guess}?"),
        None => format!("{name} is no property of Kafka Streams"),
    })
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "it must be a whole number, 0 or more".to_owned())
}

fn millis(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_millis).map_err(|_| "it must be a number of milliseconds, 0 or more".to_owned())
}

fn max_task_idle(builder: Builder, text: &str) -> Applied {
    if text == "-1" { Ok(builder.max_task_idle(None)) } else { Ok(builder.max_task_idle(Some(millis(text)?))) }
}

fn uncommitted_max_bytes(builder: Builder, text: &str) -> Applied {
    if text == "-1" {
        return Err("uncommitted writes are always bounded; give a number of bytes".to_owned());
    }
    Ok(builder.statestore_uncommitted_max_bytes(number(text)?))
}

fn processing_guarantee(builder: Builder, text: &str) -> Applied {
    let guarantee = match text {
        "at_least_once" => ProcessingGuarantee::AtLeastOnce,
        "exactly_once_v2" => ProcessingGuarantee::ExactlyOnceV2,
        _ => return Err("it must be at_least_once or exactly_once_v2".to_owned()),
    };
    Ok(builder.processing_guarantee(guarantee))
}

/// `a.b.C$D` is called `D`.
fn class_name(text: &str) -> &str {
    text.rsplit(['.', '$']).next().unwrap_or(text)
}

fn timestamp_extractor(builder: Builder, text: &str) -> Applied {
    let extractor = match class_name(text) {
        "FailOnInvalidTimestamp" => DefaultTimestampExtractor::FailOnInvalidTimestamp,
        "LogAndSkipOnInvalidTimestamp" => DefaultTimestampExtractor::LogAndSkipOnInvalidTimestamp,
        "UsePartitionTimeOnInvalidTimestamp" => DefaultTimestampExtractor::UsePartitionTimeOnInvalidTimestamp,
        "WallclockTimestampExtractor" => DefaultTimestampExtractor::WallclockTimestampExtractor,
        _ => return Err("only Kafka Streams' own extractors can be named; give others to their sources".to_owned()),
    };
    Ok(builder.default_timestamp_extractor(extractor))
}

fn handler(text: &str, fail: &[&str], go_on: &[&str]) -> Result<ExceptionHandler, String> {
    match class_name(text) {
        name if fail.contains(&name) => Ok(ExceptionHandler::log_and_fail()),
        name if go_on.contains(&name) => Ok(ExceptionHandler::log_and_continue()),
        _ => Err("only Kafka Streams' own handlers can be named; set others in code".to_owned()),
    }
}

fn deserialization_handler(builder: Builder, text: &str) -> Applied {
    let handler = handler(text, &["LogAndFailExceptionHandler"], &["LogAndContinueExceptionHandler"])?;
    Ok(builder.deserialization_exception_handler(handler))
}

fn processing_handler(builder: Builder, text: &str) -> Applied {
    let go_on = ["LogAndContinueProcessingExceptionHandler"];
    let handler = handler(text, &["LogAndFailProcessingExceptionHandler"], &go_on)?;
    Ok(builder.processing_exception_handler(handler))
}

fn production_handler(builder: Builder, text: &str) -> Applied {
    Ok(builder.production_exception_handler(handler(text, &["DefaultProductionExceptionHandler"], &[])?))
}
