//! Transactions as their users see them: all or nothing, once, and only from the newest producer.

use std::{sync::Arc, thread, time::Duration};

use log_store::{
    Error, Offset, RecordView, Result, TopicPartition,
    client::{
        CommittedOffset, ConsumerConfig, GroupMetadata, Isolation, LogClient, Polled, Producer, ProducerConfig, StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{CrashPlan, Faults, MemoryDirectory},
    },
};

use crate::support::{create, open_in, partition, produce, read};

/// A log whose files are no longer than they must be, so that images of the disk are small.
fn open_small(directory: &MemoryDirectory) -> EmbeddedLog {
    let config = LogConfig { preallocate_bytes: 0, ..LogConfig::default() };
    EmbeddedLog::open_in(Arc::new(directory.clone()), config).unwrap()
}

/// A producer that has taken over `id`.
fn transactional(log: &EmbeddedLog, id: &str) -> Box<dyn Producer> {
    let config = ProducerConfig { transactional_id: Some(id.to_owned()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    producer
}

fn send(producer: &mut dyn Producer, to: &TopicPartition, values: &[&str]) -> Result<()> {
    let handle = producer.open(to)?;
    for value in values {
        producer.send(handle, RecordView::new(0, None, Some(value.as_bytes())))?;
    }
    Ok(())
}

/// All values, those of open and aborted transactions included.
fn read_uncommitted(log: &EmbeddedLog, from: &TopicPartition) -> Vec<String> {
    let config = ConsumerConfig { isolation: Isolation::ReadUncommitted, ..ConsumerConfig::default() };
    let mut consumer = log.consumer(&config).unwrap();
    consumer.assign(&[(from.clone(), StartAt::Beginning)]).unwrap();
    let mut values = Vec::new();
    while let Polled::Batch(batch) = consumer.poll(Duration::ZERO).unwrap() {
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            values.push(String::from_utf8(cursor.view(&record).value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn stable_end(log: &EmbeddedLog, of: &TopicPartition) -> u64 {
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.end_offset(of, Isolation::ReadCommitted).unwrap().value()
}

#[test]
fn a_commit_is_seen_everywhere_and_an_abort_nowhere() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 3, &[]);
    let [a, b, c] = [0, 1, 2].map(|number| partition("t", number));
    let mut producer = transactional(&log, "app");
    producer.begin().unwrap();
    send(&mut *producer, &a, &["a1", "a2"]).unwrap();
    send(&mut *producer, &b, &["b1"]).unwrap();
    producer.flush().unwrap();
    assert!(read(&log, &a).is_empty() && read(&log, &b).is_empty());
    assert_eq!(read_uncommitted(&log, &a), ["a1", "a2"]);
    producer.commit().unwrap();
    assert_eq!((read(&log, &a), read(&log, &b)), (vec!["a1".to_owned(), "a2".to_owned()], vec!["b1".to_owned()]));

    producer.begin().unwrap();
    send(&mut *producer, &a, &["gone"]).unwrap();
    send(&mut *producer, &c, &["gone"]).unwrap();
    producer.flush().unwrap();
    producer.abort().unwrap();
    producer.begin().unwrap();
    send(&mut *producer, &a, &["a3"]).unwrap();
    producer.commit().unwrap();
    assert_eq!(read(&log, &a), ["a1", "a2", "a3"]);
    assert!(read(&log, &c).is_empty());
    assert_eq!(read_uncommitted(&log, &a), ["a1", "a2", "gone", "a3"]);
}

#[test]
fn an_open_transaction_holds_back_what_is_behind_it() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    produce(&log, &t, &["before"]).unwrap();
    let mut producer = transactional(&log, "app");
    producer.begin().unwrap();
    send(&mut *producer, &t, &["inside"]).unwrap();
    producer.flush().unwrap();
    produce(&log, &t, &["behind"]).unwrap();
    assert_eq!((stable_end(&log, &t), read(&log, &t)), (1, vec!["before".to_owned()]));

    // A reader that waits is woken by the end of the transaction.
    let reader = log.clone();
    let from = t.clone();
    let waiting = thread::spawn(move || {
        let mut consumer = reader.consumer(&ConsumerConfig::default()).unwrap();
        consumer.assign(&[(from, StartAt::Offset(Offset::new(1)))]).unwrap();
        matches!(consumer.poll(Duration::from_secs(20)).unwrap(), Polled::Batch(_))
    });
    producer.abort().unwrap();
    assert!(waiting.join().unwrap());
    assert_eq!(read(&log, &t), ["before", "behind"]);
}

#[test]
fn an_older_producer_is_fenced_in_whatever_it_does() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 2, &[]);
    let [known, other] = [0, 1].map(|number| partition("t", number));
    let mut zombie = transactional(&log, "app");
    zombie.begin().unwrap();
    send(&mut *zombie, &known, &["old"]).unwrap();
    zombie.flush().unwrap();

    let mut heir = transactional(&log, "app");
    let fenced = |result: Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::ProducerFenced { .. }), "{error}");
    };
    // To a partition of its transaction, to another one, and at the end.
    send(&mut *zombie, &known, &["late"]).unwrap();
    fenced(zombie.flush());
    assert!(zombie.commit().is_err());
    let mut second = transactional(&log, "other");
    second.begin().unwrap();
    let mut third = transactional(&log, "other");
    send(&mut *second, &other, &["late"]).unwrap();
    fenced(second.flush());
    let mut fourth = transactional(&log, "other");
    third.begin().unwrap();
    fenced(third.commit());

    fourth.begin().unwrap();
    send(&mut *fourth, &other, &["new"]).unwrap();
    fourth.commit().unwrap();
    heir.begin().unwrap();
    send(&mut *heir, &known, &["new"]).unwrap();
    heir.commit().unwrap();
    assert_eq!(read(&log, &known), ["new"]);
    assert_eq!(read(&log, &other), ["new"]);
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let mut producer = log
        .producer(&ProducerConfig {
            transactional_id: Some("slow".to_owned()),
            transaction_timeout: Duration::from_millis(30),
            ..ProducerConfig::default()
        })
        .unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    send(&mut *producer, &t, &["too late"]).unwrap();
    producer.flush().unwrap();
    produce(&log, &t, &["behind"]).unwrap();
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(t.clone(), StartAt::Beginning)]).unwrap();
    assert!(matches!(consumer.poll(Duration::from_secs(20)).unwrap(), Polled::Batch(_)));
    let error = producer.commit().unwrap_err();
    assert!(matches!(error, Error::ProducerFenced { .. }), "{error}");
    assert_eq!(read(&log, &t), ["behind"]);
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    send(&mut *producer, &t, &["in time"]).unwrap();
    producer.commit().unwrap();
    assert_eq!(read(&log, &t), ["behind", "in time"]);
}

