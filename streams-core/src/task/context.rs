//! All that is around the nodes of one task: stores, output, time, the record's origin.

use std::time::Duration;

use log_store::Headers;

use super::TaskId;
use crate::{
    error::BoxError,
    processor::{ProcessResult, Punctuation, PunctuationType, RecordMetadata},
    state::StateStore,
};

/// The surroundings of a task's nodes.
pub(crate) struct TaskContext {
    id: TaskId,
    node: u32,
}

impl TaskContext {
    /// Marks `node` as the one that runs now.
    #[inline]
    pub(crate) fn enter(&mut self, node: u32) {
        self.node = node;
    }

    /// The node that runs now.
    #[inline]
    pub(crate) fn node(&self) -> u32 {
        self.node
    }

    /// The current node failed: either the error goes up, or the processing exception handler lets the task go on at
    /// `came_from`, without the record.
    pub(crate) fn on_processing_error(&mut self, _error: BoxError, _came_from: u32) -> ProcessResult {
        todo!()
    }

    pub(crate) fn connected_store(&self, _node: u32, _name: &str) -> ProcessResult<u32> {
        todo!()
    }

    pub(crate) fn store_of<S: StateStore>(&mut self, _index: u32) -> Option<&mut S> {
        todo!()
    }

    pub(crate) fn schedule(&mut self, _interval: Duration, _kind: PunctuationType) -> Punctuation {
        todo!()
    }

    pub(crate) fn cancel(&mut self, _punctuation: Punctuation) {
        todo!()
    }

    pub(crate) fn request_commit(&mut self) {
        todo!()
    }

    pub(crate) fn record_metadata(&self) -> Option<RecordMetadata> {
        todo!()
    }

    pub(crate) fn offset(&self) -> i64 {
        todo!()
    }

    pub(crate) fn timestamp(&self) -> i64 {
        todo!()
    }

    pub(crate) fn headers(&self) -> Headers {
        todo!()
    }

    pub(crate) fn stream_time(&self) -> i64 {
        todo!()
    }

    pub(crate) fn wall_clock_time(&self) -> i64 {
        todo!()
    }

    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    pub(crate) fn application_id(&self) -> &str {
        todo!()
    }

    pub(crate) fn drop_record(&mut self, _reason: &'static str) {
        todo!()
    }
}
