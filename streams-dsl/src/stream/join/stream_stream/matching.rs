//! One side of a join of two streams: finds the matches of a record, and remembers those that found none.

use std::{marker::PhantomData, sync::Arc};

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::Data,
    state::{KeyValueStore, TimestampedWindowStore},
};

use super::{
    outer_store::{Unmatched, UnmatchedKey},
    time_tracker::{TimeTracker, Trackers},
};
use crate::{stream::Field, window::JoinWindows};

/// A value of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sides<V1, V2> {
    Left(V1),
    Right(V2),
}

/// What one side of a join has to know.
#[derive(Clone)]
pub(super) struct Side {
    pub(super) is_left: bool,
    /// Records of this side without a match give a result.
    pub(super) is_outer: bool,
    /// How much earlier than this side's record the other's may be.
    pub(super) before_ms: i64,
    /// How much later than this side's record the other's may be.
    pub(super) after_ms: i64,
    pub(super) windows: JoinWindows,
    pub(super) other_store: Arc<str>,
    /// The store of records without a match, in left and outer joins.
    pub(super) unmatched: Option<Arc<str>>,
    pub(super) trackers: Trackers,
}

type UnmatchedStore<K, V1, V2> = KeyValueStore<UnmatchedKey<K>, Unmatched<V1, V2>>;

/// `VT` and `VO` are the values of this side and of the other.
pub(super) struct JoinSide<K, VT, VO, V1, V2, J, U, S> {
    side: Side,
    joiner: J,
    unmatched_joiner: U,
    wrap: S,
    other_store: Option<StoreHandle<TimestampedWindowStore<K, VO>>>,
    unmatched_store: Option<StoreHandle<UnmatchedStore<K, V1, V2>>>,
    tracker: Option<Arc<TimeTracker>>,
    values: PhantomData<fn(VT)>,
}

impl<K: Data, VT: Data, VO: Data, V1: Data, V2: Data, J, U, S> JoinSide<K, VT, VO, V1, V2, J, U, S> {
    pub(super) fn new(side: Side, joiner: J, unmatched_joiner: U, wrap: S) -> Self {
        JoinSide {
            side,
            joiner,
            unmatched_joiner,
            wrap,
            other_store: None,
            unmatched_store: None,
            tracker: None,
            values: PhantomData,
        }
    }

    fn tracker(&self) -> &TimeTracker {
        self.tracker.as_deref().expect("met when the processor was initialised")
    }