#[test]
fn a_producer_that_is_dropped_takes_its_transaction_back() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let mut producer = transactional(&log, "app");
    producer.begin().unwrap();
    send(&mut *producer, &t, &["gone"]).unwrap();
    producer.flush().unwrap();
    drop(producer);
    assert_eq!(stable_end(&log, &t), 2);
    assert!(read(&log, &t).is_empty());
}

#[test]
fn calls_out_of_turn_are_refused_and_hurt_nothing() {
    let log = open_in(&MemoryDirectory::new());
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let invalid = |result: Result<()>| assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    let mut plain = log.producer(&ProducerConfig::default()).unwrap();
    invalid(plain.init_transactions());
    invalid(plain.begin());
    invalid(plain.commit());

    let config = ProducerConfig { transactional_id: Some("app".to_owned()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    invalid(producer.begin());
    producer.init_transactions().unwrap();
    invalid(send(&mut *producer, &t, &["too early"]));
    invalid(producer.commit());
    invalid(producer.abort());
    producer.begin().unwrap();
    invalid(producer.begin());
    producer.commit().unwrap();
    producer.begin().unwrap();
    producer.abort().unwrap();
    producer.begin().unwrap();
    send(&mut *producer, &t, &["a"]).unwrap();
    producer.commit().unwrap();
    assert_eq!(read(&log, &t), ["a"]);
}

#[test]
fn what_was_committed_survives_a_power_cut_and_what_was_not_is_gone() {
    for plan in [CrashPlan::LoseAll, CrashPlan::ProcessOnly, CrashPlan::Random(1), CrashPlan::Random(2)] {
        let directory = MemoryDirectory::new();
        let log = open_small(&directory);
        create(&log, "t", 8, &[]);
        let mut producer = transactional(&log, "app");
        for round in ["1", "2"] {
            producer.begin().unwrap();
            for number in 0..8 {
                send(&mut *producer, &partition("t", number), &[round]).unwrap();
            }
            if round == "1" {
                producer.commit().unwrap();
            } else {
                producer.flush().unwrap();
            }
        }
        let image = directory.crash(plan);
        std::mem::forget((producer, log));
        let log = open_small(&image);
        for number in 0..8 {
            assert_eq!(read(&log, &partition("t", number)), ["1"], "{plan:?}");
        }
        // And again: the markers that were written on opening are there once.
        let mut producer = transactional(&log, "app");
        producer.begin().unwrap();
        send(&mut *producer, &partition("t", 0), &["3"]).unwrap();
        producer.commit().unwrap();
        assert_eq!(read(&log, &partition("t", 0)), ["1", "3"], "{plan:?}");
    }
}

#[test]
fn a_commit_that_fails_in_the_middle_is_all_or_nothing() {
    let mut outcomes = [0, 0];
    for failing in 0..40 {
        let directory = MemoryDirectory::new();
        let log = open_small(&directory);
        create(&log, "t", 4, &[]);
        let mut producer = transactional(&log, "app");
        producer.begin().unwrap();
        for number in 0..4 {
            send(&mut *producer, &partition("t", number), &["x"]).unwrap();
        }
        directory.set_faults(Faults { failing_sync: Some(failing), ..Faults::default() });
        let committed = producer.commit();
        directory.set_faults(Faults::default());
        let image = directory.crash(CrashPlan::Random(failing));
        std::mem::forget((producer, log));
        let log = open_small(&image);
        let seen: Vec<usize> = (0..4).map(|number| read(&log, &partition("t", number)).len()).collect();
        assert!(seen == [0; 4] || seen == [1; 4], "{failing}: {seen:?}");
        assert!(committed.is_err() || seen == [1; 4], "{failing}: acknowledged and lost");
        outcomes[seen[0]] += 1;
    }
    assert!(outcomes[0] > 0 && outcomes[1] > 0, "the failures hit no commit: {outcomes:?}");
}

#[test]
fn a_full_disk_fails_the_commit_and_the_transaction_can_be_aborted() {
    let directory = MemoryDirectory::new();
    let log = open_small(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let mut producer = transactional(&log, "app");
    producer.begin().unwrap();
    send(&mut *producer, &t, &["a"]).unwrap();
    producer.commit().unwrap();

    producer.begin().unwrap();
    directory.set_faults(Faults { capacity_bytes: Some(0), ..Faults::default() });
    send(&mut *producer, &t, &["no room"]).unwrap();
    assert!(producer.flush().unwrap_err().is_storage_full());
    assert!(producer.commit().is_err(), "a transaction with a lost record is not committed");
    directory.set_faults(Faults::default());
    producer.abort().unwrap();
    producer.begin().unwrap();
    send(&mut *producer, &t, &["b"]).unwrap();
    producer.commit().unwrap();
    assert_eq!(read(&log, &t), ["a", "b"]);
}

#[test]
fn a_clean_close_leaves_no_transaction_open() {
    let directory = MemoryDirectory::new();
    let log = open_small(&directory);
    create(&log, "t", 1, &[]);
    let t = partition("t", 0);
    let mut producer = transactional(&log, "app");
    producer.begin().unwrap();
    send(&mut *producer, &t, &["open"]).unwrap();
    producer.flush().unwrap();
    log.close().unwrap();
    assert!(matches!(producer.commit(), Err(Error::Poisoned { .. })));
    drop(producer);
    let log = open_small(&directory);
    assert_eq!(stable_end(&log, &t), 2);
    produce(&log, &t, &["next"]).unwrap();
    assert_eq!(read(&log, &t), ["next"]);
}

fn committed(log: &EmbeddedLog, group: &str, of: &TopicPartition) -> Option<u64> {
    let offsets = log.admin().unwrap().group_offsets(group).unwrap();
    offsets.into_iter().find(|(partition, _)| partition == of).map(|(_, committed)| committed.offset.value())
}

#[test]
fn offsets_become_visible_exactly_with_their_transaction() {
    let directory = MemoryDirectory::new();
    let log = open_small(&directory);
    create(&log, "in", 1, &[]);
    create(&log, "out", 1, &[]);
    let (input, output) = (partition("in", 0), partition("out", 0));
    let nobody = GroupMetadata { group_id: "app".to_owned(), generation: -1, member_id: String::new() };
    let at = |offset| [(input.clone(), CommittedOffset { offset: Offset::new(offset), metadata: "note".to_owned() })];
    let mut producer = transactional(&log, "app");
    producer.begin().unwrap();
    send(&mut *producer, &output, &["one"]).unwrap();
    producer.send_offsets(&at(7), &nobody).unwrap();
    assert_eq!(committed(&log, "app", &input), None);
    producer.commit().unwrap();
    assert_eq!(committed(&log, "app", &input), Some(7));
    producer.begin().unwrap();
    producer.send_offsets(&at(8), &nobody).unwrap();
    producer.abort().unwrap();
    assert_eq!(committed(&log, "app", &input), Some(7));
    producer.begin().unwrap();
    producer.send_offsets(&at(9), &nobody).unwrap();
    producer.flush().unwrap();

    let image = directory.crash(CrashPlan::LoseAll);
    std::mem::forget((producer, log));
    let log = open_small(&image);
    assert_eq!(committed(&log, "app", &input), Some(7));
    let offsets = log.admin().unwrap().group_offsets("app").unwrap();
    assert_eq!(offsets[0].1.metadata, "note");
}

#[test]
fn idempotent_producers_have_ids_of_their_own_even_after_a_power_cut() {
    let mut directory = MemoryDirectory::new();
    for life in 0..4_u64 {
        let log = open_small(&directory);
        if life == 0 {
            create(&log, "t", 1, &[]);
        }
        // Each begins with sequence number 0: an id that was used before would be refused, or taken for a retry.
        for _ in 0..3 {
            produce(&log, &partition("t", 0), &["x"]).unwrap();
        }
        assert_eq!(read(&log, &partition("t", 0)).len() as u64, 3 * (life + 1));
        let image = directory.crash(CrashPlan::Random(life));
        std::mem::forget(log);
        directory = image;
    }
}

#[test]
fn aborted_data_stays_hidden_when_the_index_is_lost_or_damaged() {
    let directory = MemoryDirectory::new();
    let log = open_small(&directory);
    create(&log, "t", 1, &[("segment.bytes", "1024")]);
    let t = partition("t", 0);
    let mut producer = transactional(&log, "app");
    for round in 0..40 {
        producer.begin().unwrap();
        send(&mut *producer, &t, &[&format!("{round}")]).unwrap();
        producer.flush().unwrap();
        if round % 2 == 0 { producer.commit().unwrap() } else { producer.abort().unwrap() }
    }
    let expected: Vec<String> = (0..40).step_by(2).map(|round| round.to_string()).collect();
    assert_eq!(read(&log, &t), expected);
    drop(producer);
    log.close().unwrap();
    let log = open_small(&directory);
    assert_eq!(read(&log, &t), expected, "after a clean close");
    drop(log);
    let log = open_small(&directory.crash(CrashPlan::LoseAll));
    assert_eq!(read(&log, &t), expected, "after a power cut");
}
