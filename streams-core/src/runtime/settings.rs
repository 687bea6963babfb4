//! What the runtime takes from the configuration, with the defaults that depend on the log and on the guarantee.

use std::time::Duration;

use log_store::client::{ConsumerConfig, Isolation, LogClient, ProducerConfig};

use crate::{ProcessingGuarantee, StreamsConfig};

/// Transactions of a stream thread that take longer are aborted (Kafka Streams' own default).
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of one running application.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) application_id: String,
    /// Names of threads and clients begin with it.
    pub(crate) client_id: String,
    pub(crate) stream_threads: u32,
    pub(crate) standby_replicas: usize,
    pub(crate) is_exactly_once: bool,
    pub(crate) commit_interval: Duration,
    pub(crate) transaction_timeout: Duration,
    pub(crate) poll_wait: Duration,
    /// Bytes in the queue of one input partition at which it is paused.
    pub(crate) buffer_bytes_max: usize,
    /// `None`: never wait for an empty partition.
    pub(crate) task_idle_max: Option<Duration>,
    pub(crate) purge_interval: Duration,
    pub(crate) task_timeout: Duration,
    /// Bytes of uncommitted state in one thread at which it commits ahead of time.
    pub(crate) uncommitted_bytes_max: usize,
}

impl Settings {
    pub(crate) fn new(config: &StreamsConfig, client: &dyn LogClient) -> Self {
        let commit_interval = config.commit_interval.unwrap_or_else(|| client.commit_interval_default());
        Settings {
            application_id: config.application_id.clone(),
            client_id: config.client_id.clone(),
            stream_threads: u32::try_from(config.num_stream_threads).unwrap_or(u32::MAX),
            standby_replicas: config.num_standby_replicas,
            is_exactly_once: config.processing_guarantee == ProcessingGuarantee::ExactlyOnceV2,
            commit_interval,
            // A transaction stays open for a commit interval and the commit itself.
            transaction_timeout: TRANSACTION_TIMEOUT.max(commit_interval * 2),
            poll_wait: config.poll_wait,
            buffer_bytes_max: config.buffered_bytes_per_partition,
            task_idle_max: config.max_task_idle,
            task_timeout: config.task_timeout,
            uncommitted_bytes_max: config.statestore_uncommitted_max_bytes / config.num_stream_threads,
            purge_interval: config.repartition_purge_interval,
        }
    }

    /// Which records are seen: exactly-once reads only committed ones.
    pub(crate) fn isolation(&self) -> Isolation {
        if self.is_exactly_once { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
    }

    /// Name of stream thread `index`, as Kafka Streams has it.
    pub(crate) fn thread_name(&self, index: u32) -> String {
        format!("{}-StreamThread-{index}", self.client_id)
    }

    /// The main consumer of a thread.
    pub(crate) fn consumer(&self, thread: &str) -> ConsumerConfig {
        ConsumerConfig {
            group_id: self.application_id.clone(),
            client_id: format!("{thread}-consumer"),
            isolation: self.isolation(),
            ..ConsumerConfig::default()
        }
    }

    /// The producer of thread `index`. Its transactional id outlives the process (`process_id` does), so that the next one
    /// fences it.
    pub(crate) fn producer(&self, process_id: &str, index: u32) -> ProducerConfig {
        let thread = self.thread_name(index);
        let transactional_id = format!("{}-{process_id}-{index}", self.application_id);
        ProducerConfig {
            client_id: format!("{thread}-producer"),
            transactional_id: self.is_exactly_once.then_some(transactional_id),
            transaction_timeout: self.transaction_timeout,
            ..ProducerConfig::default()
        }
    }
}
