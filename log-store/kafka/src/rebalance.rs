//! Rebalances: taken from librdkafka inside a poll, handed on in order, answered when the engine is done.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use log_store::client::Partitions;
use parking_lot::Mutex;
use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata},
    types::RDKafkaRespErr,
};

use crate::convert;

pub(crate) enum Rebalance {
    /// To be accepted with [`BaseConsumer::assign`]. The generation it belongs to, unless the group has dropped the
    /// member already.
    Assigned(Partitions, Option<Arc<ConsumerGroupMetadata>>),
    /// To be given back with [`BaseConsumer::unassign`].
    Revoked(Partitions),
    /// Given back already.
    Lost(Partitions),
}

/// Takes rebalances from librdkafka.
#[derive(Clone, Default)]
pub(crate) struct Context {
    pub(crate) events: Arc<Mutex<VecDeque<Rebalance>>>,
    /// Nobody will answer any more: what is revoked is given back at once.
    is_leaving: Arc<AtomicBool>,
}

impl Context {
    pub(crate) fn set_leaving(&self, is_leaving: bool) {
        self.is_leaving.store(is_leaving, Ordering::Release);
    }
}

impl ClientContext for Context {}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assigned = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.is_leaving.load(Ordering::Acquire) {
            give_back(consumer);
            return;
        }
        let partitions = match convert::partitions_of(list) {
            Ok(partitions) => partitions,
            Err(error) => {
                tracing::error!(%error, "an assignment that cannot be read is given back");
                give_back(consumer);
                return;
            }
        };
        let event = if is_assigned {
            let metadata = consumer.group_metadata().map(Arc::new);
            // In this order: a member that is dropped in between would have the metadata of no member at all.
            Rebalance::Assigned(partitions, metadata.filter(|_| !consumer.assignment_lost()))
        } else if consumer.assignment_lost() {
            give_back(consumer);
            Rebalance::Lost(partitions)
        } else {
            Rebalance::Revoked(partitions)
        };
        self.events.lock().push_back(event);
    }
}

/// Gives all partitions back: the range assignor moves all or none.
pub(crate) fn give_back(consumer: &BaseConsumer<Context>) {
    if let Err(error) = consumer.unassign() {
        tracing::warn!(%error, "cannot give partitions back");
    }
}
