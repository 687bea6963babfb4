//! `word-count` as a user runs it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use streams_tests::{Counts, count_words, example, repository, source_files};
use tempfile::TempDir;

/// A finished run: the words it showed, its summary, what it said.
pub(crate) struct Run {
    pub(crate) counts: Counts,
    summary: Value,
}

pub(crate) fn word_count(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(example("word-count"));
    command.arg("--data").arg(data).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end and reads all counts.
pub(crate) fn run(data: &Path, args: &[&str]) -> Run {
    let output = word_count(data, &["--top", "100000000", "--json"]).args(args).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let (words, summary) = stdout.trim_end().rsplit_once('\n').unwrap_or(("", stdout.trim_end()));
    Run { counts: shown(words), summary: serde_json::from_str(summary).expect("the last line is JSON") }
}

/// The counts in lines of `count word`.
fn shown(lines: &str) -> Counts {
    let pair = |line: &str| {
        let (count, word) = line.trim_start().split_once(char::is_whitespace).expect("count and word");
        (word.trim().to_owned(), count.parse().expect("a count"))
    };
    lines.lines().map(pair).collect()
}

/// Runs to an error: what it said.
fn fail(data: &Path, args: &[&str]) -> String {
    failed(&word_count(data, args).output().expect("it starts"))
}

fn failed(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it should have failed: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

pub(crate) fn file(folder: &TempDir, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file");
    path
}

pub(crate) fn text_of(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Counts `text` in a folder of its own and compares with the plain count.
fn check(text: &str) {
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "input.txt", text);
    let run = run(&folder.path().join("data"), &["--input", text_of(&input)]);
    let expected = count_words(text);
    assert_eq!(run.counts, expected);
    assert_eq!(run.summary["lines"], text.lines().count());
    assert_eq!(run.summary["words"], expected.values().sum::<u64>());
    assert_eq!(run.summary["distinct"], expected.len());
}

#[test]
fn counts_equal_a_plain_map_on_the_repositorys_text() {
    let folder = TempDir::new().unwrap();
    let text: Vec<String> =
        source_files(repository()).iter().map(|file| fs::read_to_string(file).unwrap() + "\n").collect();
    let expected = count_words(&text.concat());
    let run = run(folder.path(), &[]);
    assert_eq!(run.counts, expected);
    assert_eq!(run.summary["words"], expected.values().sum::<u64>());
    assert_eq!(run.summary["distinct"], expected.len());
}

#[test]
fn several_partitions_and_threads_give_the_same_counts() {
    let folder = TempDir::new().unwrap();
    let text = "the quick brown fox jumps over the lazy dog\n".repeat(5_000);
    let input = file(&folder, "input.txt", &text);
    let data = folder.path().join("data");
    let run = run(&data, &["--partitions", "4", "--threads", "2", "--input", text_of(&input)]);
    assert_eq!(run.counts, count_words(&text));
}

#[test]
fn random_unicode_is_counted() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut text = String::new();
    for _ in 0..60_000 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Letters of many scripts, digits, marks, spaces and line ends.
        let ranges = [
            (0x20, 0x7f),
            (0xa0, 0x250),
            (0x370, 0x590),
            (0x600, 0x700),
            (0x900, 0xa00),
            (0x4e00, 0x4e80),
            (0x1f600, 0x1f620),
        ];
        let (from, to) = ranges[(random >> 8) as usize % ranges.len()];
        match random % 11 {
            0 => text.push('\n'),
            1 | 2 => text.push(' '),
            _ => text.extend(char::from_u32(from + (random >> 16) as u32 % (to - from))),
        }
    }
    check(&text);
}

#[test]
fn empty_files_and_empty_lines_are_counted() {
    check("");
    check("\n\n\none\n\n");
    check("no line end");
    check("ends of lines as Windows has them\r\n\r\nend\r\n");
}

#[test]
fn lines_of_a_megabyte_are_counted() {
    let long = "lorem ipsum ".repeat((1 << 20) / 12 + 1);
    let one_word = "x".repeat(1 << 20);
    check(&format!("short\n{long}\n{one_word}\nshort\n"));
}

