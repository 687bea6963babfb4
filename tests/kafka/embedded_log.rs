//! `DumpLogSegments` on every file that a real embedded log leaves behind: rolled segments, their indexes of offsets, times
//! and aborted transactions, and the snapshots of producers. With each codec, appended to and compacted.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use log_store::{
    RecordView, TopicName, TopicPartition,
    batch::Compression,
    client::{LogClient, NewTopic, Producer, ProducerConfig},
    embedded::{EmbeddedLog, LogConfig},
};
use streams_tests::jvm::Jvm;

const KINDS: [&str; 5] = ["log", "index", "timeindex", "txnindex", "snapshot"];

fn log(directory: &Path) -> EmbeddedLog {
    EmbeddedLog::open(directory, LogConfig { clean_interval: None, ..LogConfig::default() }).unwrap()
}

/// Topics with small segments, so that there are many: one appended to and one compacted for each codec.
fn create(log: &EmbeddedLog) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for compression in Compression::ALL {
        for policy in ["delete", "compact"] {
            let name = TopicName::new(format!("{policy}-{}", compression.name().to_lowercase())).unwrap();
            let settings = [
                ("cleanup.policy", policy),
                ("compression.type", compression_type(compression)),
                ("segment.bytes", "6000"),
                ("index.interval.bytes", "300"),
                ("min.cleanable.dirty.ratio", "0.01"),
                ("delete.retention.ms", "0"),
                ("retention.ms", "-1"),
            ];
            let new =
                settings.iter().fold(NewTopic::new(name.clone(), 1), |new, (key, value)| new.with_config(*key, *value));
            log.admin().unwrap().create_topics(&[new]).unwrap();
            partitions.push(TopicPartition::new(name, 0));
        }
    }
    partitions
}

fn compression_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "uncompressed",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// A batch for each partition. Times rise and fall; keys come back, so that compaction empties whole batches.
fn send(producer: &mut dyn Producer, partitions: &[TopicPartition], round: i64) {
    for partition in partitions {
        let handle = producer.open(partition).unwrap();
        for index in 0..20 {
            let key = format!("key-{}", (round * 3 + index) % 90);
            let value =
                format!("value {index} of round {round}, which a compressor finds nothing much to do with {index:x}");
            // One in seven is a tombstone; where there is no compaction, some have no key.
            let value = (index % 7 != 3).then_some(value.as_bytes());
            let has_key = partition.topic.as_str().starts_with("compact") || index % 5 != 0;
            let time = 1_700_000_000_000 + round * 1_000 - (index * 77) % 500;
            producer.send(handle, RecordView::new(time, has_key.then_some(key.as_bytes()), value)).unwrap();
        }
    }
}

/// Appends with and without transactions, of which some are aborted.
fn fill(log: &EmbeddedLog, partitions: &[TopicPartition], rounds: std::ops::Range<i64>) {
    let mut plain = log.producer(&ProducerConfig::default()).unwrap();
    let config = ProducerConfig { transactional_id: Some("teller".into()), ..ProducerConfig::default() };
    let mut teller = log.producer(&config).unwrap();
    teller.init_transactions().unwrap();
    for round in rounds {
        send(&mut *plain, partitions, round);
        plain.flush().unwrap();
        teller.begin().unwrap();
        send(&mut *teller, partitions, round);
        // An abort of what was never written leaves no trace.
        teller.flush().unwrap();
        if round % 4 == 1 { teller.abort() } else { teller.commit() }.unwrap();
    }
}

/// A producer that writes once and is seen no more, with the latest time of all: of what it wrote compaction leaves an empty
/// batch, whose time is that of no record.
fn write_once(log: &EmbeddedLog, partitions: &[TopicPartition]) {
    let config = ProducerConfig { transactional_id: Some("once".into()), ..ProducerConfig::default() };
    let mut once = log.producer(&config).unwrap();
    once.init_transactions().unwrap();
    once.begin().unwrap();
    for partition in partitions {
        let handle = once.open(partition).unwrap();
        once.send(handle, RecordView::new(1_700_009_000_000, Some(b"key-1"), Some(b"once"))).unwrap();
    }
    once.commit().unwrap();
}

