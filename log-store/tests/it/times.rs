//! From a time to the first record that is as late, whatever the batches and the segments are.

use std::sync::Arc;

use log_store::{
    Offset, RecordView,
    client::{Compression, ConsumerConfig, Isolation, LogClient, OffsetSpec, Polled, ProducerConfig, StartAt},
    embedded::{
        EmbeddedLog,
        inspect::PartitionReader,
        storage::{Directory, MemoryDirectory, OpenMode},
    },
};

use crate::support::{create, open_in, partition};

const RECORDS: i64 = 3_000;

/// A log of some segments, in which every third record is late, and values are from nothing to a kilobyte.
fn filled(batch_bytes: usize, compression: Compression, cleanup: &str) -> (EmbeddedLog, MemoryDirectory) {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    let config = [("segment.bytes", "400000"), ("index.interval.bytes", "4000"), ("cleanup.policy", cleanup)];
    create(&log, "t", 1, &config);
    let config = ProducerConfig { batch_bytes, compression, ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    let handle = producer.open(&partition("t", 0)).unwrap();
    for number in 0..RECORDS {
        let timestamp = if number % 3 == 2 { 10 * number - 500 } else { 10 * number };
        let key = (number % 1_000).to_be_bytes();
        let value = vec![b'v'; (number * number % 1_000) as usize];
        producer.send(handle, RecordView::new(timestamp, Some(&key), Some(&value))).unwrap();
    }
    producer.flush().unwrap();
    (log, directory)
}

/// Offsets and times of all records.
fn all(log: &EmbeddedLog) -> Vec<(Offset, i64)> {
    let t = partition("t", 0);
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(t.clone(), StartAt::Beginning)]).unwrap();
    let end = consumer.end_offset(&t, Isolation::ReadUncommitted).unwrap();
    let mut records = Vec::new();
    while consumer.position(&t).is_none_or(|position| position < end) {
        let Polled::Batch(batch) = consumer.poll(std::time::Duration::from_secs(5)).unwrap() else {
            panic!("no batch")
        };
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            records.push((record.offset, record.timestamp));
        }
    }
    records
}

/// Looks for times all over the log, between them, before and after.
fn check(log: &EmbeddedLog, story: &str) {
    let (records, t) = (all(log), partition("t", 0));
    let mut admin = log.admin().unwrap();
    for time in (-600..10 * RECORDS + 100).step_by(173) {
        let expected = records.iter().find(|(_, timestamp)| *timestamp >= time).map(|(offset, _)| *offset);
        assert_eq!(admin.list_offset(&t, OffsetSpec::Timestamp(time)).unwrap(), expected, "{story}, time {time}");
    }
}

#[test]
fn a_time_is_found_in_batches_of_every_size_and_compression() {
    for compression in [Compression::None, Compression::Lz4] {
        for batch_bytes in [1, 3_000, 40_000, 300_000] {
            let (log, directory) = filled(batch_bytes, compression, "delete");
            check(&log, &format!("{batch_bytes} bytes, {compression:?}"));
            log.close().unwrap();
            check(&open_in(&directory), &format!("{batch_bytes} bytes, {compression:?}, opened again"));
        }
    }
}

#[test]
fn a_time_is_found_behind_what_was_deleted_or_compacted() {
    for batch_bytes in [3_000, 40_000] {
        let (log, directory) = filled(batch_bytes, Compression::None, "compact");
        assert_eq!(log.clean().unwrap().compacted_partitions, 1);
        // What is in memory is as it was before.
        log.close().unwrap();
        let log = open_in(&directory);
        check(&log, "compacted");
        log.admin().unwrap().delete_records(&[(partition("t", 0), Offset::new(1_500))]).unwrap();
        check(&log, "with a later start");
    }
}

#[test]
fn beside_the_log_a_time_is_found_through_the_indexes() {
    let (log, directory) = filled(3_000, Compression::None, "delete");
    log.close().unwrap();
    let seek = |directory: &MemoryDirectory, time: i64| {
        let directory: Arc<dyn Directory> = Arc::new(directory.clone());
        let t = partition("t", 0);
        let mut reader = PartitionReader::new(directory, t, Offset::ZERO, Isolation::ReadUncommitted).unwrap();
        reader.seek_to_time(time).map(|()| reader.position().value())
    };
    let check = |directory: &MemoryDirectory, from: i64, story: &str| {
        for number in (from..RECORDS).step_by(89) {
            let expected = if number % 3 == 2 { number + 1 } else { number };
            assert_eq!(seek(directory, 10 * number).unwrap(), expected as u64, "{story}, record {number}");
        }
        assert_eq!(seek(directory, 10 * RECORDS).unwrap(), RECORDS as u64, "{story}, the end");
    };
    check(&directory, 0, "whole");

    let files: Vec<String> = directory.list("t-0").unwrap().into_iter().map(|entry| entry.name).collect();
    let logs: Vec<&String> = files.iter().filter(|name| name.ends_with(".log")).collect();
    assert!(logs.len() > 2, "{logs:?}");
    let open = |name: &str| directory.open(&format!("t-0/{name}"), OpenMode::Existing).unwrap();
    // What comes before is not read: damage there does not matter.
    let second: i64 = logs[1].strip_suffix(".log").unwrap().parse().unwrap();
    let first = open(logs[0]);
    let mut bytes = vec![0; 200];
    first.read_at(0, &mut bytes).unwrap();
    first.write_at(0, &[0xff; 200]).unwrap();
    check(&directory, second, "with a damaged beginning");
    seek(&directory, 10).unwrap_err();
    first.write_at(0, &bytes).unwrap();

    // Without indexes, or with such as a power cut leaves, it is slower and no less right.
    for name in files.iter().filter(|name| name.ends_with("index")) {
        let file = open(name);
        file.write_at(0, &vec![0; file.len().unwrap() as usize]).unwrap();
    }
    check(&directory, 0, "with lost indexes");
    for name in files.iter().filter(|name| name.ends_with("index")) {
        directory.remove(&format!("t-0/{name}")).unwrap();
    }
    check(&directory, 0, "without indexes");
}
