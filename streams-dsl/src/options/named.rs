//! `Named`: a name for an operator.

use crate::graph::naming::Given;

/// Names an operator's node. Without one it gets Kafka Streams' generated name.
///
/// A name holds ASCII letters, digits, `.`, `_` and `-`, at most 249 of them. Naming an operator does not change the
/// generated names of the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named(String);

impl Named {
    /// The name.
    pub fn new(name: impl Into<String>) -> Self {
        Named(name.into())
    }

    pub(crate) fn given(self) -> Given {
        Given(Some(self.0))
    }
}
