//! A producer that keeps what is sent.

use std::{collections::HashMap, sync::Arc};

use log_store::{
    Headers, Offset, RecordView, Result, TopicPartition,
    client::{CommittedOffset, GroupMetadata, PartitionHandle, Producer},
};
use parking_lot::Mutex;

/// A record as it was sent to a topic: bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducedRecord {
    /// The topic, under its full name.
    pub topic: String,
    /// The partition: always 0 in a test.
    pub partition: u32,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// Its timestamp, -1 if it has none.
    pub timestamp: i64,
    /// Its headers.
    pub headers: Headers,
}

/// What was sent and not yet taken, in order.
pub(super) type Sent = Arc<Mutex<Vec<ProducedRecord>>>;

/// Keeps records in [`Sent`]; transactions change nothing.
pub(super) struct CapturingProducer {
    sent: Sent,
    handles: HashMap<TopicPartition, PartitionHandle>,
    targets: Vec<(TopicPartition, u64)>,
}

impl CapturingProducer {
    pub(super) fn new(sent: Sent) -> Self {
        CapturingProducer { sent, handles: HashMap::new(), targets: Vec::new() }
    }
}

impl Producer for CapturingProducer {
    fn open(&mut self, to: &TopicPartition) -> Result<PartitionHandle> {
        if let Some(handle) = self.handles.get(to) {
            return Ok(*handle);
        }
        let handle = PartitionHandle(u32::try_from(self.targets.len()).expect("fewer than 4 billion partitions"));
        self.targets.push((to.clone(), 0));
        self.handles.insert(to.clone(), handle);
        Ok(handle)
    }

    fn send(&mut self, to: PartitionHandle, record: RecordView<'_>) -> Result<()> {
        let (target, count) = &mut self.targets[to.0 as usize];
        *count += 1;
        self.sent.lock().push(ProducedRecord {
            topic: target.topic.to_string(),
            partition: target.partition,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            timestamp: record.timestamp,
            headers: record.headers.to_headers(),
        });
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    fn acknowledged(&self, partition: PartitionHandle) -> Option<Offset> {
        let (_, count) = self.targets.get(partition.0 as usize)?;
        (*count > 0).then(|| Offset::new(*count))
    }

    fn init_transactions(&mut self) -> Result<()> {
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    fn send_offsets(&mut self, _: &[(TopicPartition, CommittedOffset)], _: &GroupMetadata) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    fn abort(&mut self) -> Result<()> {
        Ok(())
    }
}
