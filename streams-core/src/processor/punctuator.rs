//! Punctuation: calls that time makes, not records.

/// Which clock a punctuation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PunctuationType {
    /// The greatest timestamp of the task's records. Moves only when records come.
    StreamTime,
    /// The clock on the wall, looked at once per turn of the thread.
    WallClockTime,
}

/// A scheduled punctuation, for cancelling it and for telling several apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Punctuation(pub(crate) u32);
