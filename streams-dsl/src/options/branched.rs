//! `Branched`: what becomes of one branch of a split.

use crate::stream::KStream;

/// Makes of a branch what is kept of it.
type ChainFunction<K, V> = Box<dyn FnOnce(KStream<K, V>) -> Option<KStream<K, V>>>;

/// What to do with a branch.
pub(crate) enum Chain<K, V> {
    /// Keep it under its name.
    Keep,
    /// Keep what the function makes of it, if anything.
    Function(ChainFunction<K, V>),
    /// Hand it over, and keep nothing.
    Consumer(Box<dyn FnOnce(KStream<K, V>)>),
}

/// A branch of a split: its name, and what becomes of it.
pub struct Branched<K, V> {
    pub(crate) name: Option<String>,
    pub(crate) chain: Chain<K, V>,
}

impl<K, V> Branched<K, V> {
    /// The branch itself goes into the resulting map.
    #[must_use]
    pub fn new() -> Self {
        Branched { name: None, chain: Chain::Keep }
    }

    /// What `chain` makes of the branch goes into the resulting map; `None` keeps it out.
    pub fn with_function(chain: impl FnOnce(KStream<K, V>) -> Option<KStream<K, V>> + 'static) -> Self {
        Branched { name: None, chain: Chain::Function(Box::new(chain)) }
    }

    /// `chain` gets the branch; nothing goes into the resulting map.
    pub fn with_consumer(chain: impl FnOnce(KStream<K, V>) + 'static) -> Self {
        Branched { name: None, chain: Chain::Consumer(Box::new(chain)) }
    }

    /// Names the branch: its key in the resulting map is the split's name followed by this one. Default: its number,
    /// from 1; 0 for the default branch.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

impl<K, V> Default for Branched<K, V> {
    fn default() -> Self {
        Branched::new()
    }
}
