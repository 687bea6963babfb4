//! How much a thread does before it looks up, and when something is due.
//!
//! Pure arithmetic over a monotonic time that the caller brings: `thread.rs` reads the clock, once for each run of
//! records of a task.

use std::time::Duration;

/// A run of records of one task is as long as lets the thread look up about this often: short against a close within a
/// second and against commit intervals, long against the cost of looking.
const RUN_TIME: Duration = Duration::from_millis(2);

/// Most records in one run, however fast they are.
const RUN_RECORDS_MAX: usize = 8_192;

/// Outputs outside a transaction become visible at the latest after this time (Kafka Streams' `linger.ms`).
const LINGER: Duration = Duration::from_millis(100);

/// The timers of one stream thread.
#[derive(Debug)]
pub(crate) struct Pace {
    run_records: usize,
    /// The last turn did something, or there is something to do: do not sleep.
    has_more: bool,
    commit_interval: Duration,
    last_commit: Duration,
    last_flush: Duration,
}

impl Pace {
    pub(crate) fn new(commit_interval: Duration, now: Duration) -> Self {
        Pace { run_records: 1, has_more: false, commit_interval, last_commit: now, last_flush: now }
    }

    /// Most records of one task to process before looking up.
    pub(crate) fn run_records(&self) -> usize {
        self.run_records
    }

    /// A run of `records` took `took`: the next one is longer or shorter.
    pub(crate) fn ran(&mut self, records: usize, took: Duration) {
        if took > RUN_TIME {
            self.run_records = (self.run_records / 2).max(1);
        } else if records >= self.run_records && took < RUN_TIME / 2 {
            self.run_records = (self.run_records * 2).min(RUN_RECORDS_MAX);
        }
    }

    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    pub(crate) fn set_more(&mut self, more: bool) {
        self.has_more = more;
    }

    pub(crate) fn committed(&mut self, now: Duration) {
        self.last_commit = now;
        self.last_flush = now;
    }

    pub(crate) fn flushed(&mut self, now: Duration) {
        self.last_flush = now;
    }

    pub(crate) fn is_commit_due(&self, now: Duration) -> bool {
        self.until_commit(now).is_zero()
    }

    pub(crate) fn until_commit(&self, now: Duration) -> Duration {
        (self.last_commit + self.commit_interval).saturating_sub(now)
    }

    pub(crate) fn is_flush_due(&self, now: Duration) -> bool {
        now >= self.last_flush + LINGER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn runs_grow_while_records_are_fast_and_shrink_when_they_are_slow() {
        let mut pace = Pace::new(MS, Duration::ZERO);
        for _ in 0..40 {
            let records = pace.run_records();
            pace.ran(records, Duration::from_micros(records as u64 / 10));
        }
        assert_eq!(pace.run_records(), RUN_RECORDS_MAX);
        for _ in 0..40 {
            pace.ran(pace.run_records(), 50 * MS);
        }
        assert_eq!(pace.run_records(), 1, "a slow record at a time");
        pace.ran(0, Duration::ZERO);
        assert_eq!(pace.run_records(), 1, "a run that ended early says nothing");
    }

    #[test]
    fn a_commit_is_due_one_interval_after_the_last() {
        let mut pace = Pace::new(100 * MS, 5 * MS);
        assert!(!pace.is_commit_due(104 * MS));
        assert_eq!(pace.until_commit(100 * MS), 5 * MS);
        assert!(pace.is_commit_due(105 * MS));
        pace.committed(300 * MS);
        assert_eq!(pace.until_commit(350 * MS), 50 * MS);
        assert!(!pace.is_flush_due(399 * MS) && pace.is_flush_due(400 * MS));
    }
}
