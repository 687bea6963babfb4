//! The clock on the wall and the one that never goes back. The runtime asks no other.

use std::{
    fmt,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Both clocks of an application.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Milliseconds since 1970. May jump, forwards and back: for wall-clock punctuations and processing time only.
    fn wall_clock_ms(&self) -> i64;

    /// Time since an origin of its own. Never goes back: for intervals and deadlines.
    fn monotonic(&self) -> Duration;
}

/// The clocks of the machine.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn wall_clock_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}
