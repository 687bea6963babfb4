//! Key-value stores.

use std::collections::BTreeMap;

use log_store::{Headers, Offset, RecordView};
use proptest::{collection::vec, prelude::*};

use super::{Logged, Stage, TASK, headers};
use crate::{
    serde::default_serde,
    state::{
        KeyValueStore, StateStore, StoreContext, StoreFormat, Stores, TimestampedKeyValueStore, TypedStoreBuilder,
        Update, ValueAndTimestamp,
    },
};

pub(super) fn builder(is_persistent: bool) -> TypedStoreBuilder<KeyValueStore<String, i64>> {
    let supplier = match is_persistent {
        true => Stores::persistent_key_value_store("store"),
        false => Stores::in_memory_key_value_store("store"),
    };
    Stores::key_value_store_builder(supplier, default_serde(), default_serde())
}

fn timestamped(format: StoreFormat) -> TypedStoreBuilder<TimestampedKeyValueStore<String, String>> {
    let supplier = Stores::persistent_key_value_store("store");
    Stores::timestamped_key_value_store_builder(supplier, default_serde(), default_serde(), format)
}

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Put(u8, i64),
    PutIfAbsent(u8, i64),
    Delete(u8),
    Add(u8, i64),
    Range(u8, u8, bool),
    Prefix(u8),
    TakeUpdates,
    Commit,
    Abort,
    Flush,
    Evict,
    Restart,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..30;
    let value = -9i64..9;
    prop_oneof![
        4 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), value.clone()).prop_map(|(k, v)| Op::Put(k, v)),
        2 => (key.clone(), value.clone()).prop_map(|(k, v)| Op::PutIfAbsent(k, v)),
        3 => key.clone().prop_map(Op::Delete),
        6 => (key.clone(), value).prop_map(|(k, v)| Op::Add(k, v)),
        3 => (key.clone(), key, any::<bool>()).prop_map(|(a, b, forward)| Op::Range(a, b, forward)),
        1 => (0u8..4).prop_map(Op::Prefix),
        2 => Just(Op::TakeUpdates),
        4 => Just(Op::Commit),
        1 => Just(Op::Abort),
        2 => Just(Op::Flush),
        3 => Just(Op::Evict),
        1 => Just(Op::Restart),
        1 => Just(Op::Crash),
    ]
}

/// Keys of different lengths, some the beginning of others, some too long to lie in their slot.
fn name(key: u8) -> String {
    let long = if key.is_multiple_of(7) { "-a-key-that-is-too-long-to-be-inline" } else { "" };
    format!("{}{long}", "abc".repeat(usize::from(key % 3)) + &key.to_string())
}

type Model = BTreeMap<String, i64>;

