//! Whole directories: one that a real broker wrote is opened by us, one that we wrote by the broker's own `UnifiedLog`.
//!
//! `formats/kafka-4.3.1/directory.tar.gz` holds a broker's log directory twice, after a close in order (`stopped`) and as
//! it lay while the broker ran (`running`), and what Kafka's own consumers found in it (`expected.jsonl`), which
//! `jvm/WriteTopics.java` wrote down: all codecs, time of the append, transactions that overlap, committed, aborted and
//! open, deleted records, a compacted topic, look-ups by time, offsets of a group.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    time::Duration,
};

use log_store::{
    Header, Headers, Offset, RecordView, TopicName, TopicPartition,
    client::{
        Compression, ConsumerConfig, Isolation, LogClient, NewTopic, OffsetSpec, Polled, ProducerConfig, StartAt,
    },
    embedded::{
        EmbeddedLog, LogConfig,
        inspect::{self, Contents, Scope, Severity},
        storage::FileDirectory,
    },
};
use serde_json::Value;
use streams_tests::jvm::{self, Jvm};
use tempfile::TempDir;

/// Offset, timestamp, and a hash of key, value and headers.
type Found = (u64, i64, u64);

fn unpacked() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/kafka-4.3.1/directory.tar.gz");
    let status = Command::new("tar").arg("xzf").arg(packed).arg("-C").arg(home.path()).status().unwrap();
    assert!(status.success());
    home
}

fn partition(topic: &str, number: u64) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), u32::try_from(number).unwrap())
}

/// FNV-1a, nulls told from empty, without the last bits, as the Java programs beside this test compute it.
fn hash(record: &RecordView<'_>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: Option<&[u8]>| {
        let first = [u8::from(bytes.is_some())];
        for byte in first.iter().chain(bytes.unwrap_or_default()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(record.key);
    add(record.value);
    for header in record.headers.to_headers().as_slice() {
        add(Some(header.key.as_bytes()));
        add(header.value.as_deref());
    }
    hash >> 11
}

/// All records up to `end`.
fn read(log: &EmbeddedLog, from: &TopicPartition, isolation: Isolation, end: Offset) -> Vec<Found> {
    let mut consumer = log.consumer(&ConsumerConfig { isolation, ..ConsumerConfig::default() }).unwrap();
    consumer.assign(&[(from.clone(), StartAt::Beginning)]).unwrap();
    let mut found = Vec::new();
    while consumer.position(from).unwrap() < end {
        let Polled::Batch(batch) = consumer.poll(Duration::from_secs(5)).unwrap() else { panic!("{from} ends early") };
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            found.push((record.offset.value(), record.timestamp, hash(&cursor.view(&record))));
        }
    }
    found.retain(|(offset, ..)| *offset < end.value());
    found
}

#[test]
fn a_directory_that_a_broker_has_closed_is_opened() {
    check_brokers_directory("stopped");
}

#[test]
fn a_directory_of_a_broker_that_was_killed_is_recovered() {
    check_brokers_directory("running");
}

