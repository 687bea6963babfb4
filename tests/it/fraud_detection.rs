//! `fraud-detection` as a user runs it.

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use flate2::read::GzDecoder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use streams_tests::{example, repository};
use tempfile::TempDir;

use crate::word_count::{check_unread, file, text_of};

/// Rows of a file that is large enough to learn something, and small enough for a test: about six days.
const ROWS: usize = 12_000;

fn fraud_detection(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(example("fraud-detection"));
    command.arg("--data").arg(data).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A finished run: its summary, and the score of each transaction.
struct Run {
    summary: Value,
    scores: BTreeMap<u64, String>,
}

impl Run {
    fn number(&self, name: &str) -> f64 {
        self.summary[name].as_f64().unwrap_or_else(|| panic!("{name} in {}", self.summary))
    }
}

fn run(data: &Path, args: &[&str]) -> Run {
    let file = data.with_extension("scores.csv");
    let output = fraud_detection(data, &["--json", "--scores", text_of(&file)]).args(args).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    assert!(!stderr.contains('\x1b'), "the live table is for terminals");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let summary = serde_json::from_str(stdout.lines().last().unwrap_or_default()).expect("the last line is JSON");
    let scores = fs::read_to_string(&file).unwrap();
    let pair = |line: &str| {
        let (transaction, score) = line.split_once(',').expect("transaction and score");
        (transaction.parse().expect("a number"), score.to_owned())
    };
    Run { summary, scores: scores.lines().skip(1).map(pair).collect() }
}

/// The lines of the example's file.
fn transactions() -> Vec<String> {
    let path = repository().join("examples/fraud_detection/data/card-transactions.csv.gz");
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// A file of the first rows.
fn first_rows(folder: &TempDir) -> (Vec<String>, PathBuf) {
    let lines: Vec<String> = transactions().into_iter().take(ROWS + 1).collect();
    let path = file(folder, "transactions.csv", lines.join("\n"));
    (lines, path)
}

fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !path.exists() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_held_out_third_is_scored_well() {
    let folder = TempDir::new().unwrap();
    let run = run(&folder.path().join("data"), &[]);
    assert_eq!(run.number("transactions"), 58_938.0);
    assert_eq!(run.number("malformed"), 0.0);
    assert_eq!(run.scores.len(), 58_938, "every payment is scored");
    assert!(run.number("auc_pr") >= 0.90, "{}", run.summary);
    assert!(run.number("best_f1") >= 0.90, "{}", run.summary);
    assert!(run.number("f1") >= 0.90, "the threshold was learned without these labels: {}", run.summary);
    assert!(run.number("precision") >= 0.85 && run.number("recall") >= 0.85, "{}", run.summary);
    assert!(run.number("alerts") > 1_000.0, "{}", run.summary);
    assert!(run.number("events_per_second") > 0.0, "{}", run.summary);
    let at_100 = (run.number("precision_at_100_per_day"), run.number("best_precision_at_100_per_day"));
    assert!(at_100.0 >= at_100.1 - 0.1 && at_100.0 <= at_100.1, "{}", run.summary);
    for scenario in ["1", "2", "3", "4"] {
        assert!(run.summary["scenarios"][scenario]["recall"].is_number(), "{}", run.summary);
    }
}

#[test]
fn output_that_nobody_reads_is_no_error() {
    let folder = TempDir::new().unwrap();
    let (lines, _) = first_rows(&folder);
    let path = file(&folder, "few.csv", lines[..1_001].join("\n"));
    check_unread(fraud_detection(&folder.path().join("data"), &["--json", "--input", text_of(&path)]));
}

#[test]
fn no_score_depends_on_what_comes_later() {
    let folder = TempDir::new().unwrap();
    let (lines, path) = first_rows(&folder);
    let now = 86_400 * 4;
    let delay = 86_400;
    // From now on every payment is another one, and every label that is not known yet is the opposite.
    let last = lines.len() - 1;
    let changed = lines.iter().enumerate().map(|(number, line)| {
        let mut fields: Vec<String> = line.split(',').map(str::to_owned).collect();
        let Ok(second) = fields[12].parse::<i64>() else { return line.clone() };
        if second > now - delay {
            fields[14] = if fields[14] == "0" { "1" } else { "0" }.to_owned();
        }
        // The last one ends the time of the file, and with it what is held out.
        if second >= now && number != last {
            fields[4] = format!("{}", number % 700);
            fields[3] = format!("{}", number % 5);
        }
        fields.join(",")
    });
    let changed = file(&folder, "changed.csv", changed.collect::<Vec<_>>().join("\n"));
    let before_now = |scores: &BTreeMap<u64, String>| {
        let is_before =
            |line: &&String| line.split(',').nth(12).and_then(|s| s.parse().ok()).is_some_and(|s: i64| s < now);
        let ids = lines.iter().filter(is_before).map(|line| line.split(',').next().unwrap().parse::<u64>().unwrap());
        ids.map(|id| (id, scores[&id].clone())).collect::<Vec<_>>()
    };
    let data = |name: &str| folder.path().join(name);
    let one = run(&data("one"), &["--input", text_of(&path)]);
    let other = run(&data("other"), &["--input", text_of(&changed)]);
    assert_ne!(one.scores, other.scores);
    let (one, other) = (before_now(&one.scores), before_now(&other.scores));
    assert!(one.len() > 5_000);
    assert_eq!(one, other);
    // That this can be told at all: labels known sooner change scores before that time.
    let sooner = run(&data("sooner"), &["--input", text_of(&changed), "--label-delay", "1h"]);
    let as_it_was = run(&data("as-it-was"), &["--input", text_of(&path), "--label-delay", "1h"]);
    assert_ne!(before_now(&sooner.scores), before_now(&as_it_was.scores));
}

#[test]
fn a_run_that_was_killed_and_stopped_gives_the_same_scores_and_alerts() {
    let folder = TempDir::new().unwrap();
    let (_, path) = first_rows(&folder);
    let args = ["--input", text_of(&path)];
    let undisturbed = run(&folder.path().join("undisturbed"), &args);
    let data = folder.path().join("disturbed");
    for (round, millis) in [100, 400, 700, 1_000].into_iter().enumerate() {
        let mut child = fraud_detection(&data, &args).args(["--speed", "100000"]).spawn().expect("it starts");
        wait_for(&data.join("log"));
        thread::sleep(Duration::from_millis(millis));
        if round % 2 == 0 {
            child.kill().unwrap();
            child.wait().unwrap();
        } else {
            let pressed = Instant::now();
            let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            kill_process(pid, Signal::INT).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(pressed.elapsed() < Duration::from_secs(10), "{:?}", pressed.elapsed());
        }
    }
    let disturbed = run(&data, &args);
    assert_eq!(disturbed.scores, undisturbed.scores);
    for same in ["alerts", "transactions", "precision", "recall", "auc_pr", "scenarios"] {
        assert_eq!(disturbed.summary[same], undisturbed.summary[same], "{same}");
    }
}

#[test]
fn malformed_rows_become_dead_letters_and_are_counted() {
    let folder = TempDir::new().unwrap();
    let (mut lines, path) = first_rows(&folder);
    lines.truncate(2_001);
    let good = file(&folder, "good.csv", lines.join("\n"));
    let sound = run(&folder.path().join("sound"), &["--input", text_of(&good)]);
    let with = |line: &str, at: usize, text: &str| {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields[at] = text;
        fields.join(",")
    };
    let bad = [
        "no transaction at all".to_owned(),
        with(&lines[10], 4, "a lot"),
        with(&lines[20], 1, "yesterday"),
        with(&lines[30], 2, ""),
        with(&lines[40], 14, "maybe"),
        lines[50].replace(',', ";"),
        format!("{},one,more", lines[60]),
        "\u{fffd}\u{0}".to_owned(),
    ];
    for (number, row) in bad.iter().enumerate() {
        lines.insert(100 + 200 * number, row.clone());
    }
    fs::write(&path, lines.join("\r\n")).unwrap();
    let run = run(&folder.path().join("data"), &["--input", text_of(&path)]);
    assert_eq!(run.number("malformed"), bad.len() as f64);
    assert_eq!(run.number("transactions"), 2_000.0);
    assert_eq!(run.scores, sound.scores, "they change no score");
}

#[test]
fn what_is_no_file_of_transactions_is_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let check = |input: &Path, expected: &str| {
        let data = folder.path().join("data");
        let output = fraud_detection(&data, &["--input", text_of(input)]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !said.contains("panicked"), "{said}");
        assert!(said.contains(text_of(input)) && said.contains(expected), "{said}");
        assert!(!data.exists(), "nothing is made before the input is known to be one");
    };
    check(Path::new("/nowhere/to/be/found.csv"), "cannot read");
    check(&file(&folder, "other.csv", "time,amount\n1,2\n"), "its first line must be TRANSACTION_ID");
    check(&file(&folder, "empty.csv", ""), "its first line must be TRANSACTION_ID");
}

#[test]
fn a_file_without_rows_or_frauds_is_no_error() {
    let folder = TempDir::new().unwrap();
    let lines = transactions();
    for (name, rows) in [("none.csv", 1), ("one.csv", 2), ("few.csv", 30)] {
        let path = file(&folder, name, lines[..rows].join("\n"));
        let run = run(&folder.path().join("data"), &["--input", text_of(&path)]);
        assert_eq!(run.number("transactions"), (rows - 1) as f64, "{name}");
        assert_eq!(run.number("auc_pr"), 0.0, "{name}");
    }
}

#[test]
fn an_interrupted_run_is_not_mixed_with_another_input() {
    let folder = TempDir::new().unwrap();
    let (lines, path) = first_rows(&folder);
    let few = file(&folder, "few.csv", lines[..500].join("\n"));
    let data = folder.path().join("data");
    let mut child = fraud_detection(&data, &["--input", text_of(&path), "--speed", "1000"]).spawn().unwrap();
    wait_for(&data.join("log"));
    child.kill().unwrap();
    child.wait().unwrap();
    let output = fraud_detection(&data, &["--input", text_of(&few)]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--reset") && said.contains(text_of(&data)), "{said}");
    let started_over = run(&data, &["--input", text_of(&few), "--reset"]);
    assert_eq!(started_over.number("transactions"), 499.0);
}
