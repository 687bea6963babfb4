//! A stream joined with itself, from one store.

use std::{any::Any, marker::PhantomData, sync::Arc};

use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::Data,
    state::TimestampedWindowStore,
};

use crate::{stream::Field, window::JoinWindows};

/// `V1` and `V2` are one type: both sides are the same stream.
pub(super) struct SelfJoin<K, V1, V2, J> {
    name: Arc<str>,
    windows: JoinWindows,
    joiner: J,
    store: Option<StoreHandle<TimestampedWindowStore<K, V1>>>,
    stream_time: i64,
    values: PhantomData<fn(V2)>,
}

impl<K: Data, V1: Data, V2: Data, J> SelfJoin<K, V1, V2, J> {
    pub(super) fn new(name: &Arc<str>, windows: JoinWindows, joiner: J) -> Self {
        SelfJoin { name: Arc::clone(name), windows, joiner, store: None, stream_time: -1, values: PhantomData }
    }

    fn join<W>(&self, key: &K, this: &V1, other: &V1) -> W
    where
        J: Fn(&K, &V1, &V2) -> W,
    {
        let other: &dyn Any = other;
        (self.joiner)(key, this, other.downcast_ref().expect("both sides are one stream"))
    }

    fn find<W>(
        &self,
        record: &Record<K, V1>,
        before_ms: i64,
        after_ms: i64,
        ctx: &mut ProcessorContext<'_, K, W>,
    ) -> ProcessResult<Vec<(i64, V1)>> {
        let from = record.timestamp.saturating_sub(before_ms).max(0);
        let to = record.timestamp.saturating_add(after_ms).max(0);
        let store = ctx.store(self.store.expect("found when the processor was initialised"));
        Ok(store.fetch(&record.key, from, to)?.map(|(at, row)| (at, row.value.clone())).collect())
    }
}

impl<K, V1, V2, W, J> Processor<K, V1, K, W> for SelfJoin<K, V1, V2, J>
where
    K: Data,
    V1: Data,
    V2: Data,
    W: Field,
    J: Fn(&K, &V1, &V2) -> W + Send,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn process(&mut self, record: Record<K, V1>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        if record.key.is_null() || record.value.is_null() {
            ctx.drop_record("null key or value");
            return Ok(());
        }
        let at = record.timestamp;
        let result = |value: W, timestamp: i64| Record {
            key: record.key.clone(),
            value,
            timestamp,
            headers: record.headers.clone(),
        };
        let mut with_itself = Some(result(self.join(&record.key, &record.value, &record.value), at));
        self.stream_time = self.stream_time.max(at);
        if at <= self.stream_time - self.windows.retention_ms() + 1 {
            // Too late even for itself.
            with_itself = None;
        }
        let (before, after) = (self.windows.before_ms, self.windows.after_ms);
        for (other_at, other) in self.find(&record, before, after, ctx)? {
            ctx.forward(result(self.join(&record.key, &record.value, &other), at.max(other_at)))?;
        }
        // Results come in the order of an ordinary join, which is that of time.
        for (other_at, other) in self.find(&record, after, before, ctx)? {
            if at < other_at
                && let Some(itself) = with_itself.take()
            {
                ctx.forward(itself)?;
            }
            ctx.forward(result(self.join(&record.key, &other, &record.value), at.max(other_at)))?;
        }
        match with_itself {
            Some(itself) => ctx.forward(itself),
            None => Ok(()),
        }
    }
}
