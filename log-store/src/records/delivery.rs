//! The answer to one `send`: waited for, awaited, or told to a callback.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::{Condvar, Mutex};

use super::RecordMetadata;
use crate::Error;

/// Where the record is, or why it is not in the log. The error is shared: what fails, fails a whole batch.
pub type Delivered = Result<RecordMetadata, Arc<Error>>;

/// What becomes of a record that was sent. It is sent whether or not somebody waits; whoever drops this does not learn
/// whether the record arrived (a commit of its transaction would fail).
pub struct Delivery(Arc<Slot>);

#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    delivered: Option<Delivered>,
    waker: Option<Waker>,
}

impl Delivery {
    /// A delivery, and who completes it.
    pub(super) fn pair() -> (Delivery, Completer) {
        let slot = Arc::new(Slot::default());
        (Delivery(Arc::clone(&slot)), Completer::Slot(slot))
    }

    /// Waits for it, without an executor.
    ///
    /// # Errors
    ///
    /// Why the record is not in the log, or (after `Poisoned` or `Io`) may not be.
    pub fn wait(self) -> Delivered {
        let mut state = self.0.state.lock();
        loop {
            match state.delivered.take() {
                Some(delivered) => return delivered,
                None => self.0.changed.wait(&mut state),
            }
        }
    }
}

impl Future for Delivery {
    type Output = Delivered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Delivered> {
        let mut state = self.0.state.lock();
        match state.delivered.take() {
            Some(delivered) => Poll::Ready(delivered),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Delivery")
    }
}

/// Called once, on the producer's own thread.
pub(super) type Callback = Box<dyn FnOnce(Delivered) + Send>;

/// Who is told.
pub(super) enum Completer {
    Slot(Arc<Slot>),
    Callback(Callback),
}

impl Completer {
    pub(super) fn complete(self, delivered: Delivered) {
        match self {
            Completer::Callback(callback) => callback(delivered),
            Completer::Slot(slot) => {
                let mut state = slot.state.lock();
                state.delivered = Some(delivered);
                slot.changed.notify_all();
                if let Some(waker) = state.waker.take() {
                    waker.wake();
                }
            }
        }
    }
}
