//! What changes a log, and what is refused.

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
};

use assert_cmd::cargo;
use log_store::{
    RecordView, TopicName, TopicPartition,
    client::{LogClient, ProducerConfig},
    embedded::{EmbeddedLog, LogConfig},
};
use predicates::prelude::*;
use serde_json::Value;

use crate::{Log, text};

#[test]
fn topics_are_created_listed_described_altered_and_deleted() {
    let log = Log::with_clicks();
    log.run("topics create orders").success().stdout("");
    assert_eq!(log.out("topics list"), "clicks\norders\n");
    log.run("topics describe clicks").success().stdout(
        predicate::str::is_match("^Topic: clicks TopicId: [\\w-]{22} PartitionCount: 2 Configs: retention.ms=-1\n$")
            .unwrap(),
    );
    log.run("topics alter clicks --config cleanup.policy=compact --delete-config retention.ms").success();
    let described = log.json("topics describe clicks");
    assert_eq!(described[0]["config"], serde_json::json!({"cleanup.policy": "compact"}));
    log.run("topics delete orders").success();
    assert_eq!(log.json("topics list"), [serde_json::json!({"name": "clicks"})]);
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let log = Log::with_clicks();
    let check = |line: &str, code: i32, expected: &str| {
        let assert = log.run(line);
        let err = text(&assert.get_output().stderr);
        assert!(err.contains(expected), "{line}: {err}");
        assert.code(code);
    };
    check("topics create clicks", 1, "topic clicks exists already");
    check("topics create a/b", 2, "has a character other than");
    check("topics create x --config retention.ms=soon", 1, "retention.ms");
    check("topics create x --config retention.ms", 2, "NAME=VALUE");
    check("topics create x --partitions 0", 1, "0 partitions");
    check("topics delete nothing", 1, "nothing");
    check("topics alter clicks", 1, "nothing to change");
    check("consume nothing", 1, "unknown topic nothing; `topics list` shows all");
    check("consume clicks --partition 2", 1, "has partitions 0 to 1, not 2");
    check("consume clicks --from-beginning --from-offset 3", 2, "cannot be used with");
    check("produce clicks --compression rar", 2, "none, gzip, snappy, lz4, zstd");
    check("delete-records clicks --before-offset 1", 2, "expected TOPIC-PARTITION");
    check("delete-records clicks-7 --before-offset 0", 1, "unknown topic or partition: clicks-7");
    check("delete-records clicks-0 --before-offset 5", 1, "outside the log");
    check("verify nothing", 1, "unknown topic or partition: nothing");
    check("verify nothing-0", 1, "unknown topic or partition: nothing-0");
    check("consume nothing.* --pattern", 1, "no topic matches");
    check("produce clicks --partition 2", 1, "has partitions 0 to 1, not 2");
    check("produce clicks --key-separator=", 2, "a value is required");
    check("topics", 2, "Usage");
    check("frobnicate", 2, "unrecognized subcommand");
}

#[test]
fn a_typing_error_in_the_directory_makes_no_log() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("typo");
    for line in ["topics list", "consume clicks", "produce clicks", "verify", "stats"] {
        let mut command = assert_cmd::Command::new(cargo::cargo_bin!("logctl"));
        command.arg("--data").arg(&missing).args(line.split(' '));
        command.assert().code(1).stderr(predicate::str::contains("there is no log in"));
    }
    assert!(!missing.exists());
    let mut command = assert_cmd::Command::new(cargo::cargo_bin!("logctl"));
    let failed = command.env_remove("LOGCTL_DATA").args(["topics", "list"]).assert().code(1);
    failed.stderr(predicate::str::contains("--data DIR"));
}

#[test]
fn a_log_is_not_made_among_other_files_and_nothing_of_them_is_touched() {
    let log = Log::new();
    let mine = log.path().join("things-to-delete");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("letter.txt"), "dear").unwrap();
    fs::create_dir(log.path().join("chapter-4000000000")).unwrap();
    log.run("topics create clicks").code(1).stderr(predicate::str::contains("holds no log, but other files"));
    assert!(mine.join("letter.txt").exists() && !log.path().join("meta.properties").exists());
    // Neither are those that come later.
    let log = Log::with_clicks();
    let mine = log.path().join("things-to-delete");
    fs::create_dir(&mine).unwrap();
    log.run("topics create orders").success();
    assert!(mine.exists());
    log.run("dump things-to-delete").code(1);
    log.run(&format!("dump {}", mine.display())).code(1).stderr(predicate::str::contains("has no files of a log"));
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_not_said_to_be_empty() {
    use std::os::unix::fs::PermissionsExt;
    let log = Log::with_clicks();
    let set_mode = |mode| fs::set_permissions(log.path(), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o000);
    // Nothing is closed to a superuser.
    let is_closed = fs::read_dir(log.path()).is_err();
    let listed = log.run("topics list");
    set_mode(0o700);
    if is_closed {
        listed.code(1).stderr(predicate::str::contains("cannot look into"));
    }
}

