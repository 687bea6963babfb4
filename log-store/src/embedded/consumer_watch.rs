//! How a consumer learns that a partition has something to read, without asking all of them.
//!
//! Each watched partition has a [`Watch`]. Whoever appends puts the watch into the consumer's [`Mailbox`], once; the
//! consumer takes the first one out, looks at that partition, and puts it back at the end while there is more. So
//! partitions take turns, idle ones cost nothing, and a waiting consumer sleeps.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

use crate::client::Waker;

/// What a consumer waits at.
#[derive(Default)]
pub(crate) struct Mailbox {
    mail: Mutex<Mail>,
    changed: Condvar,
}

#[derive(Default)]
struct Mail {
    ready: VecDeque<Arc<Watch>>,
    is_woken: bool,
}

/// One partition as one consumer watches it.
pub(crate) struct Watch {
    /// The consumer's own number for the partition.
    pub(crate) slot: u64,
    mailbox: Arc<Mailbox>,
    is_queued: AtomicBool,
}

/// What came.
pub(crate) enum Mailed {
    /// The partition of this slot (or the group) may have something.
    Ready(u64),
    /// Somebody called the waker.
    Woken,
    /// The wait is over.
    Nothing,
}

impl Mailbox {
    /// The next partition to look at, waiting for one as long as `wait`.
    pub(crate) fn take(&self, wait: Duration) -> Mailed {
        let mut deadline = None;
        let mut mail = self.mail.lock();
        loop {
            if std::mem::take(&mut mail.is_woken) {
                return Mailed::Woken;
            }
            if let Some(watch) = mail.ready.pop_front() {
                // Before the partition is looked at: what comes after the look queues the watch again.
                watch.is_queued.store(false, Ordering::SeqCst);
                return Mailed::Ready(watch.slot);
            }
            if wait.is_zero() {
                return Mailed::Nothing;
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
            if self.changed.wait_until(&mut mail, deadline).timed_out() && mail.ready.is_empty() && !mail.is_woken {
                return Mailed::Nothing;
            }
        }
    }
}

impl Waker for Mailbox {
    fn wake(&self) {
        self.mail.lock().is_woken = true;
        self.changed.notify_one();
    }
}

impl Watch {
    pub(crate) fn new(mailbox: &Arc<Mailbox>, slot: u64) -> Arc<Self> {
        Arc::new(Watch { slot, mailbox: Arc::clone(mailbox), is_queued: AtomicBool::new(false) })
    }

    /// Puts the partition into the mailbox, if it is not there yet.
    pub(crate) fn notify(self: &Arc<Self>) {
        if !self.is_queued.swap(true, Ordering::SeqCst) {
            self.mailbox.mail.lock().ready.push_back(Arc::clone(self));
            self.mailbox.changed.notify_one();
        }
    }
}
