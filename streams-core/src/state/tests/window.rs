//! Window stores.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::{Stage, TASK};
use crate::{
    serde::{Window, Windowed, default_serde},
    state::{StateStore, StoreContext, StoreFormat, Stores, TypedStoreBuilder, ValueAndTimestamp, WindowStore},
};

const RETENTION_MS: i64 = 200_000;
const SIZE_MS: i64 = 10_000;

#[derive(Clone, Copy, Debug)]
struct Shape {
    is_persistent: bool,
    is_caching: bool,
    retains_duplicates: bool,
    has_time_index: bool,
}

fn builder(shape: Shape) -> TypedStoreBuilder<WindowStore<String, i64>> {
    let (retention, size) = (Duration::from_millis(RETENTION_MS as u64), Duration::from_millis(SIZE_MS as u64));
    let mut supplier = match shape.is_persistent {
        true => Stores::persistent_window_store("store", retention, size, shape.retains_duplicates),
        false => Stores::in_memory_window_store("store", retention, size, shape.retains_duplicates),
    }
    .unwrap();
    if shape.has_time_index {
        supplier = supplier.with_time_index();
    }
    let builder = Stores::window_store_builder(supplier, default_serde(), default_serde());
    if shape.is_caching { builder.with_caching_enabled() } else { builder }
}

const PLAIN: Shape = Shape { is_persistent: true, is_caching: false, retains_duplicates: false, has_time_index: false };

#[derive(Clone, Debug)]
enum Op {
    Put(u8, i64, i64),
    Delete(u8, i64),
    Add(u8, i64),
    Get(u8, i64),
    Fetch(u8, i64, i64, bool),
    FetchAll(i64, i64),
    TakeUpdates,
    Commit,
    Abort,
    Flush,
    Evict,
    Restart,
    Crash,
}

/// Times near segment bounds (100 s) and jumps that expire some or all.
fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => (0i64..8, 0i64..3).prop_map(|(segment, more)| segment * 100_000 + more * SIZE_MS),
        1 => (1i64..40).prop_map(|segment| segment * 100_000),
        2 => (0i64..8).prop_map(|segment| segment * 100_000 - 1).prop_map(|time| time.max(0)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..5;
    let value = -9i64..9;
    prop_oneof![
        8 => (key.clone(), time(), value).prop_map(|(k, t, v)| Op::Put(k, t, v)),
        2 => (key.clone(), time()).prop_map(|(k, t)| Op::Delete(k, t)),
        5 => (key.clone(), time()).prop_map(|(k, t)| Op::Add(k, t)),
        4 => (key.clone(), time()).prop_map(|(k, t)| Op::Get(k, t)),
        4 => (key, time(), time(), any::<bool>()).prop_map(|(k, a, b, forward)| Op::Fetch(k, a, b, forward)),
        2 => (time(), time()).prop_map(|(a, b)| Op::FetchAll(a, b)),
        1 => Just(Op::TakeUpdates),
        4 => Just(Op::Commit),
        1 => Just(Op::Abort),
        2 => Just(Op::Flush),
        2 => Just(Op::Evict),
        1 => Just(Op::Restart),
        1 => Just(Op::Crash),
    ]
}

/// One key is the beginning of another, and one looks like a key with a time after it.
fn name(key: u8) -> String {
    ["a", "ab", "b", "a\0\0\0\0\0\u{1}", "a-key-that-is-too-long-to-be-inline"][usize::from(key)].to_owned()
}

/// A window with its old and its new value.
type Handed = ((i64, String), (Option<i64>, Option<i64>));

#[derive(Clone)]
struct Model {
    shape: Shape,
    rows: BTreeMap<(i64, String), Vec<i64>>,
    stream_time: Option<i64>,
    /// What caching holds back, in the order of the last writes, with the values before the first.
    held: Vec<((i64, String), Option<i64>)>,
}