fn check(is_persistent: bool, is_caching: bool, is_logged: bool, ops: Vec<Op>) {
    let mut builder = builder(is_persistent);
    if is_caching {
        builder = builder.with_caching_enabled();
    }
    if !is_logged {
        builder = builder.with_logging_disabled();
    }
    let mut stage = Stage::new(builder);
    let (mut committed, mut model) = (Model::new(), Model::new());
    // What was written since the last drain: in the order of the last writes, with the value before, and whether the first
    // of these writes was the first since the last commit.
    let mut held: Vec<(String, Option<i64>, bool)> = Vec::new();
    // What was written since the last commit, and whether that concerns the changelog.
    let mut written: Vec<(String, bool)> = Vec::new();
    for op in ops {
        let key = match op {
            Op::Put(key, _) | Op::PutIfAbsent(key, _) | Op::Delete(key) | Op::Add(key, _) => Some(name(key)),
            _ => None,
        };
        if let Some(key) = key
            && !(matches!(op, Op::PutIfAbsent(..)) && model.contains_key(&key))
        {
            let before = written.iter_mut().find(|(other, _)| *other == key);
            let known = held.iter().position(|(other, ..)| *other == key).map(|place| held.remove(place));
            held.push(known.unwrap_or_else(|| (key.clone(), model.get(&key).copied(), before.is_none())));
            match before {
                Some((_, is_logged)) => *is_logged = true,
                None => written.push((key, true)),
            }
        }
        match op {
            Op::Get(key) => {
                let key = name(key);
                assert_eq!(stage.store().get(&key).unwrap(), model.get(&key));
            }
            Op::Put(key, value) => {
                let key = name(key);
                stage.store().put(&key, value).unwrap();
                model.insert(key, value);
            }
            Op::PutIfAbsent(key, value) => {
                let key = name(key);
                assert_eq!(stage.store().put_if_absent(&key, value).unwrap(), model.get(&key));
                model.entry(key).or_insert(value);
            }
            Op::Delete(key) => {
                let key = name(key);
                assert_eq!(stage.store().delete(&key).unwrap(), model.remove(&key));
            }
            Op::Add(key, value) => {
                let key = name(key);
                // Sums that come to zero go.
                let add = |old: &mut Option<i64>| {
                    let sum = old.unwrap_or(0) + value;
                    *old = (sum != 0).then_some(sum);
                    sum
                };
                let sum = stage.store().update(&key, add).unwrap();
                assert_eq!(sum, model.get(&key).unwrap_or(&0) + value);
                match sum {
                    0 => drop(model.remove(&key)),
                    _ => drop(model.insert(key, sum)),
                }
            }
            Op::Range(from, to, forward) => {
                let (from, to) = (name(from), name(to));
                let store = stage.store();
                let rows = match forward {
                    true => store.range(Some(&from), Some(&to)),
                    false => store.reverse_range(Some(&from), Some(&to)),
                };
                let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
                let mut expected: Vec<_> =
                    model.iter().filter(|(k, _)| **k >= from && **k <= to).map(|(k, v)| (k.clone(), *v)).collect();
                if !forward {
                    expected.reverse();
                }
                assert_eq!(rows, expected);
            }
            Op::Prefix(times) => {
                let prefix = "abc".repeat(usize::from(times));
                let rows = stage.store().prefix_scan(prefix.as_bytes()).unwrap();
                let rows: Vec<_> = rows.map(Result::unwrap).collect();
                let expected: Vec<_> = model.clone().into_iter().filter(|(k, _)| k.starts_with(&prefix)).collect();
                assert_eq!(rows, expected);
            }
            Op::TakeUpdates => {
                let updates = stage.store().take_updates().unwrap();
                let updates: Vec<_> = updates.into_iter().map(|update| (update.key, update.old, update.new)).collect();
                let now = |key: &String| model.get(key).copied();
                let mut expected = Vec::new();
                for (key, old, is_first) in held.drain(..).filter(|_| is_caching) {
                    match (old, now(&key)) {
                        // Came and went unseen.
                        (None, None) => {
                            for (_, is_logged) in written.iter_mut().filter(|(other, _)| *other == key) {
                                *is_logged &= !is_first;
                            }
                        }
                        (old, new) => expected.push((key, old, new)),
                    }
                }
                assert_eq!(updates, expected);
            }
            Op::Commit => {
                stage.commit();
                let logged: Vec<_> = stage.last_logged().into_iter().map(|row| (row.key, row.value)).collect();
                let value = |key: &String| model.get(key).map(|value| value.to_be_bytes().to_vec());
                let logs = written.drain(..).filter(|(_, is_logged)| *is_logged);
                let expected: Vec<_> = logs.map(|(key, _)| (key.clone().into_bytes(), value(&key))).collect();
                assert_eq!(logged, if is_logged { expected } else { vec![] });
                committed = model.clone();
                held.clear();
            }
            Op::Abort => {
                stage.abort();
                model = committed.clone();
                held.clear();
                written.clear();
            }
            Op::Flush => stage.store().flush().unwrap(),
            Op::Evict => stage.store().evict_all(),
            Op::Restart | Op::Crash => {
                match op {
                    Op::Restart => stage.restart(),
                    _ => stage.crash(),
                }
                model = committed.clone();
                held.clear();
                written.clear();
            }
        }
    }
    let rows: Vec<_> = stage.store().all().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, model.into_iter().collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_store_in_memory_behaves_as_a_map(is_caching: bool, ops in vec(op(), 1..80)) {
        check(false, is_caching, true, ops);
    }

    #[test]
    fn a_store_on_disk_behaves_as_a_map_that_survives(is_caching: bool, ops in vec(op(), 1..80)) {
        check(true, is_caching, true, ops);
    }

    #[test]
    fn a_store_without_changelog_keeps_what_was_committed(ops in vec(op(), 1..80)) {
        // Nothing but its files remembers it, and a crash may lose what they do not have yet.
        let survivable = |op: &Op| !matches!(op, Op::Crash);
        check(true, false, false, ops.into_iter().filter(survivable).collect());
    }
}

