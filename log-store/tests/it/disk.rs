//! The log on real files.

use std::{fs, os::unix::fs::PermissionsExt};

use log_store::{
    Error, RecordView,
    client::LogClient,
    embedded::{EmbeddedLog, LogConfig},
};

use crate::support::{create, partition, produce, producer, read};

fn open(directory: &tempfile::TempDir) -> EmbeddedLog {
    EmbeddedLog::open(directory.path(), LogConfig::default()).unwrap()
}

#[test]
fn records_survive_a_clean_close_and_the_files_are_kafkas() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    create(&log, "clicks", 2, &[]);
    let clicks = partition("clicks", 1);
    produce(&log, &clicks, &["a", "b"]).unwrap();
    log.close().unwrap();
    let home = directory.path().join("clicks-1");
    for name in
        ["00000000000000000000.log", "00000000000000000000.index", "leader-epoch-checkpoint", "partition.metadata"]
    {
        assert!(home.join(name).exists(), "{name}");
    }
    assert!(directory.path().join(".kafka_cleanshutdown").exists());
    // Cut to what was written: nothing preallocated is left.
    assert!(fs::metadata(home.join("00000000000000000000.log")).unwrap().len() < 300);

    let log = open(&directory);
    assert!(!directory.path().join(".kafka_cleanshutdown").exists());
    assert_eq!(read(&log, &clicks), ["a", "b"]);
}

#[test]
fn a_log_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    let refused = EmbeddedLog::open(directory.path(), LogConfig::default()).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, Error::Locked { .. }), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    // A producer keeps it open.
    let producer = producer(&log);
    drop(log);
    assert!(EmbeddedLog::open(directory.path(), LogConfig::default()).is_err());
    drop(producer);
    open(&directory);
}

#[test]
fn a_copy_of_a_running_log_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a", "b"]).unwrap();
    // What kill -9 leaves: preallocated space behind the last batch, and in a second copy half a batch.
    for torn in [false, true] {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("t-0")).unwrap();
        for name in ["topics", "meta.properties", "recovery-point-offset-checkpoint", "t-0/00000000000000000000.log"] {
            fs::copy(directory.path().join(name), copy.path().join(name)).unwrap();
        }
        let segment = copy.path().join("t-0/00000000000000000000.log");
        let mut bytes = fs::read(&segment).unwrap();
        assert!(bytes.len() >= 16 << 10, "preallocated");
        if torn {
            let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes.truncate(end - 5);
            fs::write(&segment, bytes).unwrap();
        }
        let log = open(&copy);
        assert_eq!(read(&log, &t), if torn { &["a"][..] } else { &["a", "b"] });
        produce(&log, &t, &["c"]).unwrap();
        assert_eq!(read(&log, &t).last().unwrap(), "c");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, b"").unwrap();
    let error = EmbeddedLog::open(path.join("log"), LogConfig::default()).unwrap_err().to_string();
    assert!(error.contains("cannot create directory") && error.contains("file/log"), "{error}");

    let locked = directory.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write everywhere.
    if fs::write(locked.join("probe"), b"").is_err() {
        let error = EmbeddedLog::open(&locked, LogConfig::default()).unwrap_err().to_string();
        assert!(error.contains("locked"), "{error}");
    }
}

#[test]
fn a_million_records_in_batches_come_back_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    create(&log, "t", 1, &[("segment.bytes", "20000000")]);
    let t = partition("t", 0);
    let mut producer = producer(&log);
    let handle = producer.open(&t).unwrap();
    for number in 0..1_000_000_u64 {
        producer.send(handle, RecordView::new(number as i64, None, Some(&number.to_be_bytes()))).unwrap();
    }
    producer.flush().unwrap();
    drop(producer);
    log.close().unwrap();
    let log = open(&directory);
    let mut consumer = log.consumer(&log_store::client::ConsumerConfig::default()).unwrap();
    consumer.assign(&[(t, log_store::client::StartAt::Beginning)]).unwrap();
    let mut expected = 0_u64;
    while let log_store::client::Polled::Batch(batch) = consumer.poll(std::time::Duration::ZERO).unwrap() {
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            assert_eq!(cursor.view(&record).value, Some(&expected.to_be_bytes()[..]));
            expected += 1;
        }
    }
    assert_eq!(expected, 1_000_000);
}
