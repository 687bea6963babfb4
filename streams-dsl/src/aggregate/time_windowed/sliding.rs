//! Aggregation in sliding windows.
//!
//! A record at `t` belongs to every existing window that contains `t`. It may also bring new windows: the one that ends
//! with it, `[t - d, t]`; the one that begins right after it, `[t + 1, t + 1 + d]`, if there are later records; and the
//! one right after the record before it, if nobody made that yet. New windows take over the aggregate of a window that
//! holds exactly the other records they contain.

use std::sync::Arc;

use log_store::Headers;
use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext},
    serde::{Data, Windowed},
    state::ValueAndTimestamp,
};

use super::store::{KeptWindows, Row, Settings, window_of_size};
use crate::{
    aggregate::{fold::Fold, observed_time::ObservedTime},
    table::not_null,
    window::SlidingWindows,
};

pub(super) struct SlidingWindowAggregate<K, A, F> {
    windows: SlidingWindows,
    fold: Arc<F>,
    kept: KeptWindows<K, A>,
    observed: ObservedTime,
}

type Context<'a, K, A> = ProcessorContext<'a, Windowed<K>, Change<A>>;

/// The record at hand, and the time up to which windows are closed.
struct Arrival<'a, K, V> {
    key: &'a K,
    value: &'a V,
    timestamp: i64,
    headers: &'a Headers,
    close_time: i64,
}

/// What the existing windows around a record tell about the new ones it needs.
struct Found<A> {
    /// Starts of the windows seen.
    starts: Vec<i64>,
    /// Aggregate of the records in reach before this one.
    left: Option<Row<A>>,
    /// Aggregate of a window with later records.
    right: Option<Row<A>>,
    left_exists: bool,
    right_exists: bool,
    /// Time of the record before this one.
    previous: Option<i64>,
}

impl<K: Data, A: Data, F> SlidingWindowAggregate<K, A, F> {
    pub(super) fn new(store: &str, windows: SlidingWindows, settings: Settings, fold: Arc<F>) -> Self {
        SlidingWindowAggregate {
            windows,
            fold,
            kept: KeptWindows::new(store, settings),
            observed: ObservedTime::new(store),
        }
    }

    /// Updates the windows around the record, the latest first, and makes new ones.
    fn process_reverse<V: Data>(&self, arrival: &Arrival<'_, K, V>, ctx: &mut Context<'_, K, A>) -> ProcessResult
    where
        F: Fold<K, V, A>,
    {
        let (at, difference) = (arrival.timestamp, self.windows.difference_ms);
        let mut found = Found::none();
        let from = at.saturating_sub(difference.saturating_mul(2)).max(0);
        let windows = self.kept.fetch(ctx, arrival.key, from, at + 1)?;
        for (start, row) in windows.into_iter().rev() {
            found.starts.push(start);
            let end = start.saturating_add(difference);
            let newest = row.timestamp;
            if start == at + 1 {
                found.right_exists = true;
            } else if end > at {
                if found.right.is_none() {
                    found.right = Some(row.clone());
                }
                self.update(start, Some(row), arrival, ctx)?;
            } else if end == at {
                found.left_exists = true;
                self.update(start, Some(row), arrival, ctx)?;
                if newest >= at {
                    // Another record at the same time has made all windows already.
                    return Ok(());
                }
                found.previous = Some(newest);
            } else {
                found.left = Some(row);
                found.previous = Some(newest);
                break;
            }
        }
        self.create(found, arrival, ctx)
    }

    fn create<V: Data>(
        &self,
        found: Found<A>,
        arrival: &Arrival<'_, K, V>,
        ctx: &mut Context<'_, K, A>,
    ) -> ProcessResult
    where
        F: Fold<K, V, A>,
    {
        let (at, difference) = (arrival.timestamp, self.windows.difference_ms);
        if let Some(previous) = found.previous
            && !found.starts.contains(&(previous + 1))
            && (previous + 1).saturating_add(difference) >= at
        {
            self.update(previous + 1, self.fresh(at), arrival, ctx)?;
        }
        if !found.left_exists {
            let holds_previous = found.previous.is_some_and(|previous| at - difference <= previous);
            let row = match found.left {
                Some(left) if holds_previous => Some(ValueAndTimestamp::new(left.value, at)),
                _ => self.fresh(at),
            };
            self.update(at - difference, row, arrival, ctx)?;
        }
        self.create_right(found.right, found.right_exists, arrival, ctx)
    }

    /// The window right after the record, if there are later records for it and nobody made it yet.
    fn create_right<V: Data>(
        &self,
        right: Option<Row<A>>,
        exists: bool,
        arrival: &Arrival<'_, K, V>,
        ctx: &mut Context<'_, K, A>,
    ) -> ProcessResult {
        let Some(row) = right.filter(|row| !exists && row.timestamp > arrival.timestamp) else { return Ok(()) };
        let window = window_of_size(arrival.timestamp + 1, self.windows.difference_ms)?;
        self.kept.put(ctx, arrival.key, window.start, Some(row.value.clone()), row.timestamp)?;
        let key = Windowed::new(arrival.key.clone(), window);
        self.kept.forward(ctx, key, Change::new(Some(row.value), None), row.timestamp, arrival.headers)
    }