#[test]
fn a_clean_stop_leaves_nothing_to_replay() {
    let mut stage = Stage::new(builder(true));
    for key in 0..100 {
        stage.store().put(&name(key), 1).unwrap();
    }
    stage.commit();
    stage.restart();
    assert_eq!(stage.replayed, 0);
    assert_eq!(stage.store().all().unwrap().count(), 100);
}

#[test]
fn a_crash_replays_what_the_files_do_not_have() {
    let mut stage = Stage::new(builder(true));
    stage.store().put(&name(1), 1).unwrap();
    stage.commit();
    stage.restart();
    stage.store().put(&name(2), 2).unwrap();
    stage.commit();
    stage.crash();
    assert_eq!(stage.replayed, 1);
    assert_eq!(stage.store().all().unwrap().count(), 2);
}

#[test]
fn what_is_saved_survives_a_crash_without_its_changelog() {
    let mut stage = Stage::new(builder(true));
    stage.store().put(&name(1), 1).unwrap();
    stage.store().put(&name(2), 2).unwrap();
    stage.commit();
    stage.restart();
    stage.store().delete(&name(1)).unwrap();
    stage.commit();
    stage.store().save().unwrap();
    stage.crash();
    assert_eq!(stage.replayed, 0);
    assert_eq!(stage.store().all().unwrap().count(), 1);
}

#[test]
fn a_store_that_was_never_written_has_no_files() {
    let mut stage = Stage::new(builder(true));
    assert_eq!(stage.store().get(&name(1)).unwrap(), None);
    stage.commit();
    stage.restart();
    assert!(!stage.files.path().join("app/0_0/rocksdb").exists());
}

#[test]
fn the_changelog_carries_the_time_of_the_last_write() {
    let mut stage = Stage::new(builder(true));
    let key = "k".to_owned();
    let logged = |timestamp, value: Option<i64>| Logged {
        key: b"k".to_vec(),
        value: value.map(|value| value.to_be_bytes().to_vec()),
        timestamp,
        headers: Headers::new(),
    };
    stage.store().set_record_context(7, &headers(&["ignored"]));
    stage.store().put(&key, 1).unwrap();
    stage.store().set_record_context(5, &headers(&["ignored"]));
    stage.store().put(&key, 2).unwrap();
    stage.commit();
    assert_eq!(stage.last_logged(), [logged(5, Some(2))]);
    stage.store().set_record_context(9, &Headers::new());
    stage.store().delete(&key).unwrap();
    stage.commit();
    assert_eq!(stage.last_logged(), [logged(9, None)]);
}

#[test]
fn a_timestamped_row_is_logged_with_its_own_time_and_keeps_it() {
    for format in [StoreFormat::Default, StoreFormat::Headers] {
        let mut stage = Stage::new(timestamped(format));
        let mut value = ValueAndTimestamp::new("v".to_owned(), 3);
        if format == StoreFormat::Headers {
            value.headers = headers(&["h"]);
        }
        stage.store().set_record_context(8, &Headers::new());
        stage.store().put(&"k".to_owned(), value.clone()).unwrap();
        stage.commit();
        let expected =
            Logged { key: b"k".to_vec(), value: Some(b"v".to_vec()), timestamp: 3, headers: value.headers.clone() };
        assert_eq!(stage.last_logged(), [expected]);
        for _ in 0..2 {
            stage.crash();
            assert_eq!(stage.store().get(&"k".to_owned()).unwrap(), Some(&value));
            stage.restart();
        }
    }
}

#[test]
fn held_back_updates_carry_the_context_of_the_last_write() {
    let mut store = builder(true).with_caching_enabled().build_typed(&StoreContext::in_memory(TASK)).unwrap();
    let key = "k".to_owned();
    store.set_record_context(1, &headers(&["first"]));
    store.put(&key, 1).unwrap();
    store.set_record_context(2, &headers(&["last"]));
    store.put(&key, 2).unwrap();
    let update = Update { key, new: Some(2), old: None, timestamp: 2, headers: headers(&["last"]) };
    assert_eq!(store.take_updates().unwrap(), [update]);
    assert_eq!(store.take_updates().unwrap(), []);
}

