//! What the fuzzer does with its bytes. Whatever they are: no panic, no endless loop, no memory beyond the limits.
//!
//! `tests/regressions.rs` of the crate above runs the same functions, on what was found once and on bytes of its own.

use std::{sync::Arc, time::Duration};

use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    batch::{self, BatchRewriter},
    client::{
        AbortedTransaction, CommittedOffset, ConsumerConfig, FetchedBatch, LogClient, NewTopic, Polled, ProducerConfig,
        StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Contents, Scope},
        storage::{Directory, MemoryDirectory, OpenMode},
    },
};

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).expect("a legal name"), 0)
}

/// The bytes are record batches: headers, records, markers, and what compaction makes of them.
pub fn batch_decode(bytes: &[u8]) {
    let mut decompressed = Vec::new();
    let mut rewriter = BatchRewriter::new();
    for found in batch::batches(bytes) {
        let Ok(found) = found else { break };
        let _ = batch::header::verify(found.bytes);
        let _ = found.marker();
        if let Ok(records) = found.records(&mut decompressed) {
            for (_, record) in records.map_while(Result::ok) {
                assert!(record.headers.to_headers().as_slice().len() <= record.headers.len());
            }
        }
        let _ = rewriter.retain(&found, None, |offset, _| offset.value() % 2 == 0);
    }
    let fetched = FetchedBatch {
        partition: partition("fuzz"),
        bytes: bytes.to_vec().into(),
        start: Offset::ZERO,
        next: Offset::ZERO,
        aborted: [AbortedTransaction { producer_id: 0, first_offset: Offset::ZERO }].into(),
    };
    let mut cursor = fetched.cursor();
    while let Ok(Some(at)) = cursor.advance() {
        let _ = cursor.view(&at);
    }
}

/// The bytes are the only segment of a partition that was not closed in order. It is opened, read to its end and written
/// to; what is written is there afterwards.
pub fn segment_recover(bytes: &[u8]) {
    let directory = directory_with_topic();
    write(&directory, "fuzz-0/00000000000000000000.log", bytes);
    let Ok(log) = open(&directory) else { return };
    read_all(&log);
    let Ok(mut producer) = log.producer(&ProducerConfig::default()) else { return };
    let Ok(handle) = producer.open(&partition("fuzz")) else { return };
    let sent = producer.send(handle, RecordView::new(0, None, Some(b"after"))).and_then(|()| producer.flush());
    drop(producer);
    if sent.is_ok() {
        assert!(read_all(&log) > 0, "what was acknowledged is there");
    }
    drop(log);
    let _ = inspect::verify(&directory, &Scope::All, &mut |_| {});
}

/// The first byte says which small file the others are; the log is opened with it, and it is dumped and verified.
pub fn small_files(bytes: &[u8]) {
    const FILES: [&str; 10] = [
        "fuzz-0/00000000000000000000.index",
        "fuzz-0/00000000000000000000.timeindex",
        "fuzz-0/00000000000000000000.txnindex",
        "fuzz-0/00000000000000000000.snapshot",
        "fuzz-0/00000000000000000002.snapshot",
        "fuzz-0/leader-epoch-checkpoint",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "transactions.log",
        "topics",
    ];
    let Some((which, bytes)) = bytes.split_first() else { return };
    let path = FILES[usize::from(*which) % FILES.len()];
    let directory = directory_with_topic();
    write(&directory, path, bytes);
    match inspect::open(&directory, path) {
        Ok(Contents::OffsetIndex(entries)) => assert!(entries.len() <= bytes.len() / 8),
        Ok(Contents::Producers(entries)) => assert!(entries.len() <= bytes.len() / 46),
        _ => {}
    }
    let _ = inspect::verify(&directory, &Scope::All, &mut |_| {});
    if let Ok(log) = open(&directory) {
        read_all(&log);
    }
}

/// The bytes are the key and the value (after a length byte) of a record in the topic of committed offsets.
pub fn group_offsets(bytes: &[u8]) {
    let Some((key_len, bytes)) = bytes.split_first() else { return };
    let (key, value) = bytes.split_at(usize::from(*key_len).min(bytes.len()));
    let directory = MemoryDirectory::new();
    let log = open(&directory).expect("a new log");
    let mut admin = log.admin().expect("the log is open");
    admin.create_topics(&[NewTopic::new(TopicName::new("fuzz").expect("a legal name"), 1)]).expect("a new topic");
    // Makes the topic of committed offsets.
    let committed = CommittedOffset { offset: Offset::new(1), metadata: String::new() };
    admin.alter_group_offsets("group", &[(partition("fuzz"), committed.clone())]).expect("an empty group");
    drop(admin);
    if let Ok(mut producer) = log.producer(&ProducerConfig::default())
        && let Ok(handle) = producer.open(&partition("__consumer_offsets"))
    {
        let _ = producer.send(handle, RecordView::new(0, Some(key), Some(value))).and_then(|()| producer.flush());
    }
    drop(log);
    let log = open(&directory).expect("a record in a topic keeps no log from being opened");
    let mut admin = log.admin().expect("the log is open");
    for group in admin.list_groups().expect("a readable topic") {
        let _ = admin.group_offsets(&group);
    }
}

/// A log that was left in disorder, with a topic and two records in it.
fn directory_with_topic() -> MemoryDirectory {
    let directory = MemoryDirectory::new();
    let log = open(&directory).expect("a new log");
    let topic = NewTopic::new(TopicName::new("fuzz").expect("a legal name"), 1);
    log.admin().expect("the log is open").create_topics(&[topic]).expect("a new topic");
    let mut producer = log.producer(&ProducerConfig::default()).expect("the log is open");
    let handle = producer.open(&partition("fuzz")).expect("the topic is there");
    for value in [b"one", b"two"] {
        producer.send(handle, RecordView::new(1, None, Some(value))).expect("a small record");
        producer.flush().expect("memory does not fail");
    }
    drop(producer);
    log.close().expect("memory does not fail");
    directory.remove(".kafka_cleanshutdown").expect("a closed log has it");
    directory
}

fn open(directory: &MemoryDirectory) -> log_store::Result<EmbeddedLog> {
    let config = LogConfig { preallocate_bytes: 0, ..LogConfig::default() };
    EmbeddedLog::open_in(Arc::new(directory.clone()), config)
}

fn write(directory: &MemoryDirectory, path: &str, bytes: &[u8]) {
    let file = directory.open(path, OpenMode::Create).expect("memory does not fail");
    file.truncate(0).and_then(|()| file.write_at(0, bytes)).expect("memory does not fail");
}

/// Reads the topic to its end, or to the first damage; returns the number of records.
fn read_all(log: &EmbeddedLog) -> usize {
    let mut records = 0;
    let Ok(mut consumer) = log.consumer(&ConsumerConfig::default()) else { return 0 };
    if consumer.assign(&[(partition("fuzz"), StartAt::Beginning)]).is_err() {
        return 0;
    }
    while let Ok(Polled::Batch(batch)) = consumer.poll(Duration::ZERO) {
        let mut cursor = batch.cursor();
        while let Ok(Some(at)) = cursor.advance() {
            let _ = cursor.view(&at);
            records += 1;
        }
    }
    records
}
