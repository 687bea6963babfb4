//! A log that was closed in order is clean; each kind of damage to it is found.

use std::sync::Arc;

use super::{Finding, Scope, Severity, verify};
use crate::{
    RecordView, TopicName, TopicPartition,
    client::{LogClient, NewTopic, ProducerConfig},
    embedded::{
        EmbeddedLog, LogConfig,
        storage::{Directory, MemoryDirectory, OpenMode, read_small},
    },
};

/// A log with two partitions of several segments each, with index entries in them.
fn log(directory: &MemoryDirectory) -> EmbeddedLog {
    let config = LogConfig { preallocate_bytes: 0, ..LogConfig::default() };
    let log = EmbeddedLog::open_in(Arc::new(directory.clone()), config).unwrap();
    let topic = TopicName::new("clicks").unwrap();
    let new = NewTopic::new(topic.clone(), 2).with_config("segment.bytes", "8192");
    log.admin().unwrap().create_topics(&[new.with_config("index.interval.bytes", "512")]).unwrap();
    let mut producer = log.producer(&ProducerConfig { batch_bytes: 512, ..ProducerConfig::default() }).unwrap();
    for partition in 0..2 {
        let handle = producer.open(&TopicPartition::new(topic.clone(), partition)).unwrap();
        for index in 0..400 {
            let value = format!("value-{index:040}");
            producer.send(handle, RecordView::new(1_000 + index, None, Some(value.as_bytes()))).unwrap();
        }
    }
    producer.flush().unwrap();
    log
}

fn findings(directory: &dyn Directory, scope: &Scope) -> Vec<Finding> {
    let mut findings = Vec::new();
    verify(directory, scope, &mut |finding| findings.push(finding.clone())).unwrap();
    findings
}

/// Damages a file of a log that was closed in order; exactly the given finding must come of it.
fn check(path: &str, damage: impl Fn(&mut Vec<u8>), expected: &str) {
    let directory = MemoryDirectory::new();
    log(&directory).close().unwrap();
    edit(&directory, path, damage);
    let errors: Vec<_> =
        findings(&directory, &Scope::All).into_iter().filter(|one| one.severity == Severity::Error).collect();
    assert!(!errors.is_empty(), "nothing found in {path}");
    let text = format!("{} {}", errors[0].file.display(), errors[0].what);
    assert!(text.contains(expected), "{text}");
}

fn edit(directory: &dyn Directory, path: &str, damage: impl Fn(&mut Vec<u8>)) {
    let mut bytes = read_small(directory, path).unwrap().unwrap_or_else(|| panic!("{path} is there"));
    damage(&mut bytes);
    let file = directory.open(path, OpenMode::Existing).unwrap();
    file.truncate(bytes.len() as u64).unwrap();
    file.write_at(0, &bytes).unwrap();
}

const LOG: &str = "clicks-1/00000000000000000000.log";

#[test]
fn a_log_closed_in_order_is_clean() {
    let directory = MemoryDirectory::new();
    log(&directory).close().unwrap();
    let verified = verify(&directory, &Scope::All, &mut |finding| panic!("{finding:?}")).unwrap();
    assert_eq!((verified.partitions, verified.records, verified.errors, verified.notes), (2, 800, 0, 0));
    assert!(verified.segments > 6, "{verified:?}");
    let one = Scope::Partition(TopicPartition::new(TopicName::new("clicks").unwrap(), 1));
    assert_eq!(verify(&directory, &one, &mut |_| {}).unwrap().records, 400);
}

#[test]
fn a_log_that_is_open_is_verified_up_to_its_checkpoint() {
    let directory = MemoryDirectory::new();
    let open = log(&directory);
    let verified = verify(&directory, &Scope::All, &mut |finding| panic!("{finding:?}")).unwrap();
    assert!(verified.open_elsewhere.is_some());
    open.close().unwrap();
}

#[test]
fn a_flipped_bit_is_found() {
    check(LOG, |bytes| bytes[100] ^= 1, "checksum");
}

#[test]
fn damage_that_the_checksum_does_not_cover_is_found() {
    // The base offset of the first batch, and its leader epoch.
    check(LOG, |bytes| bytes[7] = 1, "offsets 0 to 1 are missing");
    check(LOG, |bytes| bytes[12] = 0x7f, "leader epoch 0 comes after");
}

#[test]
fn a_batch_that_claims_too_much_is_found() {
    check(LOG, |bytes| bytes[8] = 0x7f, "cannot be found");
}

#[test]
fn a_missing_tail_is_found() {
    check(LOG, |bytes| bytes.truncate(bytes.len() - 10), "cannot be found");
    check(LOG, Vec::clear, "points to byte");
}

#[test]
fn index_entries_that_point_elsewhere_are_found() {
    let index = "clicks-1/00000000000000000000.index";
    check(index, |bytes| bytes[3] ^= 1, "ends with");
    check(index, |bytes| bytes[7] ^= 1, "where no batch begins");
    check(index, |bytes| bytes.truncate(bytes.len() - 3), "multiple of 8");
    let times = "clicks-1/00000000000000000000.timeindex";
    check(times, |bytes| bytes[7] ^= 1, "greatest is");
    check(times, |bytes| bytes[11] ^= 1, "with which no batch ends");
}

