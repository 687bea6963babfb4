//! `word-count` as a user runs it.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use log_store::client::LogClient;
use serde_json::Value;
use streams_tests::{Counts, count_words, example, repository, source_files};
use tempfile::TempDir;

/// A finished run: the words it showed, its summary, what it said.
pub(crate) struct Run {
    pub(crate) counts: Counts,
    pub(crate) summary: Value,
    /// Its standard error.
    pub(crate) said: String,
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
    let summary = serde_json::from_str(summary).expect("the last line is JSON");
    Run { counts: shown(words), summary, said: stderr.into_owned() }
}

/// The counts in lines of `count word`.
pub(crate) fn shown(lines: &str) -> Counts {
    let pair = |line: &str| {
        let (count, word) = line.trim_start().split_once(char::is_whitespace).expect("count and word");
        (word.trim().to_owned(), count.parse().expect("a count"))
    };
    lines.lines().map(pair).collect()
}

/// Runs to an error: what it said.
pub(crate) fn fail(data: &Path, args: &[&str]) -> String {
    failed(&word_count(data, args).output().expect("it starts"))
}

pub(crate) fn failed(output: &Output) -> String {
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
fn lines_do_not_age_so_that_they_can_be_counted_again() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let input = file(&folder, "input.txt", "a b\n");
    run(&data, &["--input", text_of(&input)]);
    let log = crate::data::log(&data);
    let name = crate::data::partition("lines").topic;
    let topic = log.admin().unwrap().describe_topic(&name).unwrap().expect("the topic is there");
    assert_eq!(topic.config.get("retention.ms").map(String::as_str), Some("-1"));
    log.close().unwrap();
}

#[test]
fn a_restore_of_several_partitions_is_told_once_and_without_bars_where_there_is_no_terminal() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let input = file(&folder, "input.txt", streams_tests::text(5_000));
    run(&data, &["--partitions", "3", "--input", text_of(&input)]);
    let rebuilt = run(&data, &["--rebuild"]);
    assert_eq!(rebuilt.counts, count_words(&streams_tests::text(5_000)));
    assert_eq!(rebuilt.said.matches("restored").count(), 1, "{}", rebuilt.said);
    assert!(rebuilt.said.contains("records of word-count-counts-changelog (3 partitions)"), "{}", rebuilt.said);
    assert!(!rebuilt.said.contains(['\x1b', '\r', '█']), "{}", rebuilt.said);
}

/// Runs a program whose standard output nobody reads.
#[track_caller]
pub(crate) fn check_unread(mut program: Command) {
    let mut child = program.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("panicked"), "{}: {said}", output.status);
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "input.txt", "one two\ntwo\n");
    check_unread(word_count(&folder.path().join("data"), &["--json", "--input", text_of(&input)]));
}

#[test]
fn a_full_disk_for_the_result_is_an_error() {
    if !Path::new("/dev/full").exists() {
        streams_tests::skipped("there is no /dev/full");
        return;
    }
    let folder = TempDir::new().unwrap();
    let input = file(&folder, "input.txt", "one two\ntwo\n");
    let mut full = word_count(&folder.path().join("data"), &["--json", "--input", text_of(&input)]);
    let said = failed(&full.stdout(fs::File::options().write(true).open("/dev/full").unwrap()).output().unwrap());
    assert!(said.contains("cannot write to standard output"), "{said}");
}

#[test]
fn typed_lines_whose_counts_nobody_reads_end_the_program() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, shown) = Waiting::start(folder.path());
    drop(shown);
    waiting.type_line("apple");
    let status = waiting.wait();
    assert!(status.success(), "{status}");
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
    assert!(rebuilt.said.contains("records of word-count-counts-changelog (1 partition)"), "{}", rebuilt.said);
    // What is counted now goes on from the rebuilt store: an empty one would begin with 1.
    let one_more = file(&folder, "b.txt", "alpha\n");
    let text = format!("{text}alpha\n");
    assert_eq!(run(&data, &["--rebuild", "--input", text_of(&one_more)]).counts, count_words(&text));
    let reset = run(&data, &["--reset"]);
    assert_eq!(reset.counts, count_words(&text));
    assert_eq!(reset.summary["lines"], 6_001, "a reset replays the input topic");
    // And the store, too: begun anew and counted once.
    let text = format!("{text}alpha\n");
    assert_eq!(run(&data, &["--input", text_of(&one_more)]).counts, count_words(&text));
}

/// A word count that waits for more input; ends when its standard input does.
pub(crate) struct Waiting {
    child: Child,
}

impl Waiting {
    pub(crate) fn start(data: &Path) -> (Waiting, impl Iterator<Item = String>) {
        let mut child = word_count(data, &["--input", "-"]).stdin(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        (Waiting { child }, stdout.lines().map(|line| line.expect("UTF-8")))
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it reads");
    }
}

impl Waiting {
    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        // `Child::wait` would end its input first.
        let stdin = self.child.stdin.take();
        let status = self.child.wait().expect("it runs");
        drop(stdin);
        status
    }

    /// Ends its input, and waits for its end, however that is.
    pub(crate) fn finish(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.child.wait().expect("it runs")
    }

    /// Ends its input, and waits until it has counted all of it.
    pub(crate) fn end(self) {
        let status = self.finish();
        assert!(status.success(), "{status}");
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
fn standard_input_that_ends_is_counted_to_its_end() {
    let folder = TempDir::new().unwrap();
    let (mut waiting, shown) = Waiting::start(folder.path());
    for line in ["apple pear", "", "apple"] {
        waiting.type_line(line);
    }
    waiting.end();
    let last: Vec<String> = shown.collect();
    let last: Vec<&str> = last.iter().rev().take(2).map(|line| line.trim()).collect();
    assert_eq!(last, ["1  pear", "2  apple"], "the result, most frequent words first");
}
