//! Programs that cannot work: a closure that panics, records that its types cannot hold, topics that are not there, another
//! shape under the same name.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use streams_tests::Counts;
use tempfile::TempDir;

use crate::data;

/// Counts the records of `topic` by key.
fn counter(data: &Path, topic: &str, store: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_counter"));
    command.arg(data).arg(topic).arg(store).env_remove("FORGIVE");
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn check_fails(mut command: Command, parts: &[&str]) {
    let output = command.output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

#[track_caller]
fn check_counts(mut command: Command, data: &Path, expected: &[(&str, u64)]) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let expected: Counts = expected.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    assert_eq!(data::counts(data, "counts"), expected);
}

/// A folder whose topic `words` has these records.
fn with_records(records: &[(Option<&str>, Option<&str>)]) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    data::create(&data, &["words", "counts"]);
    data::append(&data, "words", records.iter().copied());
    (folder, data)
}

const GOOD: (Option<&str>, Option<&str>) = (Some("a"), Some("x"));

/// One bad record between good ones: refused by name, again and again; left out where that is allowed, and nothing else is.
#[track_caller]
fn check_bad_record(bad: (Option<&str>, Option<&str>), parts: &[&str]) {
    let (_folder, data) = with_records(&[GOOD, bad, GOOD]);
    for _ in 0..2 {
        let mut parts = parts.to_vec();
        parts.extend(["words-0, offset 1", "handler"]);
        check_fails(counter(&data, "words", "counts"), &parts);
    }
    let mut forgiving = counter(&data, "words", "counts");
    forgiving.env("FORGIVE", "1");
    check_counts(forgiving, &data, &[("a", 2)]);
    data::append(&data, "words", [GOOD]);
    check_counts(counter(&data, "words", "counts"), &data, &[("a", 3)]);
}

#[test]
fn a_panicking_closure_is_named_with_node_and_record() {
    check_bad_record(
        (Some("a"), Some("panic!")),
        &["KSTREAM-MAPVALUES-", "task 0_0", "a value that panics", "mend it"],
    );
}

#[test]
fn a_null_key_where_the_type_has_none_is_named() {
    check_bad_record((None, Some("x")), &["cannot deserialize the key", "null", "Option<String>"]);
}

#[test]
fn a_null_value_where_the_type_has_none_is_named() {
    check_bad_record((Some("a"), None), &["cannot deserialize the value", "null", "Option<String>"]);
}

#[test]
fn fault_26_a_bad_record_at_the_end_is_passed_over_for_good() {
    let (_folder, data) = with_records(&[GOOD, (None, Some("x"))]);
    let mut forgiving = counter(&data, "words", "counts");
    forgiving.env("FORGIVE", "1");
    check_counts(forgiving, &data, &[("a", 1)]);
    // Its offset is committed: a program that forgives nothing does not meet it again.
    check_counts(counter(&data, "words", "counts"), &data, &[("a", 1)]);
}

#[test]
fn an_unknown_topic_is_named_and_nothing_is_made() {
    let (_folder, data) = with_records(&[GOOD]);
    check_fails(counter(&data, "wrods", "counts"), &["source topic wrods", "does not exist", "create it"]);
    check_counts(counter(&data, "words", "counts"), &data, &[("a", 1)]);
}

#[test]
fn an_unknown_output_topic_is_named_and_nothing_is_lost() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    data::create(&data, &["words"]);
    data::append(&data, "words", [GOOD, GOOD]);
    check_fails(counter(&data, "words", "counts"), &["counts", "create it first"]);
    data::create(&data, &["counts"]);
    check_counts(counter(&data, "words", "counts"), &data, &[("a", 2)]);
}

#[test]
fn another_shape_under_the_same_application_id_is_refused_with_the_difference() {
    let (_folder, data) = with_records(&[GOOD]);
    check_counts(counter(&data, "words", "counts"), &data, &[("a", 1)]);
    let parts = ["application counter", "- store counts", "+ store totals", "as they were", "application.id"];
    check_fails(counter(&data, "words", "totals"), &parts);
    // Without the local state the changelog still tells.
    std::fs::remove_dir_all(data.join("state")).unwrap();
    check_fails(counter(&data, "words", "totals"), &parts);
    data::append(&data, "words", [GOOD]);
    check_counts(counter(&data, "words", "counts"), &data, &[("a", 2)]);
}