/// All files of these kinds, by kind.
fn files(directory: &Path, partitions: &[TopicPartition]) -> BTreeMap<&'static str, Vec<PathBuf>> {
    let mut found: BTreeMap<_, Vec<PathBuf>> = BTreeMap::new();
    for partition in partitions {
        for entry in fs::read_dir(directory.join(partition.to_string())).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.extension().and_then(|kind| KINDS.into_iter().find(|known| kind == *known));
            if let Some(kind) = kind {
                found.entry(kind).or_default().push(path);
            }
        }
    }
    found
}

/// What Kafka says of all these files; complaints, line by line. That offsets are missing in a compacted topic is none.
fn complaints(jvm: &Jvm, files: &[PathBuf]) -> (String, Vec<String>) {
    let names: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    let args = ["--deep-iteration", "--files", &names.join(",")];
    let said = jvm.run("org.apache.kafka.tools.DumpLogSegments", &args);
    let known = [
        "| ",
        "baseOffset: ",
        "Dumping ",
        "Log starting offset: ",
        "offset: ",
        "timestamp: ",
        "version: ",
        "producerId: ",
    ];
    // The offsets of a segment that do not follow each other: its name, and then a line for each.
    let mut gaps_of: Option<&str> = None;
    let mut complaints = Vec::new();
    for line in said.out.lines().chain(said.err.lines()) {
        if let Some(file) = line.strip_prefix("Non-consecutive offsets in ") {
            gaps_of = Some(file);
        } else if let Some((last, next)) = line.split_once(" is followed by ") {
            // The tool takes -1 for the offset before every segment, also where it begins later.
            let file = gaps_of.expect("the name comes first");
            let is_begin = last.trim() == "-1" && file.ends_with(&format!("/{next:0>20}.log"));
            if !is_begin && !file.contains("/compact-") {
                complaints.push(format!("{file}: {line}"));
            }
        } else if line.contains("isvalid: false")
            || !(line.is_empty()
                || line.ends_with("index is empty.")
                || known.iter().any(|known| line.starts_with(known)))
        {
            complaints.push(line.to_owned());
        }
    }
    (said.out, complaints)
}

#[test]
fn kafka_has_nothing_to_complain_of_in_any_file_of_a_log() {
    let Some(jvm) = Jvm::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let open = log(directory.path());
    let partitions = create(&open);
    write_once(&open, &partitions);
    fill(&open, &partitions, 0..12);
    assert!(open.clean().unwrap().compacted_partitions > 0);
    fill(&open, &partitions, 12..20);
    open.clean().unwrap();
    open.close().unwrap();

    let files = files(directory.path(), &partitions);
    for kind in KINDS {
        let count = files.get(kind).map_or(0, Vec::len);
        let partitions_of_kind = if kind == "txnindex" { partitions.len() / 2 } else { partitions.len() };
        assert!(count >= partitions_of_kind, "{count} files of kind {kind}");
    }
    assert!(files["log"].len() > 2 * partitions.len(), "segments have rolled");
    let all: Vec<PathBuf> = files.into_values().flatten().collect();
    let (said, complaints) = complaints(jvm, &all);
    assert_eq!(complaints, [""; 0]);
    for part in
        ["compresscodec: gzip", "compresscodec: zstd", "endTxnMarker: ABORT", "lastStableOffset", "producerEpoch"]
    {
        assert!(said.contains(part), "{part:?} was not told of");
    }
    assert!(said.lines().any(|line| line.starts_with("baseOffset") && line.contains(" count: 0 ")), "an emptied batch");
}

#[test]
fn this_test_sees_what_kafka_complains_of_in_indexes() {
    let Some(jvm) = Jvm::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let open = log(directory.path());
    let partitions = create(&open);
    fill(&open, &partitions[..1], 0..6);
    open.close().unwrap();
    for (kind, at) in [("index", 3), ("timeindex", 7)] {
        let files = files(directory.path(), &partitions[..1]);
        let file =
            files[kind].iter().find(|file| fs::metadata(file).unwrap().len() >= 12).expect("an index with an entry");
        let mut bytes = fs::read(file).unwrap();
        bytes[at] ^= 1;
        fs::write(file, bytes).unwrap();
        assert_ne!(complaints(jvm, std::slice::from_ref(file)).1, [""; 0], "{kind}");
    }
}
