//! A producer of the embedded log: one open batch for each partition, appended when it is full.

use std::{collections::HashMap, sync::Arc};

use super::{Durability, log::Inner, partition::Partition};
use crate::{
    Error, Offset, RecordView, Result, TopicPartition,
    batch::{BatchBuilder, Compression, ProducerStamp},
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer, ProducerConfig},
};

pub(crate) struct EmbeddedProducer {
    log: Arc<Inner>,
    config: ProducerConfig,
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
}

impl EmbeddedProducer {
    pub(crate) fn new(log: Arc<Inner>, config: ProducerConfig) -> Self {
        EmbeddedProducer { log, config, targets: Vec::new(), handles: HashMap::new() }
    }

    fn append(&mut self, target: usize) -> Result<()> {
        let target = &mut self.targets[target];
        let batch = target.builder.finish(ProducerStamp::NONE, target.compression);
        let appended = target.partition.append(batch)?;
        target.acknowledged = Some(appended.next);
        if appended.should_wait {
            self.log.sync()?;
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

    fn no_transactions() -> Error {
        Error::Invalid("the producer has no transactional id: set transactional_id".to_owned())
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
        });
        self.handles.insert(to.clone(), handle);
        Ok(handle)
    }

    #[inline]
    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
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
        match self.log.shared.config.durability {
            Durability::Fsync => self.log.sync(),
            Durability::Interval(_) | Durability::Never => self.log.shared.check(),
        }
    }

    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        self.targets.get(partition.0 as usize)?.acknowledged
    }

    fn init_transactions(&mut self) -> Result<()> {
        Err(Self::no_transactions())
    }

    fn begin(&mut self) -> Result<()> {
        Err(Self::no_transactions())
    }

    fn send_offsets(&mut self, _offsets: &[(TopicPartition, CommittedOffset)], _group: &GroupMetadata) -> Result<()> {
        Err(Self::no_transactions())
    }

    fn commit(&mut self) -> Result<()> {
        Err(Self::no_transactions())
    }

    fn abort(&mut self) -> Result<()> {
        Err(Self::no_transactions())
    }
}
