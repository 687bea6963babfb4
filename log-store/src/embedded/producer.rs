//! A producer of the embedded log: one open batch for each partition, appended when it is full.

use std::{collections::HashMap, sync::Arc};

use super::{Durability, log::Inner, partition::Partition, producer_state::advance, transaction::Session};
use crate::{
    Error, Offset, RecordView, Result, TopicPartition,
    batch::{BatchBuilder, Compression, MarkerKind, ProducerStamp},
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer, ProducerConfig},
};

pub(crate) struct EmbeddedProducer {
    log: Arc<Inner>,
    config: ProducerConfig,
    session: Session,
    targets: Vec<Target>,
    handles: HashMap<TopicPartition, PartitionHandle>,
}

struct Target {
    partition: Arc<Partition>,
    builder: BatchBuilder,
    compression: Compression,
    /// Bytes at which the open batch is appended.
    full_bytes: usize,
    /// The topic's limit of a batch, and so of a record.
    bytes_max: usize,
    acknowledged: Option<Offset>,
    /// Sequence number of the next record, under the producer's identity.
    sequence: i32,
    /// Part of the open transaction.
    is_added: bool,
}

impl EmbeddedProducer {
    pub(crate) fn new(log: Arc<Inner>, config: ProducerConfig) -> Self {
        let session = Session::new(Arc::clone(&log), &config);
        EmbeddedProducer { log, config, session, targets: Vec::new(), handles: HashMap::new() }
    }

    /// Appends the open batch of a target.
    fn append(&mut self, target: usize) -> Result<()> {
        self.try_append(target).inspect_err(|_| self.session.fail())
    }

    fn try_append(&mut self, target: usize) -> Result<()> {
        let target = &mut self.targets[target];
        let count = target.builder.count();
        let is_transactional = self.session.is_inside();
        if is_transactional && !target.is_added {
            self.session.add(&target.partition.id)?;
            target.is_added = true;
        }
        let stamp = self.session.identity()?.map_or(ProducerStamp::NONE, |identity| ProducerStamp {
            id: identity.producer_id,
            epoch: identity.epoch,
            sequence: target.sequence,
            is_transactional,
        });
        let batch = target.builder.finish(stamp, target.compression);
        let appended = target.partition.append(batch)?;
        target.sequence = advance(target.sequence, count);
        target.acknowledged = Some(appended.next);
        if appended.should_wait {
            self.log.sync()?;
        }
        Ok(())
    }

    fn end(&mut self, kind: MarkerKind) -> Result<()> {
        self.session.end(kind)?;
        for target in &mut self.targets {
            target.sequence = 0;
            target.is_added = false;
        }
        Ok(())
    }

    fn append_all(&mut self) -> Result<()> {
        for target in 0..self.targets.len() {
            if !self.targets[target].builder.is_empty() {
                self.append(target)?;
            }
        }
        Ok(())
    }
}

impl Producer for EmbeddedProducer {
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle> {
        if let Some(handle) = self.handles.get(to) {
            return Ok(*handle);
        }
        let partition = self.log.partition(to)?;
        let settings = partition.config();
        let bytes_max = settings.message_bytes_max as usize;
        let handle = PartitionHandle(u32::try_from(self.targets.len()).expect("fewer than 4 billion partitions"));
        self.targets.push(Target {
            compression: settings.compression.unwrap_or(self.config.compression),
            partition,
            builder: BatchBuilder::new(),
            full_bytes: self.config.batch_bytes.min(bytes_max),
            bytes_max,
            acknowledged: None,
            sequence: 0,
            is_added: false,
        });
        self.handles.insert(to.clone(), handle);
        Ok(handle)
    }

    #[inline]
    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
        if !self.session.is_open() {
            return Err(self.session.refusal());
        }
        let index = to.0 as usize;
        let target = &mut self.targets[index];
        let mut len = target.builder.len_bytes_with(&record);
        if len > target.full_bytes {
            if !target.builder.is_empty() {
                self.append(index)?;
                len = self.targets[index].builder.len_bytes_with(&record);
            }
            let target = &self.targets[index];
            if len > target.bytes_max {
                return Err(Error::Invalid(format!(
                    "{}: record of up to {len} bytes with its batch is larger than max.message.bytes, {}",
                    target.partition.id, target.bytes_max
                )));
            }
        }
        self.targets[index].builder.append(record)
    }

    fn flush(&mut self) -> Result<()> {
        self.append_all()?;
        if self.session.is_inside() {
            return self.log.shared.check();
        }
        match self.log.shared.config.durability {
            Durability::Fsync => self.log.sync(),
            Durability::Interval(_) | Durability::Never => self.log.shared.check(),
        }
    }

    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        self.targets.get(partition.0 as usize)?.acknowledged
    }

    fn init_transactions(&mut self) -> Result<()> {
        self.session.init()?;
        for target in &mut self.targets {
            target.builder.clear();
            target.sequence = 0;
            target.is_added = false;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        self.session.begin()
    }

    fn send_offsets(&mut self, offsets: &[(TopicPartition, CommittedOffset)], group: &GroupMetadata) -> Result<()> {
        self.session.send_offsets(offsets, group)
    }

    fn commit(&mut self) -> Result<()> {
        self.append_all()?;
        self.end(MarkerKind::Commit)
    }

    fn abort(&mut self) -> Result<()> {
        for target in &mut self.targets {
            target.builder.clear();
        }
        self.end(MarkerKind::Abort)
    }
}

impl Drop for EmbeddedProducer {
    /// Nobody can end its transaction any more.
    fn drop(&mut self) {
        if self.session.is_inside()
            && let Err(error) = self.abort()
        {
            tracing::debug!(%error, "the open transaction of a producer that is gone was not aborted by it");
        }
    }
}
