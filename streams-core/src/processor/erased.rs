//! The one place where the types of records disappear and come back.
//!
//! Nodes of a task lie in one arena, parents before children. A record travels in a borrowed slot (`&mut Option<Record<K,
//! V>>` seen as `&mut dyn Any`): one virtual call and one type-id comparison for an edge, no box.
//!
//! What lies on this way is inlined without exception: a record that is moved once more right after it was written is read
//! in larger pieces than it was stored in, and a processor waits for each of them (a tenth of word count did that).

use std::{any::Any, marker::PhantomData};

use super::{ProcessResult, Processor, ProcessorContext, Punctuation};
use crate::{Record, task::context::TaskContext};

/// A processor whose types are forgotten.
pub(crate) trait ErasedProcessor: Send {
    fn init(&mut self, at: Position<'_>) -> ProcessResult;
    /// `slot` is an `Option<Record<KIn, VIn>>` that holds a record.
    fn process(&mut self, slot: &mut dyn Any, at: Position<'_>) -> ProcessResult;
    fn punctuate(&mut self, punctuation: Punctuation, timestamp: i64, at: Position<'_>) -> ProcessResult;
    fn flush(&mut self, at: Position<'_>) -> ProcessResult;
    fn close(&mut self);
}

/// One node in a task's arena.
pub(crate) struct NodeCell {
    /// Its name in the topology.
    pub(crate) name: Box<str>,
    /// Arena indices of its children: always greater than its own.
    pub(crate) children: Box<[u32]>,
    pub(crate) processor: Box<dyn ErasedProcessor>,
}

/// Where a running node stands: what lies after it, who its children are, and the task around it.
pub(crate) struct Position<'a> {
    /// The nodes after this one.
    after: &'a mut [NodeCell],
    /// Arena index of `after[0]`.
    base: u32,
    pub(crate) children: &'a [u32],
    pub(crate) task: &'a mut TaskContext,
}

/// Runs `call` on node `index` of the arena, with its place.
#[inline]
pub(crate) fn at_node<R>(
    nodes: &mut [NodeCell],
    index: u32,
    task: &mut TaskContext,
    call: impl FnOnce(&mut dyn ErasedProcessor, Position<'_>) -> R,
) -> R {
    let (upto, after) = nodes.split_at_mut(index as usize + 1);
    let cell = &mut upto[index as usize];
    task.enter(index);
    call(&mut *cell.processor, Position { after, base: index + 1, children: &cell.children, task })
}

impl Position<'_> {
    /// The same place, for a shorter time.
    #[inline]
    pub(crate) fn reborrow(&mut self) -> Position<'_> {
        Position { after: self.after, base: self.base, children: self.children, task: self.task }
    }

    /// Hands the record in `slot` to one child.
    #[inline(always)]
    fn dispatch(&mut self, child: u32, slot: &mut dyn Any) -> ProcessResult {
        let came_from = self.task.node();
        let (upto, after) = self.after.split_at_mut((child - self.base) as usize + 1);
        let cell = &mut upto[(child - self.base) as usize];
        self.task.enter(child);
        let at = Position { after, base: child + 1, children: &cell.children, task: self.task };
        let result = cell.processor.process(slot, at);
        match result {
            Ok(()) => {
                self.task.enter(came_from);
                Ok(())
            }
            // The current node stays the child: that is where it failed.
            Err(error) => self.task.on_processing_error(error, came_from),
        }
    }

    /// Forwards a record to all children: moved to the last, cloned for the others.
    #[inline(always)]
    pub(crate) fn forward<K, V>(&mut self, record: Record<K, V>) -> ProcessResult
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        self.forward_from(&mut Some(record))
    }

    /// As [`Position::forward`], for a record that lies in a slot already: it need not be moved to another one.
    #[inline(always)]
    pub(crate) fn forward_from<K, V>(&mut self, slot: &mut Option<Record<K, V>>) -> ProcessResult
    where
        K: Clone + 'static,
        V: Clone + 'static,
    {
        let children = self.children;
        let (Some((last, others)), Some(record)) = (children.split_last(), slot.as_ref()) else { return Ok(()) };
        let context = self.task.adopt(record.timestamp, &record.headers);
        for child in others {
            self.dispatch(*child, &mut Some(record.clone()))?;
        }
        let result = self.dispatch(*last, slot);
        self.task.restore(context);
        result
    }

    /// Forwards a record to one child, given by its place among the children.
    pub(crate) fn forward_to<K: 'static, V: 'static>(&mut self, child: u32, record: Record<K, V>) -> ProcessResult {
        let context = self.task.adopt(record.timestamp, &record.headers);
        let result = self.dispatch(child, &mut Some(record));
        self.task.restore(context);
        result
    }

    /// Name of a node after this one.
    pub(crate) fn name_of(&self, node: u32) -> &str {
        &self.after[(node - self.base) as usize].name
    }
}

/// Gives a [`Processor`] its erased form.
pub(crate) struct Typed<P, KIn, VIn, KOut, VOut> {
    processor: P,
    #[expect(clippy::type_complexity, reason = "four type parameters are what it is about")]
    types: PhantomData<fn(KIn, VIn) -> (KOut, VOut)>,
}

impl<P, KIn, VIn, KOut, VOut> Typed<P, KIn, VIn, KOut, VOut> {
    pub(crate) fn new(processor: P) -> Self {
        Typed { processor, types: PhantomData }
    }
}

/// Takes the record out of a slot.
///
/// The builder has checked that both ends of every edge have the same type, so a mismatch is a defect of ours.
#[inline(always)]
pub(crate) fn take<K: 'static, V: 'static>(slot: &mut dyn Any) -> Record<K, V> {
    let slot = slot.downcast_mut::<Option<Record<K, V>>>();
    slot.and_then(Option::take).expect("an edge carries the type that both its ends were built with")
}

impl<P, KIn, VIn, KOut, VOut> ErasedProcessor for Typed<P, KIn, VIn, KOut, VOut>
where
    P: Processor<KIn, VIn, KOut, VOut>,
    KIn: 'static,
    VIn: 'static,
    KOut: 'static,
    VOut: 'static,
{
    fn init(&mut self, at: Position<'_>) -> ProcessResult {
        self.processor.init(&mut ProcessorContext::new(at))
    }

    #[inline]
    fn process(&mut self, slot: &mut dyn Any, at: Position<'_>) -> ProcessResult {
        self.processor.process(take(slot), &mut ProcessorContext::new(at))
    }

    fn punctuate(&mut self, punctuation: Punctuation, timestamp: i64, at: Position<'_>) -> ProcessResult {
        self.processor.punctuate(punctuation, timestamp, &mut ProcessorContext::new(at))
    }

    fn flush(&mut self, at: Position<'_>) -> ProcessResult {
        self.processor.flush(&mut ProcessorContext::new(at))
    }

    fn close(&mut self) {
        self.processor.close();
    }
}
