//! `kill -9` at random moments, again and again: no word is lost, and with exactly-once none is counted twice.
//!
//! The lines lie in their topic before each run, so that what must be counted is known; the program that counts
//! them is killed [`KILLS`] times while it starts, restores, counts or commits, and then runs to the end.

use std::{fs, path::Path, thread, time::Duration};

use streams_tests::{Counts, count_words};
use tempfile::TempDir;

use crate::{
    data,
    word_count::{file, run, text_of, word_count},
};

/// So many runs are killed before they end.
const KILLS: u64 = 50;

/// Kills come this long after a start: before the first record, and well after it.
const DELAYS_MS: std::ops::Range<u64> = 5..160;

/// Lines of the text: enough that the kills find work to interrupt.
const LINES: u64 = 60_000;

/// Kills the program again and again. What it must count, and what it has counted in the end.
fn kill_again_and_again(guarantee: &str) -> (Counts, Counts) {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let empty = file(&folder, "empty.txt", "");
    let arguments = ["--guarantee", guarantee, "--input", text_of(&empty)];
    // Makes the topics.
    assert!(run(&data, &arguments).counts.is_empty());
    let mut text = fill(&data);

    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut kills = 0;
    for start in 0.. {
        assert!(start < 4 * KILLS, "of {start} runs only {kills} lived long enough to be killed");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = word_count(&data, &arguments).spawn().unwrap();
        thread::sleep(Duration::from_millis(DELAYS_MS.start + random % (DELAYS_MS.end - DELAYS_MS.start)));
        match child.try_wait().unwrap() {
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
            // Nothing was left to count: the next ones have work again.
            Some(status) => {
                assert!(status.success(), "run {start} ended by itself, and badly: {status}");
                text += &fill(&data);
            }
        }
        if kills == KILLS {
            break;
        }
    }
    let counted = run(&data, &arguments).counts;
    assert_eq!(moved_aside(&data), Vec::<String>::new(), "a kill is no reason to give up state");
    (count_words(&text), counted)
}

/// Puts the lines into their topic; the text that they are.
fn fill(data: &Path) -> String {
    let text = streams_tests::text(LINES);
    data::append(data, "lines", text.lines().map(|line| (None, Some(line))));
    text
}

/// Names of files and folders that were set aside as damaged.
fn moved_aside(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains("damaged") {
            names.push(name);
        } else if path.is_dir() {
            names.extend(moved_aside(&path));
        }
    }
    names
}

#[test]
fn under_exactly_once_fifty_kills_change_no_count() {
    let (expected, counted) = kill_again_and_again("exactly-once");
    assert_eq!(counted, expected);
}

#[test]
fn under_at_least_once_fifty_kills_lose_no_word() {
    let (expected, counted) = kill_again_and_again("at-least-once");
    for (word, count) in &expected {
        let got = counted.get(word).copied().unwrap_or(0);
        assert!(got >= *count, "{word}: {got} of {count}");
    }
    assert_eq!(counted.len(), expected.len(), "no word appears from nowhere");
}
