//! Topics, records and positions of a log in memory.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use log_store::{
    Error, Offset, RecordView, TopicName,
    client::{
        ConsumerConfig, CopartitionGroup, Isolation, LogClient, NewTopic, OffsetReset, OffsetSpec, Polled,
        ProducerConfig, StartAt, Subscription,
    },
    embedded::{
        Durability, EmbeddedLog, LogConfig,
        storage::{Faults, MemoryDirectory},
    },
};

use crate::support::{at, create, open_in, partition, produce, producer, read, read_from};

#[test]
fn what_is_produced_is_read_from_memory_and_again_after_reopening() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "clicks", 2, &[]);
    produce(&log, &partition("clicks", 1), &["a", "b", "c"]).unwrap();
    assert_eq!(read(&log, &partition("clicks", 1)), ["a", "b", "c"]);
    assert_eq!(read_from(&log, &partition("clicks", 1), at(1)).unwrap(), ["b", "c"]);
    assert!(read(&log, &partition("clicks", 0)).is_empty());
    log.close().unwrap();

    let log = open_in(&directory);
    assert_eq!(read(&log, &partition("clicks", 1)), ["a", "b", "c"]);
    produce(&log, &partition("clicks", 1), &["d"]).unwrap();
    assert_eq!(read(&log, &partition("clicks", 1)), ["a", "b", "c", "d"]);
}

#[test]
fn a_log_closed_right_after_a_checkpoint_ends_where_its_records_end() {
    let directory = MemoryDirectory::new();
    let open = || {
        let config = LogConfig { checkpoint_bytes: 1, ..LogConfig::default() };
        EmbeddedLog::open_in(std::sync::Arc::new(directory.clone()), config).unwrap()
    };
    let log = open();
    create(&log, "clicks", 1, &[]);
    let clicks = partition("clicks", 0);
    produce(&log, &clicks, &["a", "b"]).unwrap();
    log.close().unwrap();
    let log = open();
    // A file longer than its records would put a gap of zeros before this one.
    produce(&log, &clicks, &["c"]).unwrap();
    log.close().unwrap();
    assert_eq!(read(&open(), &clicks), ["a", "b", "c"]);
}

#[test]
fn records_are_found_over_many_segments_by_offset_and_by_time() {
    let directory = MemoryDirectory::new();
    // No tail in memory: everything is read from files.
    let config = LogConfig { tail_bytes_max: 0, durability: Durability::Never, ..LogConfig::default() };
    let log = EmbeddedLog::open_in(std::sync::Arc::new(directory.clone()), config).unwrap();
    create(&log, "t", 1, &[("segment.bytes", "40000"), ("index.interval.bytes", "200")]);
    let t = partition("t", 0);
    let mut producer = producer(&log);
    let handle = producer.open(&t).unwrap();
    for number in 0..3_000_i64 {
        // Every third time is late.
        let timestamp = if number % 3 == 2 { 10 * number - 500 } else { 10 * number };
        producer.send(handle, RecordView::new(timestamp, None, Some(number.to_string().as_bytes()))).unwrap();
        if number % 7 == 0 {
            producer.flush().unwrap();
        }
    }
    producer.flush().unwrap();
    for again in 0..2 {
        let log = if again == 0 {
            log.clone()
        } else {
            open_in(&directory.crash(log_store::embedded::storage::CrashPlan::ProcessOnly))
        };
        let all = read(&log, &t);
        assert!(all.iter().enumerate().all(|(index, value)| *value == index.to_string()));
        assert_eq!(all.len(), 3_000);
        for from in (0..3_000).step_by(97) {
            let rest = read_from(&log, &t, at(from)).unwrap();
            assert_eq!((rest.first(), rest.len() as u64), (Some(&from.to_string()), 3_000 - from));
        }
        let mut admin = log.admin().unwrap();
        for number in (0..2_900_i64).step_by(89) {
            let found = admin.list_offset(&t, OffsetSpec::Timestamp(10 * number)).unwrap().unwrap();
            let expected = if number % 3 == 2 { number + 1 } else { number };
            assert_eq!(found, Offset::new(expected as u64), "first record not before {}", 10 * number);
        }
        assert_eq!(admin.list_offset(&t, OffsetSpec::Timestamp(1_000_000)).unwrap(), None);
    }
}

