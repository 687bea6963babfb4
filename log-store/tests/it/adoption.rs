//! A directory that a Kafka broker left: what it had decided about transactions counts, whether or not it came to write the
//! markers.

use std::sync::Arc;

use log_store::{
    Error, Offset, RecordView,
    batch::batches,
    client::{
        CommittedOffset, ConsumerConfig, GroupMetadata, Isolation, LogClient, Polled, Producer, ProducerConfig, StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Scope, Severity},
        storage::{CrashPlan, Directory, MemoryDirectory},
    },
};

use crate::support::{create, each_batch, open_in, partition, producer};

/// States of a transaction, by Kafka's numbers.
const ONGOING: u8 = 1;
const PREPARE_COMMIT: u8 = 2;
const PREPARE_ABORT: u8 = 3;
const COMPLETE_COMMIT: u8 = 4;

/// What the broker wrote about the transaction: state, epoch beyond that of the data, version of the protocol (values of
/// the first have version 0, those of the next two version 1; there is no other yet). `None` is a tombstone.
type Record = Option<(u8, i16, i16)>;

fn value(producer_id: i64, epoch: i16, (state, beyond, protocol): (u8, i16, i16)) -> Vec<u8> {
    let version = if protocol > 2 { protocol } else { i16::from(protocol > 0) };
    let mut value = version.to_be_bytes().to_vec();
    value.extend(producer_id.to_be_bytes());
    value.extend((epoch + beyond).to_be_bytes());
    value.extend(60_000_i32.to_be_bytes());
    value.push(state);
    let times = [1_700_000_000_000_i64.to_be_bytes(), 1_700_000_000_000_i64.to_be_bytes()].concat();
    if protocol == 0 {
        // One topic, `t`, of two partitions.
        value.extend([0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]);
        value.extend(times);
    } else {
        value.extend([2, 2, b't', 3, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        value.extend(times);
        value.extend([1, 2, 2]);
        value.extend(protocol.to_be_bytes());
    }
    value
}

/// A broker was killed in the middle of a transaction over `t-0`, `t-1` and the offsets of group `g`.
fn directory(records: &[Record]) -> MemoryDirectory {
    let directory = MemoryDirectory::new();
    let log = open_in(&directory);
    create(&log, "t", 2, &[]);
    create(&log, "__transaction_state", 2, &[]);
    let config = ProducerConfig { transactional_id: Some("id".to_owned()), ..ProducerConfig::default() };
    let mut transaction = log.producer(&config).unwrap();
    transaction.init_transactions().unwrap();
    transaction.begin().unwrap();
    for number in 0..2 {
        send(&mut *transaction, "t", number, None, Some(b"in the transaction"));
    }
    let offset = CommittedOffset { offset: Offset::new(1), metadata: "in the transaction".to_owned() };
    let nobody = GroupMetadata { group_id: "g".to_owned(), generation: -1, member_id: String::new() };
    transaction.send_offsets(&[(partition("t", 0), offset)], &nobody).unwrap();
    let (producer_id, epoch) = identity(&log);
    let mut coordinator = producer(&log);
    for record in records {
        let value = record.map(|record| value(producer_id, epoch, record));
        send(&mut *coordinator, "__transaction_state", 1, Some(b"\0\0\0\x02id"), value.as_deref());
    }
    send(&mut *coordinator, "t", 1, None, Some(b"outside"));
    let image = directory.crash(CrashPlan::ProcessOnly);
    // A broker has neither.
    image.remove("topics").unwrap();
    image.remove("transactions.log").unwrap();
    image
}

fn send(producer: &mut dyn Producer, topic: &str, number: u32, key: Option<&[u8]>, value: Option<&[u8]>) {
    let handle = producer.open(&partition(topic, number)).unwrap();
    producer.send(handle, RecordView::new(1_700_000_000_000, key, value)).unwrap();
    producer.flush().unwrap();
}

/// Who wrote the first batch of `t-0`.
fn identity(log: &EmbeddedLog) -> (i64, i16) {
    let config = ConsumerConfig { isolation: Isolation::ReadUncommitted, ..ConsumerConfig::default() };
    let mut consumer = log.consumer(&config).unwrap();
    consumer.assign(&[(partition("t", 0), StartAt::Beginning)]).unwrap();
    let Polled::Batch(batch) = consumer.poll(std::time::Duration::from_secs(5)).unwrap() else { panic!("no batch") };
    let header = batches(&batch.bytes).next().unwrap().unwrap().header;
    (header.producer_id, header.producer_epoch)
}

fn committed(log: &EmbeddedLog, number: u32) -> Vec<String> {
    let mut found = Vec::new();
    each_batch(log, &partition("t", number), |batch| {
        let mut cursor = batch.cursor();
        while let Some(at) = cursor.advance().unwrap() {
            found.push(String::from_utf8(cursor.view(&at).value.unwrap().to_vec()).unwrap());
        }
    });
    found
}

#[track_caller]
fn check(name: &str, records: &[Record], is_committed: bool) {
    let mut directory = directory(records);
    // The second time it is our own, after a crash.
    for time in ["first", "second"] {
        let log = open_in(&directory);
        let (one, other): (&[&str], &[&str]) = if is_committed {
            (&["in the transaction"], &["in the transaction", "outside"])
        } else {
            (&[], &["outside"])
        };
        assert_eq!(committed(&log, 0), one, "{name}, {time} time");
        assert_eq!(committed(&log, 1), other, "{name}, {time} time");
        let offsets = log.admin().unwrap().group_offsets("g").unwrap();
        let offset = offsets.first().map(|(_, committed)| committed.offset.value());
        assert_eq!(offset, is_committed.then_some(1), "{name}, {time} time");
        directory = directory.crash(CrashPlan::LoseAll);
    }
}

#[test]
fn what_the_broker_had_decided_to_commit_is_committed_and_nothing_else() {
    check("nothing is known of it", &[], false);
    check("it went on", &[Some((ONGOING, 0, 1))], false);
    for protocol in [0, 1] {
        check("prepared", &[Some((ONGOING, 0, protocol)), Some((PREPARE_COMMIT, 0, protocol))], true);
        check("that of another epoch", &[Some((PREPARE_COMMIT, 1, protocol))], false);
        check("aborted", &[Some((ONGOING, 0, protocol)), Some((PREPARE_ABORT, 0, protocol))], false);
    }
    check("prepared, the epoch raised", &[Some((ONGOING, 0, 2)), Some((PREPARE_COMMIT, 1, 2))], true);
    check("complete, but the markers were lost", &[Some((PREPARE_COMMIT, 1, 2)), Some((COMPLETE_COMMIT, 1, 2))], true);
    check("the one before is complete", &[Some((COMPLETE_COMMIT, 0, 2)), Some((ONGOING, 0, 2))], false);
    check("aborted, the epoch raised", &[Some((PREPARE_ABORT, 1, 2))], false);
    check("forgotten", &[Some((PREPARE_COMMIT, 0, 1)), None], false);
}

#[test]
fn a_decision_that_cannot_be_read_is_not_guessed() {
    let directory = directory(&[Some((PREPARE_COMMIT, 0, 1)), Some((PREPARE_COMMIT, 0, 3))]);
    for _ in 0..2 {
        let refused = EmbeddedLog::open_in(Arc::new(directory.clone()), LogConfig::default());
        let Err(Error::Corrupt { file, reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(file.ends_with("__transaction_state-1"), "{}", file.display());
        assert!(reason.contains("offset 1 ") && reason.contains("remove this partition"), "{reason}");
    }
    directory.remove_dir("__transaction_state-1").unwrap();
    let log = open_in(&directory);
    assert_eq!(committed(&log, 0), [""; 0]);
    log.close().unwrap();
    inspect::verify(&directory, &Scope::All, &mut |finding| {
        assert!(finding.severity != Severity::Error, "{finding:?}")
    })
    .unwrap();
}
