//! Versioned key-value stores.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::Stage;
use crate::{
    serde::default_serde,
    state::{StateStore, Stores, TypedStoreBuilder, VersionedKeyValueStore, VersionedPut, VersionedRecord},
};

const HISTORY_MS: i64 = 200_000;
/// What follows from that.
const SEGMENT_MS: i64 = 40_000;

fn builder() -> TypedStoreBuilder<VersionedKeyValueStore<String, i64>> {
    let supplier = Stores::persistent_versioned_key_value_store("store", Duration::from_millis(HISTORY_MS as u64));
    Stores::versioned_key_value_store_builder(supplier, default_serde(), default_serde())
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, Option<i64>, i64),
    Delete(u8, i64),
    Get(u8),
    GetAsOf(u8, i64),
    GetBetween(u8, i64, i64),
    Commit,
    Abort,
    Flush,
    Evict,
    Restart,
    Crash,
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0i64..40, 1 => 40i64..90].prop_map(|tens| tens * 20_000)
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..3;
    prop_oneof![
        8 => (key.clone(), any::<Option<i8>>(), time()).prop_map(|(k, v, t)| Op::Put(k, v.map(i64::from), t)),
        3 => (key.clone(), time()).prop_map(|(k, t)| Op::Delete(k, t)),
        4 => key.clone().prop_map(Op::Get),
        6 => (key.clone(), time()).prop_map(|(k, t)| Op::GetAsOf(k, t)),
        3 => (key, time(), time()).prop_map(|(k, a, b)| Op::GetBetween(k, a.min(b), a.max(b))),
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

/// All versions ever accepted; what may be asked for is decided when it is asked.
#[derive(Clone, Default)]
struct Model {
    versions: BTreeMap<(String, i64), Option<i64>>,
    /// Of each key, the greatest time at which a version ended. What was deleted at the very time at which it began is
    /// remembered by this alone.
    ends: BTreeMap<String, i64>,
    stream_time: Option<i64>,
}

impl Model {
    fn horizon(&self) -> i64 {
        self.stream_time.map_or(i64::MIN, |now| now - HISTORY_MS)
    }

    fn put(&mut self, key: u8, value: Option<i64>, timestamp: i64) -> VersionedPut {
        if timestamp < self.horizon() {
            return VersionedPut::TooOld;
        }
        self.stream_time = self.stream_time.max(Some(timestamp));
        let of_key = self.versions.range(..=(name(key), i64::MAX)).next_back();
        let latest = of_key.filter(|((other, _), _)| *other == name(key)).map(|((_, from), value)| (*from, *value));
        let end = self.ends.entry(name(key)).or_insert(-1);
        match latest {
            Some((from, Some(_))) if timestamp == from && value.is_none() && *end != from => {
                self.versions.remove(&(name(key), from));
                return VersionedPut::Latest;
            }
            Some((from, Some(_))) if timestamp > from => *end = timestamp,
            Some((from, _)) if timestamp < from => *end = from.max(*end),
            _ if value.is_none() => *end = timestamp.max(*end),
            _ => {}
        }
        self.versions.insert((name(key), timestamp), value);
        self.next(key, timestamp).map_or(VersionedPut::Latest, VersionedPut::ValidTo)
    }

    fn next(&self, key: u8, timestamp: i64) -> Option<i64> {
        let later = self.versions.range((name(key), timestamp + 1)..).next();
        later.filter(|((other, _), _)| *other == name(key)).map(|((_, time), _)| *time)
    }

    fn get(&self, key: u8, as_of: i64) -> Option<VersionedRecord<i64>> {
        let before = self.versions.range(..=(name(key), as_of)).next_back();
        let ((_, timestamp), value) = before.filter(|((other, _), _)| *other == name(key))?;
        let valid_to = self.next(key, *timestamp);
        if valid_to.is_some() && as_of < self.horizon() {
            return None;
        }
        value.map(|value| VersionedRecord { value, timestamp: *timestamp, valid_to })
    }
}

impl Model {
    fn get_between(&self, key: u8, from: i64, to: i64) -> Vec<VersionedRecord<i64>> {
        let live_from = self.horizon().div_euclid(SEGMENT_MS).saturating_mul(SEGMENT_MS);
        let of_key = self.versions.iter().filter(|((other, _), _)| *other == name(key));
        let found = of_key.filter_map(|((_, timestamp), value)| {
            let valid_to = self.next(key, *timestamp);
            let is_known = valid_to.is_none_or(|end| to >= self.horizon() && end > from && end >= live_from);
            value.filter(|_| is_known && *timestamp <= to).map(|value| VersionedRecord {
                value,
                timestamp: *timestamp,
                valid_to,
            })
        });
        found.collect()
    }
}

fn owned(record: Option<VersionedRecord<&i64>>) -> Option<VersionedRecord<i64>> {
    record.map(|VersionedRecord { value, timestamp, valid_to }| VersionedRecord { value: *value, timestamp, valid_to })
}

fn check(ops: Vec<Op>) {
    let mut stage = Stage::new(builder());
    let (mut committed, mut model) = (Model::default(), Model::default());
    for op in ops {
        match op {
            Op::Put(key, value, time) => {
                assert_eq!(stage.store().put(&name(key), value, time).unwrap(), model.put(key, value, time));
            }
            Op::Delete(key, time) => {
                let expected = if time < model.horizon() { None } else { model.get(key, time) };
                model.put(key, None, time);
                assert_eq!(stage.store().delete(&name(key), time).unwrap(), expected);
            }
            Op::Get(key) => {
                let found = owned(stage.store().get(&name(key)).unwrap());
                assert_eq!(found, model.get(key, i64::MAX - 1));
            }
            Op::GetAsOf(key, time) => {
                let found = owned(stage.store().get_as_of(&name(key), time).unwrap());
                assert_eq!(found, model.get(key, time));
            }
            Op::GetBetween(key, from, to) => {
                let found = stage.store().get_between(&name(key), from, to).unwrap();
                let found: Vec<_> = found.filter_map(|record| owned(Some(record))).collect();
                assert_eq!(found, model.get_between(key, from, to));
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
    fn every_version_is_found_for_as_long_as_history_is_retained(ops in vec(op(), 1..80)) {
        check(ops);
    }
}

#[test]
fn a_version_is_logged_under_its_own_time_and_its_neighbours_are_not() {
    let mut stage = Stage::new(builder());
    let key = "a".to_owned();
    stage.store().put(&key, Some(1), 10).unwrap();
    stage.commit();
    stage.store().set_record_context(99, &super::headers(&[]));
    stage.store().put(&key, Some(2), 30).unwrap();
    stage.store().delete(&key, 20).unwrap();
    stage.commit();
    let logged: Vec<_> =
        stage.last_logged().into_iter().map(|row| (row.key, row.value.is_some(), row.timestamp)).collect();
    assert_eq!(logged, [(b"a".to_vec(), true, 30), (b"a".to_vec(), false, 20)]);
}

#[test]
fn a_put_that_comes_too_late_is_logged_and_counts_as_dropped() {
    let mut stage = Stage::new(builder());
    let key = "a".to_owned();
    stage.store().put(&key, Some(1), HISTORY_MS + 10).unwrap();
    stage.store().put(&key, Some(2), 9).unwrap();
    stage.store().put(&key, Some(3), 10).unwrap();
    stage.store().delete(&key, 8).unwrap();
    // The last record of this key is to be the put that the store has, though its row was first written before.
    let other = "b".to_owned();
    stage.store().put(&other, Some(4), HISTORY_MS + 10).unwrap();
    stage.store().put(&other, Some(5), 9).unwrap();
    stage.store().put(&other, Some(6), HISTORY_MS + 10).unwrap();
    assert_eq!((stage.store().take_refused(), stage.store().take_refused()), (3, 0));
    stage.commit();
    let logged: Vec<_> = stage.last_logged().into_iter().map(|row| (row.timestamp, row.value.is_some())).collect();
    // In the order of the puts, without those that are superseded: compaction keeps the last record of a key.
    assert_eq!(logged, [(HISTORY_MS + 10, true), (10, true), (8, false), (HISTORY_MS + 10, true)]);
    // Restored from the beginning, the store refuses them again.
    stage.store().reset("test").unwrap();
    stage.restore();
    assert_eq!(stage.replayed, 4);
    let versions: Vec<_> =
        stage.store().get_between(&key, 0, i64::MAX).unwrap().map(|version| *version.value).collect();
    assert_eq!(versions, [3, 1]);
    stage.commit();
    assert_eq!(stage.last_logged(), []);
}

#[test]
fn a_deletion_at_the_time_of_its_value_is_forgotten_unless_a_version_ended_then() {
    let mut stage = Stage::new(builder());
    let key = "a".to_owned();
    stage.store().put(&key, Some(1), 10).unwrap();
    stage.store().put(&key, None, 10).unwrap();
    assert_eq!(stage.store().put(&key, Some(2), 5).unwrap(), VersionedPut::Latest);
    stage.store().put(&key, Some(3), 20).unwrap();
    stage.store().put(&key, None, 20).unwrap();
    stage.commit();
    stage.store().flush().unwrap();
    stage.restart();
    assert_eq!(stage.store().put(&key, Some(4), 15).unwrap(), VersionedPut::ValidTo(20));
    assert_eq!(stage.store().get(&key).unwrap(), None);
    stage.commit();
    assert_eq!(stage.last_logged().len(), 1);
}

#[test]
fn old_versions_go_with_the_segment_in_which_they_ended() {
    let history = Duration::from_millis(HISTORY_MS as u64);
    let supplier = Stores::persistent_versioned_key_value_store("store", history);
    let supplier = supplier.with_segment_interval(Duration::from_secs(10));
    let mut stage = Stage::new(Stores::versioned_key_value_store_builder(supplier, default_serde(), default_serde()));
    let key = "a".to_owned();
    for time in [0, 10_000, 19_999, 20_000] {
        stage.store().put(&key, Some(time), time).unwrap();
    }
    let mut found_at = |now: i64| -> Vec<i64> {
        stage.store().put(&"other".to_owned(), Some(0), now).unwrap();
        stage.commit();
        stage.store().flush().unwrap();
        stage.store().evict_all();
        stage.store().get_between(&key, 0, i64::MAX).unwrap().map(|version| version.timestamp).collect()
    };
    assert_eq!(found_at(HISTORY_MS + 19_999), [0, 10_000, 19_999, 20_000]);
    assert_eq!(found_at(HISTORY_MS + 20_000), [19_999, 20_000]);
    assert_eq!(found_at(HISTORY_MS + 29_999), [19_999, 20_000]);
    assert_eq!(found_at(HISTORY_MS + 30_000), [20_000]);
}

#[test]
fn history_is_refused_one_millisecond_too_late() {
    let mut stage = Stage::new(builder());
    let key = "a".to_owned();
    stage.store().put(&key, Some(1), HISTORY_MS).unwrap();
    assert_eq!(stage.store().put(&key, Some(2), 0).unwrap(), VersionedPut::ValidTo(HISTORY_MS));
    stage.store().put(&key, Some(3), HISTORY_MS + 1).unwrap();
    assert_eq!(stage.store().put(&key, Some(4), 0).unwrap(), VersionedPut::TooOld);
    assert_eq!(stage.store().get_as_of(&key, 0).unwrap(), None);
    assert!(stage.store().get_as_of(&key, 1).unwrap().is_some());
}
