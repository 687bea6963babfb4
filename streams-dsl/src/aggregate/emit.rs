//! Results once a window has closed: when to look, and what has been passed on already.

use std::sync::Arc;

use streams_core::processor::ProcessorContext;

/// Time before the first scan.
const NEVER: i64 = -1;

/// Remembers up to which time closed windows were passed on. Survives a restart beside the committed offsets.
pub(super) struct FinalResults {
    store: Arc<str>,
    /// Least wall-clock time between two scans.
    interval_ms: i64,
    next_scan: i64,
    /// Up to which close time windows were passed on.
    last_close: i64,
}

impl FinalResults {
    pub(super) fn new(store: &str, interval_ms: i64) -> Self {
        FinalResults { store: store.into(), interval_ms, next_scan: 0, last_close: NEVER }
    }

    pub(super) fn init<K, V>(&mut self, ctx: &mut ProcessorContext<'_, K, V>) {
        if let Some(last_close) = ctx.processor_metadata(&self.store) {
            self.last_close = last_close;
        }
    }

    /// True if it is time to look for windows that `close_time` closed.
    pub(super) fn is_due<K, V>(&mut self, ctx: &ProcessorContext<'_, K, V>, close_time: i64) -> bool {
        let now = ctx.wall_clock_time();
        if now < self.next_scan {
            return false;
        }
        self.next_scan = now.saturating_add(self.interval_ms);
        self.last_close == NEVER || self.last_close < close_time
    }

    /// Close time of the last scan that found something to look at; `None` before the first.
    pub(super) fn last_close(&self) -> Option<i64> {
        (self.last_close != NEVER).then_some(self.last_close)
    }

    /// Windows up to `close_time` were passed on.
    pub(super) fn advance<K, V>(&mut self, ctx: &mut ProcessorContext<'_, K, V>, close_time: i64) {
        self.last_close = close_time;
        ctx.set_processor_metadata(&self.store, close_time);
    }
}
