//! Key-value stores. Answers: what does a row cost that is in memory, one that is only in the files, and one that is
//! restored?

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use log_store::{Offset, RecordView};
use streams_core::{
    serde::default_serde,
    state::{KeyValueStore, StateDirectory, StateSettings, StateStore, StoreContext, Stores},
    task::TaskId,
};
use tempfile::TempDir;

const KEYS: usize = 100_000;

type Counts = KeyValueStore<String, i64>;

fn keys() -> Vec<String> {
    // Not in the order of their bytes: a stream's keys come in no order.
    (0..KEYS).map(|number| format!("word-{}", number * 7919 % KEYS)).collect()
}

fn context(files: &TempDir) -> StoreContext {
    let directory = StateDirectory::open("bench", StateSettings::new(files.path())).expect("a fresh directory");
    directory.open_task(TaskId { subtopology: 0, partition: 0 }).expect("its only user")
}

fn open(files: &TempDir) -> Counts {
    let supplier = Stores::persistent_key_value_store("counts");
    let builder = Stores::key_value_store_builder(supplier, default_serde(), default_serde());
    builder.build_typed(&context(files)).expect("a fresh store")
}

fn group<'a>(criterion: &'a mut Criterion, name: &str, rows: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group.throughput(Throughput::Elements(rows as u64));
    group
}

/// Rows that are in memory.
fn hit(criterion: &mut Criterion) {
    let files = tempfile::tempdir().expect("a temporary directory");
    let (mut store, keys) = (open(&files), keys());
    for key in &keys {
        store.put(key, 0).expect("a put");
    }
    let mut group = group(criterion, "hit", KEYS);
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            let found = keys.iter().filter(|key| store.get(key).expect("a get").is_some()).count();
            assert_eq!(found, KEYS);
        });
    });
    group.bench_function("put", |bencher| {
        bencher.iter(|| keys.iter().for_each(|key| store.put(key, black_box(0)).expect("a put")));
    });
    let mut rounds = 0;
    group.bench_function("update", |bencher| {
        bencher.iter(|| {
            for key in &keys {
                store.update(key, |count| *count = count.map(|count| count + 1)).expect("an update");
            }
            rounds += 1;
        });
    });
    assert_eq!(store.get(&keys[0]).expect("a get"), Some(&rounds));
}

/// Rows that are only in the files.
fn miss(criterion: &mut Criterion) {
    const READS: usize = 10_000;
    let files = tempfile::tempdir().expect("a temporary directory");
    let (mut store, keys) = (open(&files), keys());
    for key in &keys {
        store.put(key, 1).expect("a put");
    }
    store.committed(Some(Offset::new(KEYS as u64))).expect("a commit");
    store.flush().expect("a flush");
    let mut group = group(criterion, "miss", READS);
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            // Drops what is in memory.
            store.rollback().expect("a rollback");
            let found = keys[..READS].iter().filter(|key| store.get(key).expect("a get").is_some()).count();
            assert_eq!(found, READS);
        });
    });
    group.bench_function("get absent", |bencher| {
        bencher.iter(|| {
            store.rollback().expect("a rollback");
            let absent = (0..READS).filter(|n| store.get(&format!("none-{n}")).expect("a get").is_none()).count();
            assert_eq!(absent, READS);
        });
    });
}

/// Rows that come from the changelog: half of the records are newer values of earlier keys.
fn restore(criterion: &mut Criterion) {
    const RECORDS: usize = 1_000_000;
    let keys: Vec<Vec<u8>> = (0..RECORDS).map(|n| format!("word-{}", n * 7919 % (RECORDS / 2)).into_bytes()).collect();
    let mut group = group(criterion, "restore", RECORDS);
    group.bench_function("records", |bencher| {
        bencher.iter(|| {
            let files = tempfile::tempdir().expect("a temporary directory");
            let mut store = open(&files);
            for (offset, key) in keys.iter().enumerate() {
                let value = (offset as u64).to_be_bytes();
                let record = RecordView::new(0, Some(key), Some(&value));
                store.restore(Offset::new(offset as u64), record).expect("a row");
            }
            store.restored(Offset::new(RECORDS as u64)).expect("the end");
            assert_eq!(store.get(&"word-0".to_owned()).expect("a get"), Some(&((RECORDS / 2) as i64)));
        });
    });
}

criterion_group!(benches, hit, miss, restore);
criterion_main!(benches);