#[test]
fn topics_are_listed_described_changed_and_deleted_durably() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "a", 3, &[("cleanup.policy", "compact")]);
    create(&log, "b", 1, &[]);
    let a = TopicName::new("a").unwrap();
    let change = BTreeMap::from([("retention.ms".to_owned(), Some("5".to_owned()))]);
    log.alter_topic(&a, &change).unwrap();
    produce(&log, &partition("b", 0), &["gone"]).unwrap();
    let mut admin = log.admin().unwrap();
    admin.delete_topics(&[TopicName::new("b").unwrap()]).unwrap();
    let refused = admin.create_topics(&[NewTopic::new(a.clone(), 1)]).unwrap_err();
    assert!(matches!(refused, Error::TopicExists { .. }), "{refused}");
    let described = admin.describe_topic(&a).unwrap().unwrap();
    drop(admin);
    drop(log);

    let log = open_in(&directory);
    let mut admin = log.admin().unwrap();
    assert_eq!(admin.list_topics().unwrap(), std::slice::from_ref(&a));
    let again = admin.describe_topic(&a).unwrap().unwrap();
    assert_eq!(again, described);
    assert_eq!((again.partitions, again.config["retention.ms"].as_str()), (3, "5"));
    let missing = read_from(&log, &partition("b", 0), StartAt::Beginning).unwrap_err();
    assert!(matches!(missing, Error::UnknownTopic { .. }), "{missing}");
    // A topic of the same name is another topic.
    create(&log, "b", 1, &[]);
    assert!(read(&log, &partition("b", 0)).is_empty());
}

#[test]
fn deleted_records_stay_deleted() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a", "b", "c"]).unwrap();
    let mut admin = log.admin().unwrap();
    admin.delete_records(&[(t.clone(), Offset::new(2))]).unwrap();
    assert!(admin.delete_records(&[(t.clone(), Offset::new(4))]).is_err());
    assert_eq!(read(&log, &t), ["c"]);
    assert!(matches!(read_from(&log, &t, at(1)), Err(Error::OffsetOutOfRange { .. })));
    // A crash does not bring them back.
    let log = open_in(&directory.crash(log_store::embedded::storage::CrashPlan::LoseAll));
    assert_eq!(read(&log, &t), ["c"]);
}

#[test]
fn a_position_outside_the_log_is_reset_as_configured() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["a", "b", "c"]).unwrap();
    log.admin().unwrap().delete_records(&[(t.clone(), Offset::new(1))]).unwrap();
    for (reset, position) in [(OffsetReset::Earliest, 1), (OffsetReset::Latest, 3)] {
        let mut consumer = log.consumer(&ConsumerConfig { offset_reset: reset, ..ConsumerConfig::default() }).unwrap();
        consumer.assign(&[(t.clone(), at(77))]).unwrap();
        let polled = consumer.poll(Duration::ZERO).unwrap();
        match polled {
            Polled::Batch(batch) => assert_eq!(batch.start, Offset::new(position)),
            other => assert!(matches!(other, Polled::Idle) && position == 3, "{other:?}"),
        }
    }
}

#[test]
fn a_waiting_consumer_is_told_of_new_records_and_of_its_waker() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(t.clone(), StartAt::Beginning)]).unwrap();
    assert!(matches!(consumer.poll(Duration::ZERO).unwrap(), Polled::Idle));
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            produce(&log, &t, &["late"]).unwrap();
        });
        assert!(matches!(consumer.poll(Duration::from_secs(60)).unwrap(), Polled::Batch(_)));
        let waker = consumer.waker();
        scope.spawn(move || waker.wake());
        assert!(matches!(consumer.poll(Duration::from_secs(60)).unwrap(), Polled::Idle));
    });
    assert!(begin.elapsed() < Duration::from_secs(30));
}