#[test]
fn invalid_utf_8_is_named_with_its_file_and_line() {
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "latin1.txt", b"good line\nna\xefve caf\xe9\nlast line\n");
    let output =
        word_count(&folder.path().join("data"), &["--top", "100", "--input", text_of(&input)]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("latin1.txt, line 2"), "{stderr}");
    let counts = shown(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(counts, count_words("good line na ve caf last line"));
}

#[test]
fn a_second_run_goes_on_where_the_first_stopped() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let (first, second) = (file(&folder, "a.txt", "one two\ntwo\n"), file(&folder, "b.txt", "two three\n"));
    run(&data, &["--input", text_of(&first)]);
    let both = run(&data, &["--input", text_of(&second)]);
    assert_eq!(both.counts, count_words("one two two two three"));
    assert_eq!(both.summary["lines"], 1, "lines are those of this run");
    assert_eq!(both.summary["words"], 2, "words are those of this run");
    assert_eq!(both.summary["distinct"], 3, "distinct is that of the store");
}

#[test]
fn a_rebuild_and_a_reset_give_the_same_counts() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let text = "alpha beta gamma\nbeta gamma\ngamma\n".repeat(2_000);
    let input = file(&folder, "a.txt", &text);
    run(&data, &["--input", text_of(&input)]);
    let rebuilt = run(&data, &["--rebuild"]);
    assert_eq!(rebuilt.counts, count_words(&text));
    assert_eq!(rebuilt.summary["lines"], 0, "a rebuild replays the changelog, not the input");
    let reset = run(&data, &["--reset"]);
    assert_eq!(reset.counts, count_words(&text));
    assert_eq!(reset.summary["lines"], 6_000, "a reset replays the input topic");
}

#[test]
fn a_missing_file_is_named() {
    let folder = TempDir::new().unwrap();
    let said = fail(&folder.path().join("data"), &["--input", "/nowhere/to/be/found.txt"]);
    assert!(said.contains("/nowhere/to/be/found.txt"), "{said}");
    assert!(!folder.path().join("data").exists(), "nothing is made before the input is known to exist");
}

#[test]
fn a_data_folder_that_cannot_be_is_named() {
    let folder = TempDir::new().unwrap();
    let blocker = file(&folder, "a-file", "");
    let said = fail(&blocker.join("data"), &["--input", text_of(&blocker)]);
    assert!(said.contains(text_of(&blocker)), "{said}");
}

/// A word count that waits for more input; ends when its standard input does.
struct Waiting {
    child: Child,
}

impl Waiting {
    fn start(data: &Path) -> (Waiting, impl Iterator<Item = String>) {
        let mut child = word_count(data, &["--input", "-"]).stdin(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        (Waiting { child }, stdout.lines().map(|line| line.expect("UTF-8")))
    }

    fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it reads");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn counts_appear_while_lines_are_typed() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, mut shown) = Waiting::start(folder.path());
    for (line, expected) in [("apple", 1), ("apple pear", 2)] {
        waiting.type_line(line);
        let found = shown.any(|line| line.split_whitespace().eq([&*expected.to_string(), "apple"]));
        assert!(found, "the count appears before the input ends");
    }
}

#[test]
fn a_second_process_on_the_folder_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, mut shown) = Waiting::start(folder.path());
    waiting.type_line("apple");
    shown.next().expect("it counts");
    let input = file(&folder, "input.txt", "pear");
    let said = fail(folder.path(), &["--input", text_of(&input)]);
    assert!(said.contains(text_of(folder.path())), "{said}");
    assert!(said.contains("in use by another process"), "{said}");
    waiting.type_line("apple");
    shown.next().expect("the first goes on");
}

#[test]
fn control_c_closes_within_a_second_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, mut shown) = Waiting::start(folder.path());
    waiting.type_line("apple");
    shown.next().expect("it counts");
    let pressed = Instant::now();
    let pid = Pid::from_raw(i32::try_from(waiting.child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = waiting.child.wait().unwrap();
    assert!(pressed.elapsed() < Duration::from_secs(1), "{:?}", pressed.elapsed());
    assert!(status.success(), "{status}");
    let empty = file(&folder, "empty.txt", "");
    let after = run(folder.path(), &["--input", text_of(&empty)]);
    assert_eq!(after.counts, count_words("apple"));
}
