//! Opening a log. Answers: how long until the first append after a clean close, after a crash, and with ten thousand
//! partitions?

use std::{fs, path::Path, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    client::{Isolation, LogClient, NewTopic, OffsetSpec, ProducerConfig},
    embedded::{Durability, EmbeddedLog, LogConfig},
};

/// One gigabyte in batches of 256 KiB.
const BYTES: u64 = 1 << 30;
const VALUE: [u8; 1000] = [0xA5; 1000];

fn config() -> LogConfig {
    LogConfig { durability: Durability::Never, tail_bytes_max: 0, ..LogConfig::default() }
}

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("bench").expect("a legal name"), 0)
}

fn fill(path: &Path) -> EmbeddedLog {
    let log = EmbeddedLog::open(path, config()).expect("an empty directory");
    let new = NewTopic::new(partition().topic, 1).with_config("segment.bytes", "2000000000");
    log.admin().and_then(|mut admin| admin.create_topics(&[new])).expect("a new topic");
    let mut producer = log.producer(&ProducerConfig::default()).expect("a producer");
    let handle = producer.open(&partition()).expect("the topic exists");
    for number in 0..BYTES / VALUE.len() as u64 {
        producer.send(handle, RecordView::new(number as i64, None, Some(&VALUE))).expect("room on the disk");
    }
    producer.flush().expect("room on the disk");
    log
}

/// Opens the log, uses its partition and checks its end.
fn use_log(path: &Path) -> EmbeddedLog {
    let log = EmbeddedLog::open(path, config()).expect("a sound log");
    let end = log
        .admin()
        .and_then(|mut admin| admin.list_offset(&partition(), OffsetSpec::Latest(Isolation::ReadCommitted)))
        .expect("a sound partition");
    assert_eq!(end, Some(Offset::new(BYTES / VALUE.len() as u64)));
    log
}

fn one_gigabyte(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    fill(directory.path()).close().expect("room on the disk");
    let mut group = criterion.benchmark_group("open/one_gigabyte");
    group.sample_size(10);
    group.bench_function("after_clean_close", |bencher| {
        bencher.iter_batched(
            || (),
            |()| use_log(directory.path()).close().expect("room on the disk"),
            BatchSize::PerIteration,
        );
    });
    // What a crash right after the last checkpoint leaves: no mark of a clean close.
    group.bench_function("after_crash", |bencher| {
        let forget =
            || fs::remove_file(directory.path().join(".kafka_cleanshutdown")).expect("the mark of a clean close");
        bencher.iter_batched(
            forget,
            |()| use_log(directory.path()).close().expect("room on the disk"),
            BatchSize::PerIteration,
        );
    });
    // The worst case: nothing is known, and all of it is verified.
    group.bench_function("after_crash_without_checkpoint", |bencher| {
        let forget = || {
            for name in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint"] {
                fs::remove_file(directory.path().join(name)).expect("a file of a clean close");
            }
        };
        bencher.iter_batched(
            forget,
            |()| use_log(directory.path()).close().expect("room on the disk"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn ten_thousand_partitions(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let log = EmbeddedLog::open(directory.path(), config()).expect("an empty directory");
    let topic = |number| TopicName::new(format!("topic-{number}")).expect("a legal name");
    let new: Vec<_> = (0..100).map(|number| NewTopic::new(topic(number), 100)).collect();
    log.admin().and_then(|mut admin| admin.create_topics(&new)).expect("new topics");
    let mut producer =
        log.producer(&ProducerConfig { batch_bytes: 1, ..ProducerConfig::default() }).expect("a producer");
    for number in 0..10_000 {
        let to = TopicPartition::new(topic(number / 100), number % 100);
        let handle = producer.open(&to).expect("the topic exists");
        producer.send(handle, RecordView::new(1, None, Some(b"x"))).expect("room on the disk");
    }
    producer.flush().expect("room on the disk");
    drop(producer);
    log.close().expect("room on the disk");
    let mut group = criterion.benchmark_group("open/ten_thousand_partitions");
    group.sample_size(10);
    let open = || {
        let log = EmbeddedLog::open(directory.path(), config()).expect("a sound log");
        let mut admin = log.admin().expect("an administrator");
        assert_eq!(admin.list_topics().expect("topics").len(), 100);
        let last = TopicPartition::new(topic(99), 99);
        let end = admin.list_offset(&last, OffsetSpec::Latest(Isolation::ReadCommitted)).expect("a sound partition");
        assert_eq!(end, Some(Offset::new(1)));
    };
    group.bench_function("after_clean_close", |bencher| bencher.iter(open));
    group.bench_function("after_crash", |bencher| {
        let forget =
            || fs::remove_file(directory.path().join(".kafka_cleanshutdown")).expect("the mark of a clean close");
        bencher.iter_batched(forget, |()| open(), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    targets = one_gigabyte, ten_thousand_partitions
}
criterion_main!(benches);
