//! A task: one sub-topology on one partition number.

pub(crate) mod context;
mod id;

pub use id::TaskId;
