//! Windows of a fixed size: tumbling and hopping.

use std::time::Duration;

use streams_core::serde::Window;

use super::millis;

/// Windows of a fixed size, aligned to the epoch: `[start, start + size)`.
///
/// Tumbling windows follow one another; hopping windows overlap, one begins every `advance`.
///
/// ```text
/// size 10, advance 10   |----------|----------|----------|
/// size 10, advance 5    |----------|
///                            |----------|
///                                 |----------|
///                       0    5    10   15   20   25   30
/// ```
///
/// ```
/// use std::time::Duration;
///
/// use streams_dsl::TimeWindows;
///
/// let minute = Duration::from_secs(60);
/// let tumbling = TimeWindows::of_size_and_grace(minute, Duration::from_secs(10));
/// let hopping = TimeWindows::of_size_with_no_grace(minute).advance_by(Duration::from_secs(15));
/// # let _ = (tumbling, hopping);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWindows {
    pub(crate) size_ms: i64,
    advance_ms: i64,
    pub(crate) grace_ms: i64,
}

impl TimeWindows {
    /// Tumbling windows that close as soon as stream time reaches their end: a record that is out of order may be late.
    #[must_use]
    pub fn of_size_with_no_grace(size: Duration) -> Self {
        TimeWindows::of_size_and_grace(size, Duration::ZERO)
    }

    /// Tumbling windows that accept records until stream time has passed their end by `grace`.
    #[must_use]
    pub fn of_size_and_grace(size: Duration, grace: Duration) -> Self {
        TimeWindows { size_ms: millis(size), advance_ms: millis(size), grace_ms: millis(grace) }
    }

    /// A window begins every `advance`: more than zero, and at most the size.
    #[must_use]
    pub fn advance_by(self, advance: Duration) -> Self {
        TimeWindows { advance_ms: millis(advance), ..self }
    }

    /// What is wrong with the settings.
    pub(crate) fn check(self) -> Result<(), String> {
        if self.size_ms <= 0 {
            return Err("the size of windows must be more than zero".to_owned());
        }
        if self.advance_ms <= 0 || self.advance_ms > self.size_ms {
            return Err(format!(
                "windows of {} ms must advance by more than zero and at most their size, not by {} ms",
                self.size_ms, self.advance_ms
            ));
        }
        Ok(())
    }

    /// Starts of the first and of the last window that `timestamp` is in.
    pub(crate) fn starts(self, timestamp: i64) -> (i64, i64) {
        let first = timestamp.saturating_sub(self.size_ms).saturating_add(self.advance_ms).max(0);
        (first / self.advance_ms * self.advance_ms, timestamp / self.advance_ms * self.advance_ms)
    }

    /// The windows that `timestamp` (not negative) is in, the first one first.
    pub(crate) fn windows_for(self, timestamp: i64) -> impl Iterator<Item = Window> {
        let (first, last) = self.starts(timestamp);
        let count = if first > last { 0 } else { (last - first) / self.advance_ms + 1 };
        (0..count).map(move |number| Window::of_size(first + number * self.advance_ms, self.size_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(size: u64, advance: u64) -> TimeWindows {
        TimeWindows::of_size_with_no_grace(Duration::from_millis(size)).advance_by(Duration::from_millis(advance))
    }

    #[test]
    fn a_timestamp_is_in_every_window_that_began_less_than_a_size_ago() {
        let starts = |windows: TimeWindows, at| windows.windows_for(at).map(|w| w.start).collect::<Vec<_>>();
        assert_eq!(starts(windows(10, 10), 25), [20]);
        assert_eq!(starts(windows(10, 10), 20), [20]);
        assert_eq!(starts(windows(10, 5), 25), [20, 25]);
        assert_eq!(starts(windows(10, 3), 10), [3, 6, 9]);
        assert_eq!(starts(windows(10, 5), 2), [0]);
    }

    #[test]
    fn sizes_and_advances_that_cannot_be_are_refused() {
        assert!(windows(10, 10).check().is_ok());
        for (size, advance) in [(0, 0), (10, 0), (10, 11)] {
            assert!(windows(size, advance).check().is_err(), "{size} {advance}");
        }
    }

    proptest! {
        #[test]
        fn a_timestamp_is_in_its_windows_and_in_no_others(
            size in 1_u64..50, advance in 1_u64..50, at in 0_i64..1000,
        ) {
            prop_assume!(advance <= size);
            let windows = windows(size, advance);
            let found: Vec<i64> = windows.windows_for(at).map(|window| window.start).collect();
            let expected: Vec<i64> = (0..=at)
                .filter(|start| start % advance as i64 == 0 && start + size as i64 > at)
                .collect();
            prop_assert_eq!(&found, &expected);
        }
    }
}