fn check_brokers_directory(which: &str) {
    let home = unpacked();
    let expected = fs::read_to_string(home.path().join("expected.jsonl")).unwrap();
    let log = EmbeddedLog::open(home.path().join(which), LogConfig::default()).unwrap();
    let mut admin = log.admin().unwrap();
    let mut records = 0;
    let mut all: BTreeMap<TopicPartition, Vec<Found>> = BTreeMap::new();
    for line in expected.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let number = |name: &str| line[name].as_i64().unwrap();
        let partition = partition(line["topic"].as_str().unwrap(), number("partition").unsigned_abs());
        if let Some(expected) = line["records"].as_array() {
            let isolation = match line["isolation"].as_str().unwrap() {
                "read_committed" => Isolation::ReadCommitted,
                _ => Isolation::ReadUncommitted,
            };
            let part = |one: &Value, at: usize| one[at].as_i64().unwrap();
            let expected: Vec<Found> = expected
                .iter()
                .map(|one| (part(one, 0).unsigned_abs(), part(one, 1), part(one, 2).unsigned_abs()))
                .collect();
            let end = Offset::from_i64(number("end")).unwrap();
            assert_eq!(read(&log, &partition, isolation, end), expected, "{partition} {isolation:?}");
            records += expected.len();
            if isolation == Isolation::ReadUncommitted {
                all.insert(partition.clone(), expected);
            }
            let start = admin.list_offset(&partition, OffsetSpec::Earliest).unwrap().unwrap();
            assert_eq!(start.as_i64(), number("start"), "{partition}");
        } else if let Some(time) = line["time"].as_i64() {
            // Kafka's answer may also be a marker of a transaction, ours is a record; a reader finds the same from both.
            let found = admin.list_offset(&partition, OffsetSpec::Timestamp(time)).unwrap().map(Offset::value);
            let first = all[&partition].iter().find(|(_, timestamp, _)| *timestamp >= time);
            assert_eq!(found, first.map(|(offset, ..)| *offset), "{partition} at {time}");
            let (ours, theirs) = (found.map_or(i64::MAX, u64::cast_signed), number("offset"));
            let is_marker = partition.topic.as_str() == "transactions" && (0..ours).contains(&theirs);
            assert!(is_marker || found.map_or(-1, u64::cast_signed) == theirs, "{partition} at {time}: {theirs}");
        } else {
            let offsets = admin.group_offsets(line["group"].as_str().unwrap()).unwrap();
            let (_, committed) = offsets.iter().find(|(of, _)| *of == partition).unwrap();
            assert_eq!(committed.offset.as_i64(), number("offset"), "{partition}");
            assert_eq!(committed.metadata, line["metadata"], "{partition}");
        }
    }
    assert!(records > 3_000, "only {records} records");
    // Nothing is deleted before somebody says so: the settings of the topics are not in the directory.
    assert_eq!(log.clean().unwrap().deleted_bytes, 0);
    drop(admin);
    log.close().unwrap();
    let verified =
        inspect::verify(&FileDirectory::new(home.path().join(which)).unwrap(), &Scope::All, &mut |finding| {
            assert!(finding.severity != Severity::Error, "{finding:?}");
        });
    verified.unwrap();
}

