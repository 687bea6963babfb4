//! What differs between two runs, in words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Write},
};

use serde_json::Value;

use crate::{
    case::{Case, Failure, Observed, Sent, StoreRows},
    stores,
};

/// Lines shown before the first difference of two lists, and after it.
const CONTEXT: usize = 3;
const SHOWN: usize = 8;

/// The differences between what the JVM did and what we did; none if the case passes.
///
/// Outputs are compared in their order over all topics; repartition records byte for byte in the order of each topic;
/// changelogs byte for byte, for each step the last record of each key (what a commit supersedes need not be logged).
pub(crate) fn differences(expect: &Observed, got: &Observed) -> Vec<String> {
    let mut all = Vec::new();
    if place(expect.error.as_ref()) != place(got.error.as_ref()) {
        all.push(format!("error\n    expected {}\n    got      {}", tell(&expect.error), tell(&got.error)));
    }
    if expect.describe != got.describe {
        let lines = |text: &Option<String>| -> Vec<String> {
            text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
        };
        all.push(lists("describe", &lines(&expect.describe), &lines(&got.describe)));
    }
    compare_lists(&mut all, "output", &expect.output, &got.output);
    let topics = |observed: &Observed| -> BTreeMap<String, Vec<Sent>> { by_topic(&observed.repartition) };
    compare_maps(&mut all, "repartition", &topics(expect), &topics(got), |all, name, l, r| {
        compare_lists(all, name, l, r)
    });
    // A step that failed committed nothing, so we have logged nothing of it; the JVM logs as it goes.
    let failed = expect.error.as_ref().and_then(|error| error.step);
    let logged = |records: &[Sent]| -> Vec<Sent> {
        records.iter().filter(|record| Some(record.step) != failed).cloned().collect()
    };
    compare_changelogs(&mut all, &logged(&expect.changelog), &logged(&got.changelog));
    compare_maps(&mut all, "internal topic", &expect.internal_topics, &got.internal_topics, compare_debug);
    if expect.copartition != got.copartition {
        all.push(format!("copartition\n    expected {:?}\n    got      {:?}", expect.copartition, got.copartition));
    }
    // A run that stopped shows neither.
    if let (Some(expected), Some(found)) = (&expect.stores, &got.stores) {
        compare_maps(&mut all, "store", expected, found, compare_stores);
    }
    let dropped = (expect.dropped_records, got.dropped_records);
    if let (Some(expected), Some(found)) = dropped
        && expected != found
    {
        all.push(format!("dropped records: expected {expected}, got {found}"));
    }
    all
}

/// The case and its differences as a reader wants them.
pub(crate) fn report(case: &Case, differences: &[String]) -> String {
    let mut text = format!("\n---- {}\n  program\n", case.id);
    for op in &case.program {
        let _ = writeln!(text, "    {op}");
    }
    if !case.config.is_empty() {
        let _ = writeln!(text, "  config {:?}", case.config);
    }
    let _ = writeln!(text, "  input");
    for (number, step) in case.input.iter().enumerate() {
        match step {
            crate::case::Step::Record(sent) => {
                let _ = writeln!(text, "    {}", show(sent));
            }
            crate::case::Step::AdvanceWall(millis) => {
                let _ = writeln!(text, "    {number:>3}  wall clock + {millis} ms");
            }
        }
    }
    for difference in differences {
        let _ = writeln!(text, "  {difference}");
    }
    text
}

fn place(failure: Option<&Failure>) -> Option<(&str, Option<usize>)> {
    failure.map(|failure| (failure.stage.as_str(), failure.step))
}

fn tell(failure: &Option<Failure>) -> String {
    match failure {
        None => "none".to_owned(),
        Some(Failure { stage, step: Some(step), message }) => format!("at {stage}, step {step}: {message}"),
        Some(Failure { stage, step: None, message }) => format!("at {stage}: {message}"),
    }
}

fn by_topic(records: &[Sent]) -> BTreeMap<String, Vec<Sent>> {
    let mut topics: BTreeMap<String, Vec<Sent>> = BTreeMap::new();
    for record in records {
        topics.entry(record.topic.clone()).or_default().push(record.clone());
    }
    topics
}

/// What differs between two maps, entry by entry.
fn compare_maps<T: Debug>(
    all: &mut Vec<String>,
    what: &str,
    expect: &BTreeMap<String, T>,
    got: &BTreeMap<String, T>,
    compare: impl Fn(&mut Vec<String>, &str, &T, &T),
) {
    let names: BTreeSet<&String> = expect.keys().chain(got.keys()).collect();
    for name in names {
        let title = format!("{what} {name}");
        match (expect.get(name), got.get(name)) {
            (Some(expected), Some(found)) => compare(all, &title, expected, found),
            (Some(expected), None) => all.push(format!("{title} is missing: {expected:?}")),
            (None, found) => all.push(format!("{title} is too much: {found:?}")),
        }
    }
}

fn compare_debug<T: Debug + PartialEq>(all: &mut Vec<String>, title: &str, expect: &T, got: &T) {
    if expect != got {
        all.push(format!("{title}\n    expected {expect:?}\n    got      {got:?}"));
    }
}

fn compare_lists(all: &mut Vec<String>, title: &str, expect: &[Sent], got: &[Sent]) {
    if expect != got {
        let lines = |records: &[Sent]| -> Vec<String> { records.iter().map(show).collect() };
        all.push(lists(title, &lines(expect), &lines(got)));
    }
}