    /// A record so early that the window ending with it would begin before time zero: it shares the window `[0, d]`
    /// with all others of that kind.
    fn process_early<V: Data>(&self, arrival: &Arrival<'_, K, V>, ctx: &mut Context<'_, K, A>) -> ProcessResult
    where
        F: Fold<K, V, A>,
    {
        let at = arrival.timestamp;
        let mut found = Found::none();
        let mut combined: Option<Row<A>> = None;
        for (start, row) in self.kept.fetch(ctx, arrival.key, 0, at + 1)? {
            found.starts.push(start);
            if start == 0 {
                if row.timestamp < at {
                    found.previous = Some(row.timestamp);
                }
                combined = Some(row);
            } else if start <= at {
                found.right = Some(row.clone());
                self.update(start, Some(row), arrival, ctx)?;
            } else {
                found.right_exists = true;
            }
        }
        if found.right.is_none() {
            // Without a window between them, the shared window holds exactly the later records.
            found.right = combined.clone().filter(|row| row.timestamp > at);
        }
        self.create_right(found.right, found.right_exists, arrival, ctx)?;
        if let Some(previous) = found.previous
            && !found.starts.contains(&(previous + 1))
        {
            self.update(previous + 1, self.fresh(at), arrival, ctx)?;
        }
        let combined = combined.or_else(|| self.fresh(at));
        self.update(0, combined, arrival, ctx)
    }

    /// A window with nothing in it yet.
    fn fresh<V: Data>(&self, timestamp: i64) -> Option<Row<A>>
    where
        F: Fold<K, V, A>,
    {
        self.fold.start().map(|value| ValueAndTimestamp::new(value, timestamp))
    }

    /// Adds the record to the window from `start`, which holds `row` so far, unless the window is closed.
    fn update<V: Data>(
        &self,
        start: i64,
        row: Option<Row<A>>,
        arrival: &Arrival<'_, K, V>,
        ctx: &mut Context<'_, K, A>,
    ) -> ProcessResult
    where
        F: Fold<K, V, A>,
    {
        let window = window_of_size(start, self.windows.difference_ms)?;
        if window.end < arrival.close_time {
            ctx.drop_record("expired window");
            return Ok(());
        }
        let (base, newest) = match row {
            Some(row) if !row.value.is_null() => (Some(row.value), arrival.timestamp.max(row.timestamp)),
            row => (row.map(|row| row.value), arrival.timestamp),
        };
        let old = if self.kept.sends_old_values() { base.clone().and_then(not_null) } else { None };
        let new = not_null(self.fold.fold(arrival.key, arrival.value.clone(), base));
        self.kept.put(ctx, arrival.key, start, new.clone(), newest)?;
        let key = Windowed::new(arrival.key.clone(), window);
        self.kept.forward(ctx, key, Change::new(new, old), newest, arrival.headers)
    }

    fn emit_closed(&mut self, close_time: i64, headers: &Headers, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        if !self.kept.emits_on_close() || !self.kept.final_results.is_due(ctx, close_time) {
            return Ok(());
        }
        let difference = self.windows.difference_ms;
        let to = close_time.saturating_sub(difference).saturating_sub(1);
        if to < 0 {
            return Ok(());
        }
        let last_close = self.kept.final_results.last_close();
        let from = last_close.map_or(0, |last_close| last_close.saturating_sub(difference).max(0));
        self.kept.emit(ctx, from, to, close_time, headers)
    }
}

impl<A> Found<A> {
    fn none() -> Self {
        Found { starts: Vec::new(), left: None, right: None, left_exists: false, right_exists: false, previous: None }
    }
}

impl<K, V, A, F> Processor<K, V, Windowed<K>, Change<A>> for SlidingWindowAggregate<K, A, F>
where
    K: Data,
    V: Data,
    A: Data,
    F: Fold<K, V, A>,
{
    fn init(&mut self, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        self.observed.init(ctx);
        self.kept.init(ctx)
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        if record.key.is_null() || record.value.is_null() {
            ctx.drop_record("null key or value");
            return Ok(());
        }
        let at = record.timestamp;
        let close_time = self.observed.observe(at) - self.windows.grace_ms;
        if at.saturating_add(self.windows.difference_ms) < close_time {
            ctx.drop_record("expired window");
            return Ok(());
        }
        let Record { key, value, headers, .. } = &record;
        let arrival = Arrival { key, value, timestamp: at, headers, close_time };
        if at < self.windows.difference_ms {
            // As in Kafka Streams, such a record does not look for closed windows.
            return self.process_early(&arrival, ctx);
        }
        self.process_reverse(&arrival, ctx)?;
        self.emit_closed(close_time, &record.headers, ctx)
    }

    fn flush(&mut self, ctx: &mut Context<'_, K, A>) -> ProcessResult {
        self.observed.flush(ctx);
        self.kept.flush(ctx)
    }
}