/// Transactions, aborts, all codecs, deleted records, compaction, many segments.
fn write_everything(log: &EmbeddedLog) {
    let small = [("segment.bytes", "8192"), ("index.interval.bytes", "500"), ("retention.ms", "-1")];
    let mut admin = log.admin().unwrap();
    let mut create = |topic: &str, more: &[(&str, &str)]| {
        let mut new = NewTopic::new(TopicName::new(topic).unwrap(), 2);
        for (name, value) in small.iter().chain(more) {
            new = new.with_config(*name, *value);
        }
        admin.create_topics(&[new]).unwrap();
    };
    create("plain", &[]);
    create("transactions", &[]);
    create("trimmed", &[]);
    create("append-time", &[("message.timestamp.type", "LogAppendTime")]);
    create(
        "compacted",
        &[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0.01"), ("segment.bytes", "2048")],
    );
    let headers = Headers::from_iter([
        Header { key: "twice".into(), value: Some(vec![1, 2].into()) },
        Header { key: "twice".into(), value: None },
    ]);
    for compression in Compression::ALL {
        let config = ProducerConfig { compression, batch_bytes: 2_000, ..ProducerConfig::default() };
        let mut producer = log.producer(&config).unwrap();
        for index in 0..400_u64 {
            let (key, value) = (format!("key-{}", index % 20), format!("value-{index}"));
            for topic in ["plain", "trimmed", "append-time", "compacted"] {
                let handle = producer.open(&partition(topic, index % 2)).unwrap();
                let time = 1_000 + (index * 37 % 1_000) as i64;
                let mut record = RecordView::new(time, Some(key.as_bytes()), Some(value.as_bytes()));
                record.value = record.value.filter(|_| index % 11 != 0);
                record.key = record.key.filter(|_| topic == "compacted" || index % 7 != 0);
                if index % 5 == 0 {
                    record.headers = (&headers).into();
                }
                producer.send(handle, record).unwrap();
            }
        }
        producer.flush().unwrap();
    }
    write_transactions(log);
    admin.delete_records(&[(partition("trimmed", 1), Offset::new(123))]).unwrap();
    assert!(log.clean().unwrap().compacted_partitions > 0);
}

/// Two producers whose transactions overlap; one in three is aborted.
fn write_transactions(log: &EmbeddedLog) {
    let mut producers = ["a", "b"].map(|id| {
        let config = ProducerConfig { transactional_id: Some(id.to_owned()), ..ProducerConfig::default() };
        let mut producer = log.producer(&config).unwrap();
        producer.init_transactions().unwrap();
        producer
    });
    for round in 0..40_u64 {
        for (who, producer) in producers.iter_mut().enumerate() {
            producer.begin().unwrap();
            for number in 0..6 {
                for topic in ["transactions", "compacted"] {
                    let handle = producer.open(&partition(topic, number % 2)).unwrap();
                    let (key, value) = (format!("key-{number}"), format!("{who} {round} {number}"));
                    let record = RecordView::new(1_000 + round as i64, Some(key.as_bytes()), Some(value.as_bytes()));
                    producer.send(handle, record).unwrap();
                    producer.flush().unwrap();
                }
            }
        }
        for (who, producer) in producers.iter_mut().enumerate() {
            if (round + who as u64) % 3 == 1 { producer.abort().unwrap() } else { producer.commit().unwrap() }
        }
    }
}

/// What we say of a partition, in the words of `jvm/OpenDirectory.java`; of aborted transactions, those that it names.
fn told(log: &EmbeddedLog, id: &TopicPartition) -> String {
    let mut admin = log.admin().unwrap();
    let mut offset = |spec| admin.list_offset(id, spec).unwrap();
    let (start, end) = (offset(OffsetSpec::Earliest), offset(OffsetSpec::Latest(Isolation::ReadUncommitted)).unwrap());
    let stable = offset(OffsetSpec::Latest(Isolation::ReadCommitted)).unwrap();
    let mut text = format!("partition {id} start {} end {end} stable {stable}\n", start.unwrap());
    for (offset, time, hash) in read(log, id, Isolation::ReadUncommitted, end) {
        writeln!(text, "record {offset} {time} {hash}").unwrap();
    }
    let has_markers = ["compacted", "transactions"].contains(&id.topic.as_str());
    for time in [0, 500, 1_003, 1_500, 9_999_999].into_iter().filter(|_| !has_markers) {
        let found = offset(OffsetSpec::Timestamp(time)).map_or(-1, Offset::as_i64);
        writeln!(text, "time {time} at {found}").unwrap();
    }
    text
}

#[test]
fn a_broker_opens_what_we_have_closed_and_what_we_left_in_disorder() {
    let Some(jvm) = Jvm::find() else { return };
    let home = tempfile::tempdir().unwrap();
    let ours = home.path().join("ours");
    // What is read comes from the files.
    let config =
        LogConfig { clean_interval: None, tail_bytes_max: 0, preallocate_bytes: 100_000, ..LogConfig::default() };
    let log = EmbeddedLog::open(&ours, config).unwrap();
    write_everything(&log);
    let topics = ["append-time", "compacted", "plain", "transactions", "trimmed"];
    let partitions = || topics.iter().flat_map(|topic| (0..2).map(|number| partition(topic, number)));
    let expected: BTreeMap<String, String> = partitions().map(|id| (id.to_string(), told(&log, &id))).collect();
    copy(&ours, &home.path().join("crashed"));
    log.close().unwrap();
    copy(&ours, &home.path().join("clean"));
    for state in ["clean", "crashed"] {
        let directory = home.path().join(state);
        let ours: BTreeSet<Aborted> = aborted_in(&directory);
        // 26 or 27 of each producer, in both partitions of two topics; compaction may forget its own.
        assert!(ours.len() >= 2 * 2 * 26, "{} aborted transactions", ours.len());
        let said = Said::of(jvm, &directory, state);
        said.compare(&expected, state);
        assert_eq!(said.aborted, ours, "{state}");
    }
}

/// Partition, producer, and the first and last offset of an aborted transaction.
type Aborted = (String, i64, u64, u64);

/// What the indexes of a directory list.
fn aborted_in(home: &Path) -> BTreeSet<Aborted> {
    let mut found = BTreeSet::new();
    let directory = FileDirectory::new(home).unwrap();
    for partition in fs::read_dir(home).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir()) {
        let partition = partition.file_name().into_string().unwrap();
        for entry in fs::read_dir(home.join(&partition)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if !name.ends_with(".txnindex") {
                continue;
            }
            let Contents::Aborted(entries) = inspect::open(&directory, &format!("{partition}/{name}")).unwrap() else {
                panic!("{name}")
            };
            let listed = entries.iter().map(|one| (one.producer_id, one.first.value(), one.last.value()));
            found.extend(listed.map(|(producer, first, last)| (partition.clone(), producer, first, last)));
        }
    }
    found
}

