//! Retention and compaction of whole logs: what goes, what stays, and that a crash at any point loses nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use log_store::{
    Error, Offset, RecordView, TopicPartition,
    client::{ConsumerConfig, Isolation, LogClient, OffsetSpec, Polled, ProducerConfig, StartAt},
    embedded::{
        CleanReport, EmbeddedLog, LogConfig,
        storage::{CrashPlan, Directory, Faults, MemoryDirectory},
    },
};
use proptest::prelude::*;

use crate::support::{Failing, create, failing, model_config, partition, produce, read, read_from};

/// A log that is cleaned when the test says so.
fn open(directory: &MemoryDirectory) -> EmbeddedLog {
    // No tail in memory: what is read comes from the files that were cleaned.
    let config = LogConfig { preallocate_bytes: 0, tail_bytes_max: 0, clean_interval: None, ..LogConfig::default() };
    EmbeddedLog::open_in(Arc::new(directory.clone()), config).unwrap()
}

const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1024"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("delete.retention.ms", "0"),
];

fn put(log: &EmbeddedLog, to: &TopicPartition, records: &[(&str, Option<String>)]) -> log_store::Result<()> {
    let mut producer = log.producer(&ProducerConfig::default())?;
    let handle = producer.open(to)?;
    for (key, value) in records {
        let value = value.as_ref().map(String::as_bytes);
        producer.send(handle, RecordView::new(0, Some(key.as_bytes()), value))?;
        producer.flush()?;
    }
    Ok(())
}

/// What a reader finds: the last value of each key, and how many records there are.
fn table(log: &EmbeddedLog, of: &TopicPartition) -> (BTreeMap<String, String>, usize) {
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(of.clone(), StartAt::Beginning)]).unwrap();
    let end = consumer.end_offset(of, Isolation::ReadCommitted).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (mut table, mut count) = (BTreeMap::new(), 0);
    while consumer.position(of).unwrap() < end {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(5)).unwrap() else { break };
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            let view = cursor.view(&record);
            count += 1;
            match view.value {
                Some(value) => _ = table.insert(text(view.key.unwrap()), text(value)),
                None => _ = table.remove(&text(view.key.unwrap())),
            }
        }
    }
    // Further, if others write meanwhile.
    assert!(consumer.position(of) >= Some(end));
    (table, count)
}

fn files(directory: &MemoryDirectory, of: &TopicPartition, end: &str) -> usize {
    let entries = directory.list(&of.to_string()).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(end)).count()
}