    /// Passes on the results of records that can find no match any more.
    fn emit_unmatched<W>(&self, record: &Record<K, VT>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult
    where
        W: Field,
        U: Fn(&K, &Sides<V1, V2>) -> W,
    {
        let Some(store) = self.unmatched_store else { return Ok(()) };
        let (tracker, grace) = (self.tracker(), self.side.windows.grace_ms);
        let stream_time = tracker.stream_time();
        // Without any unmatched record the sum wraps round, as in Java: then there is a scan, which finds nothing, but
        // which counts for the distance to the next.
        let is_open = |timestamp: i64, ahead: i64| timestamp.wrapping_add(ahead).wrapping_add(grace) >= stream_time;
        if is_open(tracker.earliest(), self.side.after_ms) || !tracker.may_scan(ctx.wall_clock_time()) {
            return Ok(());
        }
        tracker.set_earliest(i64::MAX);
        let (mut left_open, mut right_open) = (false, false);
        let mut due = Vec::new();
        for row in ctx.store(store).all()? {
            let (key, values) = row?;
            tracker.set_earliest(key.timestamp);
            if left_open && right_open {
                break;
            }
            let ahead = if key.is_left { self.side.windows.after_ms } else { self.side.windows.before_ms };
            if is_open(key.timestamp, ahead) {
                // Later rows of this side are open too; those of the other side need not be.
                *if key.is_left { &mut left_open } else { &mut right_open } = true;
                if left_open && right_open && values.len() > 1 {
                    // Kafka Streams meets the values of a row one by one, so the second of them ends the scan here.
                    break;
                }
                continue;
            }
            due.push((key, values));
        }
        for (at, values) in due {
            for value in &values {
                let result = (self.unmatched_joiner)(&at.key, value);
                ctx.forward(Record {
                    key: at.key.clone(),
                    value: result,
                    timestamp: at.timestamp,
                    headers: record.headers.clone(),
                })?;
            }
            ctx.store(store).delete(&at)?;
        }
        Ok(())
    }

    /// The matches of a record, with their times.
    fn find<W>(
        &self,
        key: &K,
        from: i64,
        to: i64,
        ctx: &mut ProcessorContext<'_, K, W>,
    ) -> ProcessResult<Vec<(i64, VO)>> {
        let store = ctx.store(self.other_store.expect("found when the processor was initialised"));
        Ok(store.fetch(key, from, to)?.map(|(timestamp, row)| (timestamp, row.value.clone())).collect())
    }

    /// A record of the other side has found a match.
    fn forget<W>(&self, key: &K, timestamp: i64, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        let Some(store) = self.unmatched_store else { return Ok(()) };
        let at = UnmatchedKey { timestamp, is_left: !self.side.is_left, key: key.clone() };
        let store = ctx.store(store);
        if store.get(&at)?.is_some() {
            store.delete(&at)?;
        }
        Ok(())
    }

    /// Remembers a record that has found no match yet.
    fn remember<W>(
        &self,
        store: StoreHandle<UnmatchedStore<K, V1, V2>>,
        record: Record<K, VT>,
        ctx: &mut ProcessorContext<'_, K, W>,
    ) -> ProcessResult
    where
        S: Fn(VT) -> Sides<V1, V2>,
    {
        let tracker = self.tracker();
        tracker.set_earliest(tracker.earliest().min(record.timestamp));
        let at = UnmatchedKey { timestamp: record.timestamp, is_left: self.side.is_left, key: record.key };
        let value = (self.wrap)(record.value);
        ctx.store(store).update(&at, |row| row.get_or_insert_default().push(value))?;
        Ok(())
    }
}

impl<K, VT, VO, V1, V2, W, J, U, S> Processor<K, VT, K, W> for JoinSide<K, VT, VO, V1, V2, J, U, S>
where
    K: Data,
    VT: Data,
    VO: Data,
    V1: Data,
    V2: Data,
    W: Field,
    J: Fn(&K, &VT, Option<&VO>) -> W + Send,
    U: Fn(&K, &Sides<V1, V2>) -> W + Send,
    S: Fn(VT) -> Sides<V1, V2> + Send,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.other_store = Some(ctx.store_handle(&self.side.other_store)?);
        self.unmatched_store = match &self.side.unmatched {
            Some(name) => Some(ctx.store_handle(name)?),
            None => None,
        };
        let tracker = self.side.trackers.meet(ctx.task_id(), self.side.is_left);
        if let Some(store) = self.unmatched_store
            && let Some(first) = ctx.store(store).all()?.next()
        {
            // What was waiting when the task ran last is still waiting.
            tracker.set_earliest(first?.0.timestamp);
        }
        self.tracker = Some(tracker);
        Ok(())
    }

    fn process(&mut self, record: Record<K, VT>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        let at = record.timestamp;
        self.tracker().advance(at);
        if self.side.is_outer && record.key.is_null() && !record.value.is_null() {
            let value = (self.joiner)(&record.key, &record.value, None);
            return ctx.forward(record.with_value(value));
        }
        if record.key.is_null() || record.value.is_null() {
            ctx.drop_record("null key or value");
            return Ok(());
        }
        if at == self.tracker().stream_time() {
            self.emit_unmatched(&record, ctx)?;
        }
        let from = at.saturating_sub(self.side.before_ms).max(0);
        let to = at.saturating_add(self.side.after_ms).max(0);
        let matches = self.find(&record.key, from, to, ctx)?;
        if matches.is_empty() && self.side.is_outer {
            return match self.unmatched_store {
                // Its window may have ended already; the grace period is for others to find it.
                Some(store) if to >= self.tracker().stream_time() => self.remember(store, record, ctx),
                _ => {
                    let value = (self.joiner)(&record.key, &record.value, None);
                    ctx.forward(record.with_value(value))
                }
            };
        }
        for (other_at, other) in matches {
            self.forget(&record.key, other_at, ctx)?;
            let value = (self.joiner)(&record.key, &record.value, Some(&other));
            let Record { key, headers, .. } = &record;
            let timestamp = at.max(other_at);
            ctx.forward(Record { key: key.clone(), value, timestamp, headers: headers.clone() })?;
        }
        Ok(())
    }
}