#[test]
fn a_missing_segment_is_found() {
    let directory = MemoryDirectory::new();
    log(&directory).close().unwrap();
    let entries = directory.list("clicks-0").unwrap();
    let second = entries.iter().filter(|entry| entry.name.ends_with(".log")).nth(1).unwrap();
    directory.remove(&format!("clicks-0/{}", second.name)).unwrap();
    let found = findings(&directory, &Scope::All);
    assert!(found.iter().any(|one| one.what.contains("are missing before it")), "{found:?}");
}

#[test]
fn acknowledged_records_that_are_gone_are_found() {
    check(
        "recovery-point-offset-checkpoint",
        |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap().replace("clicks 0 400", "clicks 0 401");
            *bytes = text.into_bytes();
        },
        "everything before 401 was synced",
    );
    check("recovery-point-offset-checkpoint", |bytes| bytes[0] = b'x', "not a checkpoint");
    check("topics", |bytes| bytes[4] ^= 1, "checksum");
    check("clicks-0/leader-epoch-checkpoint", Vec::clear, "leader epochs");
    let metadata = "clicks-0/partition.metadata";
    // The id is random: its first letter becomes another letter of base64, and then none.
    check(metadata, |bytes| bytes[21] = if bytes[21] == b'A' { b'B' } else { b'A' }, "another topic");
    check(metadata, |bytes| bytes[21] = b'~', "holds no topic id");
}

/// A log with one committed and one aborted transaction in `clicks-1`.
fn transactions(directory: &MemoryDirectory) {
    let log = log(directory);
    let config = ProducerConfig { transactional_id: Some("tx".into()), ..ProducerConfig::default() };
    let mut producer = log.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    let handle = producer.open(&TopicPartition::new(TopicName::new("clicks").unwrap(), 1)).unwrap();
    for commits in [true, false, true] {
        producer.begin().unwrap();
        for _ in 0..3 {
            producer.send(handle, RecordView::new(5_000, None, Some(&[b'x'; 3_000]))).unwrap();
            producer.flush().unwrap();
        }
        if commits { producer.commit().unwrap() } else { producer.abort().unwrap() }
    }
    drop(producer);
    log.close().unwrap();
}

#[test]
fn transactions_agree_with_their_index_and_their_producer() {
    let directory = MemoryDirectory::new();
    transactions(&directory);
    let verified = verify(&directory, &Scope::All, &mut |finding| panic!("{finding:?}")).unwrap();
    // Nine records and three markers.
    assert_eq!(verified.records, 812);
    let names: Vec<String> = directory.list("clicks-1").unwrap().into_iter().map(|entry| entry.name).collect();
    let index = names.iter().find(|name| name.ends_with(".txnindex")).expect("one was aborted");
    edit(&directory, &format!("clicks-1/{index}"), Vec::clear);
    let found = findings(&directory, &Scope::All);
    assert!(found.iter().any(|one| one.what.contains("lacks the transaction")), "{found:?}");
}

#[test]
fn a_snapshot_that_says_otherwise_is_found() {
    let directory = MemoryDirectory::new();
    transactions(&directory);
    let names: Vec<String> = directory.list("clicks-1").unwrap().into_iter().map(|entry| entry.name).collect();
    // One that was taken inside a transaction, when a segment was full: there is a last sequence.
    let has_sequence = |name: &&String| {
        let bytes = read_small(&directory, &format!("clicks-1/{name}")).unwrap().unwrap();
        bytes.len() > 10 && bytes[20] == 0
    };
    let inside = names.iter().filter(|name| name.ends_with(".snapshot")).find(has_sequence).unwrap();
    // Another sequence, under a checksum that is right.
    edit(&directory, &format!("clicks-1/{inside}"), |bytes| {
        bytes[23] ^= 1;
        let checksum = crc32c::crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&checksum.to_be_bytes());
    });
    let found = findings(&directory, &Scope::All);
    assert!(found.iter().any(|one| one.what.contains("is said to have ended with sequence")), "{found:?}");
}

#[test]
fn an_unfinished_write_is_noted_and_no_error() {
    let directory = MemoryDirectory::new();
    log(&directory).close().unwrap();
    directory.remove(".kafka_cleanshutdown").unwrap();
    let entries = directory.list("clicks-0").unwrap();
    let last = entries.iter().rfind(|entry| entry.name.ends_with(".log")).unwrap();
    edit(&directory, &format!("clicks-0/{}", last.name), |bytes| bytes.extend([1; 100]));
    let found = findings(&directory, &Scope::All);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].severity, Severity::Note);
    assert_eq!(found[0].position, Some(last.len));
    // Room for more batches is not worth a word.
    edit(&directory, &format!("clicks-0/{}", last.name), |bytes| {
        bytes.truncate(last.len as usize);
        bytes.extend([0; 10_000]);
    });
    assert_eq!(findings(&directory, &Scope::All), []);
}
