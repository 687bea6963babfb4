//! Keeps the cleaner from taking the disk and the processor for itself.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Bytes between two looks at the clock.
const LOOK_BYTES: u64 = 1 << 20;

/// Slows its caller down to a number of bytes per second.
pub(crate) struct Throttle {
    bytes_per_second: Option<u64>,
    began: Instant,
    spent: u64,
    next_look: u64,
}

impl Throttle {
    /// `None` does not slow down.
    pub(crate) fn new(bytes_per_second: Option<u64>) -> Self {
        Throttle { bytes_per_second, began: Instant::now(), spent: 0, next_look: LOOK_BYTES }
    }

    /// Waits if `bytes` more are too many by now.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.spent += bytes as u64;
        let Some(rate) = self.bytes_per_second.filter(|_| self.spent >= self.next_look) else { return };
        self.next_look = self.spent + LOOK_BYTES;
        thread::sleep(wait(self.spent, rate, self.began.elapsed()));
    }
}

/// How long to wait after so many bytes in so much time.
fn wait(bytes: u64, bytes_per_second: u64, elapsed: Duration) -> Duration {
    let due_ms = bytes.saturating_mul(1000) / bytes_per_second.max(1);
    Duration::from_millis(due_ms).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_too_fast_waits() {
        assert_eq!(wait(1_000, 1_000, Duration::from_millis(400)), Duration::from_millis(600));
        assert_eq!(wait(1_000, 1_000, Duration::from_millis(1_400)), Duration::ZERO);
        assert_eq!(wait(1, 0, Duration::ZERO), Duration::from_secs(1));
    }
}