#[test]
fn a_topic_may_be_called_like_a_partition() {
    let log = Log::with_clicks();
    log.run("topics create clicks-1").success();
    log.run_with("produce clicks-1", "one\ntwo\n").success();
    let verified = |name: &str| log.json(&format!("verify {name}"))[0]["records"].clone();
    assert_eq!(verified("clicks-1"), 2, "the topic comes first");
    assert_eq!(verified("clicks"), 0);
    assert_eq!(verified("clicks-0"), 0);
}

#[test]
fn a_partition_that_is_named_twice_is_read_once() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 1", "one\n").success();
    assert_eq!(log.out("consume clicks --partition 1 --partition 1"), "one\n");
}

#[test]
fn what_stands_before_a_bad_line_is_written_and_counted() {
    let log = Log::with_clicks();
    let failed = log.run_with("produce clicks --partition 0 --key-separator :", "a:1\nb:2\nc\nd:4\n").code(1);
    failed
        .stderr(predicate::str::contains("2 records were written to clicks, and then: standard input, line 3: no key"));
    assert_eq!(log.out("consume clicks"), "1\n2\n");
}

#[test]
fn a_listener_to_standard_error_may_leave_too() {
    let log = Log::with_clicks();
    let open = EmbeddedLog::open(log.path(), LogConfig::default()).unwrap();
    for (line, code) in [("consume nothing", 1), ("groups list", 0), ("verify", 0)] {
        let mut command = Command::new(cargo::cargo_bin!("logctl"));
        command.arg("--data").arg(log.path()).args(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stderr.take());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{line}: a panic ends with 101");
    }
    open.close().unwrap();
}

