//! The greatest timestamp that a windowed aggregation has seen: what is late is decided by it.
//!
//! It survives a restart beside the committed offsets, so that a record that came too late before a restart comes too late
//! after it as well. (In Kafka Streams it begins anew, and the results of late records depend on when a task moved.)

use std::sync::Arc;

use streams_core::processor::ProcessorContext;

/// See the module.
pub(super) struct ObservedTime {
    /// Beside the committed offsets it has this name.
    name: Arc<str>,
    time: i64,
}

impl ObservedTime {
    /// For the aggregation with this store.
    pub(super) fn new(store: &str) -> Self {
        ObservedTime { name: format!("{store}-observed-time").into(), time: -1 }
    }

    pub(super) fn init<K, V>(&mut self, ctx: &ProcessorContext<'_, K, V>) {
        self.time = ctx.processor_metadata(&self.name).unwrap_or(self.time);
    }

    /// Takes in a timestamp; the greatest so far.
    #[inline]
    pub(super) fn observe(&mut self, timestamp: i64) -> i64 {
        self.time = self.time.max(timestamp);
        self.time
    }

    /// A commit is about to be made.
    pub(super) fn flush<K, V>(&self, ctx: &mut ProcessorContext<'_, K, V>) {
        if self.time >= 0 {
            ctx.set_processor_metadata(&self.name, self.time);
        }
    }
}
