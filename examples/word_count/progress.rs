//! What is shown on standard error while the program works. Bars appear on a terminal only.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use log_store::TopicPartition;
use streams_dsl::prelude::*;

/// The bars; clones show in the same place.
#[derive(Clone)]
pub(crate) struct Progress {
    reading: ProgressBar,
    restoring: ProgressBar,
}

impl Progress {
    /// A bar for reading `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let reading = ProgressBar::new(bytes).with_style(
            ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {msg}").expect("the template is right"),
        );
        let restoring = ProgressBar::no_length().with_style(
            ProgressStyle::with_template("{bar:30} {pos}/{len} records, {msg}").expect("the template is right"),
        );
        Progress { reading, restoring }
    }

    /// `bytes` more have been read.
    pub(crate) fn read(&self, bytes: u64) {
        self.reading.inc(bytes);
    }

    /// How the counting goes on: lines and words so far, and records that wait in topics.
    pub(crate) fn show(&self, (lines, words): (u64, u64), lag: u64) {
        self.reading.set_message(format!("{lines} lines and {words} words counted, {lag} records to go"));
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        self.reading.finish_and_clear();
        self.restoring.finish_and_clear();
    }

    /// Shows restores, before the counting begins.
    pub(crate) fn restore_listener(&self) -> Arc<dyn RestoreListener> {
        Arc::new(Restores { bar: self.restoring.clone(), partitions: Mutex::default() })
    }
}

/// Adds up the restores of all partitions.
struct Restores {
    bar: ProgressBar,
    partitions: Mutex<HashMap<TopicPartition, RestoreProgress>>,
}

impl RestoreListener for Restores {
    fn on_batch_restored(&self, progress: &RestoreProgress) {
        let mut partitions = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(progress.changelog.clone(), progress.clone());
        let rate: f64 = partitions.values().map(RestoreProgress::records_per_second).sum();
        let left = partitions.values().filter_map(RestoreProgress::time_left).max().unwrap_or_default();
        self.bar.set_length(partitions.values().map(|partition| partition.end.offsets_since(partition.start)).sum());
        self.bar.set_position(partitions.values().map(|p| p.position.offsets_since(p.start)).sum());
        self.bar.set_message(format!("{rate:.0}/s, {} left", HumanDuration(left)));
    }

    fn on_restore_end(&self, progress: &RestoreProgress) {
        self.bar.finish_and_clear();
        let (records, seconds) = (progress.records, progress.elapsed.as_secs_f64());
        if records > 0 {
            let rate = progress.records_per_second();
            let line = format!("restored {records} records of {} in {seconds:.2} s ({rate:.0}/s)", progress.changelog);
            self.bar.suspend(|| eprintln!("{line}"));
        }
    }
}
