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

/// While records wait, a commit begins at the earliest this many times the length of a commit after the last one began:
/// with a hundred partitions a commit is a hundred syncs, and must not be what a thread mostly does. Of the last two commits
/// the shorter counts: the first one makes files, and a disk may stumble once.
const BACKLOG_COMMIT_RATIO: u32 = 8;

/// … but not later than this, or than the commit interval.
const BACKLOG_COMMIT_MAX: Duration = Duration::from_millis(500);

/// The timers of one stream thread.
#[derive(Debug)]
pub(crate) struct Pace {
    run_records: usize,
    /// The last turn did something, or there is something to do: do not sleep.
    has_more: bool,
    /// A task had more records than its run took, in the turn before this one or in this one.
    has_backlog: [bool; 2],
    commit_interval: Duration,
    /// When the last commit began: from one beginning to the next is what a record waits at most.
    last_commit: Duration,
    /// How long the last two commits took.
    commits_took: [Duration; 2],
    last_flush: Duration,
}

impl Pace {
    pub(crate) fn new(commit_interval: Duration, now: Duration) -> Self {
        Pace {
            run_records: 1,
            has_more: false,
            has_backlog: [false; 2],
            commit_interval,
            last_commit: now,
            commits_took: [Duration::ZERO; 2],
            last_flush: now,
        }
    }

    /// Most records of one task to process before looking up.
    pub(crate) fn run_records(&self) -> usize {
        self.run_records
    }

    /// A run of `records` took `took`: the next one is longer or shorter.
    pub(crate) fn ran(&mut self, records: usize, took: Duration) {
        self.has_backlog[1] |= records >= self.run_records;
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

    /// A turn over all tasks begins.
    pub(crate) fn begin_turn(&mut self) {
        self.has_backlog = [self.has_backlog[1], false];
    }

    /// A commit that began at `began` and took `took` has ended.
    pub(crate) fn committed(&mut self, began: Duration, took: Duration) {
        self.last_commit = began;
        self.commits_took = [self.commits_took[1], took];
        self.last_flush = began + took;
    }

    pub(crate) fn flushed(&mut self, now: Duration) {
        self.last_flush = now;
    }

    pub(crate) fn is_commit_due(&self, now: Duration) -> bool {
        self.until_commit(now).is_zero()
    }

    pub(crate) fn until_commit(&self, now: Duration) -> Duration {
        let mut interval = self.commit_interval;
        // Zero is a wish to commit after every turn.
        if self.has_backlog.contains(&true) && !interval.is_zero() {
            let took = self.commits_took[0].min(self.commits_took[1]);
            interval = interval.max((took * BACKLOG_COMMIT_RATIO).min(BACKLOG_COMMIT_MAX));
        }
        (self.last_commit + interval).saturating_sub(now)
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
        pace.committed(300 * MS, MS);
        assert_eq!(pace.until_commit(350 * MS), 50 * MS, "from the beginning of one to that of the next");
        assert!(!pace.is_flush_due(400 * MS) && pace.is_flush_due(401 * MS));
    }

    #[test]
    fn long_commits_are_rarer_while_records_wait_and_only_then() {
        let mut pace = Pace::new(5 * MS, Duration::ZERO);
        pace.committed(Duration::ZERO, 30 * MS);
        pace.ran(pace.run_records(), MS);
        assert_eq!(pace.until_commit(Duration::ZERO), 5 * MS, "one long commit says nothing");
        pace.begin_turn();
        pace.begin_turn();
        pace.committed(Duration::ZERO, 40 * MS);
        assert_eq!(pace.until_commit(Duration::ZERO), 5 * MS, "nothing waits");
        pace.ran(pace.run_records(), MS);
        assert_eq!(pace.until_commit(Duration::ZERO), 240 * MS);
        pace.begin_turn();
        pace.ran(pace.run_records() - 1, MS);
        assert_eq!(pace.until_commit(Duration::ZERO), 240 * MS, "a turn ago there was a backlog");
        pace.begin_turn();
        assert_eq!(pace.until_commit(Duration::ZERO), 5 * MS);
        pace.ran(pace.run_records(), MS);
        pace.committed(Duration::ZERO, MS / 2);
        assert_eq!(pace.until_commit(Duration::ZERO), 5 * MS, "a short commit costs nothing");
        for _ in 0..2 {
            pace.committed(Duration::ZERO, 1_000 * MS);
        }
        assert_eq!(pace.until_commit(Duration::ZERO), BACKLOG_COMMIT_MAX);
        let mut every_turn = Pace::new(Duration::ZERO, Duration::ZERO);
        every_turn.ran(every_turn.run_records(), MS);
        every_turn.committed(Duration::ZERO, 30 * MS);
        assert!(every_turn.is_commit_due(Duration::ZERO));
    }
}
