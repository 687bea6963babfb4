//! Inputs that are right, for the fuzzer to begin with: files of logs with transactions, all codecs, groups and deletions.

use std::collections::BTreeMap;

use log_store::{
    Header, Headers, Offset, RecordView, TopicName,
    client::{CommittedOffset, Compression, GroupMetadata, LogClient, NewTopic, ProducerConfig},
    embedded::{
        EmbeddedLog,
        storage::{CrashPlan, Directory, MemoryDirectory, OpenMode},
    },
};

use super::{CHECKPOINT_FILES, INDEX_FILES, open, partition, send};

/// Target and input, all different.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let directory = MemoryDirectory::new();
    let log = open(&directory).expect("a new log");
    fill(&log);
    // Files as they are in the middle of everything, and after a close.
    let running = directory.crash(CrashPlan::ProcessOnly);
    log.close().expect("memory does not fail");
    let mut seeds = Vec::new();
    for (path, bytes) in files(&running).into_iter().chain(files(&directory)) {
        for (target, number) in targets_of(&path) {
            for is_mended in [0, 1] {
                let mut seed = vec![number << 1 | is_mended];
                seed.extend_from_slice(&bytes);
                seeds.push((target, seed));
            }
        }
    }
    seeds.extend(group_offsets().into_iter().map(|seed| ("group_offsets", seed)));
    seeds.extend(broker_transactions().into_iter().map(|seed| ("broker_transactions", seed)));
    seeds.sort_unstable();
    seeds.dedup();
    seeds
}

/// Small segments; every codec; transactions that are committed, aborted and open; offsets of a group; deleted records.
fn fill(log: &EmbeddedLog) {
    let mut admin = log.admin().expect("the log is open");
    let name = TopicName::new("fuzz").expect("a legal name");
    let topic = NewTopic::new(name, 1)
        .with_config("segment.bytes", "1500")
        .with_config("index.interval.bytes", "200")
        .with_config("cleanup.policy", "compact,delete");
    admin.create_topics(&[topic]).expect("a new topic");
    let headers = Headers::from_iter([
        Header { key: "twice".into(), value: Some(vec![1, 2].into()) },
        Header { key: "twice".into(), value: None },
    ]);
    for (round, compression) in (0..).zip(Compression::ALL) {
        let plain = ProducerConfig { compression, ..ProducerConfig::default() };
        let id = Some(format!("id-{round}"));
        let mut producer =
            log.producer(&ProducerConfig { transactional_id: id, ..plain.clone() }).expect("the log is open");
        producer.init_transactions().and_then(|()| producer.begin()).expect("the first of its id");
        let target = producer.open(&partition("fuzz")).expect("the topic is there");
        for number in 0..12_u8 {
            let (key, value) = ([b'k', number % 4], vec![b'a' + number; usize::from(number) * 9]);
            let record = RecordView::new(1_000 + i64::from(number), Some(&key), (number % 5 > 0).then_some(&value));
            producer.send(target, RecordView { headers: (&headers).into(), ..record }).expect("a small record");
        }
        let committed = CommittedOffset { offset: Offset::new(3), metadata: "note".to_owned() };
        let nobody = GroupMetadata { group_id: "group".to_owned(), generation: -1, member_id: String::new() };
        producer.send_offsets(&[(partition("fuzz"), committed)], &nobody).expect("a group without members");
        match round {
            // The last one is left open.
            4 => std::mem::forget(producer),
            1 | 3 => producer.abort().expect("memory does not fail"),
            _ => producer.commit().expect("memory does not fail"),
        }
        let mut producer = log.producer(&plain).expect("the log is open");
        send(&mut *producer, "fuzz", Some(b"key"), b"outside");
    }
    admin.delete_records(&[(partition("fuzz"), Offset::new(2))]).expect("they are there");
    log.clean().expect("memory does not fail");
}

/// Every file of a log, by its path.
fn files(directory: &MemoryDirectory) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let folders = directory.list("").expect("memory does not fail").into_iter().filter(|entry| entry.is_dir);
    for folder in folders.map(|folder| format!("{}/", folder.name)).chain([String::new()]) {
        for entry in directory.list(folder.trim_end_matches('/')).expect("memory does not fail") {
            if entry.is_dir {
                continue;
            }
            let path = format!("{folder}{}", entry.name);
            let file = directory.open(&path, OpenMode::Existing).expect("it was listed");
            let mut bytes = vec![0; usize::try_from(entry.len).expect("a small file")];
            file.read_at(0, &mut bytes).expect("memory does not fail");
            found.insert(path, bytes);
        }
    }
    found
}

/// Where a file is of use, and the number that the target knows its kind by.
fn targets_of(path: &str) -> Vec<(&'static str, u8)> {
    let number = |kinds: &[&str], name: &str| (0_u8..).zip(kinds).find(|(_, kind)| **kind == name).map(|(n, _)| n);
    let extension = path.rsplit('.').next().unwrap_or_default();
    if let Some(number) = number(&CHECKPOINT_FILES, path) {
        return vec![("checkpoint_files", number)];
    }
    if let Some(number) = number(&INDEX_FILES, extension) {
        return vec![("index_files", number)];
    }
    match extension {
        "log" if path == "transactions.log" => vec![("transactions_file", 0)],
        "log" => vec![("batch_decode", 0), ("segment_recover", 0)],
        "snapshot" => vec![("snapshot_files", 0), ("snapshot_files", 1)],
        _ => Vec::new(),
    }
}

/// A key and values of version 3 and 4, as Kafka writes them, behind the length of the key.
fn group_offsets() -> Vec<Vec<u8>> {
    let key: &[u8] = b"\0\x01\0\x01g\0\x04fuzz\0\0\0\0";
    let values: [&[u8]; 3] = [
        b"\0\x03\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\0\x04note\0\0\x01\x90\0\0\0\0",
        b"\0\x04\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\x05note\0\0\x01\x90\0\0\0\0\0",
        b"",
    ];
    values.iter().map(|value| [&[19], key, value].concat()).collect()
}

/// Values of version 0 and 1, prepared to commit.
fn broker_transactions() -> Vec<Vec<u8>> {
    let times: &[u8] = &[0, 0, 1, 0x90, 0, 0, 0, 0, 0, 0, 1, 0x90, 0, 0, 0, 0];
    let old: &[u8] = b"\0\0\0\0\0\0\0\0\x03\xe9\0\x00\0\0\xea\x60\x02\0\0\0\x01\0\x04fuzz\0\0\0\x01\0\0\0\0";
    let new: &[u8] = b"\0\x01\0\0\0\0\0\0\x03\xe9\0\x01\0\0\xea\x60\x02\x02\x05fuzz\x02\0\0\0\0\0";
    vec![[old, times].concat(), [new, times, b"\x01\x02\x02\0\x02"].concat()]
}
