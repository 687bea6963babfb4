//! What a processor may ask of its surroundings.

use std::{convert::Infallible, marker::PhantomData, time::Duration};

use log_store::Headers;

use super::{ProcessResult, Punctuation, PunctuationType, erased::Position};
use crate::{Record, error::BoxError, state::StateStore, task::TaskId};

/// Where the record that is being processed comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: i64,
}

/// A store of the task, looked up once in [`super::Processor::init`].
#[derive(Debug)]
pub struct StoreHandle<S> {
    pub(crate) index: u32,
    pub(crate) kind: PhantomData<fn() -> S>,
}

impl<S> Clone for StoreHandle<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for StoreHandle<S> {}

/// A child of the node, looked up once in [`super::Processor::init`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildHandle(u32);

/// The task as one of its processors sees it. `KOut` and `VOut` are what the processor forwards.
pub struct ProcessorContext<'a, KOut, VOut> {
    at: Position<'a>,
    types: PhantomData<fn(KOut, VOut)>,
}

impl<'a, KOut, VOut> ProcessorContext<'a, KOut, VOut> {
    #[inline]
    pub(crate) fn new(at: Position<'a>) -> Self {
        ProcessorContext { at, types: PhantomData }
    }

    /// Passes a record to all children, depth first: when this returns they have processed it.
    ///
    /// # Errors
    ///
    /// What a child answered, unless the processing exception handler chose to go on.
    #[inline(always)]
    pub fn forward(&mut self, record: Record<KOut, VOut>) -> ProcessResult
    where
        KOut: Clone + 'static,
        VOut: Clone + 'static,
    {
        self.at.forward(record)
    }

    /// As [`ProcessorContext::forward`], for a record that waited in a buffer: what it passes through sees where it came
    /// from ([`ProcessorContext::record_metadata`]) instead of the record that is being processed.
    ///
    /// # Errors
    ///
    /// As [`ProcessorContext::forward`].
    pub fn forward_buffered(&mut self, came_from: Option<&RecordMetadata>, record: Record<KOut, VOut>) -> ProcessResult
    where
        KOut: Clone + 'static,
        VOut: Clone + 'static,
    {
        let current = self.at.task.set_record_metadata(came_from);
        let result = self.at.forward(record);
        self.at.task.set_record_metadata(current.as_ref());
        result
    }

    /// Passes a record to one child.
    ///
    /// # Errors
    ///
    /// As [`ProcessorContext::forward`].
    pub fn forward_to(&mut self, child: ChildHandle, record: Record<KOut, VOut>) -> ProcessResult
    where
        KOut: 'static,
        VOut: 'static,
    {
        self.at.forward_to(child.0, record)
    }

    /// The same task without the way to the children: for code that looks into stores on behalf of processors of any
    /// type.
    #[inline]
    pub fn lookup(&mut self) -> ProcessorContext<'_, Infallible, Infallible> {
        ProcessorContext::new(self.at.reborrow())
    }

    /// True if nothing is connected after this node: computing a result would be in vain.
    #[must_use]
    pub fn has_children(&self) -> bool {
        !self.at.children.is_empty()
    }

    /// The child called `name`.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn child(&self, name: &str) -> ProcessResult<ChildHandle> {
        let found = self.at.children.iter().find(|child| self.at.name_of(**child) == name);
        found.copied().map(ChildHandle).ok_or_else(|| format!("no child node is called {name:?}").into())
    }

    /// The store called `name`, which must be connected to this node and be of type `S`.
    ///
    /// # Errors
    ///
    /// If it is not connected, or of another type.
    pub fn store_handle<S: StateStore>(&mut self, name: &str) -> ProcessResult<StoreHandle<S>> {
        let node = self.at.task.node();
        let index = self.at.task.connected_store(node, name)?;
        self.at
            .task
            .store_of::<S>(index)
            .ok_or_else(|| -> BoxError { format!("store {name:?} is not a {}", std::any::type_name::<S>()).into() })?;
        Ok(StoreHandle { index, kind: PhantomData })
    }

    /// The store behind a handle.
    #[inline]
    pub fn store<S: StateStore>(&mut self, handle: StoreHandle<S>) -> &mut S {
        self.at.task.store_in_hand::<S>(handle.index).expect("the handle was made for this task and type")
    }

    /// Calls [`super::Processor::punctuate`] every `interval` (at least 1 ms): by stream time first at the first record,
    /// aligned to zero; by wall clock first after one interval. Missed calls collapse into one.
    pub fn schedule(&mut self, interval: Duration, kind: PunctuationType) -> Punctuation {
        self.at.task.schedule(interval, kind)
    }

    /// Ends a punctuation. Allowed at any time, also from inside its call.
    pub fn cancel(&mut self, punctuation: Punctuation) {
        self.at.task.cancel(punctuation);
    }

    /// Asks for a commit soon.
    pub fn request_commit(&mut self) {
        self.at.task.request_commit();
    }

    /// Where the current record comes from; `None` in a punctuation.
    #[must_use]
    pub fn record_metadata(&self) -> Option<RecordMetadata> {
        self.at.task.record_metadata()
    }

    /// Offset of the current record in its topic; -1 in a punctuation.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> i64 {
        self.at.task.offset()
    }

    /// Timestamp of the record that is being processed (as it was forwarded to this node), or of the punctuation.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.at.task.timestamp()
    }

    /// Headers of the record that is being processed.
    #[must_use]
    pub fn headers(&self) -> Headers {
        self.at.task.headers()
    }

    /// The task's stream time: the greatest timestamp of its records so far, -1 before the first.
    #[must_use]
    #[inline]
    pub fn stream_time(&self) -> i64 {
        self.at.task.stream_time()
    }

    /// Wall-clock time in milliseconds, as of the current turn of the thread.
    #[must_use]
    #[inline]
    pub fn wall_clock_time(&self) -> i64 {
        self.at.task.wall_clock_time()
    }

    /// Which task this is.
    #[must_use]
    pub fn task_id(&self) -> TaskId {
        self.at.task.id()
    }

    /// `application.id`.
    #[must_use]
    pub fn application_id(&self) -> &str {
        self.at.task.application_id()
    }

    /// Progress called `key` that was committed beside the input offsets (Kafka's processor metadata).
    #[must_use]
    pub fn processor_metadata(&self, key: &str) -> Option<i64> {
        self.at.task.processor_metadata(key)
    }

    /// Sets progress called `key`, to be committed with the next offsets.
    pub fn set_processor_metadata(&mut self, key: &str, value: i64) {
        self.at.task.set_processor_metadata(key, value);
    }

    /// Counts a record that the operator drops (null key, too late, …): `dropped-records-total`.
    pub fn drop_record(&mut self, reason: &'static str) {
        self.at.task.drop_record(reason);
    }
}
