//! Power cuts and failing disks, on the disk in memory: nothing acknowledged is lost, and what else survives is a
//! prefix.

use std::sync::Arc;

use log_store::{
    Error, ErrorKind, Offset, RecordView,
    client::{LogClient, OffsetSpec, Producer, ProducerConfig, StartAt},
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Scope, Severity},
        storage::{CrashPlan, Directory, Faults, MemoryDirectory, OpenMode},
    },
};
use proptest::prelude::*;

use crate::support::{create, open_in, partition, produce, read, read_from};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn after_a_power_cut_the_log_is_a_prefix_with_all_that_was_acknowledged(
        steps in prop::collection::vec((1_usize..400, any::<bool>()), 1..60),
        segment_bytes in 1_024_u32..20_000,
        crashes in prop::collection::vec(any::<u64>(), 1..4),
    ) {
        let mut directory = MemoryDirectory::new();
        let config = LogConfig { checkpoint_bytes: 5_000, preallocate_bytes: 3_000, ..LogConfig::default() };
        let t = partition("t", 0);
        let mut written = 0_u64;
        let mut per_life = steps.chunks(steps.len().div_ceil(crashes.len()));
        for seed in crashes {
            let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config.clone()).unwrap();
            if log.admin().unwrap().list_topics().unwrap().is_empty() {
                create(&log, "t", 1, &[("segment.bytes", &segment_bytes.to_string()), ("index.interval.bytes", "100")]);
            }
            // Small batches: many are appended and not acknowledged.
            let mut producer = log.producer(&ProducerConfig { batch_bytes: 500, ..ProducerConfig::default() }).unwrap();
            let handle = producer.open(&t).unwrap();
            let mut acknowledged = written;
            for (len, is_flushed) in per_life.next().unwrap_or_default() {
                let value = format!("{written:>len$}");
                producer.send(handle, RecordView::new(written as i64, None, Some(value.as_bytes()))).unwrap();
                written += 1;
                if *is_flushed {
                    producer.flush().unwrap();
                    acknowledged = written;
                }
            }
            let image = directory.crash(CrashPlan::Random(seed));
            std::mem::forget(producer);
            std::mem::forget(log);
            directory = image;
            let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config.clone()).unwrap();
            let survived = read(&log, &t);
            prop_assert!(survived.len() as u64 >= acknowledged, "{} of {acknowledged} acknowledged", survived.len());
            for (index, value) in survived.iter().enumerate() {
                prop_assert_eq!(value.trim(), index.to_string());
            }
            check_times(&log, survived.len() as u64, seed);
            written = survived.len() as u64;
            // The next life begins with another crash, without a close in order. What was read is durable.
            let image = directory.crash(if seed % 2 == 0 { CrashPlan::ProcessOnly } else { CrashPlan::LoseAll });
            std::mem::forget(log);
            directory = image;
        }
    }
}

#[test]
fn a_sealed_segment_knows_its_latest_time_after_two_power_cuts() {
    let t = partition("t", 0);
    let config = LogConfig { checkpoint_bytes: 1_500, preallocate_bytes: 0, ..LogConfig::default() };
    let open = |directory: &MemoryDirectory| EmbeddedLog::open_in(Arc::new(directory.clone()), config.clone()).unwrap();
    for seed in 0..20 {
        let directory = MemoryDirectory::new();
        let log = open(&directory);
        create(&log, "t", 1, &[("segment.bytes", "3000"), ("index.interval.bytes", "100")]);
        // A checkpoint in the middle of the first segment, which is full then, and synced; the next batch seals it.
        write(&log, 0..10).flush().unwrap();
        write(&log, 10..17).flush().unwrap();
        let producer = write(&log, 17..20);
        let cut = directory.crash(CrashPlan::Random(seed));
        std::mem::forget((producer, log));

        let log = open(&cut);
        let next = read(&log, &t).len() as i64;
        // A checkpoint behind the first segment.
        write(&log, next..next + 30).flush().unwrap();
        let again = cut.crash(CrashPlan::LoseAll);
        std::mem::forget(log);

        check_times(&open(&again), (next + 30).cast_unsigned(), seed);
    }
}

