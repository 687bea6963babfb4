//! A task: one sub-topology on one partition number.

mod commit_metadata;
pub(crate) mod context;
mod dead_letter;
mod id;
mod java_heap;
mod partition_group;
mod punctuation_queue;
pub(crate) mod record_collector;
mod record_queue;
pub(crate) mod sink_node;
pub(crate) mod source_node;
pub(crate) mod stream_task;
#[cfg(test)]
mod tests;

pub use id::TaskId;
