//! The producer: librdkafka's queue, with acknowledgements collected by partition.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use log_store::{
    Error, HeadersView, Offset, RecordView, Result, TopicPartition,
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer, ProducerConfig},
};
use parking_lot::Mutex;
use rdkafka::{
    ClientContext, Message,
    config::FromClientConfigAndContext,
    error::KafkaError,
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
    types::RDKafkaErrorCode,
};

use crate::{KafkaClient, REQUEST_TIMEOUT, Shared, convert};

/// Sends between two looks at the acknowledgements.
const SENDS_PER_POLL: u32 = 256;

/// One wait for room in librdkafka's queue.
const ROOM_WAIT: Duration = Duration::from_millis(50);

/// One attempt at an abort.
const ABORT_SLICE: Duration = Duration::from_millis(100);

/// What may wait in librdkafka's queue, in KiB, and in its words.
const QUEUE_KIB: &str = "131072";

/// What the cluster has answered so far.
#[derive(Default)]
struct Answers {
    /// By handle: the offset after the last acknowledged record.
    acknowledged: Vec<Option<Offset>>,
    failure: Option<KafkaError>,
}

#[derive(Clone, Default)]
struct Context(Arc<Mutex<Answers>>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, handle: usize) {
        let mut answers = self.0.lock();
        match result {
            Ok(message) => {
                let end = Offset::from_i64(message.offset()).map(Offset::next);
                if let Some(known) = answers.acknowledged.get_mut(handle) {
                    *known = end.max(*known);
                }
            }
            Err((error, _)) => {
                answers.failure.get_or_insert_with(|| error.clone());
            }
        }
    }
}

pub(crate) struct KafkaProducer {
    producer: BaseProducer<Context>,
    context: Context,
    shared: Arc<Shared>,
    transactional_id: Option<String>,
    targets: Vec<TopicPartition>,
    handles: HashMap<TopicPartition, PartitionHandle>,
    sends: u32,
    block_max: Duration,
}

impl KafkaProducer {
    pub(crate) fn new(client: &KafkaClient, config: &ProducerConfig) -> Result<Self> {
        let mut native = client.client_config(&config.client_id);
        native
            .set("enable.idempotence", if config.idempotence { "true" } else { "false" })
            .set("compression.type", convert::compression(config.compression))
            .set("batch.size", config.batch_bytes.to_string())
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .set("queue.buffering.max.kbytes", QUEUE_KIB)
            // The topic's own limit decides.
            .set("message.max.bytes", "1000000000");
        if let Some(id) = &config.transactional_id {
            native
                .set("transactional.id", id)
                .set("enable.idempotence", "true")
                .set("transaction.timeout.ms", convert::millis(config.transaction_timeout));
        }
        let context = Context::default();
        let producer = BaseProducer::from_config_and_context(&native, context.clone())
            .map_err(|error| convert::error("make a producer for", &error))?;
        Ok(KafkaProducer {
            producer,
            context,
            shared: Arc::clone(&client.shared),
            transactional_id: config.transactional_id.clone(),
            targets: Vec::new(),
            handles: HashMap::new(),
            sends: 0,
            block_max: config.block_max,
        })
    }

    /// The first failure since the last call.
    fn take_failure(&self) -> Result<()> {
        match self.context.0.lock().failure.take() {
            Some(error) => Err(self.failed("produce to", &error)),
            None => Ok(()),
        }
    }

    fn failed(&self, operation: &'static str, error: &KafkaError) -> Error {
        match convert::error(operation, error) {
            Error::ProducerFenced { ours, current, .. } => Error::ProducerFenced {
                transactional_id: self.transactional_id.clone().unwrap_or_default(),
                ours,
                current,
            },
            other => other,
        }
    }
}

fn headers(view: HeadersView<'_>) -> Option<OwnedHeaders> {
    if view.is_empty() {
        return None;
    }
    let headers = view.to_headers();
    let empty = OwnedHeaders::new_with_capacity(headers.as_slice().len());
    Some(
        headers
            .as_slice()
            .iter()
            .fold(empty, |list, header| list.insert(Header { key: &header.key, value: header.value.as_deref() })),
    )
}

impl Producer for KafkaProducer {
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle> {
        if let Some(handle) = self.handles.get(to) {
            return Ok(*handle);
        }
        let number = u32::try_from(self.targets.len()).map_err(|_| Error::Invalid("too many partitions".into()))?;
        self.targets.push(to.clone());
        self.context.0.lock().acknowledged.push(None);
        self.handles.insert(to.clone(), PartitionHandle(number));
        Ok(PartitionHandle(number))
    }

    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
        let target = &self.targets[to.0 as usize];
        let mut message: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(target.topic.as_str(), to.0 as usize)
                .partition(convert::partition_number(target.partition));
        if record.timestamp >= 0 {
            message = message.timestamp(record.timestamp);
        }
        message.key = record.key;
        message.payload = record.value;
        message.headers = headers(record.headers);
        let mut waiting_since = None;
        while let Err((error, returned)) = self.producer.send(message) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(self.failed("produce to", &error));
            }
            let since = *waiting_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.block_max {
                let waited_ms = self.block_max.as_millis() as u64;
                return Err(Error::TimedOut { what: "no room in the producer's queue".into(), waited_ms });
            }
            message = returned;
            self.producer.poll(ROOM_WAIT);
        }
        self.sends += 1;
        if self.sends.is_multiple_of(SENDS_PER_POLL) {
            self.producer.poll(Duration::ZERO);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.producer.flush(REQUEST_TIMEOUT).map_err(|error| self.failed("flush to", &error))?;
        self.take_failure()
    }

    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        self.context.0.lock().acknowledged.get(partition.0 as usize).copied().flatten()
    }

    fn init_transactions(&mut self) -> Result<()> {
        self.producer.init_transactions(REQUEST_TIMEOUT).map_err(|e| self.failed("init transactions on", &e))
    }

    fn begin(&mut self) -> Result<()> {
        self.producer.begin_transaction().map_err(|error| self.failed("begin a transaction on", &error))
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, CommittedOffset)], group: &GroupMetadata) -> Result<()> {
        let fenced = |reason: String| Error::MemberFenced {
            group: group.group_id.clone(),
            member: group.member_id.clone(),
            reason,
        };
        let metadata = self.shared.members.lock().get(&group.member_id).cloned();
        let metadata = metadata.ok_or_else(|| fenced("its partitions went to others".into()))?;
        self.producer.send_offsets_to_transaction(&convert::offset_list(offsets)?, &metadata, REQUEST_TIMEOUT).map_err(
            |error| match self.failed("add offsets to a transaction on", &error) {
                Error::MemberFenced { reason, .. } => fenced(reason),
                other => other,
            },
        )
    }

    fn commit(&mut self) -> Result<()> {
        self.flush()?;
        self.producer.commit_transaction(REQUEST_TIMEOUT).map_err(|e| self.failed("commit on", &e))
    }

    fn abort(&mut self) -> Result<()> {
        let since = Instant::now();
        // The first call takes back what is queued; the reports of that must be heard before the abort can end.
        let aborted = loop {
            match self.producer.abort_transaction(ABORT_SLICE) {
                Err(KafkaError::Transaction(error)) if error.is_retriable() && since.elapsed() < REQUEST_TIMEOUT => {
                    self.producer.poll(Duration::ZERO);
                }
                aborted => break aborted,
            }
        };
        self.context.0.lock().failure = None;
        aborted.map_err(|error| self.failed("abort on", &error))
    }
}
