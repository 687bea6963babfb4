//! What is shown on standard error while the program works: bars on a terminal, and lines that do not disturb them.

use std::{
    collections::HashMap,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use log_store::TopicPartition;
use streams_dsl::prelude::*;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that is shown; clones show in the same place. Where standard error is no terminal there are lines only.
#[derive(Clone, Default)]
pub(crate) struct Progress {
    bars: MultiProgress,
}

impl Progress {
    /// A bar for reading `bytes` of input.
    pub(crate) fn reading(&self, bytes: u64) -> Reading {
        let bar = ProgressBar::new(bytes).with_style(
            ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {msg}").expect("the template is right"),
        );
        // What somebody types has no end that is known, and a bar would come between the lines.
        Reading { bar: if bytes == 0 { ProgressBar::hidden() } else { self.bars.add(bar) } }
    }

    /// Says something on standard error, beside the bars.
    pub(crate) fn say(&self, text: &str) {
        self.beside(|| examples::say(text));
    }

    /// Does something that writes to the terminal, with the bars out of its way.
    pub(crate) fn beside<R>(&self, write: impl FnOnce() -> R) -> R {
        if self.bars.is_hidden() { write() } else { self.bars.suspend(write) }
    }

    /// Takes the bars away, for good.
    pub(crate) fn finish(&self) {
        // A terminal that is gone has no bars.
        let _ = self.bars.clear();
        self.bars.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }

    /// Shows how the store of `partitions` is restored, before the counting begins.
    pub(crate) fn restore_listener(&self, partitions: u32) -> Arc<dyn RestoreListener> {
        Arc::new(Restoring { progress: self.clone(), partitions, restore: Mutex::default() })
    }
}

/// How far the input is read and counted.
#[derive(Clone)]
pub(crate) struct Reading {
    bar: ProgressBar,
}

impl Reading {
    /// `bytes` more have been read.
    pub(crate) fn read(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Lines and words counted so far, and records that wait in topics.
    pub(crate) fn show(&self, (lines, words): (u64, u64), lag: u64) {
        self.bar.set_message(format!("{lines} lines and {words} words counted, {lag} records to go"));
    }
}

/// Adds up the restore of all partitions of a store.
struct Restoring {
    progress: Progress,
    partitions: u32,
    restore: Mutex<Restore>,
}

#[derive(Default)]
struct Restore {
    /// When the first partition began.
    began: Option<Instant>,
    /// From the first record to the end of the last partition.
    bar: Option<ProgressBar>,
    /// How far each has come, and whether it is done.
    partitions: HashMap<TopicPartition, (RestoreProgress, bool)>,
}

impl Restore {
    /// Records of all partitions: restored, and offsets done of how many.
    fn sums(&self) -> (u64, u64, u64) {
        let (mut records, mut done, mut all) = (0, 0, 0);
        for (partition, _) in self.partitions.values() {
            records += partition.records;
            done += partition.position.offsets_since(partition.start);
            all += partition.end.offsets_since(partition.start);
        }
        (records, done, all)
    }

    /// Takes the news of one partition; how long all of them take so far.
    fn update(&mut self, progress: &RestoreProgress, is_done: bool, bars: &MultiProgress) -> Duration {
        self.partitions.insert(progress.changelog.clone(), (progress.clone(), is_done));
        let elapsed = self.began.get_or_insert_with(Instant::now).elapsed();
        let (records, done, all) = self.sums();
        if records == 0 {
            return elapsed;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("restore {bar:30} {pos}/{len} records, {msg}");
            bars.add(ProgressBar::no_length().with_style(style.expect("the template is right")))
        });
        bar.set_length(all);
        bar.set_position(done);
        let seconds = elapsed.as_secs_f64().max(1e-9);
        let left = Duration::try_from_secs_f64(seconds / done as f64 * (all - done) as f64).unwrap_or_default();
        bar.set_message(format!("{:.0}/s, {} left", records as f64 / seconds, HumanDuration(left)));
        elapsed
    }
}

impl RestoreListener for Restoring {
    fn on_restore_start(&self, progress: &RestoreProgress) {
        let mut restore = self.restore.lock().unwrap_or_else(PoisonError::into_inner);
        restore.update(progress, false, &self.progress.bars);
    }

    fn on_batch_restored(&self, progress: &RestoreProgress) {
        let mut restore = self.restore.lock().unwrap_or_else(PoisonError::into_inner);
        restore.update(progress, false, &self.progress.bars);
    }

    fn on_restore_end(&self, progress: &RestoreProgress) {
        let mut restore = self.restore.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = restore.update(progress, true, &self.progress.bars);
        let ended = restore.partitions.values().filter(|(_, is_done)| *is_done).count();
        if ended < self.partitions as usize {
            return;
        }
        let (records, ..) = restore.sums();
        if let Some(bar) = std::mem::take(&mut *restore).bar {
            bar.finish_and_clear();
        }
        if records > 0 {
            let seconds = elapsed.as_secs_f64().max(1e-9);
            let (topic, partitions, rate) = (&progress.changelog.topic, self.partitions, records as f64 / seconds);
            let s = if partitions == 1 { "" } else { "s" };
            self.progress.say(&format!(
                "restored {records} records of {topic} ({partitions} partition{s}) in {seconds:.2} s ({rate:.0}/s)"
            ));
        }
    }
}

/// Takes what log and engine have to say.
impl<'a> MakeWriter<'a> for Progress {
    type Writer = &'a Progress;

    fn make_writer(&'a self) -> &'a Progress {
        self
    }
}

impl Write for &Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // That nobody listens is no reason to stop.
        let _ = self.beside(|| io::stderr().lock().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
