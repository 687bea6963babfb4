//! Windows that slide with the records.

use std::time::Duration;

use super::millis;

/// Windows that slide with the records of a key: two records are in one window if their times differ by at most
/// `time_difference`. Both ends belong to the window: `[t - difference, t]`.
///
/// For each record there is a window that ends with it, and, once there are later ones, a window that begins right after
/// it.
///
/// ```text
/// records            a      b    c
/// difference 10   |--a|     |    |
///                    |------b|   |       the window that ends with b
///                     |-----b----|-|     the window that begins right after a
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindows {
    pub(crate) difference_ms: i64,
    pub(crate) grace_ms: i64,
}

impl SlidingWindows {
    /// Windows that close as soon as stream time passes their end.
    #[must_use]
    pub fn of_time_difference_with_no_grace(time_difference: Duration) -> Self {
        SlidingWindows::of_time_difference_and_grace(time_difference, Duration::ZERO)
    }

    /// Windows that accept records until stream time has passed their end by `grace`.
    #[must_use]
    pub fn of_time_difference_and_grace(time_difference: Duration, grace: Duration) -> Self {
        SlidingWindows { difference_ms: millis(time_difference), grace_ms: millis(grace) }
    }
}
