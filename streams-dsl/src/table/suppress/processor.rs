//! Holds updates back, and lets them go in time.

use std::sync::Arc;

use streams_core::{
    Change, Record,
    processor::{ProcessResult, Processor, ProcessorContext, StoreHandle},
    serde::Data,
};

use super::{BufferTime, buffer::SuppressBuffer, row::Row};
use crate::{buffer::RecordContext, options::BufferFull};

/// How long and how much a suppression holds back.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) wait_ms: i64,
    pub(super) records_max: Option<u64>,
    pub(super) bytes_max: Option<u64>,
    pub(super) full: BufferFull,
}

pub(super) struct SuppressUpdates<K, V> {
    node: Arc<str>,
    name: Arc<str>,
    limits: Limits,
    /// For final results: updates wait from the end of their window, and deletions are not passed on.
    window_end: Option<BufferTime<K>>,
    store: Option<StoreHandle<SuppressBuffer<K, V>>>,
    /// Greatest timestamp that this processor has seen.
    stream_time: i64,
}

type Context<'a, K, V> = ProcessorContext<'a, K, Change<V>>;

impl<K: Data, V: Data> SuppressUpdates<K, V> {
    pub(super) fn new(node: &Arc<str>, name: &Arc<str>, limits: Limits, window_end: Option<BufferTime<K>>) -> Self {
        let (node, name) = (Arc::clone(node), Arc::clone(name));
        SuppressUpdates { node, name, limits, window_end, store: None, stream_time: -1 }
    }

    fn buffer<'a>(&self, ctx: &'a mut Context<'_, K, V>) -> &'a mut SuppressBuffer<K, V> {
        ctx.store(self.store.expect("found when the processor was initialised"))
    }

    fn is_over_capacity(&self, ctx: &mut Context<'_, K, V>) -> bool {
        let buffer = self.buffer(ctx);
        self.limits.records_max.is_some_and(|max| buffer.records() > max)
            || self.limits.bytes_max.is_some_and(|max| buffer.bytes() > max)
    }

    /// Passes on the update that has waited longest.
    fn emit_first(&self, ctx: &mut Context<'_, K, V>) -> ProcessResult {
        let Some(Row { key, change, context, .. }) = self.buffer(ctx).pop() else { return Ok(()) };
        if change.new.is_some() || self.window_end.is_none() {
            let RecordContext { timestamp, headers, metadata } = context;
            let value = Change::new(change.new, change.old);
            ctx.forward_buffered(metadata.as_ref(), Record { key, value, timestamp, headers })?;
        }
        self.buffer(ctx).left();
        Ok(())
    }
}

impl<K: Data, V: Data> Processor<K, Change<V>, K, Change<V>> for SuppressUpdates<K, V> {
    fn init(&mut self, ctx: &mut Context<'_, K, V>) -> ProcessResult {
        self.store = Some(ctx.store_handle(&self.name)?);
        Ok(())
    }

    fn process(&mut self, record: Record<K, Change<V>>, ctx: &mut Context<'_, K, V>) -> ProcessResult {
        self.stream_time = self.stream_time.max(record.timestamp);
        let context = RecordContext::current(ctx);
        let time = self.window_end.map_or(context.timestamp, |window_end| window_end(&record.key));
        self.buffer(ctx).put(time, record, context)?;
        let due = self.stream_time.saturating_sub(self.limits.wait_ms);
        while self.buffer(ctx).first_time().is_some_and(|first| first <= due) {
            self.emit_first(ctx)?;
        }
        match self.limits.full {
            BufferFull::Emit => {
                while self.is_over_capacity(ctx) {
                    self.emit_first(ctx)?;
                }
                Ok(())
            }
            BufferFull::ShutDown if self.is_over_capacity(ctx) => {
                let buffer = self.buffer(ctx);
                Err(format!(
                    "the buffer of {} is full: {} records and {} bytes wait; give it more room, or let it emit early",
                    self.node,
                    buffer.records(),
                    buffer.bytes()
                )
                .into())
            }
            BufferFull::ShutDown => Ok(()),
        }
    }
}
