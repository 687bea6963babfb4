//! Fetches from the embedded log. Answers: what does a record cost from the log to its key and value, from memory and
//! from a file, and what does finding one cost?

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    client::{Consumer, ConsumerConfig, LogClient, NewTopic, OffsetSpec, Polled, ProducerConfig, StartAt},
    embedded::{Durability, EmbeddedLog, LogConfig},
};

const RECORDS: u64 = 1_000_000;
const VALUE: [u8; 84] = [0xA5; 84];

/// A log with one million records of 100 bytes in batches of 1,000, in one partition, and a consumer that was there before
/// them: what nobody waits for does not stay in memory.
fn filled(directory: &tempfile::TempDir, tail_bytes_max: usize) -> (EmbeddedLog, TopicPartition, Box<dyn Consumer>) {
    let config = LogConfig { durability: Durability::Never, tail_bytes_max, ..LogConfig::default() };
    let log = EmbeddedLog::open(directory.path(), config).expect("an empty directory");
    let partition = TopicPartition::new(TopicName::new("bench").expect("a legal name"), 0);
    let new = NewTopic::new(partition.topic.clone(), 1);
    log.admin().and_then(|mut admin| admin.create_topics(&[new])).expect("a new topic");
    let mut consumer = log.consumer(&ConsumerConfig::default()).expect("a consumer");
    consumer.assign(&[(partition.clone(), StartAt::Beginning)]).expect("the topic exists");
    let config = ProducerConfig { batch_bytes: 110_000, ..ProducerConfig::default() };
    let mut producer = log.producer(&config).expect("a producer");
    let handle = producer.open(&partition).expect("the topic exists");
    for number in 0..RECORDS {
        let key = u128::from(number).to_be_bytes();
        producer.send(handle, RecordView::new(number as i64, Some(&key), Some(&VALUE))).expect("room on the disk");
    }
    producer.flush().expect("room on the disk");
    (log, partition, consumer)
}

/// Reads everything; touches every key and value.
fn read(consumer: &mut dyn Consumer, partition: &TopicPartition) -> u64 {
    consumer.assign(&[(partition.clone(), StartAt::Beginning)]).expect("the partition exists");
    let (mut records, mut bytes) = (0, 0);
    while records < RECORDS {
        let Polled::Batch(batch) = consumer.poll(Duration::ZERO).expect("a readable log") else { break };
        let mut cursor = batch.cursor();
        while let Some(at) = cursor.advance().expect("well-formed batches") {
            let record = cursor.view(&at);
            bytes += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            records += 1;
        }
    }
    assert_eq!((records, bytes as u64), (RECORDS, 100 * RECORDS));
    records
}

fn records(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
    for (name, tail_bytes_max) in [("from_memory", 256 << 20), ("from_file", 0)] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (_log, partition, mut consumer) = filled(&directory, tail_bytes_max);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(read(&mut *consumer, &partition))));
    }
    group.finish();
}

fn look_up(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, partition, _consumer) = filled(&directory, 0);
    let mut admin = log.admin().expect("an administrator");
    let mut number = 0;
    criterion.bench_function("fetch/offset_by_time", |bencher| {
        bencher.iter(|| {
            number = (number + 7_919) % RECORDS;
            let found = admin.list_offset(&partition, OffsetSpec::Timestamp(number as i64)).expect("a readable log");
            assert_eq!(found, Some(Offset::new(number)));
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
    targets = records, look_up
}
criterion_main!(benches);
