//! Setting by setting, then one check of them all.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use log_store::TopicName;

use super::{ProcessingGuarantee, StreamsConfig, state_dir};
use crate::{
    Error, Result,
    handler::{ExceptionHandler, Handlers},
    state::{MemoryBudget, RocksDbConfigSetter},
    time::DefaultTimestampExtractor,
};

/// More threads than this are a slip of the finger.
const STREAM_THREADS_MAX: usize = 1_024;

/// Below this RocksDB's caches and write buffers would only thrash.
const MEMORY_BUDGET_MIN: usize = 1 << 20;

/// Makes a [`StreamsConfig`].
#[derive(Clone, Debug)]
pub struct StreamsConfigBuilder {
    config: StreamsConfig,
    client_id: Option<String>,
    state_dir: Option<PathBuf>,
}

impl StreamsConfigBuilder {
    pub(super) fn new(application_id: String) -> Self {
        StreamsConfigBuilder {
            client_id: None,
            state_dir: None,
            config: StreamsConfig {
                application_id,
                client_id: String::new(),
                processing_guarantee: ProcessingGuarantee::default(),
                commit_interval: None,
                num_stream_threads: 1,
                num_standby_replicas: 0,
                state_dir: PathBuf::new(),
                state_cleanup_delay: Duration::from_secs(600),
                memory_budget: MemoryBudget::new(MemoryBudget::DEFAULT_BYTES),
                rocksdb_config_setter: None,
                statestore_cache_max_bytes: 10 << 20,
                statestore_uncommitted_max_bytes: 64 << 20,
                buffered_bytes_per_partition: 4 << 20,
                max_task_idle: Some(Duration::ZERO),
                task_timeout: Duration::from_secs(300),
                poll_wait: Duration::from_millis(100),
                repartition_purge_interval: Duration::from_secs(30),
                window_changelog_additional_retention: Duration::from_secs(24 * 3_600),
                default_timestamp_extractor: DefaultTimestampExtractor::default(),
                handlers: Handlers::default(),
                dead_letter_topic: None,
                topic_settings: BTreeMap::new(),
                client_settings: BTreeMap::new(),
            },
        }
    }

    /// Name of the clients in logs, threads and metrics. Default: the application id.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// What a crash may do to results. Default: [`ProcessingGuarantee::ExactlyOnceV2`].
    #[must_use]
    pub fn processing_guarantee(mut self, guarantee: ProcessingGuarantee) -> Self {
        self.config.processing_guarantee = guarantee;
        self
    }

