//! What the disk does without a log: the measure for durable appends.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::times::{Times, in_threads};

/// Bytes of a sequential run, written a mebibyte at a time.
const SEQUENTIAL_BYTES: u64 = 512 << 20;
const SEQUENTIAL_RUNS: u32 = 3;

fn create(folder: &Path, name: &str) -> anyhow::Result<File> {
    let path = folder.join(name);
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot create {}", path.display()))
}

/// MiB that go to one file in a second, with one sync at the end; the best of a few runs.
pub(super) fn sequential(folder: &Path) -> anyhow::Result<f64> {
    let chunk = vec![b'v'; 1 << 20];
    let mut best: f64 = 0.0;
    for run in 0..SEQUENTIAL_RUNS {
        let file = create(folder, &format!("sequential-{run}"))?;
        let begun = Instant::now();
        for position in (0..SEQUENTIAL_BYTES).step_by(chunk.len()) {
            file.write_all_at(&chunk, position)?;
        }
        file.sync_data()?;
        best = best.max(SEQUENTIAL_BYTES as f64 / f64::from(1 << 20) / begun.elapsed().as_secs_f64());
        std::fs::remove_file(folder.join(format!("sequential-{run}")))?;
    }
    Ok(best)
}

/// As many writers, each with a file of its own: write so many bytes, sync, and again.
pub(super) fn synced(folder: &Path, writers: u32, bytes: usize, time: Duration) -> anyhow::Result<Times> {
    let times = in_threads(writers, time, |number| {
        let file = create(folder, &format!("synced-{number}"))?;
        let (chunk, mut position) = (vec![b'v'; bytes], 0);
        Ok(move || {
            file.write_all_at(&chunk, position)?;
            position += chunk.len() as u64;
            Ok(file.sync_data()?)
        })
    })?;
    for number in 0..writers {
        std::fs::remove_file(folder.join(format!("synced-{number}")))?;
    }
    Ok(times)
}
