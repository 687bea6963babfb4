//! Which punctuations are due.

use super::java_heap::JavaHeap;
use crate::processor::Punctuation;

/// One scheduled punctuation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scheduled {
    pub(crate) node: u32,
    pub(crate) punctuation: Punctuation,
    interval: i64,
}

/// The punctuations of one task on one clock.
#[derive(Debug)]
pub(crate) struct PunctuationQueue {
    due: JavaHeap<Scheduled>,
    cancelled: Vec<Punctuation>,
}

impl PunctuationQueue {
    pub(crate) const fn new() -> Self {
        PunctuationQueue { due: JavaHeap::new(), cancelled: Vec::new() }
    }

    /// First at `first`, then every `interval` milliseconds.
    pub(crate) fn schedule(&mut self, node: u32, punctuation: Punctuation, first: i64, interval: i64) {
        self.due.offer(first, Scheduled { node, punctuation, interval });
    }

    pub(crate) fn cancel(&mut self, punctuation: Punctuation) {
        let scheduled = self.due.iter().any(|(_, scheduled)| scheduled.punctuation == punctuation);
        if scheduled && !self.cancelled.contains(&punctuation) {
            self.cancelled.push(punctuation);
        }
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.due.peek().map(|(time, _)| *time)
    }

    /// Takes one that is due at `now` and schedules its next call: missed calls collapse into this one, and the next
    /// stays a multiple of the interval away.
    ///
    /// Kafka schedules the next call after the present one returns; taking both steps at once differs only if the call
    /// schedules another punctuation for the very same time.
    pub(crate) fn take_due(&mut self, now: i64) -> Option<Scheduled> {
        while self.next_due()? <= now {
            let (time, scheduled) = self.due.poll()?;
            if let Some(index) = self.cancelled.iter().position(|id| *id == scheduled.punctuation) {
                self.cancelled.swap_remove(index);
                continue;
            }
            let missed = (now - time) / scheduled.interval;
            self.due.offer(time + (missed + 1) * scheduled.interval, scheduled);
            return Some(scheduled);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::PunctuationQueue;
    use crate::processor::Punctuation;

    fn times(first: i64, interval: i64, clock: &[i64]) -> Vec<bool> {
        let mut queue = PunctuationQueue::new();
        queue.schedule(0, Punctuation(0), first, interval);
        clock.iter().map(|now| queue.take_due(*now).is_some()).collect()
    }

    #[test]
    fn missed_calls_collapse_and_stay_aligned() {
        assert_eq!(times(0, 10, &[5, 5, 9, 10, 11, 47, 49, 50]), [true, false, false, true, false, true, false, true]);
    }

    #[test]
    fn a_cancelled_one_never_comes_again() {
        let mut queue = PunctuationQueue::new();
        queue.schedule(0, Punctuation(7), 0, 10);
        assert!(queue.take_due(0).is_some());
        queue.cancel(Punctuation(7));
        assert!(queue.take_due(1_000).is_none());
        assert_eq!(queue.next_due(), None);
    }
}