impl Model {
    fn of(shape: Shape) -> Self {
        Model { shape, rows: BTreeMap::new(), stream_time: None, held: Vec::new() }
    }

    fn is_retained(&self, start: i64) -> bool {
        // An index by time on disk keeps windows for one millisecond longer.
        let more = i64::from(self.shape.has_time_index && self.shape.is_persistent);
        self.stream_time.is_none_or(|now| start > now - RETENTION_MS - more)
    }

    /// The cache has room for all there is.
    fn is_live(&self, start: i64) -> bool {
        self.shape.is_caching || self.is_retained(start)
    }

    /// A window is written: true if it will be read.
    fn accept(&mut self, key: &str, start: i64) -> bool {
        if self.shape.is_caching {
            let at = (start, key.to_owned());
            let known = self.held.iter().position(|(other, _)| *other == at).map(|place| self.held.remove(place));
            let first = || (at.clone(), self.rows.get(&at).map(|values| values[0]));
            let last = known.unwrap_or_else(first);
            self.held.push(last);
        } else {
            self.stream_time = self.stream_time.max(Some(start));
        }
        self.is_live(start)
    }

    /// What a flush hands on, with old and new values.
    fn hand_on(&mut self) -> Vec<Handed> {
        let mut updates = Vec::new();
        for (at, old) in std::mem::take(&mut self.held) {
            let old = old.filter(|_| self.is_retained(at.0));
            let new = self.rows.get(&at).map(|values| values[0]);
            if old.is_some() || new.is_some() {
                self.stream_time = self.stream_time.max(Some(at.0));
                updates.push((at, (old, new)));
            }
        }
        updates
    }

    fn commit(&mut self) {
        let held = std::mem::take(&mut self.held);
        self.stream_time = self.stream_time.max(held.into_iter().map(|((start, _), _)| start).max());
    }

    fn fetch(&self, key: &str, from: i64, to: i64) -> Vec<(i64, i64)> {
        let rows = self
            .rows
            .iter()
            .filter(|((start, other), _)| other == key && (from..=to).contains(start) && self.is_live(*start));
        rows.flat_map(|((start, _), values)| values.iter().map(|value| (*start, *value))).collect()
    }
}

