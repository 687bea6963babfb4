//! The time that both sides of a join see.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    thread::{self, ThreadId},
};

use streams_core::task::TaskId;

/// What the two sides of a join in one task share. They run on one thread: the atomics are for the compiler, not for
/// speed or order.
#[derive(Debug)]
pub(super) struct TimeTracker {
    stream_time: AtomicI64,
    /// No unmatched record is earlier.
    earliest: AtomicI64,
    /// Wall-clock time before which unmatched records are not looked for again.
    next_scan: AtomicI64,
    interval_ms: i64,
}

impl TimeTracker {
    fn new(interval_ms: i64) -> Self {
        TimeTracker {
            stream_time: AtomicI64::new(-1),
            earliest: AtomicI64::new(i64::MAX),
            next_scan: AtomicI64::new(0),
            interval_ms,
        }
    }

    /// Greatest timestamp of both sides.
    pub(super) fn stream_time(&self) -> i64 {
        self.stream_time.load(Relaxed)
    }

    pub(super) fn advance(&self, timestamp: i64) {
        self.stream_time.fetch_max(timestamp, Relaxed);
    }

    pub(super) fn earliest(&self) -> i64 {
        self.earliest.load(Relaxed)
    }

    pub(super) fn set_earliest(&self, timestamp: i64) {
        self.earliest.store(timestamp, Relaxed);
    }

    /// True if it is time to look for unmatched records; then the next look is an interval away.
    pub(super) fn may_scan(&self, now: i64) -> bool {
        if now < self.next_scan.load(Relaxed) {
            return false;
        }
        self.next_scan.store(now.saturating_add(self.interval_ms), Relaxed);
        true
    }
}

/// Lets the two sides of a join in one task find their tracker. They are initialised one after the other on the thread
/// that runs the task: the first leaves the tracker here, the second takes it.
#[derive(Clone)]
pub(super) struct Trackers {
    interval_ms: i64,
    waiting: Arc<Mutex<HashMap<(ThreadId, TaskId), Waiting>>>,
}

struct Waiting {
    left_by: bool,
    tracker: Arc<TimeTracker>,
}

impl Trackers {
    pub(super) fn new(interval_ms: i64) -> Self {
        Trackers { interval_ms, waiting: Arc::default() }
    }

    /// The tracker of the side that is initialised now.
    pub(super) fn meet(&self, task: TaskId, is_left: bool) -> Arc<TimeTracker> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (thread::current().id(), task);
        match waiting.remove(&place) {
            Some(Waiting { left_by, tracker }) if left_by != is_left => tracker,
            // Nobody there, or a tracker whose other side never came because the task failed before.
            _ => {
                let tracker = Arc::new(TimeTracker::new(self.interval_ms));
                waiting.insert(place, Waiting { left_by: is_left, tracker: Arc::clone(&tracker) });
                tracker
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: TaskId = TaskId { subtopology: 0, partition: 1 };

    #[test]
    fn both_sides_of_a_task_share_a_tracker_and_no_others_do() {
        let trackers = Trackers::new(0);
        let left = trackers.meet(TASK, true);
        assert!(Arc::ptr_eq(&left, &trackers.meet(TASK, false)));
        let again = trackers.meet(TASK, true);
        assert!(!Arc::ptr_eq(&left, &again));
        let after_failure = trackers.meet(TASK, true);
        assert!(!Arc::ptr_eq(&again, &after_failure));
        assert!(Arc::ptr_eq(&after_failure, &trackers.meet(TASK, false)));
    }

    #[test]
    fn scans_keep_their_distance() {
        let tracker = TimeTracker::new(1_000);
        assert!(tracker.may_scan(5));
        assert!(!tracker.may_scan(1_004));
        assert!(tracker.may_scan(1_005));
    }
}
