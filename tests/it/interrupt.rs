//! Ctrl-C at any moment: word count ends within a second, in order, and the next run has the right counts.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Output},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use streams_tests::{count_words, text};
use tempfile::TempDir;

use crate::{
    data,
    word_count::{Waiting, file, run, text_of, word_count},
};

/// Time from Ctrl-C to the end; of several the median counts, since other programs may hold up one.
const CLOSE: Duration = Duration::from_secs(1);
/// But none takes longer than this.
const CLOSE_MAX: Duration = Duration::from_secs(10);

fn press(process: u32) {
    kill_process(Pid::from_raw(i32::try_from(process).unwrap()).unwrap(), Signal::INT).unwrap();
}

/// Presses Ctrl-C, and waits for an end in order. How long that took, and what was said.
#[track_caller]
fn interrupt(child: Child) -> (Duration, String) {
    let pressed = Instant::now();
    press(child.id());
    let output: Output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let took = pressed.elapsed();
    assert!(took < CLOSE_MAX, "{took:?} until the end: {said}");
    // A program that has not begun yet is ended by the system.
    let is_early = said.is_empty() && output.status.signal().is_some();
    assert!(output.status.success() || is_early, "{}: {said}", output.status);
    (took, said)
}

/// Interrupts a run with these arguments after each of these times. True if one of them was stopped before it was done.
#[track_caller]
fn interrupt_after(data: &Path, args: &[&str], delays_ms: impl IntoIterator<Item = u64>) -> bool {
    let mut was_stopped = false;
    let mut times = Vec::new();
    for delay_ms in delays_ms {
        let mut child = word_count(data, args).spawn().unwrap();
        thread::sleep(Duration::from_millis(delay_ms));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            continue;
        }
        let (took, said) = interrupt(child);
        was_stopped |= said.contains("the next run goes on");
        times.push(took);
    }
    times.sort_unstable();
    assert!(times.get(times.len() / 2).is_none_or(|median| *median < CLOSE), "times until the end: {times:?}");
    was_stopped
}

/// A run without new input counts exactly what lies in the topic.
#[track_caller]
fn check_counts(folder: &TempDir, data: &Path) {
    let empty = file(folder, "empty.txt", "");
    let expected = count_words(&data::lines(data));
    let run = run(data, &["--input", text_of(&empty)]);
    let differs = expected.iter().find(|(word, count)| run.counts.get(*word) != Some(*count));
    assert_eq!(differs.map(|(word, count)| (word, count, run.counts.get(word))), None, "{}", run.said);
    assert_eq!(run.counts.len(), expected.len(), "no word appears from nowhere");
}

#[test]
fn while_it_waits_for_typed_lines() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let (mut waiting, mut shown) = Waiting::start(&data);
    waiting.type_line("apple");
    shown.next().expect("it counts");
    let pressed = Instant::now();
    press(waiting.id());
    let status = waiting.wait();
    assert!(pressed.elapsed() < CLOSE, "{:?}", pressed.elapsed());
    assert!(status.success(), "{status}");
    check_counts(&folder, &data);
}

#[test]
fn while_it_feeds() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let large = file(&folder, "large.txt", text(400_000));
    let was_stopped = interrupt_after(&data, &["--input", text_of(&large)], [20, 60, 120, 200, 300]);
    assert!(was_stopped, "none was stopped in the middle");
    check_counts(&folder, &data);
}

#[test]
fn while_it_counts() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let empty = file(&folder, "empty.txt", "");
    run(&data, &["--input", text_of(&empty)]);
    data::append(&data, "lines", text(150_000).lines().map(|line| (None, Some(line))));
    let was_stopped = interrupt_after(&data, &["--input", text_of(&empty)], [20, 50, 100, 150, 200, 300]);
    assert!(was_stopped, "none was stopped in the middle");
    check_counts(&folder, &data);
}

#[test]
fn while_it_rebuilds() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let input = file(&folder, "input.txt", text(100_000));
    run(&data, &["--input", text_of(&input)]);
    let was_stopped = interrupt_after(&data, &["--rebuild"], [10, 20, 40, 60, 80, 100, 150]);
    assert!(was_stopped, "none was stopped in the middle");
    // The store goes on from what the interrupted rebuild has left.
    check_counts(&folder, &data);
    data::append(&data, "lines", [(None, Some("the end"))]);
    check_counts(&folder, &data);
}

#[test]
fn a_second_time_ends_it_at_once_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let large = file(&folder, "large.txt", text(200_000));
    let child = word_count(&data, &["--input", text_of(&large)]).spawn().unwrap();
    thread::sleep(Duration::from_millis(150));
    let process = child.id();
    press(process);
    press(process);
    let output = child.wait_with_output().unwrap();
    // Two signals that come at once may be one to the process, which then ends in order.
    assert!(matches!(output.status.code(), Some(130 | 0)), "{}", output.status);
    fs::metadata(&data).unwrap();
    check_counts(&folder, &data);
}