#[test]
fn results_that_cannot_be_written_are_an_error() {
    if !Path::new("/dev/full").exists() {
        eprintln!("skipped: there is no /dev/full");
        return;
    }
    let log = Log::with_clicks();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(cargo::cargo_bin!("logctl"));
    let output = command.arg("--data").arg(log.path()).args(["topics", "list"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("cannot write to standard output: No space left"), "{said}");
}

#[test]
fn lines_are_written_and_read_back() {
    let log = Log::with_clicks();
    log.run_with(
        "produce clicks --key-separator : --null-value - --header source=test --timestamp 5",
        "alice:home\nbob:-\n",
    )
    .success()
    .stdout("2 records written to clicks\n");
    let mut read = log.json("consume clicks --from-beginning");
    read.sort_by_key(|record| record["key"].to_string());
    assert_eq!((&read[0]["key"], &read[0]["value"]), (&"alice".into(), &"home".into()));
    assert_eq!((&read[1]["key"], &read[1]["value"]), (&"bob".into(), &Value::Null));
    for record in &read {
        assert_eq!(record["headers"], serde_json::json!([{"key": "source", "value": "test"}]));
        assert_eq!(record["timestamp"], 5);
        assert_eq!(record["offset"], 0, "Kafka's partitioner sends them to two partitions");
    }
    let line = log
        .out("consume clicks --partition 1 --print key,value,headers,partition,offset,timestamp,topic --separator ,");
    assert!(
        ["alice,home,source:test,1,0,5,clicks\n", "bob,null,source:test,1,0,5,clicks\n"].contains(&&line[..]),
        "{line}"
    );
}

#[test]
fn what_consume_prints_as_json_produce_reads() {
    let log = Log::with_clicks();
    let input = concat!(
        r#"{"key":{"hex":"ff00"},"value":{"page":"home"},"timestamp":7,"partition":1,"headers":[{"key":"a","value":null},{"key":"a","value":"2"}]}"#,
        "\n\n",
        r#"{"value":"plain","partition":1}"#,
        "\n",
    );
    log.run_with("produce clicks --format json --compression zstd", input).success();
    let first = log.out("--json consume clicks --partition 1");
    assert!(first.contains(r#""key":{"hex":"ff00"}"#), "{first}");
    assert!(first.contains(r#""value":"{\"page\":\"home\"}""#), "{first}");
    log.run("topics create copy --partitions 2").success();
    log.run_with("produce copy --format json", &first).success();
    let second = log.out("--json consume copy --partition 1");
    assert_eq!(second.replace("\"topic\":\"copy\"", "\"topic\":\"clicks\""), first);
    assert_eq!(log.out("consume copy --partition 1 --print key --format hex --max-messages 1"), "ff00\n");
}

#[test]
fn a_bad_line_is_named() {
    let log = Log::with_clicks();
    let check = |line: &str, input: &str, expected: &str| {
        log.run_with(line, input).code(1).stderr(predicate::str::contains(expected));
    };
    check("produce clicks --key-separator :", "a:b\nc\n", "standard input, line 2: no key separator in the line");
    check("produce clicks --format json", "{\"value\":1}\n{", "standard input, line 2: EOF while parsing");
    check("produce clicks --format json", "[]", "a line must be a JSON object");
    check("produce clicks --format json", "{\"valeu\":1}", "unknown field \"valeu\"");
    check("produce clicks --format json", "{\"partition\":9}", "has partitions 0 to 1, not 9");
    check("produce clicks --format json", "{\"key\":{\"hex\":\"f\"}}", "1 digits are no whole bytes");
    check("produce clicks /nowhere/lines.txt", "", "cannot open /nowhere/lines.txt");
}

#[test]
fn reading_starts_and_ends_where_it_is_told() {
    let log = Log::new();
    log.run("topics create clicks").success();
    let lines: String =
        (0..20).map(|index| format!("{{\"value\":\"{index}\",\"timestamp\":{}}}\n", 100 + index)).collect();
    log.run_with("produce clicks --format json", &lines).success();
    assert_eq!(log.out("consume clicks --from-offset 18"), "18\n19\n");
    assert_eq!(log.out("consume clicks --from-time 118"), "18\n19\n");
    assert_eq!(log.out("consume clicks --from-time 900"), "");
    assert_eq!(log.out("consume clicks --max-messages 2"), "0\n1\n");
    assert_eq!(log.out("delete-records clicks-0 --before-offset 5"), "clicks-0 starts at offset 5\n");
    assert_eq!(log.out("consume clicks --max-messages 1"), "5\n");
    let stats = log.json("stats clicks");
    assert_eq!((&stats[0]["startOffset"], &stats[0]["endOffset"]), (&5.into(), &20.into()));
}

#[test]
fn groups_are_listed_described_reset_and_deleted() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 1 --timestamp 50", "a\nb\nc\n").success();
    let reset = "groups reset-offsets billing --topic clicks";
    assert_eq!(log.out(&format!("{reset} --to-latest --dry-run")), "billing clicks-0 0\nbilling clicks-1 3\n");
    assert_eq!(log.out("groups list"), "");
    assert_eq!(log.out(&format!("{reset} --partition 1 --to-offset 1")), "billing clicks-1 1\n");
    assert_eq!(log.out("groups list"), "billing\n");
    assert_eq!(
        log.out("groups describe billing"),
        "Group: billing Topic: clicks Partition: 1 CurrentOffset: 1 LogEndOffset: 3 Lag: 2\n"
    );
    assert_eq!(log.out(&format!("{reset} --partition 1 --to-time 50")), "billing clicks-1 0\n");
    assert_eq!(log.json("groups describe billing")[0]["lag"], 3);
    log.run(&format!("{reset} --to-latest --to-earliest")).code(2);
    log.run(reset).code(2);
    log.run("groups describe nobody").code(1).stderr(predicate::str::contains("unknown group nobody"));
    log.run("groups delete billing").success();
    assert_eq!(log.out("groups list"), "");
}

#[test]
fn a_group_goes_on_where_it_was() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 0", "1\n2\n3\n4\n5\n").success();
    let consume = "consume clicks --group billing";
    assert_eq!(log.out(&format!("{consume} --max-messages 2")), "1\n2\n");
    assert_eq!(log.out(&format!("{consume} --max-messages 1 --print offset,value")), "2\t3\n");
    assert_eq!(log.json("groups describe billing")[0]["currentOffset"], 3);
    assert_eq!(log.out(consume), "4\n5\n");
    assert_eq!(log.out(consume), "");
    let dumped = log.out(&format!("dump {} --offsets-decoder", log.path().join("__consumer_offsets-0").display()));
    let commit = r#"commit: {"committed":{"metadata":"","offset":5},"group":"billing","partition":0,"topic":"clicks"}"#;
    assert!(dumped.contains(commit), "{dumped}");
    log.run(&format!("{consume} --from-beginning")).code(2);
    log.run("consume nothing --group billing").code(1).stderr(predicate::str::contains("unknown topic"));
}

#[test]
fn a_pattern_names_many_topics() {
    let log = Log::with_clicks();
    for topic in ["logs.eu", "logs.us", "xlogs.eu"] {
        log.run(&format!("topics create {topic}")).success();
        log.run_with(&format!("produce {topic}"), &format!("{topic}\n")).success();
    }
    assert_eq!(log.out(r"consume logs\..* --pattern"), "logs.eu\nlogs.us\n");
    assert_eq!(log.out(r"consume logs\..* --pattern --group g").lines().count(), 2);
    assert_eq!(log.out(r"consume logs\..* --pattern --group g"), "");
    log.run("consume logs( --pattern").code(1).stderr(predicate::str::contains("no regular expression"));
}

#[test]
fn groups_of_a_log_that_is_open_are_shown_and_not_changed() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 0", "1\n2\n3\n").success();
    log.run("consume clicks --group billing --max-messages 2").success();
    let open = EmbeddedLog::open(log.path(), LogConfig::default()).unwrap();
    assert_eq!(log.out("groups list"), "billing\n");
    let described = "Group: billing Topic: clicks Partition: 0 CurrentOffset: 2 LogEndOffset: 3 Lag: 1\n";
    let holder = format!("process {}", std::process::id());
    let says_who = predicate::str::contains("only the process knows that has the log open");
    log.run("groups describe billing").success().stdout(described).stderr(says_who);
    log.run("groups describe nobody").code(1).stderr(predicate::str::contains("unknown group nobody"));
    for line in ["groups delete billing", "groups reset-offsets billing --topic clicks --to-latest"] {
        log.run(line).code(1).stderr(predicate::str::contains(&holder));
    }
    open.close().unwrap();
    assert_eq!(log.out("groups describe billing"), described);
}

#[test]
fn the_reader_of_a_pipe_may_leave() {
    let log = Log::with_clicks();
    let many: String = (0..100_000).map(|index| format!("line {index}\n")).collect();
    log.run_with("produce clicks", &many).success();
    for command in ["consume clicks", "--json consume clicks", "dump clicks-0 --records"] {
        let command = command.replace("clicks-0", log.path().join("clicks-0").to_str().unwrap());
        let mut child = Command::new(cargo::cargo_bin!("logctl"))
            .arg("--data")
            .arg(log.path())
            .args(command.split(' '))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        // The pipe is closed here.
        let output = child.wait_with_output().unwrap();
        assert_eq!(text(&output.stderr), "", "{command}");
        assert!(output.status.success(), "{command}");
    }
}

#[test]
fn a_log_that_is_open_is_read_and_not_written() {
    let log = Log::with_clicks();
    log.run_with("produce clicks --partition 0", "before\n").success();
    let open = EmbeddedLog::open(log.path(), LogConfig::default()).unwrap();
    assert_eq!(log.out("consume clicks"), "before\n");
    assert_eq!(log.out("topics list"), "clicks\n");
    log.run("verify").success().stderr(predicate::str::contains("the log is open"));
    let holder = format!("process {}", std::process::id());
    for line in ["produce clicks", "topics delete clicks", "delete-records clicks-0 --before-offset 0"] {
        log.run(line).code(1).stderr(predicate::str::contains(&holder));
    }
    open.close().unwrap();
}

#[test]
fn following_shows_what_is_written_meanwhile() {
    let log = Log::with_clicks();
    let open = EmbeddedLog::open(log.path(), LogConfig::default()).unwrap();
    let mut child = Command::new(cargo::cargo_bin!("logctl"))
        .arg("--data")
        .arg(log.path())
        .args(["consume", "clicks", "--follow", "--from-beginning", "--max-messages", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut producer = open.producer(&ProducerConfig::default()).unwrap();
    let handle = producer.open(&TopicPartition::new(TopicName::new("clicks").unwrap(), 1)).unwrap();
    for value in ["one", "two"] {
        producer.send(handle, RecordView::new(0, None, Some(value.as_bytes()))).unwrap();
        producer.flush().unwrap();
    }
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out, "one\ntwo\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn shells_get_completions_and_people_get_help() {
    let log = Log::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(log.out(&format!("completions {shell}")).contains("delete-records"), "{shell}");
    }
    let help = log.out("--help");
    for word in ["Examples:", "topics", "produce", "consume", "verify", "dump", "LOGCTL_DATA"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}