/// What `jvm/OpenDirectory.java` says.
struct Said {
    /// Of each partition, in the words of [`told`].
    partitions: BTreeMap<String, String>,
    aborted: BTreeSet<Aborted>,
    /// Partitions that Kafka's cleaner has compacted.
    compacted: usize,
}

impl Said {
    fn of(jvm: &Jvm, directory: &Path, state: &str) -> Self {
        let output = jvm.run(&jvm::source("OpenDirectory.java"), &[directory.to_str().unwrap(), state]);
        let mut said = Said { partitions: BTreeMap::new(), aborted: BTreeSet::new(), compacted: 0 };
        let mut partition = String::new();
        for line in output.out.lines() {
            let mut words = line.split(' ');
            match words.next() {
                Some("partition") => {
                    partition = words.next().unwrap().to_owned();
                    let line = line.split(" segments").next().unwrap();
                    said.partitions.insert(partition.clone(), format!("{line}\n"));
                }
                // Where there are markers Kafka may find those, and nothing where a compacted log begins with batches
                // whose records are all gone.
                Some("time") if ["compacted", "transactions"].iter().any(|topic| partition.starts_with(topic)) => {}
                Some("record" | "time") => {
                    writeln!(said.partitions.get_mut(&partition).unwrap(), "{line}").unwrap();
                }
                Some("aborted") => {
                    // `aborted PRODUCER from FIRST to LAST`
                    let words: Vec<&str> = line.split(' ').collect();
                    let number = |at: usize| words[at].parse::<i64>().unwrap();
                    let (first, last) = (number(3).unsigned_abs(), number(5).unsigned_abs());
                    said.aborted.insert((partition.clone(), number(1), first, last));
                }
                Some("producer") => assert!(line.ends_with("open -1"), "{partition}: {line}"),
                Some("compacted") => said.compacted += 1,
                _ => panic!("{line}"),
            }
        }
        said
    }

    fn compare(&self, expected: &BTreeMap<String, String>, story: &str) {
        for (id, expected) in expected {
            // Line by line: a whole partition is no message.
            let mut said = self.partitions[id].lines();
            for expected in expected.lines() {
                assert_eq!(said.next(), Some(expected), "{id}, {story}");
            }
            assert_eq!(said.next(), None, "{id}, {story}");
        }
    }
}

/// The last record of each key, by a hash of the key alone, for readers of committed records.
fn table(log: &EmbeddedLog, id: &TopicPartition) -> BTreeMap<Vec<u8>, Found> {
    let mut consumer = log.consumer(&ConsumerConfig::default()).unwrap();
    consumer.assign(&[(id.clone(), StartAt::Beginning)]).unwrap();
    let mut table = BTreeMap::new();
    while let Polled::Batch(batch) = consumer.poll(Duration::ZERO).unwrap() {
        let mut cursor = batch.cursor();
        while let Some(record) = cursor.advance().unwrap() {
            let view = cursor.view(&record);
            let found = (record.offset.value(), record.timestamp, hash(&view));
            match (view.key, view.value) {
                (Some(key), Some(_)) => _ = table.insert(key.to_vec(), found),
                (Some(key), None) => _ = table.remove(key),
                (None, _) => panic!("a record without a key in {id}"),
            }
        }
    }
    table
}