fn check(shape: Shape, ops: Vec<Op>) {
    let mut stage = Stage::new(builder(shape));
    let (mut committed, mut model) = (Model::of(shape), Model::of(shape));
    for op in ops {
        match op {
            Op::Put(key, start, value) => {
                let is_live = model.accept(&name(key), start);
                assert_eq!(stage.store().put(&name(key), start, value).unwrap(), is_live);
                if is_live {
                    let values = model.rows.entry((start, name(key))).or_default();
                    if !shape.retains_duplicates {
                        values.clear();
                    }
                    values.push(value);
                }
            }
            // A deletion that removes nothing advances a store's time only when it is restored: see below.
            Op::Delete(_, start) if shape.retains_duplicates && Some(start) > model.stream_time => {}
            Op::Delete(key, start) => {
                let is_live = model.accept(&name(key), start);
                assert_eq!(stage.store().delete(&name(key), start).unwrap(), is_live);
                if is_live && !shape.retains_duplicates {
                    model.rows.remove(&(start, name(key)));
                }
            }
            Op::Add(key, start) => {
                let is_live = model.accept(&name(key), start);
                let add = |value: &mut Option<i64>| {
                    *value = Some(value.unwrap_or(0) + 1);
                    *value
                };
                let added = stage.store().update(&name(key), start, add).unwrap();
                assert_eq!(added.is_some(), is_live);
                if is_live {
                    let values = model.rows.entry((start, name(key))).or_default();
                    match values.first_mut() {
                        Some(value) if !shape.retains_duplicates => *value += 1,
                        _ => values.push(1),
                    }
                }
            }
            Op::Get(key, start) => {
                let expected = model.fetch(&name(key), start, start).first().map(|(_, value)| *value);
                assert_eq!(stage.store().get(&name(key), start).unwrap().copied(), expected);
            }
            Op::Fetch(key, from, to, forward) => {
                let rows = stage.store().fetch(&name(key), from, to).unwrap().map(|(start, value)| (start, *value));
                let rows: Vec<_> = if forward { rows.collect() } else { rows.rev().collect() };
                let mut expected = model.fetch(&name(key), from, to);
                if !forward {
                    expected.reverse();
                }
                assert_eq!(rows, expected);
            }
            Op::FetchAll(from, to) => {
                let rows = stage.store().fetch_all(from, to).unwrap();
                let expected: Vec<_> = model
                    .rows
                    .iter()
                    .filter(|((start, _), _)| (from..=to).contains(start) && model.is_live(*start))
                    .flat_map(|((start, key), values)| {
                        let key = Windowed::new(key.clone(), Window::of_size(*start, SIZE_MS));
                        values.iter().map(move |value| (key.clone(), *value))
                    })
                    .collect();
                assert_eq!(rows, expected);
            }
            Op::TakeUpdates => {
                let updates = stage.store().take_updates().unwrap();
                let updates: Vec<_> = updates
                    .into_iter()
                    .map(|update| ((update.key.window.start, update.key.key), (update.old, update.new)))
                    .collect();
                assert_eq!(updates, model.hand_on());
            }
            Op::Commit => {
                stage.commit();
                model.commit();
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
    let rows = stage.store().fetch_all(0, i64::MAX).unwrap();
    let live = model.rows.iter().filter(|((start, _), _)| model.is_live(*start)).map(|(_, values)| values.len());
    assert_eq!(rows.len(), live.sum::<usize>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn windows_live_as_long_as_they_are_retained(
        is_persistent: bool, has_time_index: bool, ops in vec(op(), 1..80),
    ) {
        check(Shape { is_persistent, has_time_index, ..PLAIN }, ops);
    }

    #[test]
    fn duplicates_are_kept_in_order(is_persistent: bool, has_time_index: bool, ops in vec(op(), 1..80)) {
        check(Shape { is_persistent, has_time_index, retains_duplicates: true, ..PLAIN }, ops);
    }

    #[test]
    fn a_caching_store_tells_each_window_once(
        is_persistent: bool, has_time_index: bool, ops in vec(op(), 1..80),
    ) {
        // What leaves memory can only be read again as long as it is retained.
        let lives_on = |op: &Op| !matches!(op, Op::Abort | Op::Restart | Op::Crash | Op::Evict);
        check(Shape { is_persistent, has_time_index, is_caching: true, ..PLAIN }, ops.into_iter().filter(lives_on).collect());
    }
}

/// Bytes seen in changelogs of Apache Kafka Streams 4.3: `key | start (8) | sequence number (4)`.
#[test]
fn a_window_is_logged_under_kafkas_key() {
    let mut stage = Stage::new(builder(PLAIN));
    stage.store().put(&"a".to_owned(), 20, 1).unwrap();
    stage.commit();
    assert_eq!(stage.last_logged()[0].key, *b"a\0\0\0\0\0\0\0\x14\0\0\0\0");
}

#[test]
fn duplicates_are_logged_under_numbers_from_one_on_and_a_deletion_takes_one() {
    let mut stage = Stage::new(builder(Shape { retains_duplicates: true, ..PLAIN }));
    let key = "a".to_owned();
    stage.store().put(&key, 20, 1).unwrap();
    stage.store().delete(&key, 20).unwrap();
    stage.store().put(&key, 20, 3).unwrap();
    stage.commit();
    let logged: Vec<_> = stage.last_logged().into_iter().map(|row| (row.key[12], row.value.is_some())).collect();
    assert_eq!(logged, [(1, true), (2, false), (3, true)]);
    // After a restart numbers go on: a new row must not replace an old one.
    stage.crash();
    stage.store().put(&key, 20, 4).unwrap();
    let values: Vec<_> = stage.store().fetch(&key, 20, 20).unwrap().map(|(_, value)| *value).collect();
    assert_eq!(values, [1, 3, 4]);
}

#[test]
fn a_window_expires_when_stream_time_is_its_start_plus_the_retention() {
    let mut store = builder(PLAIN).build_typed(&StoreContext::in_memory(TASK)).unwrap();
    let key = "a".to_owned();
    store.put(&key, 0, 1).unwrap();
    store.put(&key, RETENTION_MS - 1, 2).unwrap();
    assert_eq!(store.get(&key, 0).unwrap(), Some(&1));
    store.put(&key, RETENTION_MS, 3).unwrap();
    assert_eq!(store.get(&key, 0).unwrap(), None);
    assert!(!store.put(&key, 0, 4).unwrap());
    assert!(store.put(&key, 1, 5).unwrap());
}

#[test]
fn a_deletion_among_duplicates_advances_the_time_of_a_store_in_memory_only() {
    for is_persistent in [true, false] {
        let mut stage = Stage::new(builder(Shape { is_persistent, retains_duplicates: true, ..PLAIN }));
        let key = "a".to_owned();
        stage.store().put(&key, 0, 1).unwrap();
        stage.store().delete(&key, RETENTION_MS).unwrap();
        assert_eq!(stage.store().get(&key, 0).unwrap().is_some(), is_persistent);
    }
}

#[test]
fn an_index_by_time_on_disk_keeps_a_window_for_one_millisecond_longer() {
    let mut store =
        builder(Shape { has_time_index: true, ..PLAIN }).build_typed(&StoreContext::in_memory(TASK)).unwrap();
    let key = "a".to_owned();
    store.put(&key, 0, 1).unwrap();
    store.put(&key, RETENTION_MS, 2).unwrap();
    assert_eq!(store.get(&key, 0).unwrap(), Some(&1));
    assert_eq!(store.fetch_all(0, 0).unwrap().len(), 1);
    store.put(&key, RETENTION_MS + 1, 3).unwrap();
    assert_eq!(store.get(&key, 0).unwrap(), None);
    assert_eq!(store.fetch_all(0, 0).unwrap().len(), 0);
}

#[test]
fn a_late_window_is_logged_and_counts_as_dropped_when_its_segment_is_gone() {
    for (is_persistent, dropped) in [(true, [0, 1]), (false, [1, 1])] {
        let mut stage = Stage::new(builder(Shape { is_persistent, ..PLAIN }));
        let key = "a".to_owned();
        stage.store().put(&key, 399_999, 1).unwrap();
        assert_eq!(stage.store().take_refused(), 0);
        for (start, dropped) in [100_000, 99_999].into_iter().zip(dropped) {
            assert!(!stage.store().put(&key, start, 2).unwrap());
            assert_eq!(stage.store().take_refused(), dropped, "persistent {is_persistent}, start {start}");
            assert_eq!(stage.store().get(&key, start).unwrap(), None);
        }
        stage.commit();
        assert_eq!(stage.last_logged().len(), 3);
        stage.crash();
        assert_eq!(stage.store().fetch_all(0, i64::MAX).unwrap().len(), 1);
    }
}

#[test]
fn what_was_written_through_the_cache_is_read_until_it_leaves_memory() {
    let mut stage = Stage::new(builder(Shape { is_caching: true, ..PLAIN }));
    let key = "a".to_owned();
    stage.store().put(&key, 0, 1).unwrap();
    stage.store().put(&key, 10 * RETENTION_MS, 2).unwrap();
    stage.store().take_updates().unwrap();
    stage.commit();
    assert_eq!(stage.store().get(&key, 0).unwrap(), Some(&1));
    // Its old value is not there any more for those who take updates.
    stage.store().put(&key, 0, 3).unwrap();
    let updates = stage.store().take_updates().unwrap();
    assert_eq!((updates[0].old, updates[0].new), (None, Some(3)));
    assert_eq!(stage.store().take_refused(), 1);
    stage.commit();
    stage.store().flush().unwrap();
    stage.store().evict_all();
    assert_eq!(stage.store().get(&key, 0).unwrap(), None);
    assert_eq!(stage.store().fetch_all(0, i64::MAX).unwrap().len(), 1);
}

#[test]
fn a_cache_without_room_lets_expired_windows_go() {
    let room = StoreContext::in_memory(TASK).with_held_bytes_max(4_000);
    let mut store = builder(Shape { is_caching: true, ..PLAIN }).build_typed(&room).unwrap();
    for number in 0..2_000 {
        store.put(&format!("{}", number % 10), number * 50_000, 1).unwrap();
        store.take_updates().unwrap();
        store.write_changelog(&mut super::Sink::default()).unwrap();
        store.committed(None).unwrap();
        store.flush().unwrap();
    }
    assert!(store.fetch_all(0, i64::MAX).unwrap().len() < 100);
}

#[test]
fn expired_windows_leave_memory_and_files() {
    for has_time_index in [false, true] {
        let mut stage = Stage::new(builder(Shape { has_time_index, ..PLAIN }));
        for round in 0..20 {
            for key in 0..50 {
                stage.store().put(&format!("{round}-{key}"), round * 100_000, 1).unwrap();
            }
            stage.commit();
            stage.store().flush().unwrap();
        }
        // Rows of the last three segments, their index entries, and two rows of the store's own.
        let rows = 3 * 50 * if has_time_index { 2 } else { 1 } + 2;
        stage.restart();
        assert_eq!(stage.store().rows_in_backend(), rows);
        // The index keeps a window for one millisecond longer.
        let windows = if has_time_index { 3 * 50 } else { 2 * 50 };
        assert_eq!(stage.store().fetch_all(0, i64::MAX).unwrap().len(), windows);
    }
}

#[test]
fn a_timestamped_window_keeps_time_and_headers() {
    let (retention, size) = (Duration::from_secs(100), Duration::from_secs(10));
    let supplier = Stores::persistent_window_store("store", retention, size, false).unwrap();
    let builder = Stores::timestamped_window_store_builder(
        supplier,
        default_serde::<String>(),
        default_serde::<String>(),
        StoreFormat::Headers,
    );
    let mut stage = Stage::new(builder);
    let mut value = ValueAndTimestamp::new("v".to_owned(), 12);
    value.headers = super::headers(&["h"]);
    stage.store().put(&"a".to_owned(), 10, value.clone()).unwrap();
    stage.commit();
    assert_eq!(stage.last_logged()[0].timestamp, 12);
    stage.crash();
    assert_eq!(stage.store().get(&"a".to_owned(), 10).unwrap(), Some(&value));
}

#[test]
fn windows_are_found_after_the_retention_was_changed() {
    let mut stage = Stage::new(builder(PLAIN));
    let key = "a".to_owned();
    for start in [1_900_000, 2_000_000] {
        stage.store().put(&key, start, start).unwrap();
    }
    stage.commit();
    stage.store().close().unwrap();
    stage.store = None;
    let supplier =
        Stores::persistent_window_store("store", Duration::from_secs(5_000), Duration::from_secs(10), false).unwrap();
    stage.builder = Stores::window_store_builder(supplier, default_serde(), default_serde());
    stage.open();
    stage.store().put(&key, 1_950_000, 1_950_000).unwrap();
    stage.commit();
    stage.restart();
    let starts: Vec<_> = stage.store().fetch(&key, 0, i64::MAX).unwrap().map(|(start, _)| start).collect();
    assert_eq!(starts, [1_900_000, 1_950_000, 2_000_000]);
}

#[test]
fn a_retention_shorter_than_the_window_is_refused() {
    let (retention, size) = (Duration::from_secs(1), Duration::from_secs(2));
    let error = Stores::persistent_window_store("short", retention, size, false).unwrap_err().to_string();
    assert!(error.contains("short"), "{error}");
}
