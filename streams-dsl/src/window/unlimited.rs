//! One window without end.

use streams_core::serde::Window;

/// One window that begins at a time and never ends. Its results are passed on at each update; it never closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnlimitedWindows {
    start_ms: i64,
}

impl UnlimitedWindows {
    /// The window from 1970 on.
    #[must_use]
    pub fn of() -> Self {
        UnlimitedWindows::default()
    }

    /// The window from this time on, in milliseconds since 1970. Earlier records are in no window.
    #[must_use]
    pub fn start_on(self, start_ms: i64) -> Self {
        UnlimitedWindows { start_ms }
    }

    pub(crate) fn check(self) -> Result<(), String> {
        if self.start_ms < 0 {
            return Err(format!("a window cannot begin before 1970, at {} ms", self.start_ms));
        }
        Ok(())
    }

    pub(crate) fn window_for(self, timestamp: i64) -> Option<Window> {
        (timestamp >= self.start_ms).then_some(Window::new(self.start_ms, i64::MAX))
    }
}