#[test]
fn what_kafkas_own_cleaner_compacts_is_the_same_table_here() {
    let Some(jvm) = Jvm::find() else { return };
    let home = tempfile::tempdir().unwrap();
    let config = LogConfig { clean_interval: None, tail_bytes_max: 0, ..LogConfig::default() };
    let log = EmbeddedLog::open(home.path(), config.clone()).unwrap();
    write_everything(&log);
    // More, that nobody has compacted.
    write_transactions(&log);
    let partitions = [partition("compacted", 0), partition("compacted", 1)];
    let tables = || partitions.each_ref().map(|id| table(&log, id));
    let before = tables();
    let committed = partitions.each_ref().map(|id| {
        let end = log.admin().unwrap().list_offset(id, OffsetSpec::Latest(Isolation::ReadCommitted)).unwrap().unwrap();
        read(&log, id, Isolation::ReadCommitted, end)
    });
    assert!(before.iter().all(|table| table.len() >= 6));
    log.close().unwrap();

    let said = Said::of(jvm, home.path(), "cleaned");
    assert_eq!(said.compacted, partitions.len());

    let log = EmbeddedLog::open(home.path(), config).unwrap();
    for (number, id) in partitions.iter().enumerate() {
        assert_eq!(table(&log, id), before[number], "{id}");
        // Record by record what Kafka reads, and nothing of what was aborted.
        let expected = told(&log, id);
        assert_eq!(said.partitions[&id.to_string()], expected, "{id}");
        let mut admin = log.admin().unwrap();
        let end = admin.list_offset(id, OffsetSpec::Latest(Isolation::ReadCommitted)).unwrap().unwrap();
        let left = read(&log, id, Isolation::ReadCommitted, end);
        assert!(left.len() < committed[number].len(), "{id}: {} records are left", left.len());
        assert!(left.iter().all(|found| committed[number].contains(found)), "{id}");
        assert_eq!(read(&log, id, Isolation::ReadUncommitted, end), left, "{id}");
    }
    // And it is compacted here once more.
    write_transactions(&log);
    let before = partitions.each_ref().map(|id| table(&log, id));
    assert!(log.clean().unwrap().compacted_partitions > 0);
    assert_eq!(partitions.each_ref().map(|id| table(&log, id)), before);
    log.close().unwrap();
    let verified = inspect::verify(&FileDirectory::new(home.path()).unwrap(), &Scope::All, &mut |finding| {
        assert!(finding.severity != Severity::Error, "{finding:?}");
    });
    verified.unwrap();
}

#[test]
fn what_we_have_compacted_of_a_broker_kafka_reads() {
    let Some(jvm) = Jvm::find() else { return };
    let home = unpacked();
    let directory = home.path().join("stopped");
    let config = LogConfig { clean_interval: None, tail_bytes_max: 0, ..LogConfig::default() };
    let log = EmbeddedLog::open(&directory, config).unwrap();
    let compacted: Vec<TopicPartition> = (0..2)
        .map(|number| partition("compacted", number))
        .filter(|id| log.admin().unwrap().list_offset(id, OffsetSpec::Earliest).is_ok())
        .collect();
    let topic = TopicName::new("compacted").unwrap();
    let often = [("min.cleanable.dirty.ratio", "0"), ("segment.bytes", "2048")];
    log.alter_topic(&topic, &often.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into()).unwrap();
    let mut producer = log.producer(&ProducerConfig { batch_bytes: 1_000, ..ProducerConfig::default() }).unwrap();
    for id in &compacted {
        let handle = producer.open(id).unwrap();
        for index in 0..200_i64 {
            let (key, value) = (format!("key-{}", index % 10), format!("ours {index}"));
            producer.send(handle, RecordView::new(index, Some(key.as_bytes()), Some(value.as_bytes()))).unwrap();
        }
    }
    producer.flush().unwrap();
    drop(producer);
    let before: Vec<_> = compacted.iter().map(|id| table(&log, id)).collect();
    assert!(log.clean().unwrap().compacted_partitions > 0);
    assert_eq!(compacted.iter().map(|id| table(&log, id)).collect::<Vec<_>>(), before);
    let expected = compacted.iter().map(|id| (id.to_string(), told(&log, id))).collect();
    log.close().unwrap();
    Said::of(jvm, &directory, "clean").compare(&expected, "compacted here");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
