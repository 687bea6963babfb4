//! What happens to calls of the log: others go first, calls and answers get lost, decisions are waited for.

use super::*;

impl World {
    /// A call of a stream thread is about to be made: others may go first.
    pub(crate) fn pause_here(&self, who: &str, call: &str) {
        if !self.is_chaotic.get() || self.depth.get() >= DEPTH_MAX {
            return;
        }
        let one_in = match call {
            "poll" | "send" => 400,
            "before the commit" | "after the commit" => 12,
            _ => 25,
        };
        if !self.chance(one_in) {
            return;
        }
        self.note(format_args!("{who} is held up at {call}"));
        self.count(|summary| summary.held_up += 1);
        self.depth.set(self.depth.get() + 1);
        let long = match self.below(10) {
            0 => SESSION_OVER,
            1..4 => TRANSACTION_OVER,
            _ => Duration::ZERO,
        };
        for _ in 0..1 + self.below(30) {
            self.pass(long / 8);
            self.step();
            if !self.is_powered() || self.is_broken.get() {
                break;
            }
        }
        self.depth.set(self.depth.get() - 1);
        self.note(format_args!("{who} goes on with {call}"));
    }

    /// A call that may not be made, or whose answer may be lost.
    pub(crate) fn unreliable(
        &self,
        who: &str,
        call: &str,
        make: impl FnOnce() -> log_store::Result<()>,
    ) -> log_store::Result<()> {
        self.pause_here(who, call);
        let lost = || LogError::TimedOut { what: format!("{call} (simulated)"), waited_ms: 0 };
        let is_unlucky = self.is_chaotic.get() && self.chance(60);
        if is_unlucky && self.chance(2) {
            self.note(format_args!("{who}: {call} is lost"));
            self.count(|summary| summary.lost_calls += 1);
            return Err(lost());
        }
        let made = make();
        self.note(format_args!("{who}: {call}: {}", if made.is_ok() { "done" } else { "refused" }));
        if is_unlucky {
            self.note(format_args!("{who}: the answer to {call} is lost"));
            self.count(|summary| summary.lost_calls += 1);
            return made.and(Err(lost()));
        }
        self.pause_here(who, &format!("after the {call}"));
        made
    }

    pub(crate) fn undecided(&self, transactional_id: &str) {
        self.undecided.borrow_mut().insert(transactional_id.to_owned(), self.clock.monotonic());
    }

    pub(crate) fn decided(&self, transactional_id: &str) {
        self.undecided.borrow_mut().remove(transactional_id);
    }

    /// True if a transaction holds offsets that whoever asks for them would wait for.
    pub(crate) fn is_undecided(&self) -> bool {
        if self.undecided.borrow().is_empty() {
            return false;
        }
        self.abort_expired();
        let now = self.clock.monotonic();
        self.undecided.borrow_mut().retain(|_, since| now - *since < TRANSACTION_OVER);
        !self.undecided.borrow().is_empty()
    }

    /// Whoever waits for a decision, waits at most until the transaction is over.
    pub(crate) fn wait_until_decided(&self) {
        while self.is_undecided() {
            self.pass(TRANSACTION_OVER);
        }
    }

    pub(super) fn abort_expired(&self) {
        // A failure breaks the log, which tells everybody else.
        let _ = self.log().abort_expired();
    }
}
