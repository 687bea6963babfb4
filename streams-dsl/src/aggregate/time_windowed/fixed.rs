//! Aggregation in tumbling, hopping and unlimited windows.

use std::sync::Arc;

use log_store::Headers;
use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, Windowed},
};

use super::{
    TimeWindowing,
    store::{KeptWindows, Settings},
};
use crate::{
    aggregate::{fold::Fold, observed_time::ObservedTime},
    table::not_null,
};

pub(super) struct FixedWindowAggregate<K, A, F> {
    windows: TimeWindowing,
    fold: Arc<F>,
    kept: KeptWindows<K, A>,
    observed: ObservedTime,
}

impl<K: Data, A: Data, F> FixedWindowAggregate<K, A, F> {
    pub(super) fn new(store: &str, windows: TimeWindowing, settings: Settings, fold: Arc<F>) -> Self {
        FixedWindowAggregate {
            windows,
            fold,
            kept: KeptWindows::new(store, settings),
            observed: ObservedTime::new(store),
        }
    }

    fn emit_closed(
        &mut self,
        close_time: i64,
        headers: &Headers,
        ctx: &mut ProcessorContext<'_, Windowed<K>, Change<A>>,
    ) -> ProcessResult {
        let TimeWindowing::Fixed(windows) = self.windows else { return Ok(()) };
        if !self.kept.emits_on_close() || !self.kept.final_results.is_due(ctx, close_time) {
            return Ok(());
        }
        let to = close_time.saturating_sub(windows.size_ms);
        if to < 0 {
            return Ok(());
        }
        let from = match self.kept.final_results.last_close() {
            None => 0,
            Some(last_close) => {
                let before = last_close.saturating_sub(windows.size_ms).max(0);
                if windows.starts(to) == windows.starts(before) {
                    // Time has not moved beyond another window.
                    return Ok(());
                }
                before + 1
            }
        };
        self.kept.emit(ctx, from, to, close_time, headers)
    }
}

impl<K, V, A, F> Processor<K, V, Windowed<K>, Change<A>> for FixedWindowAggregate<K, A, F>
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A>,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, Windowed<K>, Change<A>>) -> ProcessResult {
        self.observed.init(ctx);
        self.kept.init(ctx)
    }

    fn process(
        &mut self,
        record: Record<K, V>,
        ctx: &mut ProcessorContext<'_, Windowed<K>, Change<A>>,
    ) -> ProcessResult {
        let Record { key, value, timestamp, headers } = record;
        if key.is_null() {
            ctx.drop_record("null key");
            return Ok(());
        }
        let close_time = self.observed.observe(timestamp) - self.windows.grace_ms();
        for window in self.windows.windows_for(timestamp) {
            if window.end <= close_time {
                ctx.drop_record("expired window");
                continue;
            }
            let (base, newest) = match self.kept.get(ctx, &key, window.start)? {
                Some(row) => (Some(row.value), timestamp.max(row.timestamp)),
                None => (self.fold.start(), timestamp),
            };
            let old = if self.kept.sends_old_values() { base.clone().and_then(not_null) } else { None };
            let new = not_null(self.fold.fold(&key, value.clone(), base));
            self.kept.put(ctx, &key, window.start, new.clone(), newest)?;
            let windowed = Windowed::new(key.clone(), window);
            self.kept.forward(ctx, windowed, Change::new(new, old), newest, &headers)?;
        }
        self.emit_closed(close_time, &headers, ctx)
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, Windowed<K>, Change<A>>) -> ProcessResult {
        self.observed.flush(ctx);
        self.kept.flush(ctx)
    }
}
