//! Positions inside one partition.
//!
//! ```text
//! log start <= last stable offset <= high watermark = log end
//! ```
//!
//! One process, no replicas: the high watermark and the log end are the same offset.

use std::fmt;

/// Position of one record in a partition. Grows by one per append, never reused; compaction and transaction markers
/// leave gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Offset = Offset(0);

    /// The offset numbered `value`.
    #[must_use]
    #[inline]
    pub const fn new(value: u64) -> Self {
        Offset(value)
    }

    /// From Kafka's signed form; negative numbers are sentinels there and give `None`.
    #[must_use]
    pub fn from_i64(value: i64) -> Option<Self> {
        u64::try_from(value).ok().map(Offset)
    }

    /// The number.
    #[must_use]
    #[inline]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Kafka's signed form.
    #[must_use]
    #[inline]
    #[expect(clippy::cast_possible_wrap, reason = "a log never reaches 2^63 records")]
    pub const fn as_i64(self) -> i64 {
        self.0 as i64
    }

    /// The offset after this one.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Self {
        Offset(self.0 + 1)
    }

    /// This offset moved on by `count`.
    #[must_use]
    #[inline]
    pub const fn plus(self, count: u64) -> Self {
        Offset(self.0 + count)
    }

    /// Number of offsets from `earlier` (inclusive) to `self` (exclusive), zero if `earlier` is later: an upper bound
    /// of the records between them.
    #[must_use]
    #[inline]
    pub const fn offsets_since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
