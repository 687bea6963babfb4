//! Processors that cannot change the key: the compiler sees to it.

use std::{sync::Arc, time::Duration};

use log_store::Headers;
use streams_core::{
    Record,
    processor::{
        ProcessResult, Processor, ProcessorContext, Punctuation, PunctuationType, RecordMetadata, StoreHandle,
    },
    state::{StateStore, StoreBuilder},
    task::TaskId,
    topology::ProcessorSupplier,
};

use crate::stream::Field;

/// A record whose key stays as it is. It comes from the stream; there is no way to make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedKeyRecord<K, V>(Record<K, V>);

impl<K, V> FixedKeyRecord<K, V> {
    /// Its key.
    pub fn key(&self) -> &K {
        &self.0.key
    }

    /// Its value.
    pub fn value(&self) -> &V {
        &self.0.value
    }

    /// Its event time in milliseconds.
    pub fn timestamp(&self) -> i64 {
        self.0.timestamp
    }

    /// Its headers.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// The same record with another value.
    pub fn with_value<W>(self, value: W) -> FixedKeyRecord<K, W> {
        FixedKeyRecord(self.0.with_value(value))
    }

    /// The same record at another time.
    #[must_use]
    pub fn with_timestamp(self, timestamp: i64) -> Self {
        FixedKeyRecord(self.0.with_timestamp(timestamp))
    }

    /// The same record with other headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        FixedKeyRecord(self.0.with_headers(headers))
    }
}

/// A processor that keeps the keys of its records.
pub trait FixedKeyProcessor<K, V, W>: Send {
    /// Called once before the first record: look up stores, schedule punctuations.
    ///
    /// # Errors
    ///
    /// Any error stops the task.
    fn init(&mut self, _ctx: &mut FixedKeyContext<'_, '_, K, W>) -> ProcessResult {
        Ok(())
    }

    /// Called for each record. Results go on by [`FixedKeyContext::forward`].
    ///
    /// # Errors
    ///
    /// Any error goes to the processing exception handler.
    fn process(&mut self, record: FixedKeyRecord<K, V>, ctx: &mut FixedKeyContext<'_, '_, K, W>) -> ProcessResult;

    /// Called when a punctuation that [`FixedKeyContext::schedule`] gave is due.
    ///
    /// # Errors
    ///
    /// As [`FixedKeyProcessor::process`].
    fn punctuate(
        &mut self,
        _punctuation: Punctuation,
        _timestamp: i64,
        _ctx: &mut FixedKeyContext<'_, '_, K, W>,
    ) -> ProcessResult {
        Ok(())
    }

    /// As [`Processor::flush`].
    ///
    /// # Errors
    ///
    /// As [`FixedKeyProcessor::process`].
    fn flush(&mut self, _ctx: &mut FixedKeyContext<'_, '_, K, W>) -> ProcessResult {
        Ok(())
    }

    /// Called once at the end, also after errors.
    fn close(&mut self) {}
}

/// The task as a [`FixedKeyProcessor`] sees it.
pub struct FixedKeyContext<'c, 'a, K, W>(&'c mut ProcessorContext<'a, K, W>);

impl<K: Field, W: Field> FixedKeyContext<'_, '_, K, W> {
    /// Passes a record to all children, depth first.
    ///
    /// # Errors
    ///
    /// As [`ProcessorContext::forward`].
    #[inline]
    pub fn forward(&mut self, record: FixedKeyRecord<K, W>) -> ProcessResult {
        self.0.forward(record.0)
    }
}

impl<K, W> FixedKeyContext<'_, '_, K, W> {
    /// As [`ProcessorContext::store_handle`].
    ///
    /// # Errors
    ///
    /// If the store is not connected, or of another type.
    pub fn store_handle<S: StateStore>(&mut self, name: &str) -> ProcessResult<StoreHandle<S>> {
        self.0.store_handle(name)
    }

    /// The store behind a handle.
    #[inline]
    pub fn store<S: StateStore>(&mut self, handle: StoreHandle<S>) -> &mut S {
        self.0.store(handle)
    }

    /// As [`ProcessorContext::schedule`].
    pub fn schedule(&mut self, interval: Duration, kind: PunctuationType) -> Punctuation {
        self.0.schedule(interval, kind)
    }

    /// Ends a punctuation.
    pub fn cancel(&mut self, punctuation: Punctuation) {
        self.0.cancel(punctuation);
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.0.request_commit();
    }

    /// Where the current record comes from; `None` in a punctuation.
    #[must_use]
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.0.record_metadata()
    }

    /// The task's stream time, -1 before its first record.
    #[must_use]
    pub fn stream_time(&self) -> i64 {
        self.0.stream_time()
    }

    /// Wall-clock time in milliseconds, as of the current turn of the thread.
    #[must_use]
    pub fn wall_clock_time(&self) -> i64 {
        self.0.wall_clock_time()
    }

    /// Which task this is.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.0.task_id()
    }

    /// Counts a record that the processor drops.
    pub fn drop_record(&mut self, reason: &'static str) {
        self.0.drop_record(reason);
    }
}

/// Makes the [`FixedKeyProcessor`] of each task. A closure `|| MyProcessor::default()` is one.
pub trait FixedKeyProcessorSupplier<K, V, W>: Send + Sync + 'static {
    /// What it makes.
    type Processor: FixedKeyProcessor<K, V, W> + 'static;

    /// A fresh processor. Called once for each task.
    fn get(&self) -> Self::Processor;

    /// Stores to be added and connected together with the processor.
    fn stores(&self) -> Vec<Arc<dyn StoreBuilder>> {
        Vec::new()
    }
}

impl<F, P, K, V, W> FixedKeyProcessorSupplier<K, V, W> for F
where
    F: Fn() -> P + Send + Sync + 'static,
    P: FixedKeyProcessor<K, V, W> + 'static,
{
    type Processor = P;

    fn get(&self) -> P {
        self()
    }
}

/// A fixed-key processor, or its supplier, as an ordinary one.
pub(super) struct Fixed<T>(pub(super) T);

impl<K, V, W, S> ProcessorSupplier<K, V, K, W> for Fixed<S>
where
    S: FixedKeyProcessorSupplier<K, V, W>,
    K: Field,
    V: Field,
    W: Field,
{
    type Processor = Fixed<S::Processor>;

    fn get(&self) -> Self::Processor {
        Fixed(self.0.get())
    }

    fn stores(&self) -> Vec<Arc<dyn StoreBuilder>> {
        self.0.stores()
    }
}

impl<K, V, W, P> Processor<K, V, K, W> for Fixed<P>
where
    P: FixedKeyProcessor<K, V, W>,
    K: Field,
    V: Field,
    W: Field,
{
    fn init(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.0.init(&mut FixedKeyContext(ctx))
    }

    #[inline]
    fn process(&mut self, record: Record<K, V>, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.0.process(FixedKeyRecord(record), &mut FixedKeyContext(ctx))
    }

    fn punctuate(
        &mut self,
        punctuation: Punctuation,
        timestamp: i64,
        ctx: &mut ProcessorContext<'_, K, W>,
    ) -> ProcessResult {
        self.0.punctuate(punctuation, timestamp, &mut FixedKeyContext(ctx))
    }

    fn flush(&mut self, ctx: &mut ProcessorContext<'_, K, W>) -> ProcessResult {
        self.0.flush(&mut FixedKeyContext(ctx))
    }

    fn close(&mut self) {
        self.0.close();
    }
}
