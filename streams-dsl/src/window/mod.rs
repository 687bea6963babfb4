//! Windows: spans of event time over which records are put together.
//!
//! Only the arithmetic of their bounds is here. What closes a window, and with it the meaning of *late*, is stream time:
//! the greatest timestamp seen so far, less the grace period.

mod join;
mod session;
mod sliding;
mod time;
mod unlimited;

use std::time::Duration;

pub use join::JoinWindows;
pub use session::SessionWindows;
pub(crate) use session::merged;
pub use sliding::SlidingWindows;
pub use time::TimeWindows;
pub use unlimited::UnlimitedWindows;

/// When results of windows are passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmitStrategy {
    /// At each update (subject to caching). The default.
    #[default]
    OnWindowUpdate,
    /// Once, when the window has closed. Not for unlimited windows.
    ///
    /// Windows are looked for when a record comes, among those that the store still holds. As in Kafka Streams, a jump in
    /// event time that leaves closed windows behind the store's retention loses their results; a longer
    /// [`with_retention`](crate::Materialized::with_retention) keeps them.
    OnWindowClose,
}

/// Milliseconds of a duration; what is too long never ends.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The duration of so many milliseconds.
pub(crate) fn duration(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