    /// Longest time between two commits of a thread. Default: what suits the log, a few milliseconds on the embedded
    /// log.
    ///
    /// Under exactly-once this is also how long results wait until readers of committed records see them. Shorter means
    /// less to process again after a crash, and more small writes. While more records wait than a thread can take, it
    /// commits less often if commits take long (many partitions, a slow disk): at most half a second passes. Zero commits
    /// after every turn.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.config.commit_interval = Some(interval);
        self
    }

    /// Threads that process. More than there are input partitions idle. Default: 1.
    #[must_use]
    pub fn num_stream_threads(mut self, threads: usize) -> Self {
        self.config.num_stream_threads = threads;
        self
    }

    /// Copies of each store that other instances keep up to date, to take over without a restore. Default: 0. Instances
    /// are told apart by their [`client_id`](Self::client_id)s: give each its own.
    #[must_use]
    pub fn num_standby_replicas(mut self, replicas: usize) -> Self {
        self.config.num_standby_replicas = replicas;
        self
    }

    /// Directory of persistent state; the application's own lies below, under its id. Default: `kafka-streams` in the user's
    /// data directory (`$XDG_DATA_HOME` or `~/.local/share`, `~/Library/Application Support`, `%LOCALAPPDATA%`). Not a
    /// temporary directory: what is cleaned up there would have to be restored.
    #[must_use]
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(directory.into());
        self
    }

    /// How long the state of a task that has moved away is kept. Default: 10 min.
    #[must_use]
    pub fn state_cleanup_delay(mut self, delay: Duration) -> Self {
        self.config.state_cleanup_delay = delay;
        self
    }

    /// Bytes that state may occupy in memory: rows in memory, RocksDB's block cache and its write buffers, for all stores
    /// of the application together. Default: 256 MiB; at least 1 MiB. Several applications of one process share a number
    /// with [`StreamsConfigBuilder::shared_memory_budget`].
    #[must_use]
    pub fn memory_budget(self, bytes: usize) -> Self {
        self.shared_memory_budget(&MemoryBudget::new(bytes))
    }

    /// As [`StreamsConfigBuilder::memory_budget`], one number for all applications that are given the same budget: they
    /// share one block cache and one write buffer manager, and one limit of rows in memory.
    ///
    /// ```
    /// use streams_core::{StreamsConfig, state::MemoryBudget};
    ///
    /// let budget = MemoryBudget::new(512 << 20);
    /// let orders = StreamsConfig::builder("orders").state_dir("/var/lib/streams").shared_memory_budget(&budget).build()?;
    /// let fraud = StreamsConfig::builder("fraud").state_dir("/var/lib/streams").shared_memory_budget(&budget).build()?;
    /// assert_eq!(orders.memory_budget.bytes(), fraud.memory_budget.bytes());
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    #[must_use]
    pub fn shared_memory_budget(mut self, budget: &Arc<MemoryBudget>) -> Self {
        self.config.memory_budget = Arc::clone(budget);
        self
    }

    /// Changes RocksDB's settings (`rocksdb.config.setter`): called with the name of each persistent store when its files
    /// are opened, after the engine has made its own settings. The block cache of the table options is the memory budget's:
    /// whoever sets another one has memory beside the budget. Default: the engine's settings as they are.
    ///
    /// ```
    /// use streams_core::{StreamsConfig, state::rocksdb::DBCompressionType};
    ///
    /// let config = StreamsConfig::builder("orders")
    ///     .state_dir("/var/lib/streams")
    ///     .rocksdb_config_setter(|store, options, table| {
    ///         if store == "history" {
    ///             options.set_compression_type(DBCompressionType::Zstd);
    ///             table.set_block_size(32 << 10);
    ///         }
    ///     })
    ///     .build()?;
    /// # Ok::<(), streams_core::Error>(())
    /// ```
    #[must_use]
    pub fn rocksdb_config_setter(
        mut self,
        setter: impl Fn(&str, &mut rocksdb::Options, &mut rocksdb::BlockBasedOptions) + Send + Sync + 'static,
    ) -> Self {
        self.config.rocksdb_config_setter = Some(RocksDbConfigSetter::new(setter));
        self
    }

    /// Bytes of updates that caching stores hold back, all threads together, before they are passed downstream ahead of
    /// the commit. 0 turns caching off: every update goes downstream. Default: 10 MiB.
    #[must_use]
    pub fn statestore_cache_max_bytes(mut self, bytes: usize) -> Self {
        self.config.statestore_cache_max_bytes = bytes;
        self
    }

    /// Bytes of uncommitted writes, all threads together, at which a commit is made ahead of its time. Default: 64 MiB.
    #[must_use]
    pub fn statestore_uncommitted_max_bytes(mut self, bytes: usize) -> Self {
        self.config.statestore_uncommitted_max_bytes = bytes;
        self
    }

    /// Bytes of fetched records that wait for each input partition; beyond, the partition is paused. Default: 4 MiB.
    #[must_use]
    pub fn buffered_bytes_per_partition(mut self, bytes: usize) -> Self {
        self.config.buffered_bytes_per_partition = bytes;
        self
    }

    /// How long a task with several inputs waits for one that has no record, beyond what the log is known to hold. `None`
    /// never waits, not even for records that are on their way: joins may then see them out of order. Default: zero.
    #[must_use]
    pub fn max_task_idle(mut self, wait: Option<Duration>) -> Self {
        self.config.max_task_idle = wait;
        self
    }

    /// How long a task may go on retrying what the log does not answer before it fails. Default: 5 min.
    #[must_use]
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.config.task_timeout = timeout;
        self
    }

    /// Longest wait for records in one turn of a thread. Default: 100 ms.
    #[must_use]
    pub fn poll_wait(mut self, wait: Duration) -> Self {
        self.config.poll_wait = wait;
        self
    }

    /// How often consumed records are deleted from repartition topics. Default: 30 s.
    #[must_use]
    pub fn repartition_purge_interval(mut self, interval: Duration) -> Self {
        self.config.repartition_purge_interval = interval;
        self
    }

    /// How much longer than its store a changelog topic of windows retains them. Default: 24 h.
    #[must_use]
    pub fn window_changelog_additional_retention(mut self, retention: Duration) -> Self {
        self.config.window_changelog_additional_retention = retention;
        self
    }

    /// Event times for sources that name no extractor. Default: fail on invalid timestamps.
    #[must_use]
    pub fn default_timestamp_extractor(mut self, extractor: DefaultTimestampExtractor) -> Self {
        self.config.default_timestamp_extractor = extractor;
        self
    }

    /// Decides about records that a source cannot read. Default: log and fail.
    #[must_use]
    pub fn deserialization_exception_handler(mut self, handler: ExceptionHandler) -> Self {
        self.config.handlers.deserialization = handler;
        self
    }

    /// Decides about records on which a processor fails or panics. Default: log and fail.
    #[must_use]
    pub fn processing_exception_handler(mut self, handler: ExceptionHandler) -> Self {
        self.config.handlers.processing = handler;
        self
    }

    /// Decides about results that cannot be written. Default: log and fail.
    #[must_use]
    pub fn production_exception_handler(mut self, handler: ExceptionHandler) -> Self {
        self.config.handlers.production = handler;
        self
    }

    /// A topic that takes the records which the exception handlers are asked about, whatever they decide (KIP-1034): key,
    /// value and headers as they entered the sub-topology, then the headers `__streams.errors.exception`, `.message`,
    /// `.stacktrace` (the error in one text), `.topic`, `.partition` and `.offset`. The topic must exist. Default: none.
    ///
    /// Letters are part of the transaction: under exactly-once, that of a record on which the thread failed is undone with
    /// the rest. Records of global stores write none. Unlike in Kafka Streams, handlers of your own need not build letters.
    #[must_use]
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.config.dead_letter_topic = Some(topic.into());
        self
    }

    /// A setting of internal topics under Kafka's name, over the one that the engine chooses.
    #[must_use]
    pub fn topic_setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.topic_settings.insert(key.into(), value.into());
        self
    }

    /// Keeps a property of the clients: see [`StreamsConfig::client_settings`].
    pub(super) fn client_setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.config.client_settings.insert(key.into(), value.into());
        self
    }

    /// Checks every setting, so that nothing later has to.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names every setting that cannot be, and why.
    pub fn build(self) -> Result<StreamsConfig> {
        let mut config = self.config;
        let mut problems = Vec::new();
        check_application_id(&config.application_id, &mut problems);
        config.client_id = self.client_id.unwrap_or_else(|| config.application_id.clone());
        match self.state_dir.map_or_else(state_dir::default_directory, Ok) {
            Ok(directory) if directory.as_os_str().is_empty() => problems.push("state.dir is empty".to_owned()),
            Ok(directory) => config.state_dir = directory,
            Err(problem) => problems.push(problem),
        }
        if !(1..=STREAM_THREADS_MAX).contains(&config.num_stream_threads) {
            let got = config.num_stream_threads;
            problems.push(format!("num.stream.threads is {got}; it must be between 1 and {STREAM_THREADS_MAX}"));
        }
        if config.memory_budget.bytes() < MEMORY_BUDGET_MIN {
            let got = config.memory_budget.bytes();
            problems.push(format!("the memory budget is {got} bytes; it must be at least {MEMORY_BUDGET_MIN}"));
        }
        if config.buffered_bytes_per_partition == 0 {
            problems.push("the buffer of an input partition is 0 bytes; it must be at least 1".to_owned());
        }
        if let Some(topic) = &config.dead_letter_topic
            && let Err(error) = TopicName::new(topic)
        {
            problems.push(format!("errors.dead.letter.queue.topic.name: {error}"));
        }
        if problems.is_empty() { Ok(config) } else { Err(Error::Config(problems.join("; "))) }
    }
}

fn check_application_id(id: &str, problems: &mut Vec<String>) {
    if id.is_empty() {
        problems.push("application.id is missing; it names the consumer group, internal topics and state".to_owned());
    } else if TopicName::new(id).is_err() {
        problems.push(format!("application.id is {id:?}; it may have the characters a-z A-Z 0-9 . _ -, at most 249"));
    }
}
