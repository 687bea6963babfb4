//! Windows of a join of two streams.

use std::time::Duration;

use super::millis;

/// How far apart two records may be to be joined: the other stream's record is at most `before` earlier and at most
/// `after` later than this stream's, both included.
///
/// ```
/// use std::time::Duration;
///
/// use streams_dsl::JoinWindows;
///
/// let hour = Duration::from_secs(3600);
/// let around = JoinWindows::of_time_difference_with_no_grace(hour);
/// // Shipments up to an hour after their order.
/// let after = around.before(Duration::ZERO);
/// # let _ = after;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinWindows {
    pub(crate) before_ms: i64,
    pub(crate) after_ms: i64,
    pub(crate) grace_ms: i64,
}

impl JoinWindows {
    /// Records at most `time_difference` apart. Unmatched results of left and outer joins follow as soon as no match can
    /// come in time any more.
    #[must_use]
    pub fn of_time_difference_with_no_grace(time_difference: Duration) -> Self {
        JoinWindows::of_time_difference_and_grace(time_difference, Duration::ZERO)
    }

    /// Records at most `time_difference` apart, with `grace` for those that come out of order.
    #[must_use]
    pub fn of_time_difference_and_grace(time_difference: Duration, grace: Duration) -> Self {
        let difference = millis(time_difference);
        JoinWindows { before_ms: difference, after_ms: difference, grace_ms: millis(grace) }
    }

    /// The other record may be at most this much earlier.
    #[must_use]
    pub fn before(self, before: Duration) -> Self {
        self.before_ms(millis(before))
    }

    /// The other record may be at most this much later.
    #[must_use]
    pub fn after(self, after: Duration) -> Self {
        self.after_ms(millis(after))
    }

    /// The other record may be at most this many milliseconds earlier; if negative, it must be later by that much.
    #[must_use]
    pub fn before_ms(self, before_ms: i64) -> Self {
        JoinWindows { before_ms, ..self }
    }

    /// The other record may be at most this many milliseconds later; if negative, it must be earlier by that much.
    #[must_use]
    pub fn after_ms(self, after_ms: i64) -> Self {
        JoinWindows { after_ms, ..self }
    }

    /// Length of the window.
    pub(crate) fn size_ms(self) -> i64 {
        self.before_ms.saturating_add(self.after_ms)
    }

    /// How long a record waits for others.
    pub(crate) fn retention_ms(self) -> i64 {
        self.size_ms().saturating_add(self.grace_ms)
    }

    pub(crate) fn check(self) -> Result<(), String> {
        if self.size_ms() < 0 {
            return Err(format!(
                "a join window of {} ms before and {} ms after is shorter than zero",
                self.before_ms, self.after_ms
            ));
        }
        Ok(())
    }
}