#[test]
fn a_segment_that_ends_at_a_checkpoint_knows_its_latest_time_after_a_power_cut() {
    let config = LogConfig { checkpoint_bytes: 1_500, preallocate_bytes: 0, ..LogConfig::default() };
    for seed in 0..50 {
        let directory = MemoryDirectory::new();
        let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config.clone()).unwrap();
        create(&log, "t", 1, &[("segment.bytes", "3000")]);
        // They fill a segment. Those behind them seal it, and nothing of that is synced.
        write(&log, 0..17).flush().unwrap();
        let producer = write(&log, 17..20);
        let cut = directory.crash(CrashPlan::Random(seed));
        std::mem::forget((producer, log));

        check_times(&EmbeddedLog::open_in(Arc::new(cut), config.clone()).unwrap(), 17, seed);
    }
}

#[test]
fn an_index_of_a_lost_segment_says_nothing_of_the_next_one_of_its_name() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[("segment.bytes", "1024")]);
    let t = partition("t", 0);
    let config = ProducerConfig { transactional_id: Some("x".into()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    let handle = producer.open(&t).unwrap();
    let mut commit = |number: i64| {
        producer.begin().unwrap();
        let value = format!("{number:>900}");
        producer.send(handle, RecordView::new(number, None, Some(value.as_bytes()))).unwrap();
        producer.commit().unwrap();
    };
    commit(0);
    // A power cut has left them: they say that all of this producer was aborted.
    for base in 2..30_i64 {
        let file = directory.open(&format!("t-0/{base:020}.txnindex"), OpenMode::Create).unwrap();
        let numbers = [0, base, base + 100, base + 101].map(i64::to_be_bytes).concat();
        file.write_at(0, &[&[0, 0], &numbers[..]].concat()).unwrap();
    }
    for number in 1..10 {
        commit(number);
    }
    drop(producer);
    log.close().unwrap();
    let log = open_in(&directory);
    let read: Vec<String> = read(&log, &t).iter().map(|value| value.trim().to_owned()).collect();
    assert_eq!(read, (0..10).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn what_was_deleted_is_not_missing_when_the_rest_is_lost() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    // Nothing of it is synced but that the front is deleted.
    let producer = write(&log, 0..10);
    log.admin().unwrap().delete_records(&[(partition("t", 0), Offset::new(2))]).unwrap();
    let mut image = directory.crash(CrashPlan::LoseAll);
    std::mem::forget((producer, log));
    for plan in [CrashPlan::ProcessOnly, CrashPlan::LoseAll] {
        let log = open_in(&image);
        assert_eq!(read(&log, &partition("t", 0)), [""; 0]);
        let earliest = log.admin().unwrap().list_offset(&partition("t", 0), OffsetSpec::Earliest).unwrap();
        assert_eq!(earliest, Some(Offset::new(2)));
        let after = image.crash(plan);
        std::mem::forget(log);
        image = after;
    }
    let log = open_in(&image);
    produce(&log, &partition("t", 0), &["goes on"]).unwrap();
    assert_eq!(read_from(&log, &partition("t", 0), crate::support::at(2)).unwrap(), ["goes on"]);
}

/// Sends records of 170 bytes to partition 0 of `t`, each with its number as time.
fn write(log: &EmbeddedLog, numbers: std::ops::Range<i64>) -> Box<dyn Producer> {
    let mut producer = log.producer(&ProducerConfig { batch_bytes: 300, ..ProducerConfig::default() }).unwrap();
    let handle = producer.open(&partition("t", 0)).unwrap();
    for number in numbers {
        producer.send(handle, RecordView::new(number, None, Some(&[b'x'; 100]))).unwrap();
    }
    producer
}

/// Records as [`write`] sends them are found by their times: a segment that knew a time too early would hide them, and be
/// deleted before its time.
fn check_times(log: &EmbeddedLog, records: u64, seed: u64) {
    let mut admin = log.admin().unwrap();
    for number in 0..records {
        let found = admin.list_offset(&partition("t", 0), OffsetSpec::Timestamp(number.cast_signed())).unwrap();
        assert_eq!(found, Some(Offset::new(number)), "seed {seed}");
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_log_is_reopened() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["safe"]).unwrap();
    directory.set_faults(Faults { failing_sync: Some(0), ..Faults::default() });
    for _ in 0..3 {
        let refused = produce(&log, &t, &["in doubt"]).unwrap_err();
        assert!(matches!(refused, Error::Poisoned { .. }), "{refused}");
        assert_eq!(refused.kind(), ErrorKind::Reopen);
    }
    drop(log);
    let log = open_in(&directory.crash(CrashPlan::LoseAll));
    assert_eq!(read(&log, &t), ["safe"]);
    produce(&log, &t, &["again"]).unwrap();
}

#[test]
fn a_full_disk_refuses_the_append_and_takes_the_next_one_once_there_is_space() {
    let directory = MemoryDirectory::new();
    let config = LogConfig { preallocate_bytes: 0, ..LogConfig::default() };
    let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config).unwrap();
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a"]).unwrap();
    for capacity in [0, 1_000, 1_040] {
        directory.set_faults(Faults { capacity_bytes: Some(capacity), ..Faults::default() });
        let refused = produce(&log, &t, &[&"x".repeat(1_000)]).unwrap_err();
        assert!(refused.is_storage_full() && refused.kind() == ErrorKind::Retry, "{refused}");
        assert_eq!(read(&log, &t), ["a"]);
    }
    directory.set_faults(Faults::default());
    produce(&log, &t, &["b"]).unwrap();
    log.close().unwrap();
    assert_eq!(read(&open_in(&directory), &t), ["a", "b"]);
}

#[test]
fn what_found_no_space_is_tried_again_and_comes_once() {
    let directory = MemoryDirectory::new();
    let config = LogConfig { preallocate_bytes: 0, ..LogConfig::default() };
    let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config).unwrap();
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let mut producer = log.producer(&ProducerConfig { batch_bytes: 200, ..ProducerConfig::default() }).unwrap();
    let handle = producer.open(&t).unwrap();
    let mut sent = Vec::new();
    for number in 0..100 {
        // The disk is full for a while, with half a batch written each time.
        let capacity_bytes = (20..60).contains(&number).then_some(700);
        directory.set_faults(Faults { capacity_bytes, ..Faults::default() });
        let value = number.to_string();
        match producer.send(handle, RecordView::new(number, None, Some(value.as_bytes()))) {
            Ok(()) => sent.push(value),
            Err(error) => assert!(error.is_storage_full(), "{error}"),
        }
    }
    assert!(sent.len() < 100, "the disk was full");
    producer.flush().unwrap();
    assert_eq!(read(&log, &t), sent);
}

