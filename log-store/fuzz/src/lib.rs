//! What the fuzzer does with its bytes. Whatever they are: no panic, no endless loop, no memory beyond the limits.
//!
//! The first byte says what is made of the others: the lowest bit, whether checksums are mended, since no fuzzer finds
//! what is behind one; the rest, which file of several they are. `tests/regressions.rs` of the crate above runs the same
//! functions, on what was found once, on what is right ([`seeds`]), and on bytes of its own.

mod checksums;
pub mod seeds;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use log_store::{
    Offset, RecordView, TopicName, TopicPartition,
    batch::{self, BatchRewriter},
    client::{
        AbortedTransaction, CommittedOffset, ConsumerConfig, FetchedBatch, Isolation, LogClient, NewTopic, Polled,
        Producer, ProducerConfig, StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Contents, Scope},
        storage::{CrashPlan, Directory, MemoryDirectory, OpenMode},
    },
};

/// What is done with an input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 8] = [
    ("batch_decode", batch_decode),
    ("segment_recover", segment_recover),
    ("index_files", index_files),
    ("snapshot_files", snapshot_files),
    ("checkpoint_files", checkpoint_files),
    ("transactions_file", transactions_file),
    ("group_offsets", group_offsets),
    ("broker_transactions", broker_transactions),
];

/// Files of one kind, by their number in the first byte of an input.
pub const INDEX_FILES: [&str; 3] = ["index", "timeindex", "txnindex"];
/// Of the last offset and of one before it.
pub const SNAPSHOT_FILES: [&str; 2] = ["00000000000000000002.snapshot", "00000000000000000000.snapshot"];
/// Lists of offsets, and the table of topics.
pub const CHECKPOINT_FILES: [&str; 6] = [
    "recovery-point-offset-checkpoint",
    "log-start-offset-checkpoint",
    "cleaner-offset-checkpoint",
    "fuzz-0/leader-epoch-checkpoint",
    "fuzz-0/partition.metadata",
    "topics",
];

fn partition(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).expect("a legal name"), 0)
}

/// The first byte and the others, with checksums mended by `mend` if that is asked for.
fn split(bytes: &[u8], mend: fn(&mut [u8])) -> Option<(usize, Vec<u8>)> {
    let (first, rest) = bytes.split_first()?;
    let mut rest = rest.to_vec();
    if first & 1 == 1 {
        mend(&mut rest);
    }
    Some((usize::from(first >> 1), rest))
}

/// Record batches: see [`decode`].
pub fn batch_decode(bytes: &[u8]) {
    if let Some((_, bytes)) = split(bytes, checksums::of_batches) {
        decode(&bytes);
    }
}