#[test]
fn partitions_take_turns_and_a_paused_one_waits() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 3, &[]);
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    let all: Vec<_> = (0..3).map(|number| (partition("t", number), StartAt::Beginning)).collect();
    consumer.assign(&all).unwrap();
    consumer.pause(&[partition("t", 1)]);
    // Batches of this size come one by one while they are in memory.
    let big = "x".repeat(20_000);
    for number in 0..3 {
        produce(&log, &partition("t", number), &[&big, &big]).unwrap();
    }
    let mut next = || match consumer.poll(Duration::ZERO).unwrap() {
        Polled::Batch(batch) => Some(batch.partition.partition),
        _ => None,
    };
    assert_eq!([next(), next(), next(), next(), next()], [Some(0), Some(2), Some(0), Some(2), None]);
    consumer.resume(&[partition("t", 1)]);
    assert!(matches!(consumer.poll(Duration::ZERO).unwrap(), Polled::Batch(batch) if batch.partition.partition == 1));
}

#[test]
fn fresh_batches_stay_in_memory_only_for_consumers_that_wait_for_them() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let fresh = |is_expected: bool, what: &str| {
        let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
        consumer.assign(&[(t.clone(), StartAt::End)]).unwrap();
        let end = consumer.position(&t).unwrap();
        consumer.seek(&t, StartAt::Offset(Offset::new(end.value() - 1))).unwrap();
        directory.set_faults(Faults { failing_read: Some(0), ..Faults::default() });
        let polled = consumer.poll(Duration::ZERO);
        directory.set_faults(Faults::default());
        assert_eq!(polled.is_ok(), is_expected, "{what}: {polled:?}");
    };
    produce(&log, &t, &["nobody waits"]).unwrap();
    fresh(false, "without a consumer");
    let mut waiting = log.consumer(&ConsumerConfig::default()).unwrap();
    waiting.assign(&[(t.clone(), StartAt::End)]).unwrap();
    produce(&log, &t, &["somebody waits"]).unwrap();
    fresh(true, "with a consumer");
    drop(waiting);
    produce(&log, &t, &["nobody any more"]).unwrap();
    fresh(false, "after the consumer");
    assert_eq!(read(&log, &t), ["nobody waits", "somebody waits", "nobody any more"]);
}

#[test]
fn a_record_beyond_the_limit_is_refused_alone() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[("max.message.bytes", "1000")]);
    let t = partition("t", 0);
    let mut producer = producer(&log);
    let handle = producer.open(&t).unwrap();
    producer.send(handle, RecordView::new(1, None, Some(b"small"))).unwrap();
    let refused = producer.send(handle, RecordView::new(1, None, Some(&[0; 1000]))).unwrap_err();
    assert!(refused.to_string().contains("max.message.bytes, 1000"), "{refused}");
    producer.send(handle, RecordView::new(1, None, Some(b"small"))).unwrap();
    producer.flush().unwrap();
    assert_eq!(producer.acknowledged(handle), Some(Offset::new(2)));
    assert_eq!(read(&log, &t), ["small", "small"]);
}

#[test]
fn a_timestamp_that_the_topic_does_not_allow_is_refused() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[("message.timestamp.before.max.ms", "60000")]);
    create(&log, "any", 1, &[("message.timestamp.after.max.ms", "9223372036854775807")]);
    let mut producer = producer(&log);
    let (strict, any) = (producer.open(&partition("t", 0)).unwrap(), producer.open(&partition("any", 0)).unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for (timestamp, is_allowed) in
        [(now, true), (now - 50_000, true), (now - 70_000, false), (now + 3_000_000, true), (now + 4_000_000, false)]
    {
        let sent = producer.send(strict, RecordView::new(timestamp, None, None));
        assert_eq!(sent.is_ok(), is_allowed, "{} ms from now: {sent:?}", timestamp - now);
        producer.send(any, RecordView::new(timestamp, None, None)).unwrap();
    }
    // A record without a timestamp is not judged by it.
    producer.send(strict, RecordView::new(log_store::NO_TIMESTAMP, None, None)).unwrap();
}