#[test]
fn a_failed_write_ends_the_log_and_leaves_nothing_half_written() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a"]).unwrap();
    directory.set_faults(Faults { failing_write: Some(0), ..Faults::default() });
    let failed = produce(&log, &t, &["b"]).unwrap_err();
    assert!(matches!(failed, Error::Io { .. }), "{failed}");
    assert!(matches!(produce(&log, &t, &["c"]).unwrap_err(), Error::Poisoned { .. }));
    drop(log);
    let log = open_in(&directory.crash(CrashPlan::ProcessOnly));
    assert_eq!(read(&log, &t), ["a"]);
}

/// Name of the only segment's file.
const SEGMENT: &str = "t-0/00000000000000000000.log";

fn flip(directory: &MemoryDirectory, path: &str, position: u64) {
    let file = directory.open(path, OpenMode::Existing).unwrap();
    let mut byte = [0];
    file.read_at(position, &mut byte).unwrap();
    file.write_at(position, &[byte[0] ^ 0x10]).unwrap();
    file.sync().unwrap();
}

#[test]
fn a_changed_bit_is_found_by_the_reader_and_hurts_no_other_partition() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    create(&log, "u", 1, &[]);
    let (t, u) = (partition("t", 0), partition("u", 0));
    produce(&log, &t, &["a", "b", "c"]).unwrap();
    produce(&log, &u, &["fine"]).unwrap();
    log.close().unwrap();
    let len = directory.open(SEGMENT, OpenMode::Existing).unwrap().len().unwrap();
    // In the middle batch: the last one is checked when the log is opened.
    flip(&directory, SEGMENT, len / 2);
    let log = open_in(&directory);
    assert_eq!(read(&log, &u), ["fine"]);
    for _ in 0..2 {
        let error = read_from(&log, &t, StartAt::Beginning).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(SEGMENT), "{error}");
    }
}

#[test]
fn a_changed_offset_is_found_although_no_checksum_covers_it() {
    // In each of three batches, a high and a low byte of the offset in front.
    for (batch, byte) in [(0, 1), (0, 7), (1, 1), (1, 7), (2, 1), (2, 7)] {
        let directory = MemoryDirectory::new();
        let log = open_in(&directory);
        create(&log, "t", 1, &[]);
        let t = partition("t", 0);
        produce(&log, &t, &["a", "b", "c"]).unwrap();
        log.close().unwrap();
        // The batches are of one length.
        let len = directory.open(SEGMENT, OpenMode::Existing).unwrap().len().unwrap();
        flip(&directory, SEGMENT, batch * len / 3 + byte);
        let error = read_from(&open_in(&directory), &t, StartAt::Beginning).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "batch {batch}, byte {byte}");
    }
}

