//! Session stores.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::Stage;
use crate::{
    serde::{Window, Windowed, default_serde},
    state::{SessionStore, StateStore, Stores, TypedStoreBuilder, ValueAndTimestamp},
};

const RETENTION_MS: i64 = 200_000;

fn builder(is_persistent: bool, has_time_index: bool) -> TypedStoreBuilder<SessionStore<String, i64>> {
    let retention = Duration::from_millis(RETENTION_MS as u64);
    let mut supplier = match is_persistent {
        true => Stores::persistent_session_store("store", retention),
        false => Stores::in_memory_session_store("store", retention),
    };
    if has_time_index {
        supplier = supplier.with_time_index();
    }
    Stores::session_store_builder(supplier, default_serde(), default_serde())
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Window, i64),
    Remove(u8, Window),
    Get(u8, Window),
    Find(u8, i64, i64, bool),
    FindEnding(i64, i64),
    Commit,
    Abort,
    Flush,
    Evict,
    Restart,
    Crash,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0i64..30, 1 => 30i64..90].prop_map(|tens| tens * 20_000)
}

fn session() -> impl Strategy<Value = Window> {
    (time(), 0i64..4).prop_map(|(end, length)| Window::new((end - length * 20_000).max(0), end))
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..4;
    prop_oneof![
        8 => (key.clone(), session(), -9i64..9).prop_map(|(k, s, v)| Op::Put(k, s, v)),
        4 => (key.clone(), session()).prop_map(|(k, s)| Op::Remove(k, s)),
        3 => (key.clone(), session()).prop_map(|(k, s)| Op::Get(k, s)),
        5 => (key, time(), time(), any::<bool>()).prop_map(|(k, a, b, forward)| Op::Find(k, a, b, forward)),
        2 => (time(), time()).prop_map(|(a, b)| Op::FindEnding(a, b)),
        4 => Just(Op::Commit),
        1 => Just(Op::Abort),
        2 => Just(Op::Flush),
        2 => Just(Op::Evict),
        1 => Just(Op::Restart),
        1 => Just(Op::Crash),
    ]
}

fn name(key: u8) -> String {
    "k".repeat(usize::from(key) + 1)
}

#[derive(Clone)]
struct Model {
    /// Reads of all keys see all of a segment: on disk, with an index by time.
    scans_segments: bool,
    /// By end, start, key.
    rows: BTreeMap<(i64, i64, String), i64>,
    stream_time: Option<i64>,
}

impl Model {
    fn of(is_persistent: bool, has_time_index: bool) -> Self {
        let scans_segments = is_persistent && has_time_index;
        Model { scans_segments, rows: BTreeMap::new(), stream_time: None }
    }

    /// True if reads of all keys see sessions that end then.
    fn is_scanned(&self, end: i64) -> bool {
        let segment = |time: i64| time.div_euclid(RETENTION_MS / 2);
        match self.stream_time {
            Some(now) if self.scans_segments => segment(end) >= segment(now - RETENTION_MS),
            _ => self.is_live(end),
        }
    }

    fn is_live(&self, end: i64) -> bool {
        self.stream_time.is_none_or(|now| end > now - RETENTION_MS)
    }

    fn accept(&mut self, end: i64) -> bool {
        self.stream_time = self.stream_time.max(Some(end));
        self.is_live(end)
    }
}

fn row(session: Window, key: u8) -> (i64, i64, String) {
    (session.end, session.start, name(key))
}

