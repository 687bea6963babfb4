//! What the stores of a finished run hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use log_store::Headers;
use serde_json::{Value, json};
use streams_core::{
    serde::Windowed,
    state::{
        KeyValueStore, SessionStore, TimestampedKeyValueStore, TimestampedWindowStore, ValueAndTimestamp,
        VersionedKeyValueStore,
    },
    testing::TopologyTestDriver,
};

use crate::{case::StoreRows, functions::Text};

/// A value of a store, as a row shows it.
trait Cell: Clone + Send + 'static {
    fn cell(&self) -> Value;
}

impl Cell for Text {
    fn cell(&self) -> Value {
        json!(self)
    }
}

impl Cell for i64 {
    fn cell(&self) -> Value {
        json!(self)
    }
}

/// Sessions under the headers format; the JVM shows their values only.
impl<V: Cell> Cell for ValueAndTimestamp<V> {
    fn cell(&self) -> Value {
        self.value.cell()
    }
}

type Row = Vec<Value>;

/// Rows of all stores, with all that is known of them: [`shaped_as`] leaves out what a kind of the JVM does not show.
/// Windows and sessions are those within `times`, and versions those of `keys`: what the JVM was asked for.
pub(crate) fn contents(
    driver: &TopologyTestDriver,
    times: &RangeInclusive<i64>,
    keys: &BTreeSet<String>,
) -> BTreeMap<String, StoreRows> {
    driver.store_names().into_iter().map(|name| (name.clone(), rows(driver, &name, times, keys))).collect()
}

fn rows(driver: &TopologyTestDriver, name: &str, times: &RangeInclusive<i64>, keys: &BTreeSet<String>) -> StoreRows {
    let found = timestamped::<Text>(driver, name)
        .or_else(|| timestamped::<i64>(driver, name))
        .map(|rows| (KEY_VALUE, rows))
        .or_else(|| plain(driver, name).map(|rows| ("key-value", rows)))
        .or_else(|| windows::<Text>(driver, name, times).map(|rows| (WINDOW, rows)))
        .or_else(|| windows::<i64>(driver, name, times).map(|rows| (WINDOW, rows)))
        .or_else(|| sessions::<Text>(driver, name, times).map(|rows| ("session", rows)))
        .or_else(|| sessions::<i64>(driver, name, times).map(|rows| ("session", rows)))
        .or_else(|| sessions::<ValueAndTimestamp<Text>>(driver, name, times).map(|rows| ("session", rows)))
        .or_else(|| sessions::<ValueAndTimestamp<i64>>(driver, name, times).map(|rows| ("session", rows)))
        .or_else(|| versions(driver, name, keys).map(|rows| ("versioned", rows)));
    let (kind, rows) = found.unwrap_or((INTERNAL, Vec::new()));
    StoreRows { kind: kind.to_owned(), rows }
}

const KEY_VALUE: &str = "headers-key-value";
const WINDOW: &str = "headers-window";
const INTERNAL: &str = "internal";

/// Our store as the JVM shows one of `kind`; `None` if it is of another nature. Our rows always know their time and
/// headers; which of them the JVM shows hangs on how its stores are built (join stores on disk show neither, those in
/// memory both; an empty store with headers looks like a plain one).
pub(crate) fn shaped_as(kind: &str, ours: &StoreRows) -> Option<StoreRows> {
    let columns: &[usize] = match (ours.kind.as_str(), kind) {
        (KEY_VALUE, "headers-key-value") => &[0, 1, 2, 3],
        (KEY_VALUE, "timestamped-key-value") => &[0, 1, 2],
        (KEY_VALUE | "key-value", "key-value") => &[0, 1],
        (WINDOW, "headers-window") => &[0, 1, 2, 3, 4, 5],
        (WINDOW, "timestamped-window") => &[0, 1, 2, 3, 4],
        (WINDOW, "window") => &[0, 1, 3],
        ("session", "session") | ("versioned", "versioned") => &[0, 1, 2, 3],
        // No rows are shown, of stores whose keys are no texts or that the JVM cannot read back.
        (_, "internal" | "unreadable") => return Some(StoreRows { kind: kind.to_owned(), rows: Vec::new() }),
        // Such a store looks plain to the JVM while it is empty.
        (INTERNAL, _) => &[],
        _ => return None,
    };
    let row = |row: &Row| columns.iter().map(|column| row[*column].clone()).collect();
    Some(StoreRows { kind: kind.to_owned(), rows: ours.rows.iter().map(row).collect() })
}

