//! Stream records that wait for late updates of a versioned table.
//!
//! The buffer is a store ordered by time, with a changelog in Kafka Streams' bytes: a record is joined once stream time
//! has passed its own by the grace period.

mod rows;
mod store;

use std::sync::Arc;

use rows::{BufferedKey, BufferedRow};
pub(super) use store::BufferSpec;
use store::JoinBuffer;
use streams_core::{
    Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::{Data, Encoded, SharedSerde},
};

use super::lookup::LookupProcessor;
use crate::{buffer::RecordContext, stream::Field};

/// Holds stream records back, then joins them as of their time.
pub(super) struct BufferedLookup<K, V, KT, VT, S, J> {
    lookup: LookupProcessor<KT, VT, S, J>,
    name: Arc<str>,
    key_serde: SharedSerde<K>,
    grace_ms: i64,
    store: Option<StoreHandle<JoinBuffer<V>>>,
    /// Greatest timestamp that was ever buffered.
    stream_time: i64,
    /// No buffered record is earlier.
    earliest: i64,
    sequence: u32,
}

impl<K: Data, V: Data, KT: Data, VT: Data, S, J> BufferedLookup<K, V, KT, VT, S, J> {
    pub(super) fn new(lookup: LookupProcessor<KT, VT, S, J>, spec: &BufferSpec<K, V>) -> Self {
        BufferedLookup {
            lookup,
            name: spec.name().into(),
            key_serde: spec.key_serde(),
            grace_ms: spec.grace_ms(),
            store: None,
            stream_time: -1,
            earliest: i64::MAX,
            sequence: 0,
        }
    }

    fn store<'a, W>(&self, ctx: &'a mut ProcessorContext<'_, K, W>) -> &'a mut JoinBuffer<V> {
        ctx.store(self.store.expect("found when the processor was initialised"))
    }

    fn put<W>(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        if record.key.is_null() {
            return Err("a record with a null key cannot be buffered for a join with a grace period".into());
        }
        let mut key = Vec::new();
        if self.key_serde.serialize(&record.key, &mut key)? == Encoded::Null {
            return Err("a key that is written as null cannot be buffered".into());
        }
        self.sequence = (self.sequence + 1) & 0x7fff_ffff;
        let at = BufferedKey { timestamp: record.timestamp, key, sequence: self.sequence };
        let row = BufferedRow { context: RecordContext::current(ctx), value: record.value };
        self.store(ctx).rows.put(&at, row)?;
        self.stream_time = self.stream_time.max(at.timestamp);
        self.earliest = self.earliest.min(at.timestamp);
        Ok(())
    }

    /// Joins what has waited long enough.
    fn evict<W>(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult
    where
        W: Field,
        S: Fn(&K, &V) -> KT,
        J: Fn(&K, &V, Option<&VT>) -> W,
    {
        let due = self.stream_time - self.grace_ms;
        if self.earliest > due {
            return Ok(());
        }
        let mut rows = Vec::new();
        self.earliest = i64::MAX;
        for row in self.store(ctx).rows.all()? {
            let (key, row) = row?;
            if key.timestamp > due {
                self.earliest = key.timestamp;
                break;
            }
            rows.push((key, row));
        }
        for (at, BufferedRow { context, value }) in rows {
            let key = self.key_serde.deserialize(Some(&at.key))?;
            let RecordContext { timestamp, headers, metadata } = context;
            let record = Record { key, value, timestamp, headers };
            if let Some(value) = self.lookup.join(&record, ctx)? {
                ctx.forward_buffered(metadata.as_ref(), record.with_value(value))?;
            }
            self.store(ctx).rows.delete(&at)?;
        }
        Ok(())
    }
}

impl<K, V, W, KT, VT, S, J> Processor<K, V, K, W> for BufferedLookup<K, V, KT, VT, S, J>
where
    K: Data,
    V: Data,
    W: Field,
    KT: Data,
    VT: Data,
    S: Fn(&K, &V) -> KT + Send + Sync,
    J: Fn(&K, &V, Option<&VT>) -> W + Send + Sync,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.lookup.init(ctx)?;
        self.store = Some(ctx.store_handle(&self.name)?);
        if let Some((first, last)) = self.store(ctx).span()? {
            self.earliest = first;
            self.stream_time = last;
        }
        Ok(())
    }

    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        if self.lookup.drops(&record, ctx) {
            return Ok(());
        }
        if !record.key.is_null() && self.stream_time - self.grace_ms > record.timestamp {
            // Its time is over already: it does not wait.
            return match self.lookup.join(&record, ctx)? {
                Some(value) => ctx.forward(record.with_value(value)),
                None => Ok(()),
            };
        }
        self.put(record, ctx)?;
        self.evict(ctx)
    }
}