fn check(is_persistent: bool, has_time_index: bool, ops: Vec<Op>) {
    let mut stage = Stage::new(builder(is_persistent, has_time_index));
    let model = Model::of(is_persistent, has_time_index);
    let (mut committed, mut model) = (model.clone(), model);
    for op in ops {
        match op {
            Op::Put(key, session, value) => {
                let is_live = model.accept(session.end);
                assert_eq!(stage.store().put(&name(key), session, value).unwrap(), is_live);
                model.rows.insert(row(session, key), value);
            }
            Op::Remove(key, session) => {
                let is_live = model.accept(session.end);
                let expected = model.rows.remove(&row(session, key)).filter(|_| is_live);
                assert_eq!(stage.store().remove(&name(key), session).unwrap(), expected);
            }
            Op::Get(key, session) => {
                let expected = model.rows.get(&row(session, key)).filter(|_| model.is_live(session.end));
                assert_eq!(stage.store().get(&name(key), session).unwrap(), expected);
            }
            Op::Find(key, earliest_end, latest_start, forward) => {
                let found = stage.store().find_sessions(&name(key), earliest_end, latest_start).unwrap();
                let found = found.map(|(session, value)| (session, *value));
                let found: Vec<_> = if forward { found.collect() } else { found.rev().collect() };
                let mut expected: Vec<_> = model
                    .rows
                    .iter()
                    .filter(|((end, start, other), _)| {
                        *other == name(key) && *end >= earliest_end && *start <= latest_start && model.is_live(*end)
                    })
                    .map(|((end, start, _), value)| (Window::new(*start, *end), *value))
                    .collect();
                if !forward {
                    expected.reverse();
                }
                assert_eq!(found, expected);
            }
            Op::FindEnding(from, to) => {
                let found = stage.store().find_sessions_ending(from, to).unwrap();
                let mut expected: Vec<_> = model
                    .rows
                    .iter()
                    .filter(|((end, ..), _)| (from..=to).contains(end) && model.is_scanned(*end))
                    .collect();
                if !model.scans_segments {
                    expected.sort_by_key(|((end, start, key), _)| (*end, key.clone(), *start));
                }
                let expected: Vec<_> = expected
                    .into_iter()
                    .map(|((end, start, key), value)| (Windowed::new(key.clone(), Window::new(*start, *end)), *value))
                    .collect();
                assert_eq!(found, expected);
            }
            Op::Commit => {
                stage.commit();
                committed = model.clone();
            }
            Op::Flush => stage.store().flush().unwrap(),
            Op::Evict => stage.store().evict_all(),
            Op::Abort | Op::Restart | Op::Crash => {
                match op {
                    Op::Abort => stage.abort(),
                    Op::Restart => stage.restart(),
                    _ => stage.crash(),
                }
                model = committed.clone();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sessions_live_as_long_as_they_are_retained(
        is_persistent: bool, has_time_index: bool, ops in vec(op(), 1..80),
    ) {
        check(is_persistent, has_time_index, ops);
    }
}

/// Bytes seen in changelogs of Apache Kafka Streams 4.3: `key | end (8) | start (8)`.
#[test]
fn a_session_is_logged_under_kafkas_key() {
    let mut stage = Stage::new(builder(true, false));
    stage.store().put(&"a".to_owned(), Window::new(20, 30), 1).unwrap();
    stage.commit();
    assert_eq!(stage.last_logged()[0].key, *b"a\0\0\0\0\0\0\0\x1e\0\0\0\0\0\0\0\x14");
}

#[test]
fn a_late_session_is_logged_and_counts_as_dropped_unless_it_is_removed() {
    let mut stage = Stage::new(builder(false, false));
    let (key, late) = ("a".to_owned(), Window::new(5, 10));
    stage.store().put(&key, Window::new(0, RETENTION_MS + 10), 1).unwrap();
    assert!(!stage.store().put(&key, late, 2).unwrap());
    assert!(!stage.store().put(&key, late, None).unwrap());
    assert_eq!(stage.store().take_refused(), 2);
    assert_eq!(stage.store().remove(&key, late).unwrap(), None);
    assert_eq!(stage.store().take_refused(), 0);
    stage.commit();
    assert_eq!(stage.last_logged().len(), 2);
}

/// On disk, with an index by time, whole segments expire for reads of all keys.
#[test]
fn a_scan_sees_expired_sessions_of_segments_that_are_alive() {
    let key = "a".to_owned();
    for (is_persistent, scanned) in [(true, 2), (false, 1)] {
        let mut stage = Stage::new(builder(is_persistent, true));
        stage.store().put(&key, Window::new(0, 99_999), 1).unwrap();
        stage.store().put(&key, Window::new(0, 100_000), 2).unwrap();
        stage.store().put(&key, Window::new(0, RETENTION_MS + 100_000), 3).unwrap();
        assert_eq!(stage.store().find_sessions(&key, 0, i64::MAX).unwrap().count(), 1);
        assert_eq!(stage.store().find_sessions_ending(0, i64::MAX).unwrap().len(), scanned);
        stage.commit();
        stage.crash();
        assert_eq!(stage.store().find_sessions_ending(0, i64::MAX).unwrap().len(), scanned);
    }
}

#[test]
fn a_session_with_headers_keeps_them() {
    let supplier = Stores::persistent_session_store("store", Duration::from_secs(100));
    let builder =
        Stores::session_store_with_headers_builder(supplier, default_serde::<String>(), default_serde::<String>());
    let mut stage = Stage::new(builder);
    let mut value = ValueAndTimestamp::new("v".to_owned(), -1);
    value.headers = super::headers(&["h"]);
    let session = Window::new(1, 2);
    stage.store().set_record_context(9, &super::headers(&[]));
    stage.store().put(&"a".to_owned(), session, value.clone()).unwrap();
    stage.commit();
    let logged = &stage.last_logged()[0];
    assert_eq!((logged.timestamp, &logged.headers), (9, &value.headers));
    stage.crash();
    assert_eq!(stage.store().get(&"a".to_owned(), session).unwrap(), Some(&value));
}
