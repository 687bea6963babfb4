//! Standard output: lines for people, or JSON for programs, never both.
//!
//! Every write is checked, since the reader of a pipe may leave at any time.

use std::{
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
};

use serde_json::Value;

/// Where results go.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    is_json: bool,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        Output { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()), is_json }
    }

    /// True if JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// One result: as `text` for people (nothing if that is empty), as `json` for programs.
    pub(crate) fn result(&mut self, text: fmt::Arguments<'_>, json: impl FnOnce() -> Value) -> io::Result<()> {
        if self.is_json { self.json(&json()) } else { writeln!(self.out, "{text}") }
    }

    /// One JSON object on a line of its own.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Hands everything on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
