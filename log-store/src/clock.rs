//! The clock on the wall, and the clock that never goes back: the only places where real time is read.

use std::{
    fmt,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What time it is. Shared by the threads of a log and of the applications on it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970, UTC. May jump when the machine's clock is set.
    fn wall_clock_ms(&self) -> i64;

    /// Time since some moment in the past. Never goes back: for intervals and timeouts.
    fn monotonic(&self) -> Duration;

    /// Returns when this much time has passed.
    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[must_use]
    pub fn new() -> Self {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall_clock_ms(&self) -> i64 {
        // A clock set before 1970 counts as 1970.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves only when it is told to, or when somebody sleeps: for tests.
///
/// ```
/// use std::time::Duration;
/// use log_store::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new(1_000);
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(clock.wall_clock_ms(), 3_000);
/// ```
#[derive(Debug)]
pub struct ManualClock {
    start_ms: AtomicI64,
    elapsed_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall_clock_ms`.
    #[must_use]
    pub fn new(wall_clock_ms: i64) -> Self {
        ManualClock { start_ms: AtomicI64::new(wall_clock_ms), elapsed_nanos: AtomicU64::new(0) }
    }

    /// Moves both times on. The clock can show 584 years.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.elapsed_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Sets the clock on the wall; the monotonic time stays.
    pub fn set_wall_clock(&self, wall_clock_ms: i64) {
        self.start_ms.store(wall_clock_ms - self.elapsed_ms(), Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.monotonic().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for ManualClock {
    fn wall_clock_ms(&self) -> i64 {
        self.start_ms.load(Ordering::Relaxed).saturating_add(self.elapsed_ms())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::Relaxed))
    }

    fn sleep(&self, time: Duration) {
        self.advance(time);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, ManualClock, SystemClock};

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = ManualClock::new(5);
        assert_eq!((clock.wall_clock_ms(), clock.monotonic()), (5, Duration::ZERO));
        clock.advance(Duration::from_millis(4));
        clock.sleep(Duration::from_millis(6));
        clock.set_wall_clock(-3);
        clock.advance(Duration::from_millis(1));
        assert_eq!((clock.wall_clock_ms(), clock.monotonic()), (-2, Duration::from_millis(11)));
    }

    #[test]
    fn the_system_clock_shows_this_century() {
        let clock = SystemClock::new();
        assert!(clock.wall_clock_ms() > 1_700_000_000_000);
        assert!(clock.monotonic() <= clock.monotonic());
    }
}