/// By topic and step, the last record of each key.
fn compare_changelogs(all: &mut Vec<String>, expect: &[Sent], got: &[Sent]) {
    type Last<'a> = BTreeMap<(&'a str, usize, Option<&'a [u8]>), &'a Sent>;
    let last = |records: &'_ [Sent]| -> Vec<String> {
        let mut last = Last::new();
        for record in records {
            last.insert((&record.topic, record.step, record.key.as_deref()), record);
        }
        last.into_values().map(|record| format!("{} {}", record.topic, show_bytes(record))).collect()
    };
    let (expect, got) = (last(expect), last(got));
    if expect != got {
        all.push(lists("changelog", &expect, &got));
    }
}

fn compare_stores(all: &mut Vec<String>, title: &str, expect: &StoreRows, got: &StoreRows) {
    let Some(got) = stores::shaped_as(&expect.kind, got) else {
        all.push(format!("{title} is of kind {}, expected {}", got.kind, expect.kind));
        return;
    };
    let lines = |store: &StoreRows| -> Vec<String> {
        sorted(&store.rows).iter().map(|row| Value::from(row.clone()).to_string()).collect()
    };
    let (expect, got) = (lines(expect), lines(&got));
    if expect != got {
        all.push(lists(title, &expect, &got));
    }
}

/// By key, then by the times after the value; rows that are equal in these keep their order.
fn sorted(rows: &[Vec<Value>]) -> Vec<Vec<Value>> {
    let order = |row: &Vec<Value>| {
        let times: Vec<i64> = row.iter().skip(2).rev().filter_map(Value::as_i64).collect();
        (row.first().and_then(Value::as_str).map(str::to_owned), times)
    };
    let mut rows = rows.to_vec();
    rows.sort_by_key(order);
    rows
}

/// Two lists from shortly before their first difference on.
fn lists(title: &str, expect: &[String], got: &[String]) -> String {
    let same = expect.iter().zip(got).take_while(|(expected, found)| expected == found).count();
    let mut text = format!("{title}: differs from line {} on (expected {}, got {})", same + 1, expect.len(), got.len());
    for line in &expect[same.saturating_sub(CONTEXT)..same] {
        let _ = write!(text, "\n      {line}");
    }
    for line in expect[same..].iter().take(SHOWN) {
        let _ = write!(text, "\n    - {line}");
    }
    for line in got[same..].iter().take(SHOWN) {
        let _ = write!(text, "\n    + {line}");
    }
    text
}

fn show(record: &Sent) -> String {
    let (key, value) = (readable(record.key.as_deref()), readable(record.value.as_deref()));
    format!("{:>3}  {}  {key} = {value}{}", record.step, record.topic, tail(record))
}

fn show_bytes(record: &Sent) -> String {
    let hex = |bytes: Option<&[u8]>| bytes.map_or("null".to_owned(), to_hex);
    let (key, value) = (hex(record.key.as_deref()), hex(record.value.as_deref()));
    format!("step {} {key} = {value}{}", record.step, tail(record))
}

fn tail(record: &Sent) -> String {
    let mut text = record.timestamp.map_or("  @none".to_owned(), |timestamp| format!("  @{timestamp}"));
    for (name, value) in &record.headers {
        let _ = write!(text, "  {name}:{}", readable(value.as_deref()));
    }
    text
}

fn readable(bytes: Option<&[u8]>) -> String {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => "null".to_owned(),
        Some((_, Ok(text))) if !text.contains(char::is_control) => format!("{text:?}"),
        Some((bytes, _)) => format!("0x{}", to_hex(bytes)),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(step: usize, key: &str, value: &str) -> Sent {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        let (key, value) = (bytes(key), bytes(value));
        Sent { step, topic: "log".into(), key, value, timestamp: Some(1), headers: Vec::new() }
    }

    fn changelog(records: &[(usize, &str, &str)]) -> Observed {
        let changelog = records.iter().map(|(step, key, value)| sent(*step, key, value)).collect();
        Observed { changelog, ..Observed::default() }
    }

    #[test]
    fn of_a_changelog_the_last_record_of_a_key_in_a_step_counts() {
        let jvm = changelog(&[(0, "a", "1"), (0, "b", "1"), (0, "a", "2"), (1, "a", "3")]);
        assert!(differences(&jvm, &changelog(&[(0, "b", "1"), (0, "a", "2"), (1, "a", "3")])).is_empty());
        assert!(!differences(&jvm, &changelog(&[(0, "b", "1"), (0, "a", "1"), (1, "a", "3")])).is_empty());
        assert!(!differences(&jvm, &changelog(&[(0, "b", "1"), (1, "a", "3")])).is_empty());
    }

    #[test]
    fn an_output_out_of_order_or_at_another_step_is_a_difference() {
        let output =
            |records: &[(usize, &str, &str)]| Observed { output: changelog(records).changelog, ..Observed::default() };
        let jvm = output(&[(0, "a", "1"), (0, "b", "1")]);
        assert!(differences(&jvm, &output(&[(0, "a", "1"), (0, "b", "1")])).is_empty());
        assert!(!differences(&jvm, &output(&[(0, "b", "1"), (0, "a", "1")])).is_empty());
        assert!(!differences(&jvm, &output(&[(0, "a", "1"), (1, "b", "1")])).is_empty());
    }

    #[test]
    fn an_error_counts_by_its_place() {
        let failing = |stage: &str, step, message: &str| Observed {
            error: Some(Failure { stage: stage.into(), step, message: message.into() }),
            ..Observed::default()
        };
        let jvm = failing("input", Some(3), "StreamsException");
        assert!(differences(&jvm, &failing("input", Some(3), "panicked")).is_empty());
        assert_eq!(differences(&jvm, &failing("input", Some(2), "panicked")).len(), 1);
        assert_eq!(differences(&jvm, &Observed::default()).len(), 1);
    }
}
