//! How others reach a stream thread: to close it, to wake it, to ask it something.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use log_store::client::Waker;
use parking_lot::Mutex;

use super::queries::Question;

/// See the module.
pub(crate) struct Control {
    is_closing: AtomicBool,
    has_questions: AtomicBool,
    /// `None` once the thread is at its end: nobody would answer.
    questions: Mutex<Option<Vec<Question>>>,
    waker: Arc<dyn Waker>,
}

impl Control {
    pub(crate) fn new(waker: Arc<dyn Waker>) -> Self {
        Control {
            is_closing: AtomicBool::new(false),
            has_questions: AtomicBool::new(false),
            questions: Mutex::new(Some(Vec::new())),
            waker,
        }
    }

    /// True once the thread has been asked to close.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Asks the thread to commit, close its tasks and leave.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Asks the thread something about a store of its. The question is dropped if nobody will answer it.
    pub(crate) fn ask(&self, question: Question) {
        match &mut *self.questions.lock() {
            Some(questions) => questions.push(question),
            None => return,
        }
        self.has_questions.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// What was asked since the last time.
    pub(super) fn take_questions(&self) -> Vec<Question> {
        if !self.has_questions.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        self.questions.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The thread is at its end: whoever waits for an answer learns that there will be none.
    pub(super) fn end(&self) {
        self.questions.lock().take();
    }

    /// Lets the thread look around at once.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }
}
