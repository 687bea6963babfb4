//! What an application without work costs: little time to start, little memory, no busy processor.
//!
//! The bounds are promises. Other programs on the machine only ever make a run slower, so of several runs the best counts.

use std::{path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

const RUNS: usize = 5;

/// The best that an empty application did, of [`RUNS`] on one folder; the first of them makes topics and stores.
fn best() -> (f64, f64, Option<f64>) {
    let folder = TempDir::new().unwrap();
    let (mut running_ms, mut cpu_ms, mut rss_bytes) = (f64::MAX, f64::MAX, None);
    for _ in 0..RUNS {
        let output = Command::new(env!("CARGO_BIN_EXE_idle")).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |name: &str| told[name].as_f64().unwrap();
        running_ms = running_ms.min(number("running_ms"));
        cpu_ms = cpu_ms.min(number("cpu_ms"));
        assert!(told["rss_bytes"].is_number() || !Path::new("/proc/self/status").exists(), "{told}");
        let bytes = told["rss_bytes"].as_f64();
        rss_bytes = bytes.map(|bytes| bytes.min(rss_bytes.unwrap_or(bytes)));
    }
    (running_ms, cpu_ms, rss_bytes)
}

#[test]
fn an_empty_application_runs_at_once_and_rests_for_nothing() {
    let (running_ms, cpu_ms, rss_bytes) = best();
    println!("RUNNING after {running_ms} ms; at rest {cpu_ms} ms of processor in 2 s, {rss_bytes:?} bytes");
    assert!(running_ms < 100.0, "RUNNING after {running_ms} ms");
    // One hundredth of a core: a loop that does not sleep would take a hundred times that.
    assert!(cpu_ms < 20.0, "{cpu_ms} ms of processor in 2 s of rest");
    match rss_bytes {
        Some(bytes) => assert!(bytes < 30e6, "{bytes} bytes at rest"),
        None => streams_tests::skipped("this system does not tell a program's memory in /proc/self/status"),
    }
}
