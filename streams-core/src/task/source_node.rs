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
    /// The record that was decoded last; nodes take it from here. One that nobody wanted stays until the next one comes.
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
        let key = match self.key.deserialize(record.key) {
            Ok(key) => key,
            Err(error) => return Err(DecodeError::Key(error.0)),
        };
        let value = match self.value.deserialize(record.value) {
            Ok(value) => value,
            Err(error) => return Err(DecodeError::Value(error.0)),
        };
        let head =
            self.head.insert(Record { key, value, timestamp: record.timestamp, headers: record.headers.to_headers() });
        let extractable = Extractable {
            key: &head.key,
            value: &head.value,
            timestamp: record.timestamp,
            partition_time,
            wall_clock_time,
        };
        match self.extractor.extract(&extractable) {
            Ok(timestamp) => {
                head.timestamp = timestamp;
                Ok((timestamp, head.headers.clone()))
            }
            Err(reason) => Err(DecodeError::Timestamp(reason)),
        }
    }

    #[inline]
    fn forward(&mut self, nodes: &mut [NodeCell], source: u32, task: &mut TaskContext) -> ProcessResult {
        at_node(nodes, source, task, |_, mut at| at.forward_from(&mut self.head))
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
