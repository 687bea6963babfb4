//! The entrance of a topology: bytes become a typed record, and the record gets its event time.

use std::any::Any;

use log_store::{Headers, RecordView};

use crate::{
    Record,
    processor::{
        ProcessResult, Punctuation,
        erased::{ErasedProcessor, NodeCell, Position, at_node},
    },
    serde::SharedSerde,
    task::context::TaskContext,
    time::{Extractable, TimestampExtractor},
};

/// Why a record did not become typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    /// The serde refused the key.
    Key(String),
    /// The serde refused the value.
    Value(String),
    /// The extractor refused the timestamp.
    Timestamp(String),
}

/// One source node for one input partition: holds the typed record at the head of its queue.
pub(crate) trait ErasedSource: Send {
    /// Decodes `record`, keeps it as the head, and says its event time (negative: drop it) and headers.
    fn decode(
        &mut self,
        record: &RecordView<'_>,
        partition_time: i64,
        wall_clock_time: i64,
    ) -> Result<(i64, Headers), DecodeError>;

    /// Hands the head to the children of node `source`.
    fn forward(&mut self, nodes: &mut [NodeCell], source: u32, task: &mut TaskContext) -> ProcessResult;
}

/// A source of records of `K` and `V`.
pub(crate) struct SourceNode<K, V> {
    key: SharedSerde<K>,
    value: SharedSerde<V>,
    extractor: TimestampExtractor<K, V>,
    head: Option<Record<K, V>>,
}

impl<K, V> SourceNode<K, V> {
    pub(crate) fn new(key: SharedSerde<K>, value: SharedSerde<V>, extractor: TimestampExtractor<K, V>) -> Self {
        SourceNode { key, value, extractor, head: None }
    }
}

impl<K: Clone + Send + 'static, V: Clone + Send + 'static> ErasedSource for SourceNode<K, V> {
    #[inline]
    fn decode(
        &mut self,
        record: &RecordView<'_>,
        partition_time: i64,
        wall_clock_time: i64,
    ) -> Result<(i64, Headers), DecodeError> {
        let key = self.key.deserialize(record.key).map_err(|error| DecodeError::Key(error.0))?;
        let value = self.value.deserialize(record.value).map_err(|error| DecodeError::Value(error.0))?;
        let timestamp = self
            .extractor
            .extract(&Extractable {
                key: &key,
                value: &value,
                timestamp: record.timestamp,
                partition_time,
                wall_clock_time,
            })
            .map_err(DecodeError::Timestamp)?;
        let headers = record.headers.to_headers();
        self.head = Some(Record { key, value, timestamp, headers: headers.clone() });
        Ok((timestamp, headers))
    }

    #[inline]
    fn forward(&mut self, nodes: &mut [NodeCell], source: u32, task: &mut TaskContext) -> ProcessResult {
        match self.head.take() {
            Some(record) => at_node(nodes, source, task, |_, mut at| at.forward(record)),
            None => Ok(()),
        }
    }
}

/// What stands for a source in the arena: it has a name and children, and its records come from its queues.
pub(crate) struct Entrance;

impl ErasedProcessor for Entrance {
    fn init(&mut self, _: Position<'_>) -> ProcessResult {
        Ok(())
    }

    fn process(&mut self, _: &mut dyn Any, _: Position<'_>) -> ProcessResult {
        Ok(())
    }

    fn punctuate(&mut self, _: Punctuation, _: i64, _: Position<'_>) -> ProcessResult {
        Ok(())
    }

    fn flush(&mut self, _: Position<'_>) -> ProcessResult {
        Ok(())
    }

    fn close(&mut self) {}
}
