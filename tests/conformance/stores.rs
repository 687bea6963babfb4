//! What the stores of a finished run hold.

use std::collections::BTreeMap;

use log_store::Headers;
use serde_json::{Value, json};
use streams_core::{
    serde::Windowed,
    state::{KeyValueStore, SessionStore, TimestampedKeyValueStore, TimestampedWindowStore, WindowStore},
    testing::TopologyTestDriver,
};

use crate::{
    case::{Case, Observed, StoreRows},
    functions::Text,
};

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

type Row = Vec<Value>;

/// Rows of all stores.
pub(crate) fn contents(driver: &TopologyTestDriver, case: &Case, _seen: &Observed) -> BTreeMap<String, StoreRows> {
    let keeps_headers = case.config.get("dsl.store.format").is_some_and(|format| format == "HEADERS");
    driver.store_names().into_iter().map(|name| (name.clone(), rows(driver, &name, keeps_headers))).collect()
}

fn rows(driver: &TopologyTestDriver, name: &str, keeps_headers: bool) -> StoreRows {
    let found = timestamped::<Text>(driver, name)
        .or_else(|| timestamped::<i64>(driver, name))
        .map(|rows| ("timestamped-key-value", rows))
        .or_else(|| plain(driver, name).map(|rows| ("key-value", rows)))
        .or_else(|| {
            windows::<Text>(driver, name)
                .or_else(|| windows::<i64>(driver, name))
                .map(|rows| ("timestamped-window", rows))
        })
        .or_else(|| join_window(driver, name).map(|rows| ("window", rows)))
        .or_else(|| {
            sessions::<Text>(driver, name).or_else(|| sessions::<i64>(driver, name)).map(|rows| ("session", rows))
        });
    let (kind, mut rows) = found.unwrap_or(("internal", Vec::new()));
    let mut kind = kind.to_owned();
    if keeps_headers && kind.starts_with("timestamped") {
        // Only its rows tell a store of the JVM with headers from one without.
        let without = kind.replace("timestamped-", "");
        kind = if rows.is_empty() { without } else { format!("headers-{without}") };
    } else {
        rows.iter_mut().for_each(|row| row.retain(|cell| !cell.is_array()));
    }
    StoreRows { kind, rows }
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
fn windows<V: Cell>(driver: &TopologyTestDriver, name: &str) -> Option<Vec<Row>> {
    let mut store = driver.store::<TimestampedWindowStore<Text, V>>(name)?;
    let rows = store.fetch_all(0, i64::MAX).expect("the store can be read").into_iter().map(|(at, value)| {
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

/// `[key, value, start]`
fn join_window(driver: &TopologyTestDriver, name: &str) -> Option<Vec<Row>> {
    let mut store = driver.store::<WindowStore<Text, Text>>(name)?;
    let rows = store.fetch_all(0, i64::MAX).expect("the store can be read").into_iter();
    Some(rows.map(|(at, value)| vec![json!(at.key), json!(value), json!(at.window.start)]).collect())
}

/// `[key, value, start, end]`
fn sessions<V: Cell>(driver: &TopologyTestDriver, name: &str) -> Option<Vec<Row>> {
    let mut store = driver.store::<SessionStore<Text, V>>(name)?;
    let rows = store.find_sessions_ending(0, i64::MAX).expect("the store can be read").into_iter();
    Some(
        rows.map(|(at, value)| vec![json!(at.key), value.cell(), json!(at.window.start), json!(at.window.end)])
            .collect(),
    )
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