#[test]
fn damage_below_the_recovery_point_is_no_torn_tail() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a", "b", "c"]).unwrap();
    log.close().unwrap();
    // Opened, and then a crash: the recovery point is 3.
    let log = open_in(&directory);
    assert_eq!(read(&log, &t).len(), 3);
    let after = directory.crash(CrashPlan::LoseAll);
    flip(&after, SEGMENT, 70);
    let log = open_in(&after);
    let error = read_from(&log, &t, StartAt::Beginning).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(produce(&log, &t, &["d"]).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_missing_or_damaged_index_is_rebuilt() {
    for damage in ["remove", "cut", "zero"] {
        let directory = MemoryDirectory::new();
        let log = open_in(&directory);
        create(&log, "t", 1, &[("index.interval.bytes", "0")]);
        let t = partition("t", 0);
        produce(&log, &t, &["a", "b", "c", "d"]).unwrap();
        log.close().unwrap();
        for extension in ["index", "timeindex"] {
            let path = SEGMENT.replace("log", extension);
            let file = directory.open(&path, OpenMode::Existing).unwrap();
            let len = file.len().unwrap();
            assert!(len > 0, "{path} has entries");
            match damage {
                "remove" => directory.remove(&path).unwrap(),
                "cut" => file.truncate(len - 3).unwrap(),
                _ => file.write_at(0, &vec![0; usize::try_from(len).unwrap()]).unwrap(),
            }
        }
        let log = open_in(&directory);
        assert_eq!(read(&log, &t), ["a", "b", "c", "d"], "{damage}");
        assert_eq!(read_from(&log, &t, crate::support::at(2)).unwrap(), ["c", "d"], "{damage}");
    }
}

#[test]
fn a_damaged_checkpoint_costs_a_longer_recovery_and_no_more() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a", "b"]).unwrap();
    let after = directory.crash(CrashPlan::LoseAll);
    let checkpoint = after.open("recovery-point-offset-checkpoint", OpenMode::Create).unwrap();
    checkpoint.write_at(0, b"nonsense").unwrap();
    let log = open_in(&after);
    assert_eq!(read(&log, &t), ["a", "b"]);
}

#[test]
fn a_damaged_table_of_topics_is_not_guessed() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    log.close().unwrap();
    flip(&directory, "topics", 5);
    let error = EmbeddedLog::open_in(Arc::new(directory), LogConfig::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("topics"), "{error}");
}

#[test]
fn a_partition_whose_making_was_interrupted_by_a_power_cut_is_made_whole() {
    for seed in 0..200 {
        let directory = MemoryDirectory::new();
        let log = open_in(&directory);
        create(&log, "t", 1, &[]);
        let mut producer = log.producer(&ProducerConfig { batch_bytes: 500, ..ProducerConfig::default() }).unwrap();
        let handle = producer.open(&partition("t", 0)).unwrap();
        // Some batches are appended, and nothing is synced.
        for _ in 0..20 {
            producer.send(handle, RecordView::new(1, None, Some(&[b'x'; 100]))).unwrap();
        }
        let image = directory.crash(CrashPlan::Random(seed));
        std::mem::forget(producer);
        std::mem::forget(log);
        let log = open_in(&image);
        produce(&log, &partition("t", 0), &["after"]).unwrap();
        log.close().unwrap();
        inspect::verify(&image, &Scope::All, &mut |finding| {
            assert!(finding.severity != Severity::Error, "seed {seed}: {finding:?}");
        })
        .unwrap();
    }
}

#[test]
fn a_closed_log_gives_no_producer_id_and_writes_nothing() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&partition("t", 0)).unwrap();
    log.close().unwrap();
    let length = || directory.open("transactions.log", OpenMode::Existing).unwrap().len().unwrap();
    let before = length();
    let sent = producer.send(handle, RecordView::new(1, None, Some(b"x"))).and_then(|()| producer.flush());
    assert_eq!(sent.unwrap_err().kind(), ErrorKind::Reopen);
    assert_eq!(length(), before);
}
