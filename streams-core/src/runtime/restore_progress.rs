//! How far the restore of a store has come, and who is told.

use std::time::Duration;

use log_store::{Offset, TopicPartition};

use crate::task::TaskId;

/// How far the restore of one store has come.
#[derive(Clone, Debug)]
pub struct RestoreProgress {
    /// The task.
    pub task: TaskId,
    /// The store.
    pub store: String,
    /// What it is restored from.
    pub changelog: TopicPartition,
    /// Where the restore began: what was before is in the store's files.
    pub start: Offset,
    /// Where it ends.
    pub end: Offset,
    /// How far it is.
    pub position: Offset,
    /// Records applied so far.
    pub records: u64,
    /// Time since it began.
    pub elapsed: Duration,
}

impl RestoreProgress {
    /// Offsets that are left; an upper bound of the records.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.end.offsets_since(self.position)
    }

    /// Records per second so far.
    #[must_use]
    pub fn records_per_second(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Time left at the present rate; `None` while there is no rate yet.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        let done = self.position.offsets_since(self.start);
        if self.remaining() == 0 {
            return Some(Duration::ZERO);
        }
        let seconds = self.elapsed.as_secs_f64() / done as f64 * self.remaining() as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Told how restores go on. Called by the workers that restore: return soon.
pub trait RestoreListener: Send + Sync {
    /// A store begins to be restored.
    fn on_restore_start(&self, _progress: &RestoreProgress) {}
    /// A batch of records has been applied.
    fn on_batch_restored(&self, _progress: &RestoreProgress) {}
    /// The store is complete.
    fn on_restore_end(&self, _progress: &RestoreProgress) {}
    /// The restore ends early: the task goes elsewhere, or the application closes.
    fn on_restore_suspended(&self, _progress: &RestoreProgress) {}
}

#[cfg(test)]
mod tests {
    use log_store::TopicName;

    use super::*;

    #[test]
    fn progress_says_how_long_it_will_take() {
        let mut progress = RestoreProgress {
            task: TaskId { subtopology: 0, partition: 0 },
            store: "counts".into(),
            changelog: TopicPartition::new(TopicName::new("app-counts-changelog").unwrap(), 0),
            start: Offset::new(100),
            end: Offset::new(1_100),
            position: Offset::new(100),
            records: 0,
            elapsed: Duration::ZERO,
        };
        assert_eq!((progress.remaining(), progress.time_left()), (1_000, None));
        progress.position = Offset::new(350);
        progress.records = 200;
        progress.elapsed = Duration::from_secs(2);
        assert_eq!(progress.time_left(), Some(Duration::from_secs(6)));
        assert!((progress.records_per_second() - 100.0).abs() < 1e-9);
        progress.position = progress.end;
        assert_eq!(progress.time_left(), Some(Duration::ZERO));
    }
}
