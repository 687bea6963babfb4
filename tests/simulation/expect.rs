//! What must have come out.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use streams_core::{
    ProcessingGuarantee,
    state::{KeyValueStore, StateStore, TimestampedKeyValueStore},
};

use crate::{
    program::{CHANGELOGS, EXACT, Output},
    world::{Failure, number},
};

/// The rows of a store, as text.
pub(crate) fn rows(store: &mut dyn StateStore) -> Vec<(String, String)> {
    let store = store as &mut dyn Any;
    let mut rows = Vec::new();
    if let Some(store) = store.downcast_mut::<KeyValueStore<String, String>>() {
        for row in store.all().expect("rows") {
            rows.push(row.expect("a row"));
        }
    } else if let Some(store) = store.downcast_mut::<TimestampedKeyValueStore<String, i64>>() {
        for row in store.all().expect("rows") {
            let (key, value) = row.expect("a row");
            rows.push((key, format!("{value:?}")));
        }
    }
    rows
}

type Values = Vec<Option<Vec<u8>>>;

fn text(values: &Values) -> String {
    let one = |value: &Option<Vec<u8>>| match value {
        None => "-".to_owned(),
        Some(bytes) => number(bytes).map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |n| n.to_string()),
    };
    values.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn last(values: &BTreeMap<Vec<u8>, Values>) -> BTreeMap<&[u8], Option<&[u8]>> {
    let newest = values.iter().map(|(key, values)| (key.as_slice(), values.last().and_then(Option::as_deref)));
    // A tombstone and nothing are the same: compaction may have removed it.
    newest.filter(|(_, value)| value.is_some()).collect()
}

/// Compares a run with the one in which nothing failed.
pub(crate) fn check(guarantee: ProcessingGuarantee, found: &Output, expected: &Output) -> Result<(), Failure> {
    match guarantee {
        ProcessingGuarantee::ExactlyOnceV2 => exactly_once(found, expected),
        ProcessingGuarantee::AtLeastOnce => at_least_once(found, expected),
    }
}

fn exactly_once(found: &Output, expected: &Output) -> Result<(), Failure> {
    for topic in EXACT {
        let (found, expected) = (&found[topic], &expected[topic]);
        let keys: BTreeSet<&Vec<u8>> = found.keys().chain(expected.keys()).collect();
        for key in keys {
            let (found, expected) = (found.get(key).cloned(), expected.get(key).cloned());
            if found != expected {
                return Err(format!(
                    "{topic}, key {}: {} instead of {}",
                    String::from_utf8_lossy(key),
                    text(&found.unwrap_or_default()),
                    text(&expected.unwrap_or_default()),
                ));
            }
        }
    }
    for (key, values) in &found["values"] {
        let numbers: Vec<i64> = values.iter().filter_map(|value| number(value.as_deref()?)).collect();
        if !numbers.is_sorted_by(|a, b| a < b) {
            return Err(format!("values, key {}: {} does not rise", String::from_utf8_lossy(key), text(values)));
        }
    }
    for topic in CHANGELOGS.iter().chain(&["values"]) {
        let (found, expected) = (last(&found[*topic]), last(&expected[*topic]));
        if found != expected {
            return Err(format!("{topic} ends with {found:?} instead of {expected:?}"));
        }
    }
    if found["stores"] != expected["stores"] {
        return Err(format!("the stores hold {:?} instead of {:?}", texts(found), texts(expected)));
    }
    Ok(())
}

fn texts(output: &Output) -> Vec<String> {
    let rows = output["stores"].iter();
    rows.map(|(key, values)| format!("{}: {}", String::from_utf8_lossy(key), text(values))).collect()
}

fn at_least_once(found: &Output, expected: &Output) -> Result<(), Failure> {
    for key in expected["windows"].keys() {
        // Its last count may be less: what is processed again after a crash finds a store that has seen later records,
        // and windows expired (as in Kafka Streams).
        if !found["windows"].contains_key(key) {
            return Err(format!("windows: {} is lost", String::from_utf8_lossy(key)));
        }
    }
    for topic in ["counts", "values"] {
        let greatest = |values: &Values| values.iter().filter_map(|value| number(value.as_deref()?)).max();
        for (key, expected) in &expected[topic] {
            let found = found[topic].get(key).and_then(greatest);
            if found < greatest(expected) {
                return Err(format!("{topic}, key {}: only {found:?}", String::from_utf8_lossy(key)));
            }
        }
    }
    Ok(())
}
