//! Appends to the embedded log on a real disk. Answers: what does a record cost from `send` to the file, and what does
//! an acknowledgement cost, alone and among many?

use std::{hint::black_box, path::Path, thread, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    client::{LogClient, NewTopic, Producer, ProducerConfig},
    embedded::{Durability, EmbeddedLog, LogConfig},
};

const RECORDS: u64 = 100_000;
const BATCH_RECORDS: u64 = 1_000;
const VALUE: [u8; 84] = [0xA5; 84];
const PRODUCERS: u32 = 64;

fn open(path: &Path, durability: Durability, partitions: u32) -> (EmbeddedLog, Vec<TopicPartition>) {
    let log = EmbeddedLog::open(path, LogConfig { durability, ..LogConfig::default() }).expect("an empty directory");
    let topic = TopicName::new("bench").expect("a legal name");
    let new = NewTopic::new(topic.clone(), partitions).with_config("segment.bytes", "268435456");
    log.admin().and_then(|mut admin| admin.create_topics(&[new])).expect("a new topic");
    (log, (0..partitions).map(|number| TopicPartition::new(topic.clone(), number)).collect())
}

fn send(producer: &mut dyn Producer, to: &TopicPartition, records: u64) -> Offset {
    let handle = producer.open(to).expect("the topic exists");
    for number in 0..records {
        // A key of 16 bytes: 100 bytes with the value.
        let key = u128::from(number).to_be_bytes();
        producer.send(handle, RecordView::new(number as i64, Some(&key), Some(&VALUE))).expect("room on the disk");
    }
    producer.flush().expect("room on the disk");
    producer.acknowledged(handle).expect("records were sent")
}

/// Batches of 1,000 records of 100 bytes.
fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
    for (name, durability) in [("records", Durability::Never), ("records_synced", Durability::Fsync)] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (log, partitions) = open(directory.path(), durability, 1);
        let config = ProducerConfig { batch_bytes: 110 * BATCH_RECORDS as usize, ..ProducerConfig::default() };
        let mut producer = log.producer(&config).expect("a producer");
        let mut sent = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                sent += RECORDS;
                let end = send(&mut *producer, &partitions[0], RECORDS);
                assert_eq!(end, Offset::new(sent));
                black_box(end)
            });
        });
    }
    group.finish();
}

/// One record of 100 bytes, sent and acknowledged, again and again.
fn single(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, partitions) = open(directory.path(), Durability::Fsync, 1);
    let mut producer = log.producer(&ProducerConfig::default()).expect("a producer");
    let mut sent = 0;
    criterion.bench_function("append/one_record_synced", |bencher| {
        bencher.iter(|| {
            sent += 1;
            assert_eq!(send(&mut *producer, &partitions[0], 1), Offset::new(sent));
        });
    });
}

/// 64 threads, each with its own partition (or all with one), each waiting for an acknowledgement after 10 records.
fn concurrent(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append/64_producers_synced");
    let (rounds, records) = (20, 10);
    group.throughput(Throughput::Elements(u64::from(PRODUCERS) * rounds * records)).sample_size(10);
    for (name, count) in [("one_partition", 1), ("64_partitions", PRODUCERS)] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (log, partitions) = open(directory.path(), Durability::Fsync, count);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                thread::scope(|scope| {
                    for number in 0..PRODUCERS {
                        let (log, to) = (&log, &partitions[(number % count) as usize]);
                        scope.spawn(move || {
                            let mut producer = log.producer(&ProducerConfig::default()).expect("a producer");
                            for _ in 0..rounds {
                                assert!(send(&mut *producer, to, records) >= Offset::new(records));
                            }
                        });
                    }
                });
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
    targets = records, single, concurrent
}
criterion_main!(benches);
