//! What happens to a record that cannot be read, processed or written: go on without it, or stop.

use std::{fmt, sync::Arc};

use crate::Error;

/// A handler's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Leave the record out and go on.
    Continue,
    /// Stop the thread with the error.
    Fail,
}

/// Decides about one failed record. The error names topic, partition, offset and node.
#[derive(Clone)]
pub struct ExceptionHandler(Arc<dyn Fn(&Error) -> Response + Send + Sync>);

impl ExceptionHandler {
    /// A handler of your own.
    pub fn new(decide: impl Fn(&Error) -> Response + Send + Sync + 'static) -> Self {
        ExceptionHandler(Arc::new(decide))
    }

    /// Logs the error and stops: nothing is left out unseen. The default.
    #[must_use]
    pub fn log_and_fail() -> Self {
        ExceptionHandler::new(|error| {
            tracing::error!("{error}");
            Response::Fail
        })
    }

    /// Logs the error and goes on without the record.
    #[must_use]
    pub fn log_and_continue() -> Self {
        ExceptionHandler::new(|error| {
            tracing::warn!("{error}; the record is left out");
            Response::Continue
        })
    }

    /// Asks the handler.
    #[must_use]
    pub fn handle(&self, error: &Error) -> Response {
        (self.0)(error)
    }
}

impl fmt::Debug for ExceptionHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExceptionHandler")
    }
}

/// The three handlers of an application.
#[derive(Clone, Debug)]
pub struct Handlers {
    /// For records that a source cannot read.
    pub deserialization: ExceptionHandler,
    /// For records on which a processor fails.
    pub processing: ExceptionHandler,
    /// For results that cannot be written.
    pub production: ExceptionHandler,
}

impl Default for Handlers {
    fn default() -> Self {
        let fail = ExceptionHandler::log_and_fail();
        Handlers { deserialization: fail.clone(), processing: fail.clone(), production: fail }
    }
}
