//! Processors: the nodes of a topology, as their authors see them.

mod context;
pub(crate) mod erased;
mod punctuator;

pub use context::{ChildHandle, ProcessorContext, RecordMetadata, StoreHandle};
pub use punctuator::{Punctuation, PunctuationType};

use crate::{Record, error::BoxError};

/// What a processor answers. An error, like a panic, stops the record at this node; the processing exception handler
/// decides whether the task goes on.
pub type ProcessResult<T = ()> = Result<T, BoxError>;

/// One node of a topology, running for one task.
///
/// A processor belongs to a single task and is never called from two threads at once: plain `&mut self`, no locks. It
/// must be deterministic in its input and its state: take the time from the record or from the context, not from a
/// clock.
pub trait Processor<KIn, VIn, KOut, VOut>: Send {
    /// Called once before the first record: look up stores and children, schedule punctuations.
    ///
    /// # Errors
    ///
    /// Any error stops the task.
    fn init(&mut self, _ctx: &mut ProcessorContext<'_, KOut, VOut>) -> ProcessResult {
        Ok(())
    }

    /// Called for each record. Results go on by [`ProcessorContext::forward`].
    ///
    /// # Errors
    ///
    /// Any error goes to the processing exception handler.
    fn process(&mut self, record: Record<KIn, VIn>, ctx: &mut ProcessorContext<'_, KOut, VOut>) -> ProcessResult;

    /// Called when a punctuation that [`ProcessorContext::schedule`] gave is due. `timestamp` is the stream time or
    /// the wall-clock time, in milliseconds.
    ///
    /// # Errors
    ///
    /// As [`Processor::process`].
    fn punctuate(
        &mut self,
        _punctuation: Punctuation,
        _timestamp: i64,
        _ctx: &mut ProcessorContext<'_, KOut, VOut>,
    ) -> ProcessResult {
        Ok(())
    }

    /// Called at each commit before anything is written: forward what was held back.
    ///
    /// # Errors
    ///
    /// As [`Processor::process`].
    fn flush(&mut self, _ctx: &mut ProcessorContext<'_, KOut, VOut>) -> ProcessResult {
        Ok(())
    }

    /// Called once at the end, also after errors.
    fn close(&mut self) {}
}
