//! What the runtime takes from the configuration, with the defaults that depend on the log and on the guarantee.

use std::time::Duration;

use log_store::client::{Compression, ConsumerConfig, Isolation, OffsetReset, ProducerConfig};

/// Settings of one running application.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) application_id: String,
    /// Names of threads and clients begin with it.
    pub(crate) client_id: String,
    /// Identity of this instance across restarts: part of its transactional ids.
    pub(crate) process_id: String,
    pub(crate) is_exactly_once: bool,
    pub(crate) commit_interval: Duration,
    pub(crate) transaction_timeout: Duration,
    pub(crate) poll_wait: Duration,
    /// Bytes in the queue of one input partition at which it is paused.
    pub(crate) buffer_bytes_max: usize,
    /// `None`: never wait for an empty partition.
    pub(crate) task_idle_max: Option<Duration>,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) compression: Compression,
}

impl Settings {
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
            offset_reset: self.offset_reset,
            ..ConsumerConfig::default()
        }
    }

    /// The producer of a thread. Its transactional id outlives the process, so that the next one fences it.
    pub(crate) fn producer(&self, thread: &str, index: u32) -> ProducerConfig {
        let transactional_id = format!("{}-{}-{index}", self.application_id, self.process_id);
        ProducerConfig {
            client_id: format!("{thread}-producer"),
            transactional_id: self.is_exactly_once.then_some(transactional_id),
            transaction_timeout: self.transaction_timeout,
            compression: self.compression,
            ..ProducerConfig::default()
        }
    }
}
