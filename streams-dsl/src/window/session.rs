//! Sessions: windows of activity.

use std::time::Duration;

use streams_core::serde::Window;

use super::millis;

/// Windows of activity of a key: records less than or exactly `inactivity_gap` apart are in one session. A record
/// between two sessions joins them. Both ends belong to the session: the times of its first and last record.
///
/// ```text
/// gap 5    |a-b-c|          |d|             a, b, c: one session; d: another
///          |a-b-c----e------d|              e joins them
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionWindows {
    pub(crate) gap_ms: i64,
    pub(crate) grace_ms: i64,
}

impl SessionWindows {
    /// Sessions that close as soon as stream time has passed their end by the gap.
    #[must_use]
    pub fn of_inactivity_gap_with_no_grace(inactivity_gap: Duration) -> Self {
        SessionWindows::of_inactivity_gap_and_grace(inactivity_gap, Duration::ZERO)
    }

    /// Sessions that accept records until stream time has passed their end by the gap and `grace`.
    #[must_use]
    pub fn of_inactivity_gap_and_grace(inactivity_gap: Duration, grace: Duration) -> Self {
        SessionWindows { gap_ms: millis(inactivity_gap), grace_ms: millis(grace) }
    }
}

/// The session of both.
pub(crate) fn merged(one: Window, other: Window) -> Window {
    Window::new(one.start.min(other.start), one.end.max(other.end))
}
