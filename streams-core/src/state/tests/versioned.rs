//! Versioned key-value stores.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::Stage;
use crate::{
    serde::default_serde,
    state::{StateStore, Stores, TypedStoreBuilder, VersionedKeyValueStore, VersionedPut, VersionedRecord},
};

const HISTORY_MS: i64 = 200_000;

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
        6 => (key, time()).prop_map(|(k, t)| Op::GetAsOf(k, t)),
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
    #![proptest_config(ProptestConfig::with_cases(96))]

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