/// `[key, value, time, headers]`
fn timestamped<V: Cell>(driver: &TopologyTestDriver, name: &str) -> Option<Vec<Row>> {
    let mut store = driver.store::<TimestampedKeyValueStore<Text, V>>(name)?;
    let rows = store.all().expect("the store can be read").map(|row| {
        let (key, value) = row.expect("a row can be read");
        vec![json!(key), value.value.cell(), json!(value.timestamp), shown(&value.headers)]
    });
    Some(rows.collect())
}

/// `[key, value]`
fn plain(driver: &TopologyTestDriver, name: &str) -> Option<Vec<Row>> {
    let mut store = driver.store::<KeyValueStore<Text, Text>>(name)?;
    let rows = store.all().expect("the store can be read").map(|row| {
        let (key, value) = row.expect("a row can be read");
        vec![json!(key), json!(value)]
    });
    Some(rows.collect())
}

/// `[key, value, time, start, end, headers]`
fn windows<V: Cell>(driver: &TopologyTestDriver, name: &str, times: &RangeInclusive<i64>) -> Option<Vec<Row>> {
    let mut store = driver.store::<TimestampedWindowStore<Text, V>>(name)?;
    let rows = store.fetch_all(*times.start(), *times.end()).expect("the store can be read");
    let rows = rows.into_iter().map(|(at, value)| {
        let Windowed { key, window } = at;
        vec![
            json!(key),
            value.value.cell(),
            json!(value.timestamp),
            json!(window.start),
            json!(window.end),
            shown(&value.headers),
        ]
    });
    Some(rows.collect())
}

/// `[key, value, start, end]`
fn sessions<V: Cell>(driver: &TopologyTestDriver, name: &str, times: &RangeInclusive<i64>) -> Option<Vec<Row>> {
    let mut store = driver.store::<SessionStore<Text, V>>(name)?;
    // Key by key, as the JVM was asked: reads of all keys may see more.
    let all = store.find_sessions_ending(*times.start(), i64::MAX).expect("the store can be read");
    let keys: BTreeSet<Text> = all.into_iter().map(|(at, _)| at.key).collect();
    let mut rows = Vec::new();
    for key in keys {
        let found = store.find_sessions(&key, *times.start(), *times.end()).expect("the store can be read");
        rows.extend(found.map(|(at, value)| vec![json!(key), value.cell(), json!(at.start), json!(at.end)]));
    }
    Some(rows)
}

/// `[key, value, valid from, valid to or null]`
fn versions(driver: &TopologyTestDriver, name: &str, keys: &BTreeSet<String>) -> Option<Vec<Row>> {
    let mut store = driver.store::<VersionedKeyValueStore<Text, Text>>(name)?;
    let mut rows = Vec::new();
    for key in keys {
        let found = store.get_between(&Some(key.clone()), i64::MIN, i64::MAX).expect("the store can be read");
        rows.extend(
            found.map(|version| {
                vec![json!(key), version.value.cell(), json!(version.timestamp), json!(version.valid_to)]
            }),
        );
    }
    Some(rows)
}

/// `[[name, value] …]`; a value that is no text is in hex.
fn shown(headers: &Headers) -> Value {
    let value = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if !text.bytes().any(|byte| byte < 0x20) => json!(text),
        _ => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    };
    let pair = |header: &log_store::Header| json!([header.key, header.value.as_deref().map(value)]);
    headers.as_slice().iter().map(pair).collect()
}
