//! Every number that the runtime counts: names, units and meaning in one table.
//!
//! Names are Kafka Streams' where it has them. Threads add to them once per turn, never per record.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($variant:ident $name:literal $help:literal,)*) => {
        /// A number that the runtime counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Metric {
            $(#[doc = $help] $variant,)*
        }

        impl Metric {
            /// All of them.
            pub const ALL: &[Metric] = &[$(Metric::$variant,)*];

            /// Its name; the unit is its last word where it is no count.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Metric::$variant => $name,)* }
            }

            /// What it says.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Metric::$variant => $help,)* }
            }
        }
    };
}

metrics! {
    AliveStreamThreads "alive-stream-threads" "Stream threads at work now.",
    FailedStreamThreads "failed-stream-threads" "Stream threads that ended with an error.",
    PollTotal "poll-total" "Polls of the main consumers.",
    PollBytesTotal "poll-bytes-total" "Bytes of record batches fetched by the main consumers.",
    ProcessTotal "process-total" "Records processed.",
    ProcessNs "process-ns-total" "Nanoseconds spent processing.",
    PunctuateTotal "punctuate-total" "Turns in which a wall-clock punctuation was due.",
    CommitTotal "commit-total" "Commits.",
    CommitNs "commit-ns-total" "Nanoseconds spent committing.",
    CommitFailedTotal "commit-failed-total" "Commits that failed; what they covered was done again.",
    DroppedRecordsTotal "dropped-records-total" "Records that operators, handlers and extractors left out.",
    TaskCreatedTotal "task-created-total" "Tasks that began to process.",
    TaskClosedTotal "task-closed-total" "Tasks that ended, cleanly or not.",
    TaskMigratedTotal "task-migrated-total" "Times a thread was fenced and joined its group anew.",
    StandbyTasks "standby-tasks" "Standby tasks that this instance keeps now.",
    StandbyRecordsTotal "standby-update-total" "Records that standby tasks have applied.",
    RestoreRecordsTotal "restore-total" "Records applied from changelogs.",
    StoresRebuiltTotal "stores-rebuilt-total" "Stores whose files were moved aside and rebuilt from the changelog.",
}

/// The counters of one application.
#[derive(Debug, Default)]
pub(crate) struct Metrics([AtomicU64; Metric::ALL.len()]);

impl Metrics {
    pub(crate) fn add(&self, metric: Metric, amount: u64) {
        self.0[metric as usize].fetch_add(amount, Ordering::Relaxed);
    }

    /// For a number that goes up and down.
    pub(crate) fn set(&self, metric: Metric, value: u64) {
        self.0[metric as usize].store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_own_name_and_its_own_number() {
        let metrics = Metrics::default();
        let mut names = std::collections::BTreeSet::new();
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert!(names.insert(metric.name()), "{} twice", metric.name());
            metrics.set(*metric, place as u64);
            metrics.add(*metric, 1);
        }
        for (place, metric) in Metric::ALL.iter().enumerate() {
            assert_eq!(metrics.get(*metric), place as u64 + 1, "{}", metric.name());
        }
    }
}