/// The bytes are record batches: headers, records, markers, and what compaction makes of them.
pub fn decode(bytes: &[u8]) {
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

/// A segment: see [`recover`].
pub fn segment_recover(bytes: &[u8]) {
    if let Some((_, bytes)) = split(bytes, checksums::of_batches) {
        recover(&bytes);
    }
}

/// The bytes are the only segment of a partition that was not closed in order. It is opened, read to its end and written
/// to; what is written is there afterwards.
pub fn recover(bytes: &[u8]) {
    let directory = directory_with_topic();
    write(&directory, "fuzz-0/00000000000000000000.log", bytes);
    let Ok(log) = open(&directory) else { return };
    read_all(&log);
    let Ok(mut producer) = log.producer(&ProducerConfig::default()) else { return };
    let Ok(handle) = producer.open(&partition("fuzz")) else { return };
    let sent = producer.send(handle, RecordView::new(0, None, Some(b"after"))).and_then(|()| producer.flush());
    if sent.is_ok() {
        let end = producer.acknowledged(handle).expect("it was acknowledged");
        let last = Offset::new(end.value() - 1);
        assert_eq!(read_one(&log, last).as_deref(), Ok(&b"after"[..]), "what was acknowledged is there");
        let _ = log.clean();
    }
    drop(producer);
    drop(log);
    let _ = inspect::verify(&directory, &Scope::All, &mut |_| {});
}

/// An index beside a segment.
pub fn index_files(bytes: &[u8]) {
    let Some((which, bytes)) = split(bytes, |_| {}) else { return };
    let extension = INDEX_FILES[which % INDEX_FILES.len()];
    if let Some(Contents::OffsetIndex(entries)) =
        open_beside(&format!("fuzz-0/00000000000000000000.{extension}"), &bytes)
    {
        assert!(entries.len() <= bytes.len() / 8);
    }
}

/// What was known of producers.
pub fn snapshot_files(bytes: &[u8]) {
    let Some((which, bytes)) = split(bytes, checksums::of_snapshot) else { return };
    let name = SNAPSHOT_FILES[which % SNAPSHOT_FILES.len()];
    if let Some(Contents::Producers(entries)) = open_beside(&format!("fuzz-0/{name}"), &bytes) {
        assert!(entries.len() <= bytes.len() / 46);
    }
}

/// Lists of offsets, the table of topics, and other small texts.
pub fn checkpoint_files(bytes: &[u8]) {
    if let Some((which, bytes)) = split(bytes, checksums::of_table) {
        open_beside(CHECKPOINT_FILES[which % CHECKPOINT_FILES.len()], &bytes);
    }
}

/// Which transactions are committed.
pub fn transactions_file(bytes: &[u8]) {
    if let Some((_, bytes)) = split(bytes, checksums::of_frames) {
        open_beside("transactions.log", &bytes);
    }
}

/// The log is opened with this file in place of its own, read, and verified. What the file says.
fn open_beside(path: &str, bytes: &[u8]) -> Option<Contents> {
    let directory = directory_with_topic();
    write(&directory, path, bytes);
    let contents = inspect::open(&directory, path).ok();
    let _ = inspect::verify(&directory, &Scope::All, &mut |_| {});
    if let Ok(log) = open(&directory) {
        read_all(&log);
        let _ = log.close();
    }
    contents
}

/// The bytes are the key and the value (after a length byte) of a record in the topic of committed offsets.
pub fn group_offsets(bytes: &[u8]) {
    let Some((key_len, bytes)) = bytes.split_first() else { return };
    let (key, value) = bytes.split_at(usize::from(*key_len).min(bytes.len()));
    static BEFORE: OnceLock<MemoryDirectory> = OnceLock::new();
    let directory = copy_of(BEFORE.get_or_init(|| {
        let directory = directory_with_topic();
        let log = open(&directory).expect("a log that was left in disorder");
        // Makes the topic of committed offsets.
        let committed = CommittedOffset { offset: Offset::new(1), metadata: String::new() };
        let mut admin = log.admin().expect("the log is open");
        admin.alter_group_offsets("group", &[(partition("fuzz"), committed)]).expect("an empty group");
        drop(admin);
        log.close().expect("memory does not fail");
        directory
    }));
    let log = open(&directory).expect("a log that was closed");
    if let Ok(mut producer) = log.producer(&ProducerConfig::default()) {
        send(&mut *producer, "__consumer_offsets", Some(key), value);
    }
    drop(log);
    let log = open(&directory).expect("a record in a topic keeps no log from being opened");
    let mut admin = log.admin().expect("the log is open");
    for group in admin.list_groups().expect("a readable topic") {
        let _ = admin.group_offsets(&group);
    }
}

/// The bytes are what a broker has written about a transaction that is open in its directory.
pub fn broker_transactions(bytes: &[u8]) {
    static BEFORE: OnceLock<MemoryDirectory> = OnceLock::new();
    let directory = copy_of(BEFORE.get_or_init(|| {
        let directory = directory_with_topic();
        let log = open(&directory).expect("a log that was left in disorder");
        let topic = NewTopic::new(TopicName::new("__transaction_state").expect("a legal name"), 1);
        log.admin().expect("the log is open").create_topics(&[topic]).expect("a new topic");
        let config = ProducerConfig { transactional_id: Some("id".to_owned()), ..ProducerConfig::default() };
        let mut producer = log.producer(&config).expect("the log is open");
        producer.init_transactions().and_then(|()| producer.begin()).expect("the first of its id");
        send(&mut *producer, "fuzz", None, b"three");
        directory.crash(CrashPlan::ProcessOnly)
    }));
    let log = open(&directory).expect("a log that was left in disorder");
    let mut producer = log.producer(&ProducerConfig::default()).expect("the log is open");
    send(&mut *producer, "__transaction_state", Some(b"\0\0\0\x02id"), bytes);
    let image = directory.crash(CrashPlan::ProcessOnly);
    // Only a log of ours has them.
    image.remove("topics").and_then(|()| image.remove("transactions.log")).expect("they are there");
    if let Ok(log) = open(&image) {
        assert!(read_all(&log) >= 2);
    }
}

fn send(producer: &mut dyn Producer, topic: &str, key: Option<&[u8]>, value: &[u8]) {
    let handle = producer.open(&partition(topic)).expect("the topic is there");
    producer.send(handle, RecordView::new(1, key, Some(value))).expect("a small record");
    producer.flush().expect("memory does not fail");
}

/// A log that was left in disorder, with a topic and two records in it.
fn directory_with_topic() -> MemoryDirectory {
    static BEFORE: OnceLock<MemoryDirectory> = OnceLock::new();
    copy_of(BEFORE.get_or_init(|| {
        let directory = MemoryDirectory::new();
        let log = open(&directory).expect("a new log");
        let topic = NewTopic::new(TopicName::new("fuzz").expect("a legal name"), 1);
        log.admin().expect("the log is open").create_topics(&[topic]).expect("a new topic");
        let mut producer = log.producer(&ProducerConfig::default()).expect("the log is open");
        for value in [b"one", b"two"] {
            send(&mut *producer, "fuzz", None, value);
        }
        drop(producer);
        log.close().expect("memory does not fail");
        directory.remove(".kafka_cleanshutdown").expect("a closed log has it");
        directory
    }))
}

/// The same files once more.
fn copy_of(directory: &MemoryDirectory) -> MemoryDirectory {
    directory.crash(CrashPlan::ProcessOnly)
}

fn open(directory: &MemoryDirectory) -> log_store::Result<EmbeddedLog> {
    let config = LogConfig { preallocate_bytes: 0, clean_interval: None, ..LogConfig::default() };
    EmbeddedLog::open_in(Arc::new(directory.clone()), config)
}

fn write(directory: &MemoryDirectory, path: &str, bytes: &[u8]) {
    let file = directory.open(path, OpenMode::Create).expect("memory does not fail");
    file.truncate(0).and_then(|()| file.write_at(0, bytes)).expect("memory does not fail");
}

/// The value of the record at this offset.
fn read_one(log: &EmbeddedLog, offset: Offset) -> Result<Vec<u8>, String> {
    let config = ConsumerConfig { isolation: Isolation::ReadUncommitted, ..ConsumerConfig::default() };
    let mut consumer = log.consumer(&config).map_err(|error| error.to_string())?;
    let start = [(partition("fuzz"), StartAt::Offset(offset))];
    consumer.assign(&start).map_err(|error| error.to_string())?;
    let Polled::Batch(batch) = consumer.poll(Duration::ZERO).map_err(|error| error.to_string())? else {
        return Err("the log ends before it".to_owned());
    };
    let mut cursor = batch.cursor();
    while let Some(at) = cursor.advance().map_err(|error| error.to_string())? {
        if at.offset == offset {
            return Ok(cursor.view(&at).value.unwrap_or_default().to_vec());
        }
    }
    Err("the batch does not hold it".to_owned())
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
