//! Files, groups and counts, looked at without opening the log.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use assert_cmd::cargo;
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{LogClient, ProducerConfig},
    embedded::{EmbeddedLog, LogConfig},
};
use predicates::prelude::*;
use serde_json::Value;

use crate::Log;

#[test]
fn groups_are_read_without_opening_the_log() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 0", "1\n2\n3\n").success();
    log.run("consume clicks --group billing --max-messages 2").success();
    // As after a crash: an opening would recover, and close in order.
    let mark = log.path().join(".kafka_cleanshutdown");
    fs::remove_file(&mark).unwrap();
    assert_eq!(log.out("groups list"), "billing\n");
    assert_eq!(log.json("groups describe billing")[0]["lag"], 1);
    assert!(!mark.exists());
}

#[test]
fn files_are_dumped_in_kafkas_words() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 0 --key-separator : --timestamp 42 --compression lz4", "k:v\nk:w\n")
        .success();
    let file = log.path().join("clicks-0/00000000000000000000.log");
    let dumped = log.out(&format!("dump {} --records --values", file.display()));
    let expected = "baseOffset: 0 lastOffset: 1 count: 2 baseSequence: 0 lastSequence: 1 producerId: 0 producerEpoch: \
                    0 partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: none position: \
                    0 CreateTime: 42 size: ";
    assert!(dumped.contains(expected), "{dumped}");
    assert!(
        dumped.contains(
            "| offset: 1 CreateTime: 42 keySize: 1 valueSize: 1 sequence: 1 headerKeys: [] key: k payload: w"
        ),
        "{dumped}"
    );
    let objects = log.json(&format!("dump {} --values", file.display()));
    assert_eq!((&objects[0]["compresscodec"], &objects[0]["isvalid"]), (&"lz4".into(), &true.into()));
    assert_eq!((&objects[2]["offset"], &objects[2]["value"]), (&1.into(), &"w".into()));

    let whole = log.out(&format!("dump {}", log.path().join("clicks-0").display()));
    for name in [".log", ".index", ".timeindex", "leader-epoch-checkpoint", "partition.metadata"] {
        assert!(whole.contains(name), "{name} in {whole}");
    }
    assert!(log.out(&format!("dump {}", log.path().join("topics").display())).contains("Topic: clicks"));
    log.run(&format!("dump {}", log.path().join("nothing").display()))
        .code(1)
        .stderr(predicate::str::contains("cannot open"));
    fs::write(log.path().join("notes.txt"), "mine").unwrap();
    log.run(&format!("dump {}", log.path().join("notes.txt").display()))
        .code(1)
        .stderr(predicate::str::contains("is no file of a log"));
}

#[test]
fn a_dump_as_json_says_all_that_the_text_says() {
    let log = Log::with_clicks();
    // The records are old, and the marker is not: all the same in one segment.
    log.run("topics alter clicks --config segment.ms=9000000000000").success();
    let open = EmbeddedLog::open(log.path(), LogConfig::default()).unwrap();
    let config = ProducerConfig { transactional_id: Some("app".to_owned()), ..ProducerConfig::default() };
    let mut producer = open.producer(&config).unwrap();
    producer.init_transactions().unwrap();
    producer.begin().unwrap();
    let handle = producer.open(&TopicPartition::new(TopicName::new("clicks").unwrap(), 0)).unwrap();
    for value in ["one", "two"] {
        producer.send(handle, RecordView::new(7, None, Some(value.as_bytes()))).unwrap();
    }
    producer.abort().unwrap();
    producer.begin().unwrap();
    producer.send(handle, RecordView::new(8, Some(b"k"), None)).unwrap();
    producer.commit().unwrap();
    drop(producer);
    open.close().unwrap();
    let file = log.path().join("clicks-0/00000000000000000000.log");
    let objects = log.json(&format!("dump {} {} --records", file.display(), log.path().join("topics").display()));
    let records: Vec<_> = objects.iter().filter(|object| object.get("offset").is_some()).collect();
    let shown = |name: &str| records.iter().map(|record| record[name].clone()).collect::<Vec<_>>();
    // What was aborted before it was written is not there.
    assert_eq!(shown("endTxnMarker"), [Value::Null, "COMMIT".into()]);
    assert_eq!(shown("coordinatorEpoch"), [Value::Null, 0.into()]);
    assert_eq!(shown("sequence"), [0.into(), Value::Null]);
    assert_eq!(shown("timestampType"), ["CreateTime"; 2]);
    assert_eq!(shown("headerKeys"), [serde_json::json!([]), serde_json::json!([])]);
    for object in &objects {
        let expected = if object.get("topicId").is_some() { "topics" } else { "clicks-0/00000000000000000000.log" };
        assert_eq!(object["file"], log.path().join(expected).to_str().unwrap());
    }
}

