//! `Processed`: a processor of your own, its name and its stores.

use super::Named;

/// How a processor of your own is built into a stream.
#[derive(Clone, Debug, Default)]
pub struct Processed {
    pub(crate) name: Option<String>,
    pub(crate) stores: Vec<String>,
}

impl Processed {
    /// The defaults: generated name, no stores but those that the supplier brings.
    #[must_use]
    pub fn new() -> Self {
        Processed::default()
    }

    /// Names the node.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Connects the processor to these stores, which were added with
    /// [`StreamsBuilder::add_state_store`](crate::StreamsBuilder::add_state_store) or belong to another operator.
    #[must_use]
    pub fn with_state_stores<S: Into<String>>(mut self, stores: impl IntoIterator<Item = S>) -> Self {
        self.stores.extend(stores.into_iter().map(Into::into));
        self
    }
}

impl From<Named> for Processed {
    fn from(named: Named) -> Self {
        Processed { name: named.given().0, stores: Vec::new() }
    }
}
