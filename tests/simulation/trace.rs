//! What happened, in order: two runs of one seed must agree on every line.

use std::fmt::Write;

#[derive(Default)]
pub(crate) struct Trace(String);

impl Trace {
    pub(crate) fn line(&mut self, time_ms: i64, text: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{time_ms:>9} {text}").expect("memory");
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}
