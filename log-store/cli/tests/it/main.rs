//! `logctl` as a user types it.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod commands;
mod looking;

use std::path::Path;

use assert_cmd::{assert::Assert, cargo};
use serde_json::Value;
use tempfile::TempDir;

/// A log in a directory of its own.
pub(crate) struct Log(TempDir);

impl Log {
    pub(crate) fn new() -> Self {
        Log(tempfile::tempdir().unwrap())
    }

    /// With a topic `clicks` of two partitions.
    pub(crate) fn with_clicks() -> Self {
        let log = Log::new();
        log.run("topics create clicks --partitions 2 --config retention.ms=-1").success();
        log
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command line without input.
    pub(crate) fn run(&self, line: &str) -> Assert {
        self.run_with(line, "")
    }

    /// Runs a command line; arguments have no blanks.
    pub(crate) fn run_with(&self, line: &str, input: &str) -> Assert {
        let mut command = assert_cmd::Command::new(cargo::cargo_bin!("logctl"));
        command.arg("--data").arg(self.path()).args(line.split(' ')).write_stdin(input).assert()
    }

    /// What a command prints.
    pub(crate) fn out(&self, line: &str) -> String {
        text(&self.run(line).success().get_output().stdout)
    }

    /// What a command prints with `--json`.
    pub(crate) fn json(&self, line: &str) -> Vec<Value> {
        self.out(&format!("--json {line}")).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
