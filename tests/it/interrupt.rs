//! Ctrl-C at any moment: word count ends within a second, in order, and the next run has the right counts.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use streams_tests::{count_words, text};
use tempfile::TempDir;

use crate::{
    data,
    word_count::{Waiting, file, run, text_of, word_count},
};

/// Time from Ctrl-C to the end. Other programs on the machine only ever make it longer, so of several the best counts.
const CLOSE: Duration = Duration::from_secs(1);
/// But none takes longer than this.
const CLOSE_MAX: Duration = Duration::from_secs(30);

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
        // One that had not begun says nothing of closing.
        if !said.is_empty() {
            times.push(took);
        }
    }
    assert!(times.iter().min().is_none_or(|best| *best < CLOSE), "times until the end: {times:?}");
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
    assert!(pressed.elapsed() < CLOSE_MAX, "{:?}", pressed.elapsed());
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

/// An input whose runs are ended again and again, by Ctrl-C and by `kill -9`, is in the topic as often as it was read to its
/// end, and no line of it once more or once less.
#[test]
fn with_the_same_input_a_run_that_was_interrupted_goes_on() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let text = text(200_000);
    let input = file(&folder, "input.txt", &text);
    let args = ["--partitions", "3", "--input", text_of(&input)];
    let mut went_on = 0;
    for round in 0..8 {
        let mut child = word_count(&data, &args).spawn().unwrap();
        thread::sleep(Duration::from_millis(60 + 15 * round));
        if round % 2 == 0 {
            press(child.id());
        } else {
            child.kill().unwrap();
        }
        let said = child.wait_with_output().unwrap().stderr;
        went_on += String::from_utf8_lossy(&said).matches("going on with the input").count();
    }
    let run = run(&data, &args);
    let lines = data::lines(&data).lines().count();
    assert_eq!(lines % 200_000, 0, "{went_on} runs went on; at last: {}", run.said);
    assert_eq!(run.counts, count_words(&text.repeat(lines / 200_000)));
    // And as it is done, the same input is new input.
    let other = file(&folder, "other.txt", "the end\n");
    assert!(!self::run(&data, &["--input", text_of(&other)]).said.contains("interrupted run"));
}

#[test]
fn with_another_input_the_interrupted_one_is_given_up_and_that_is_said() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let input = file(&folder, "input.txt", "one two\n");
    run(&data, &["--input", text_of(&input)]);
    fs::write(data.join("unfinished-input.json"), r#"{"fingerprint":1,"ends":[0]}"#).unwrap();
    let second = run(&data, &["--input", text_of(&input)]);
    assert!(second.said.contains("the interrupted run had another input"), "{}", second.said);
    assert_eq!(second.counts, count_words("one two one two"));
    assert!(!run(&data, &["--input", text_of(&input)]).said.contains("interrupted run"));
}

#[test]
fn an_interrupted_run_ends_with_its_line_of_json() {
    let folder = TempDir::new().unwrap();
    let mut child = word_count(folder.path(), &["--json", "--input", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "apple").unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(stdout.next().unwrap().unwrap().trim(), "1  apple");
    let (_, said) = interrupt(child);
    assert!(said.contains("lines that were still waiting to be read are not taken"), "{said}");
    let summary: Value = serde_json::from_str(&stdout.next().unwrap().unwrap()).expect("a line of JSON");
    assert_eq!((&summary["lines"], &summary["words"], &summary["distinct"]), (&1.into(), &1.into(), &Value::Null));
    assert!(stdout.next().is_none(), "it is the last line");
    drop(stdin);
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