#[test]
fn counts_begin_where_the_log_begins() {
    let log = Log::new();
    log.run("topics create clicks --config segment.bytes=1024 --config retention.ms=-1").success();
    let lines: String =
        (0..40).map(|index| format!("{{\"value\":\"{index:0>90}\",\"timestamp\":{}}}\n", 1_000 - index)).collect();
    let stats = || {
        let found = log.json("stats clicks").remove(0);
        ["startOffset", "endOffset", "records", "firstTimestamp", "lastTimestamp"].map(|name| found[name].clone())
    };
    let none = Value::Null;
    assert_eq!(stats(), [0.into(), 0.into(), 0.into(), none.clone(), none.clone()]);
    log.run_with("produce clicks --format json", &lines).success();
    assert_eq!(stats(), [0, 40, 40, 961, 1_000]);
    log.run("delete-records clicks-0 --before-offset 25").success();
    assert_eq!(stats(), [25, 40, 15, 961, 975]);
    log.run("delete-records clicks-0 --before-offset -1").success();
    assert_eq!(stats(), [40.into(), 40.into(), 0.into(), none.clone(), none]);
}

#[test]
fn a_follower_begins_at_the_end_however_long_the_log_is() {
    let log = Log::with_clicks();
    log.run("topics alter clicks --config index.interval.bytes=100 --config segment.bytes=4096").success();
    let lines: String = (0..200).map(|index| format!("line {index:0>60}\n")).collect();
    log.run_with("produce clicks --partition 0", &lines).success();
    let open = EmbeddedLog::open(log.path(), LogConfig::default()).unwrap();
    let mut child = Command::new(cargo::cargo_bin!("logctl"))
        .arg("--data")
        .arg(log.path())
        .args(["consume", "clicks", "--follow", "--partition", "0", "--max-messages", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It says nothing when it is there, so it is told until it has heard something.
    let mut producer = open.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&TopicPartition::new(TopicName::new("clicks").unwrap(), 0)).unwrap();
    while child.try_wait().unwrap().is_none() {
        producer.send(handle, RecordView::new(0, None, Some(b"news"))).unwrap();
        producer.flush().unwrap();
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "news\n");
}

#[test]
fn every_command_has_an_example() {
    let log = Log::new();
    for line in [
        "topics create",
        "topics list",
        "topics describe",
        "topics alter",
        "topics delete",
        "produce",
        "consume",
        "groups list",
        "groups describe",
        "groups reset-offsets",
        "groups delete",
        "delete-records",
        "dump",
        "verify",
        "stats",
        "completions",
    ] {
        let help = log.out(&format!("{line} --help"));
        assert!(help.contains("Example"), "{line}: {help}");
    }
}

#[test]
fn damage_is_shown_and_found() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 0", "one\ntwo\n").success();
    log.run("verify").success().stdout(predicate::str::contains("2 records").and(predicate::str::contains("0 errors")));
    let file = log.path().join("clicks-0/00000000000000000000.log");
    let mut bytes = fs::read(&file).unwrap();
    bytes[70] ^= 1;
    fs::write(&file, &bytes).unwrap();
    log.run("verify")
        .code(1)
        .stdout(predicate::str::contains("clicks-0/00000000000000000000.log at byte 0: checksum is"));
    log.run("verify clicks-0").code(1);
    log.run("verify clicks-1").success();
    let found = log.run("--json verify clicks").code(1);
    let first: Value =
        serde_json::from_slice(found.get_output().stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!((&first["severity"], &first["position"]), (&"error".into(), &0.into()));
    assert!(log.out(&format!("dump {}", file.display())).contains("isvalid: false"));
    bytes[10] = 0x7f;
    fs::write(&file, &bytes).unwrap();
    log.run(&format!("dump {}", file.display())).code(1).stderr(predicate::str::contains("corrupt batch at byte 0"));
}