#[test]
fn segments_beyond_the_size_go_and_the_log_begins_later() {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    create(&log, "t", 1, &[("segment.bytes", "1024"), ("retention.bytes", "3000"), ("retention.ms", "-1")]);
    let t = partition("t", 0);
    let values: Vec<String> = (0..100).map(|number| format!("{number:0>50}")).collect();
    produce(&log, &t, &values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let before = files(&directory, &t, ".log");
    let report = log.clean().unwrap();
    assert!(report.deleted_bytes > 0 && files(&directory, &t, ".log") < before);
    let start = log.admin().unwrap().list_offset(&t, OffsetSpec::Earliest).unwrap().unwrap();
    assert!(start > Offset::ZERO);
    assert_eq!(read(&log, &t), values[start.value() as usize..]);
    assert!(matches!(read_from(&log, &t, StartAt::Offset(Offset::ZERO)), Err(Error::OffsetOutOfRange { .. })));
    assert_eq!(log.clean().unwrap(), CleanReport::default(), "a second round finds nothing");
    drop(log);
    for plan in [CrashPlan::LoseAll, CrashPlan::ProcessOnly] {
        let log = open(&directory.crash(plan));
        assert_eq!(read(&log, &t), values[start.value() as usize..]);
    }
}

#[test]
fn a_power_cut_while_old_segments_go_leaves_no_hole() {
    for seed in 0..40 {
        let directory = MemoryDirectory::new();
        let log = open(&directory);
        create(&log, "t", 1, &[("segment.bytes", "1024"), ("retention.bytes", "2500"), ("retention.ms", "-1")]);
        let t = partition("t", 0);
        let values: Vec<String> = (0..100).map(|number| format!("{number:0>90}")).collect();
        produce(&log, &t, &values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        // Some syncs go well, and with them what comes before the files are removed.
        directory.set_faults(Faults { failing_sync: Some(seed % 5), ..Faults::default() });
        let is_done = log.clean().is_ok();
        let image = directory.crash(CrashPlan::Random(seed));
        std::mem::forget(log);
        let start = kept_from(&open(&image), &t, 100);
        assert!(start == 0 || start > 70, "{start}");
        assert!(!is_done || start > 70, "{start}");
    }
}

#[test]
fn everything_may_be_too_old_and_offsets_go_on() {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    // The records are of 1970.
    create(&log, "t", 1, &[("segment.bytes", "1024"), ("retention.ms", "1000")]);
    let t = partition("t", 0);
    produce(&log, &t, &["a", "b", "c"]).unwrap();
    assert!(log.clean().unwrap().deleted_bytes > 0);
    assert!(read(&log, &t).is_empty());
    produce(&log, &t, &["d"]).unwrap();
    assert_eq!(read_from(&log, &t, StartAt::Offset(Offset::new(3))).unwrap(), ["d"]);
    std::mem::forget(log);
    let log = open(&directory.crash(CrashPlan::LoseAll));
    assert_eq!(read(&log, &t), ["d"]);
}

#[test]
fn deleted_records_free_their_segments() {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    create(&log, "t", 1, &[("segment.bytes", "1024"), ("retention.ms", "-1")]);
    let t = partition("t", 0);
    let values: Vec<String> = (0..60).map(|number| format!("{number:0>50}")).collect();
    produce(&log, &t, &values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    assert_eq!(log.clean().unwrap().deleted_bytes, 0);
    log.admin().unwrap().delete_records(&[(t.clone(), Offset::new(40))]).unwrap();
    assert!(log.clean().unwrap().deleted_bytes > 0);
    assert_eq!(read(&log, &t), values[40..]);
}

#[test]
fn readers_stop_behind_the_deleted_front_of_an_open_transaction() {
    let log = open(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let config = ProducerConfig { transactional_id: Some("x".to_owned()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    let handle = producer.open(&t).unwrap();
    for number in 0..3 {
        producer.send(handle, RecordView::new(number, None, Some(b"open"))).unwrap();
    }
    producer.flush().unwrap();
    let mut admin = log.admin().unwrap();
    admin.delete_records(&[(t.clone(), Offset::new(2))]).unwrap();
    let stable = admin.list_offset(&t, OffsetSpec::Latest(Isolation::ReadCommitted)).unwrap();
    assert_eq!(stable, Some(Offset::new(2)), "the last stable offset is not before the log start");
    assert!(read(&log, &t).is_empty());
    producer.commit().unwrap();
    assert_eq!(read(&log, &t), ["open"]);
}

#[test]
fn a_setting_that_is_changed_counts_from_the_next_round() {
    let log = open(&MemoryDirectory::new());
    create(&log, "t", 1, &[("retention.ms", "-1")]);
    let t = partition("t", 0);
    produce(&log, &t, &["a"]).unwrap();
    assert_eq!(log.clean().unwrap().deleted_bytes, 0);
    log.alter_topic(&t.topic, &BTreeMap::from([("retention.ms".to_owned(), Some("1".to_owned()))])).unwrap();
    assert!(log.clean().unwrap().deleted_bytes > 0);
}

#[test]
fn compaction_keeps_the_last_value_of_each_key() {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    create(&log, "t", 1, &COMPACTED);
    let t = partition("t", 0);
    for round in 0..40 {
        let keys = ["a", "b", "c", "d"];
        let records: Vec<_> = keys.iter().map(|key| (*key, Some(format!("{key}{round}")))).collect();
        put(&log, &t, &records).unwrap();
    }
    put(&log, &t, &[("a", None)]).unwrap();
    let (before, count) = table(&log, &t);
    let report = log.clean().unwrap();
    assert_eq!(report.compacted_partitions, 1);
    let (after, left) = table(&log, &t);
    assert_eq!(after, before);
    assert!(left < count / 4, "{left} of {count} are left");
    // And by the next process, which reads the files; nothing is left of the work.
    for suffix in [".cleaned", ".swap", ".deleted"] {
        assert_eq!(files(&directory, &t, suffix), 0);
    }
    std::mem::forget(log);
    let log = open(&directory.crash(CrashPlan::LoseAll));
    assert_eq!(table(&log, &t), (after, left));
    put(&log, &t, &[("b", Some("new".to_owned()))]).unwrap();
    assert_eq!(table(&log, &t).0["b"], "new");
}

#[test]
fn compaction_goes_on_while_others_write_and_read() {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    create(&log, "t", 1, &COMPACTED);
    let t = partition("t", 0);
    let writer = std::thread::spawn({
        let (log, t) = (log.clone(), t.clone());
        move || {
            for round in 0..300 {
                put(&log, &t, &[(["a", "b", "c"][round % 3], Some(round.to_string()))]).unwrap();
            }
        }
    });
    while !writer.is_finished() {
        log.clean().unwrap();
        table(&log, &t);
    }
    writer.join().unwrap();
    let expected: BTreeMap<_, _> =
        [("a", "297"), ("b", "298"), ("c", "299")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    log.clean().unwrap();
    assert_eq!(table(&log, &t).0, expected);
}

#[test]
fn a_reader_comes_to_an_open_transaction_though_all_before_it_was_compacted_away() {
    let log = open(&MemoryDirectory::new());
    create(&log, "t", 1, &COMPACTED);
    let t = partition("t", 0);
    let begin = |id: &str| {
        let config = ProducerConfig { transactional_id: Some(id.to_owned()), ..ProducerConfig::default() };
        let mut producer = log.producer(&config).unwrap();
        producer.init_transactions().unwrap();
        producer.begin().unwrap();
        let handle = producer.open(&t).unwrap();
        producer.send(handle, RecordView::new(0, Some(b"a"), Some(id.as_bytes()))).unwrap();
        producer.flush().unwrap();
        producer
    };
    let mut aborted = begin("aborted");
    let mut open = begin("open");
    aborted.abort().unwrap();
    let fill: Vec<_> = (0..30).map(|number| ("k", Some(format!("{number:0>60}")))).collect();
    put(&log, &t, &fill).unwrap();
    assert_eq!(log.clean().unwrap().compacted_partitions, 1);
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(t.clone(), StartAt::Beginning)]).unwrap();
    let end = consumer.end_offset(&t, Isolation::ReadCommitted).unwrap();
    assert_eq!(end, Offset::new(1));
    while !matches!(consumer.poll(Duration::ZERO).unwrap(), Polled::Idle) {}
    assert_eq!(consumer.position(&t), Some(end), "who reads up to the end would wait for ever");
    open.commit().unwrap();
    assert_eq!(table(&log, &t).0["a"], "open");
    assert_eq!(consumer.end_offset(&t, Isolation::ReadCommitted).unwrap(), Offset::new(34));
}

#[test]
fn a_deletion_stays_where_a_transaction_was_open_in_the_middle_of_a_segment() {
    let log = open(&MemoryDirectory::new());
    create(&log, "t", 1, &COMPACTED);
    let t = partition("t", 0);
    let fill: Vec<_> = (0..30).map(|number| ("f", Some(format!("{number:0>60}")))).collect();
    put(&log, &t, &[("a", Some("1".to_owned()))]).unwrap();
    let config = ProducerConfig { transactional_id: Some("x".to_owned()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    let handle = producer.open(&t).unwrap();
    producer.send(handle, RecordView::new(0, Some(b"z"), Some(b"1"))).unwrap();
    producer.flush().unwrap();
    // In the same segment, behind the last stable offset.
    put(&log, &t, &[("b", Some("deleted".to_owned())), ("b", None)]).unwrap();
    put(&log, &t, &fill).unwrap();
    assert_eq!(log.clean().unwrap().compacted_partitions, 1);
    producer.commit().unwrap();
    for _ in 0..3 {
        put(&log, &t, &fill).unwrap();
        assert_eq!(log.clean().unwrap().compacted_partitions, 1);
        let keys: Vec<_> = table(&log, &t).0.into_keys().collect();
        assert_eq!(keys, ["a", "f", "z"]);
    }
}

#[test]
fn a_full_disk_fails_a_compaction_and_leaves_the_log_as_it_was() {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    create(&log, "t", 1, &COMPACTED);
    let t = partition("t", 0);
    for round in 0..60 {
        put(&log, &t, &[(["a", "b"][round % 2], Some(format!("{round:0>40}")))]).unwrap();
    }
    let before = table(&log, &t);
    log.admin().unwrap();
    directory.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    let _ = log.clean();
    directory.set_faults(Faults::default());
    assert_eq!(table(&log, &t), before);
    std::mem::forget(log);
    let log = open(&directory.crash(CrashPlan::ProcessOnly));
    assert_eq!(table(&log, &t).0, before.0);
    assert_eq!(log.clean().unwrap().compacted_partitions, 1);
    assert_eq!(table(&log, &t).0, before.0);
}

/// Compacts a log whose disk fails after `syncs` more syncs and then loses power, as `seed` says. What is read afterwards,
/// and whether the disk failed.
fn table_after_a_cut_in_compaction(syncs: u64, seed: u64) -> (BTreeMap<String, String>, bool) {
    let directory = MemoryDirectory::new();
    let log = open(&directory);
    create(&log, "t", 1, &COMPACTED);
    let t = partition("t", 0);
    for round in 0..60 {
        put(&log, &t, &[(["a", "b", "c"][round % 3], Some(format!("{round:0>40}")))]).unwrap();
        if round % 6 == 0 {
            put(&log, &t, &[(&format!("only in {round}"), Some(round.to_string()))]).unwrap();
        }
    }
    // What is left of the first segments fits into one, so that the next round puts one in the place of many.
    log.clean().unwrap();
    for round in 60..90 {
        put(&log, &t, &[(["a", "b", "c"][round % 3], Some(format!("{round:0>40}")))]).unwrap();
    }
    directory.set_faults(Faults { failing_sync: Some(syncs), ..Faults::default() });
    let is_compacted = log.clean().is_ok_and(|report| report.compacted_partitions == 1);
    let is_written = put(&log, &t, &[("a", Some(format!("{:0>40}", 87)))]).is_ok();
    let image = directory.crash(CrashPlan::Random(seed));
    std::mem::forget(log);
    (table(&open(&image), &t).0, !is_compacted || !is_written)
}

#[test]
fn a_power_cut_in_any_step_of_a_compaction_changes_nothing_that_is_true() {
    let value = |round: usize| format!("{round:0>40}");
    let mut truth = BTreeMap::from([("a".into(), value(87)), ("b".into(), value(88)), ("c".into(), value(89))]);
    truth.extend((0..60).step_by(6).map(|round| (format!("only in {round}"), round.to_string())));
    let mut steps = 0;
    for syncs in 0.. {
        let mut has_failed = false;
        for seed in 0..40 {
            let (found, failed) = table_after_a_cut_in_compaction(syncs, seed);
            assert_eq!(found, truth, "sync {syncs}, seed {seed}");
            has_failed |= failed;
        }
        if !has_failed {
            break;
        }
        steps += 1;
    }
    assert!(steps > 10, "a compaction and a write are more than {steps} syncs");
}

#[derive(Clone, Debug)]
enum Op {
    Put {
        key: u8,
        value: Option<u16>,
    },
    Transaction {
        keys: Vec<u8>,
        commit: bool,
    },
    /// Records for the topic that keeps no more than some bytes.
    Append {
        count: u8,
    },
    /// Deletes its front, up to this part of it.
    Trim {
        percent: u64,
    },
    Clean,
    Crash {
        seed: u64,
    },
    /// The disk fails in the middle of a round, then the power.
    CrashInRound {
        failing: Failing,
        seed: u64,
    },
    Close,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..6_u8, prop::option::weighted(0.8, any::<u16>())).prop_map(|(key, value)| Op::Put { key, value }),
        6 => (prop::collection::vec(0..6_u8, 1..4), any::<bool>())
            .prop_map(|(keys, commit)| Op::Transaction { keys, commit }),
        6 => (1..9_u8).prop_map(|count| Op::Append { count }),
        1 => (0..=100_u64).prop_map(|percent| Op::Trim { percent }),
        3 => Just(Op::Clean),
        1 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        3 => (failing(), any::<u64>()).prop_map(|(failing, seed)| Op::CrashInRound { failing, seed }),
        1 => Just(Op::Close),
    ]
}

fn cleaning_never_changes_what_is_true(ops: &[Op]) {
    let mut directory = MemoryDirectory::new();
    let mut log = open(&directory);
    create(&log, "t", 1, &COMPACTED);
    create(&log, "kept", 1, &[("segment.bytes", "1024"), ("retention.bytes", "2500"), ("retention.ms", "-1")]);
    let (t, kept) = (partition("t", 0), partition("kept", 0));
    let mut model: BTreeMap<String, String> = BTreeMap::new();
    // Records of `kept`, and where it begins, as far as somebody was told.
    let (mut appended, mut start) = (0, 0);
    for (number, op) in ops.iter().enumerate() {
        let mut image = None;
        match op {
            Op::Put { key, value } => {
                let (key, value) = (key.to_string(), value.map(|value| format!("{value:0>60}")));
                put(&log, &t, &[(&key, value.clone())]).unwrap();
                match value {
                    Some(value) => _ = model.insert(key, value),
                    None => _ = model.remove(&key),
                }
            }
            Op::Transaction { keys, commit } => {
                let config = ProducerConfig { transactional_id: Some("x".to_owned()), ..ProducerConfig::default() };
                let mut producer = log.producer(&config).unwrap();
                producer.init_transactions().unwrap();
                producer.begin().unwrap();
                let handle = producer.open(&t).unwrap();
                let value = format!("{number:0>60}");
                for key in keys {
                    let key = key.to_string();
                    producer.send(handle, RecordView::new(0, Some(key.as_bytes()), Some(value.as_bytes()))).unwrap();
                    if *commit {
                        model.insert(key, value.clone());
                    }
                }
                producer.flush().unwrap();
                if *commit { producer.commit().unwrap() } else { producer.abort().unwrap() }
            }
            Op::Append { count } => {
                let values: Vec<String> = (0..*count).map(|_| format!("{number:0>90}")).collect();
                produce(&log, &kept, &values.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
                appended += u64::from(*count);
            }
            Op::Trim { percent } => {
                start = start.max(start + (appended - start) * percent / 100);
                log.admin().unwrap().delete_records(&[(kept.clone(), Offset::new(start))]).unwrap();
            }
            Op::Clean => _ = log.clean().unwrap(),
            Op::Crash { seed } => image = Some(directory.crash(CrashPlan::Random(*seed))),
            Op::CrashInRound { failing, seed } => {
                directory.set_faults(failing.faults());
                let _ = log.clean();
                directory.set_faults(Faults::default());
                image = Some(directory.crash(CrashPlan::Random(*seed)));
            }
            Op::Close => {
                log.clone().close().unwrap();
                image = Some(directory.clone());
            }
        }
        if let Some(image) = image {
            directory = image;
            std::mem::forget(std::mem::replace(&mut log, open(&directory)));
        }
        assert_eq!(table(&log, &t).0, model, "after step {number}");
        let begins = kept_from(&log, &kept, appended);
        assert!(begins >= start, "after step {number}: offset {begins} is back, the log began at {start}");
        start = begins;
    }
}

#[test]
fn what_an_opening_removes_no_power_cut_brings_back() {
    for seed in 0..20 {
        let append = |counts: &[u8]| counts.iter().map(|count| Op::Append { count: *count }).collect::<Vec<_>>();
        let mut ops = append(&[7, 7, 1, 4, 1, 5]);
        ops.push(Op::Trim { percent: 68 });
        ops.extend(append(&[7, 3]));
        ops.push(Op::Trim { percent: 73 });
        ops.extend(append(&[1]));
        ops.extend([Op::Close, Op::Close, Op::Crash { seed }]);
        cleaning_never_changes_what_is_true(&ops);
    }
}

/// Where the log begins; from there to its end at `end` no offset is missing.
fn kept_from(log: &EmbeddedLog, id: &TopicPartition, end: u64) -> u64 {
    let mut admin = log.admin().unwrap();
    let start = admin.list_offset(id, OffsetSpec::Earliest).unwrap().unwrap().value();
    let mut next = start;
    crate::support::each_batch(log, id, |batch| {
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            assert_eq!(record.offset.value(), next, "offsets are missing in a log that begins at {start}");
            next += 1;
        }
    });
    assert_eq!(next, end, "the end of a log that begins at {start} is missing");
    start
}

proptest! {
    #![proptest_config(model_config(600))]

    #[test]
    fn cleaning_changes_nothing_that_is_true(ops in prop::collection::vec(op(), 1..120)) {
        cleaning_never_changes_what_is_true(&ops);
    }
}
