//! Names of tasks.

use std::fmt;

/// Sub-topology and partition of a task, printed as Kafka prints it: `0_3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// Number of the sub-topology, in the order in which the topology was built.
    pub subtopology: u32,
    /// Number of the partition.
    pub partition: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.subtopology, self.partition)
    }
}
