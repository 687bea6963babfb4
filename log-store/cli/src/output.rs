//! Standard output: lines for people, or JSON for programs, never both.
//!
//! Every write is checked, since the reader of a pipe may leave at any time.

use std::{
    fmt,
    io::{self, BufWriter, StdoutLock, Write},
    path::Path,
};

use serde_json::Value;

/// Where results go.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    is_json: bool,
    /// What every JSON object names beside its own fields.
    file: Option<String>,
}

impl Output {
    pub(crate) fn new(is_json: bool) -> Self {
        Output { out: BufWriter::with_capacity(64 << 10, io::stdout().lock()), is_json, file: None }
    }

    /// True if JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }

    /// One result: as `text` for people (nothing if that is empty), as `json` for programs.
    pub(crate) fn result(&mut self, text: fmt::Arguments<'_>, json: impl FnOnce() -> Value) -> io::Result<()> {
        if self.is_json { self.json(&json()) } else { writeln!(self.out, "{text}").map_err(named) }
    }

    /// From here on every JSON object has this `file`, unless it has one of its own.
    pub(crate) fn set_file(&mut self, file: &Path) {
        self.file = Some(file.display().to_string());
    }

    /// One JSON object on a line of its own.
    pub(crate) fn json(&mut self, value: &Value) -> io::Result<()> {
        if let (Some(file), Value::Object(fields)) = (&self.file, value) {
            let mut fields = fields.clone();
            fields.entry("file").or_insert_with(|| file.clone().into());
            return self.bytes(format!("{}\n", Value::Object(fields)).as_bytes());
        }
        self.bytes(format!("{value}\n").as_bytes())
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes).map_err(named)
    }

    /// Hands everything on.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(named)
    }
}

fn named(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
}

/// Says something on standard error. That nobody listens is no reason to stop. (`eprintln!` would panic.)
pub(crate) fn say(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_all(format!("logctl: {text}\n").as_bytes());
}
