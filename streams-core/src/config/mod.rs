//! The settings of an application: typed, checked once.
//!
//! Names, meanings and defaults are Kafka Streams', with these differences: the processing guarantee is exactly-once, state
//! lies in the user's data directory and not in a temporary one, memory is bounded by one number, and the commit
//! interval suits the log (a few milliseconds on the embedded log, Kafka's 100 ms on Kafka).

mod builder;
mod nearest;
mod properties;
mod state_dir;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

pub use builder::StreamsConfigBuilder;

use crate::{
    Result,
    handler::Handlers,
    state::{MemoryBudget, RocksDbConfigSetter},
    time::DefaultTimestampExtractor,
};

/// What a crash may do to results (`processing.guarantee`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProcessingGuarantee {
    /// A record that was being processed may be counted twice.
    AtLeastOnce,
    /// Each record counts once, in state and in output, for readers of committed records. The default.
    #[default]
    ExactlyOnceV2,
}

/// The settings of an application. Made by [`StreamsConfig::builder`] or [`StreamsConfig::from_properties`]; every value
/// is within its limits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StreamsConfig {
    /// `application.id`: name of the consumer group, prefix of internal topics, directory of state.
    pub application_id: String,
    /// `client.id`: name of the clients in logs, threads and metrics. Default: the application id.
    pub client_id: String,
    /// `processing.guarantee`. Default: exactly once.
    pub processing_guarantee: ProcessingGuarantee,
    /// `commit.interval.ms`. `None`: what suits the log.
    pub commit_interval: Option<Duration>,
    /// `num.stream.threads`. Default: 1.
    pub num_stream_threads: usize,
    /// `num.standby.replicas`. Default: 0.
    pub num_standby_replicas: usize,
    /// `state.dir`. Default: `kafka-streams` in the user's data directory.
    pub state_dir: PathBuf,
    /// `state.cleanup.delay.ms`. Default: 10 min.
    pub state_cleanup_delay: Duration,
    /// What state may occupy in memory, all stores of all applications with this budget together. Default: 256 MiB, for
    /// the applications that are made with this value or a clone of it.
    pub memory_budget: Arc<MemoryBudget>,
    /// `rocksdb.config.setter`. Default: none.
    pub rocksdb_config_setter: Option<RocksDbConfigSetter>,
    /// `statestore.cache.max.bytes`. Default: 10 MiB.
    pub statestore_cache_max_bytes: usize,
    /// `statestore.uncommitted.max.bytes`. Default: 64 MiB.
    pub statestore_uncommitted_max_bytes: usize,
    /// Bytes of fetched records that wait for each input partition. Default: 4 MiB.
    pub buffered_bytes_per_partition: usize,
    /// `max.task.idle.ms`; `None` is Kafka's -1. Default: 0.
    pub max_task_idle: Option<Duration>,
    /// `task.timeout.ms`. Default: 5 min.
    pub task_timeout: Duration,
    /// `poll.ms`. Default: 100 ms.
    pub poll_wait: Duration,
    /// `repartition.purge.interval.ms`. Default: 30 s.
    pub repartition_purge_interval: Duration,
    /// `windowstore.changelog.additional.retention.ms`. Default: 24 h.
    pub window_changelog_additional_retention: Duration,
    /// `default.timestamp.extractor`. Default: fail on invalid timestamps.
    pub default_timestamp_extractor: DefaultTimestampExtractor,
    /// The exception handlers. Default: log and fail.
    pub handlers: Handlers,
    /// `errors.dead.letter.queue.topic.name`: takes records that could not be read, processed or written. Default: none.
    pub dead_letter_topic: Option<String>,
    /// Settings of internal topics (`topic.` in properties), over those that the engine chooses.
    pub topic_settings: BTreeMap<String, String>,
    /// Settings of the clients under Kafka's names (`bootstrap.servers`, `producer.linger.ms`, …), as
    /// [`StreamsConfig::from_properties`] found them: for whoever makes the client, which is there before the application.
    /// The engine reads none of them.
    pub client_settings: BTreeMap<String, String>,
}

impl StreamsConfig {
    /// Starts with the defaults. The application id is a legal topic name: it prefixes the names of internal topics.
    ///
    /// ```
    /// use std::time::Duration;
    /// use streams_core::{ProcessingGuarantee, StreamsConfig};
    ///
    /// let config = StreamsConfig::builder("orders")
    ///     .processing_guarantee(ProcessingGuarantee::ExactlyOnceV2)
    ///     .num_stream_threads(2)
    ///     .commit_interval(Duration::from_millis(10))
    ///     .state_dir("/var/lib/orders")
    ///     .build()?;
    /// assert_eq!(config.application_id, "orders");
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    pub fn builder(application_id: impl Into<String>) -> StreamsConfigBuilder {
        StreamsConfigBuilder::new(application_id.into())
    }

    /// Reads Kafka Streams' property names and values, so that a Java application's file can be used as it is.
    ///
    /// Settings that shape the topology (`topology.optimization`, `dsl.store.format`, …) are read by the DSL and passed over
    /// here, as are those that mean nothing here (each with a line in the log that says why). Properties of the clients are kept in
    /// [`StreamsConfig::client_settings`], from where `KafkaClient::new` gets its `bootstrap.servers`.
    ///
    /// ```
    /// use streams_core::StreamsConfig;
    ///
    /// let config = StreamsConfig::from_properties([
    ///     ("application.id", "orders"),
    ///     ("bootstrap.servers", "localhost:9092"),
    ///     ("num.stream.threads", "2"),
    ///     ("state.dir", "/var/lib/orders"),
    /// ])?;
    /// assert_eq!(config.num_stream_threads, 2);
    /// assert_eq!(config.client_settings["bootstrap.servers"], "localhost:9092");
    ///
    /// let error = StreamsConfig::from_properties([("application.id", "orders"), ("num.stream.thread", "2")]);
    /// assert!(error.unwrap_err().to_string().contains("did you mean num.stream.threads?"));
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`crate::Error::Config`] names every property that is unknown or has a value that it cannot have.
    pub fn from_properties<K, V>(properties: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        properties::read(properties.into_iter())
    }
}

#[cfg(test)]
mod tests;
