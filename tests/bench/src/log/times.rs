//! How long the same piece of work takes, over and over in some threads.

use std::{
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

/// Sorted milliseconds of each piece, and how long all of them took.
pub(super) struct Times {
    sorted: Vec<f64>,
    seconds: f64,
}

impl Times {
    pub(super) fn per_second(&self) -> f64 {
        self.sorted.len() as f64 / self.seconds
    }

    /// Milliseconds that `part` of the pieces took at most.
    pub(super) fn percentile(&self, part: f64) -> f64 {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(0.0)
    }
}

/// Runs what `work` makes for each thread, again and again for so long.
pub(super) fn in_threads<F>(
    threads: u32,
    time: Duration,
    work: impl Fn(u32) -> anyhow::Result<F> + Sync,
) -> anyhow::Result<Times>
where
    F: FnMut() -> anyhow::Result<()>,
{
    let all = Mutex::new(Vec::new());
    let begun = Instant::now();
    let one = |number: u32| -> anyhow::Result<()> {
        let (mut work, mut times) = (work(number)?, Vec::new());
        while begun.elapsed() < time {
            let begun = Instant::now();
            work()?;
            times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        all.lock().unwrap_or_else(PoisonError::into_inner).append(&mut times);
        Ok(())
    };
    thread::scope(|scope| {
        let one = &one;
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || one(number))).collect();
        running.into_iter().try_for_each(|thread| thread.join().ok().context("a thread panicked")?)
    })?;
    let seconds = begun.elapsed().as_secs_f64();
    let mut sorted = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    sorted.sort_unstable_by(f64::total_cmp);
    Ok(Times { sorted, seconds })
}