#[test]
fn a_sync_of_one_serves_all_who_wait() {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 8, &[]);
    let rounds = 50;
    thread::scope(|scope| {
        for number in 0..8 {
            let log = &log;
            scope.spawn(move || {
                let mut producer = producer(log);
                let handle = producer.open(&partition("t", number)).unwrap();
                for round in 0..rounds {
                    producer.send(handle, RecordView::new(round, None, Some(b"x"))).unwrap();
                    producer.flush().unwrap();
                }
            });
        }
    });
    let after = open_in(&directory.crash(log_store::embedded::storage::CrashPlan::LoseAll));
    let mut consumer = after.consumer(&ConsumerConfig::default()).unwrap();
    for number in 0..8 {
        let end = consumer.end_offset(&partition("t", number), Isolation::ReadUncommitted).unwrap();
        assert_eq!(end, Offset::new(rounds as u64));
    }
}

#[test]
fn log_append_time_is_the_time_of_the_log() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let t = partition("t", 0);
    produce(&log, &t, &["a"]).unwrap();
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(t, StartAt::Beginning)]).unwrap();
    let Polled::Batch(batch) = consumer.poll(Duration::ZERO).unwrap() else { panic!("no batch") };
    let record = batch.cursor().advance().unwrap().unwrap();
    assert!(record.timestamp > 1_600_000_000_000, "{}", record.timestamp);
}

#[test]
fn a_closed_log_says_so() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let mut producer = log.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&partition("t", 0)).unwrap();
    log.close().unwrap();
    producer.send(handle, RecordView::new(1, None, None)).unwrap();
    let error = producer.flush().unwrap_err().to_string();
    assert!(error.contains("the log was closed"), "{error}");
}

/// Peak of the memory that this process holds, in bytes; `None` where the system does not tell.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Not a test of its own: it needs a process to itself, so that nobody else's memory is counted.
#[test]
#[ignore = "run by the next test, in a process of its own"]
fn producers_push_while_a_consumer_stands_still() {
    const LIMIT: usize = 8 << 20;
    let directory = tempfile::tempdir().unwrap();
    let config = LogConfig { tail_bytes_max: LIMIT, unsynced_bytes_max: LIMIT as u64, ..LogConfig::default() };
    let log = EmbeddedLog::open(directory.path(), config).unwrap();
    create(&log, "t", 2, &[("segment.bytes", "67108864")]);
    let mut consumer = log.consumer(&ConsumerConfig { group_id: "g".to_owned(), ..ConsumerConfig::default() }).unwrap();
    let groups = vec![CopartitionGroup { topics: vec![TopicName::new("t").unwrap()] }];
    consumer.subscribe(&Subscription { groups, ..Subscription::default() }).unwrap();
    assert!(matches!(consumer.poll(Duration::from_secs(5)).unwrap(), Polled::Assigned(_)));
    let value = vec![7; 1_000];
    let push = |number: u32, records: u64| {
        let mut producer = producer(&log);
        let handle = producer.open(&partition("t", number)).unwrap();
        for index in 0..records {
            producer.send(handle, RecordView::new(index as i64, None, Some(&value))).unwrap();
        }
        producer.flush().unwrap();
    };
    push(0, 5_000);
    let (Some(before), records) = (peak_memory(), 100_000) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| push(0, records));
        scope.spawn(|| push(1, records));
    });
    let grown = peak_memory().unwrap() - before;
    // 200 MB went by. The fresh batches, an open batch of each producer and what one append copies may be in memory.
    assert!(grown < 4 * LIMIT as u64, "{grown} bytes more were held");
    // Nothing was dropped for it.
    let mut seen = 0;
    while seen < 2 * records + 5_000 {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(5)).unwrap() else { panic!("{seen} came") };
        let mut cursor = batch.cursor();
        while cursor.advance().unwrap().is_some() {
            seen += 1;
        }
    }
}

#[test]
fn a_consumer_that_stands_still_costs_no_memory_beyond_the_limits() {
    let name = "log::producers_push_while_a_consumer_stands_still";
    let run =
        std::process::Command::new(std::env::current_exe().unwrap()).args(["--exact", name, "--ignored"]).output();
    let output = run.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