#[test]
fn a_deletion_is_logged_with_the_headers_of_its_record_where_headers_are_kept() {
    for (format, expected) in [(StoreFormat::Default, headers(&[])), (StoreFormat::Headers, headers(&["h"]))] {
        let mut stage = Stage::new(timestamped(format));
        let key = "k".to_owned();
        for (context, expected) in [(headers(&["h"]), expected), (headers(&[]), headers(&[]))] {
            stage.store().set_record_context(1, &headers(&["earlier"]));
            stage.store().put(&key, ValueAndTimestamp::new("v".to_owned(), 1)).unwrap();
            stage.store().set_record_context(2, &context);
            stage.store().delete(&key).unwrap();
            stage.commit();
            let tombstone = Logged { key: b"k".to_vec(), value: None, timestamp: 2, headers: expected };
            assert_eq!(stage.last_logged(), [tombstone]);
        }
    }
}

#[test]
fn a_record_without_a_key_is_no_row_and_stops_no_restore() {
    let mut store = builder(true).build_typed(&StoreContext::in_memory(TASK)).unwrap();
    let value = 7_i64.to_be_bytes();
    store.restore(Offset::ZERO, RecordView::new(1, None, Some(b"of a source topic"))).unwrap();
    store.restore(Offset::new(1), RecordView::new(1, Some(b"k"), Some(&value))).unwrap();
    store.restored(Offset::new(2)).unwrap();
    assert_eq!(store.get(&"k".to_owned()).unwrap(), Some(&7));
    assert_eq!(store.approximate_num_entries(), 1);
}

#[test]
fn caching_asks_for_a_flush_when_it_holds_back_too_much() {
    let context = StoreContext::in_memory(TASK).with_held_bytes_max(1000);
    let mut store = builder(true).with_caching_enabled().build_typed(&context).unwrap();
    for key in 0..30 {
        store.put(&name(key), 1).unwrap();
    }
    assert!(store.needs_flush());
    assert_eq!(store.take_updates().unwrap().len(), 30);
    assert!(!store.needs_flush());
    assert!(store.dirty_bytes() > 0, "a flush is no commit");
}

#[test]
fn a_store_of_bounded_size_deletes_what_was_used_least_recently() {
    let builder =
        Stores::key_value_store_builder(Stores::lru_map("store", 2), default_serde::<String>(), default_serde::<i64>());
    let mut stage = Stage::new(builder);
    let keys = ["a", "b", "c"].map(str::to_owned);
    stage.store().put(&keys[0], 1).unwrap();
    stage.store().put(&keys[1], 1).unwrap();
    stage.store().get(&keys[0]).unwrap();
    stage.store().put(&keys[2], 1).unwrap();
    let left: Vec<_> = stage.store().all().unwrap().map(|row| row.unwrap().0).collect();
    assert_eq!(left, ["a", "c"]);
    stage.commit();
    let logged: Vec<_> = stage.last_logged().into_iter().map(|row| (row.key, row.value.is_some())).collect();
    assert_eq!(logged, [(b"a".to_vec(), true), (b"b".to_vec(), false), (b"c".to_vec(), true)]);
}

#[test]
fn a_null_key_and_bytes_that_are_no_value_are_errors_that_name_the_store() {
    let null = Stores::key_value_store_builder(
        Stores::in_memory_key_value_store("nulls"),
        default_serde::<Option<String>>(),
        default_serde::<i64>(),
    );
    let error = null.build_typed(&StoreContext::in_memory(TASK)).unwrap().put(&None, 1).unwrap_err().to_string();
    assert!(error.contains("nulls") && error.contains("null"), "{error}");

    let mut stage = Stage::new(builder(true));
    stage.log.push(Some(Logged { key: b"k".to_vec(), value: Some(vec![1]), timestamp: 0, headers: Headers::new() }));
    stage.abort();
    let error = stage.store().get(&"k".to_owned()).unwrap_err().to_string();
    assert!(error.contains("store store"), "{error}");
}
