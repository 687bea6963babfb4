//! Faults of a log by itself, by their rows in the table of `tests/README.md`; more of them are in `crash`.

use std::{sync::Arc, time::Duration};

use log_store::{
    RecordView,
    client::{ConsumerConfig, LogClient, Polled, ProducerConfig, StartAt},
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{CrashPlan, Directory, Faults, MemoryDirectory, OpenMode},
    },
};

use crate::support::{create, open_in, partition, produce, read};

fn settings() -> LogConfig {
    LogConfig { preallocate_bytes: 0, clean_interval: None, ..LogConfig::default() }
}

fn open(directory: &MemoryDirectory) -> log_store::Result<EmbeddedLog> {
    EmbeddedLog::open_in(Arc::new(directory.clone()), settings())
}

const VALUES: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

/// A log of several segments after a power cut, with an end that was never acknowledged.
fn crashed(seed: u64) -> MemoryDirectory {
    let directory = MemoryDirectory::new();
    let log = open(&directory).unwrap();
    create(&log, "t", 1, &[("segment.bytes", "1024"), ("index.interval.bytes", "100")]);
    let t = partition("t", 0);
    for value in VALUES {
        produce(&log, &t, &[&format!("{value:>400}")]).unwrap();
    }
    let mut producer = log.producer(&ProducerConfig { batch_bytes: 100, ..ProducerConfig::default() }).unwrap();
    let handle = producer.open(&t).unwrap();
    for _ in 0..5 {
        producer.send(handle, RecordView::new(9, None, Some(format!("{:>300}", "in doubt").as_bytes()))).unwrap();
    }
    let image = directory.crash(CrashPlan::Random(seed));
    std::mem::forget((producer, log));
    image
}

fn check_whole(directory: &MemoryDirectory, story: &str) {
    let log = open(directory).unwrap_or_else(|error| panic!("{story}: {error}"));
    let values = read(&log, &partition("t", 0));
    let values: Vec<&str> = values.iter().map(|value| value.trim()).collect();
    assert_eq!(values[..VALUES.len()], VALUES, "{story}");
    assert!(values[VALUES.len()..].iter().all(|value| *value == "in doubt"), "{story}: {values:?}");
    produce(&log, &partition("t", 0), &["goes on"]).unwrap();
}

#[test]
fn fault_5_a_crash_during_recovery_leaves_the_whole_recovery_to_the_next_opening() {
    for seed in 0..6 {
        let image = crashed(seed);
        for step in 0..14 {
            for is_write in [true, false] {
                let attempt = image.crash(CrashPlan::ProcessOnly);
                let faults = match is_write {
                    true => Faults { failing_write: Some(step), ..Faults::default() },
                    false => Faults { failing_sync: Some(step), ..Faults::default() },
                };
                attempt.set_faults(faults);
                // It fails where recovery writes or syncs so often, and dies there.
                let opened = open(&attempt);
                let after = attempt.crash(CrashPlan::Random(seed * 31 + step));
                std::mem::forget(opened);
                check_whole(&after, &format!("seed {seed}, step {step}, write: {is_write}"));
            }
        }
    }
}

#[test]
fn fault_7_a_segment_that_was_acknowledged_has_a_name_after_a_power_cut() {
    let directory = MemoryDirectory::new();
    let log = open(&directory).unwrap();
    create(&log, "t", 1, &[("segment.bytes", "1024")]);
    let t = partition("t", 0);
    let mut written = Vec::new();
    for number in 0..20 {
        let value = format!("{number:>400}");
        produce(&log, &t, &[&value]).unwrap();
        written.push(value);
        // Nothing survives but what was synced, names included.
        let image = directory.crash(CrashPlan::LoseAll);
        assert_eq!(read(&open(&image).unwrap(), &t), written, "after record {number}");
    }
    let segments = directory.list("t-0").unwrap().into_iter().filter(|entry| entry.name.ends_with(".log")).count();
    assert!(segments > 5, "{segments} segments");
}

#[test]
fn fault_10_a_damaged_snapshot_of_producers_is_made_anew_from_the_log() {
    for damage in ["gone", "garbled", "cut"] {
        let directory = MemoryDirectory::new();
        let log = open(&directory).unwrap();
        create(&log, "t", 1, &[("segment.bytes", "1024")]);
        let t = partition("t", 0);
        let config = ProducerConfig { transactional_id: Some("x".into()), ..ProducerConfig::default() };
        let mut producer = log.producer(&config).unwrap();
        producer.init_transactions().unwrap();
        let handle = producer.open(&t).unwrap();
        for number in 0..6 {
            producer.begin().unwrap();
            let value = format!("{number:>400}");
            producer.send(handle, RecordView::new(1, None, Some(value.as_bytes()))).unwrap();
            producer.flush().unwrap();
            if number % 2 == 0 { producer.commit() } else { producer.abort() }.unwrap();
        }
        drop(producer);
        log.close().unwrap();
        let entries = directory.list("t-0").unwrap().into_iter();
        let snapshots: Vec<String> = entries
            .filter(|entry| entry.name.ends_with(".snapshot"))
            .map(|entry| format!("t-0/{}", entry.name))
            .collect();
        assert!(!snapshots.is_empty());
        for path in snapshots {
            if damage == "gone" {
                directory.remove(&path).unwrap();
                continue;
            }
            let file = directory.open(&path, OpenMode::Existing).unwrap();
            match damage {
                "cut" => file.truncate(file.len().unwrap() / 2).unwrap(),
                _ => file.write_at(8, &[0xff; 12]).unwrap(),
            }
        }
        let log = open(&directory).unwrap();
        let committed: Vec<String> = read(&log, &t).iter().map(|value| value.trim().to_owned()).collect();
        assert_eq!(committed, ["0", "2", "4"], "{damage}: what was aborted stays hidden");
        let mut producer = log.producer(&config).unwrap();
        producer.init_transactions().unwrap();
        producer.begin().unwrap();
        let handle = producer.open(&t).unwrap();
        producer.send(handle, RecordView::new(1, None, Some(b"7"))).unwrap();
        producer.commit().unwrap();
        assert_eq!(read(&log, &t).len(), 4, "{damage}: and the producer goes on");
    }
}

#[test]
fn fault_29_a_record_larger_than_a_fetch_is_read_all_the_same() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[("max.message.bytes", "3000000")]);
    let t = partition("t", 0);
    let large = "x".repeat(2_000_000);
    produce(&log, &t, &["before", &large, "after"]).unwrap();
    log.close().unwrap();
    // From the file, and nothing in memory.
    let log = EmbeddedLog::open_in(Arc::new(directory), LogConfig { tail_bytes_max: 0, ..settings() }).unwrap();
    let config = ConsumerConfig { fetch_bytes_max: 100, ..ConsumerConfig::default() };
    let mut consumer = log.consumer(&config).unwrap();
    consumer.assign(&[(t, StartAt::Beginning)]).unwrap();
    let mut sizes = Vec::new();
    while sizes.len() < 3 {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(5)).unwrap() else { panic!("no progress") };
        let mut cursor = batch.cursor();
        while let Some(at) = cursor.advance().unwrap() {
            sizes.push(cursor.view(&at).value.unwrap().len());
        }
    }
    assert_eq!(sizes, [6, 2_000_000, 5]);
}
