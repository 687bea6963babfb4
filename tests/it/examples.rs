//! The examples of the learning path, as a learner runs them: each prints what its comments promise.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use streams_tests::{example, repository};

use crate::word_count::check_unread;

/// Runs an example and compares the lines that it prints, in any order: tables tell no order among their keys.
fn check(name: &str, expected: &str) {
    let output = Command::new(example(name)).output().expect("it starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {}\n{stderr}", output.status);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines.retain(|line| !line.is_empty());
        lines.sort();
        lines
    };
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(sorted(&stdout), sorted(expected), "{name} printed\n{stdout}");
}

#[test]
fn page_views_are_counted_where_their_readers_live() {
    check("page-views-by-region", "Asia: 2\nEurope: 2");
}

#[test]
fn orders_meet_their_shipments() {
    let expected = "minute  30  o1: books shipped with a bicycle
        minute 130  o3: a chair shipped with a plane
        minute   5  o2: a lamp not shipped in time";
    check("orders-with-shipments", expected);
}

#[test]
fn orders_are_what_their_events_add_up_to_at_any_time() {
    let expected = "at 2:
        o1 placed 5000 cents
        o2 placed 900 cents
        at 4:
        o1 paid 4500 cents
        o2 placed 900 cents
        at 5:
        o1 paid 4500 cents
        o2 cancelled 900 cents";
    check("order-status", expected);
}

#[test]
fn metrics_have_one_number_for_each_closed_window() {
    let expected = "db minute 0: mean 80.0, most 80.0
        web minute 0: mean 20.0, most 30.0
        web minute 1: mean 45.0, most 50.0";
    check("metrics", expected);
}

#[test]
fn three_errors_within_a_minute_are_one_alert() {
    check("log-aggregation", "8 lines in the archive\nsecond 90  payment: 3 errors within a minute");
}

#[test]
fn a_captured_table_follows_inserts_updates_and_deletes() {
    let expected = "changes:
        1 Ada in London
        2 Grace in New York
        3 Edsger in London
        3 Edsger in Austin
        2 deleted
        customers by city:
        Austin 1
        London 1
        New York 0";
    check("change-data-capture", expected);
}

#[test]
fn the_top_is_that_of_the_latest_counts() {
    let expected = "kafka:
        1. offsets (2 views)
        rust:
        1. macros (4 views)
        2. async (3 views)
        3. ownership (2 views)";
    check("top-n", expected);
}

#[test]
fn a_processor_reports_every_ten_seconds_of_event_time() {
    let expected = "second 1: attic=21.5
        second 12: attic=23.5 cellar=12
        second 25: attic=23.5 cellar=11.5";
    check("processor-api", expected);
}

#[test]
fn money_is_transferred_exactly_once() {
    let expected = "the first run stopped: true
        every balance is right: true
        10 accounts, 10000 cents, as many as there were";
    check("money-transfer", expected);
}

/// The examples of the learning path, by their files.
fn lessons() -> Vec<(String, PathBuf)> {
    let files = fs::read_dir(repository().join("examples/learn")).unwrap().map(|entry| entry.unwrap().path());
    let mut lessons: Vec<_> =
        files.map(|file| (file.file_stem().unwrap().to_str().unwrap().replace('_', "-"), file)).collect();
    lessons.sort();
    lessons
}

#[test]
fn a_lesson_that_nobody_reads_to_its_end_is_no_error() {
    // The one about tests is built as its tests, not as a program, where all tests are run.
    for (name, _) in lessons().iter().filter(|(name, _)| name != "testing-a-topology") {
        let mut program = Command::new(example(name));
        program.stdout(Stdio::piped()).stderr(Stdio::piped());
        check_unread(program);
    }
}

#[test]
fn a_lesson_whose_results_cannot_be_written_fails() {
    if !Path::new("/dev/full").exists() {
        streams_tests::skipped("there is no /dev/full");
        return;
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(example("page-views-by-region")).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && !said.contains("panicked"), "{}: {said}", output.status);
    assert!(said.contains("cannot write to standard output"), "{said}");
}

#[test]
fn every_example_is_on_the_path_and_short() {
    let folder = repository().join("examples");
    let path = fs::read_to_string(folder.join("README.md")).unwrap();
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, file) in lessons() {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no example");
        assert!(path.contains(&format!("`{name}`")), "{name} is not in examples/README.md");
        assert!(fs::read_to_string(&file).unwrap().lines().count() <= 150, "{name} is too long for a lesson");
    }
}
