//! `kafka-dump-log.sh` (class `DumpLogSegments`) on segments of ours. It reports damage in words and ends with 0, so
//! every line is read.

use std::{fmt::Write as _, fs, path::Path};

use log_store::{
    Header, Headers, Offset, RecordView,
    batch::{
        BatchBuilder, BatchRewriter, Compression, Marker, MarkerKind, ProducerStamp, RecordBatch, Retained,
        TimestampType, batches, header, marker,
    },
};
use streams_tests::jvm::Jvm;

/// Segment bytes, growing at the next offset.
#[derive(Default)]
struct Segment {
    bytes: Vec<u8>,
    next: Offset,
}

impl Segment {
    fn append(&mut self, batch: &[u8]) {
        let mut batch = batch.to_vec();
        header::set_base_offset(&mut batch, self.next);
        header::set_leader_epoch(&mut batch, 4);
        self.next = header::verify(&batch).unwrap().next_offset();
        self.bytes.extend_from_slice(&batch);
    }

    /// Data with nulls, headers that repeat, and time that goes back.
    fn append_records(&mut self, count: i64, stamp: ProducerStamp, compression: Compression) {
        let headers = Headers::from_iter([
            Header { key: "twice".into(), value: Some(vec![1, 2].into()) },
            Header { key: "twice".into(), value: None },
        ]);
        let mut builder = BatchBuilder::new();
        for index in 0..count {
            let key = format!("key-{index}");
            let value = "v".repeat(index as usize * 7);
            let mut record = RecordView::new(1_000_000 - index, Some(key.as_bytes()), Some(value.as_bytes()));
            if index % 3 == 0 {
                record.key = None;
            }
            if index % 4 == 0 {
                record.value = None;
                record.headers = (&headers).into();
            }
            builder.append(record).unwrap();
        }
        self.append(&builder.finish(stamp, compression));
    }

    /// The last batch, with what compaction would keep of it.
    fn rewrite_last(&mut self, delete_horizon: Option<i64>, keep: impl Fn(Offset) -> bool) {
        let last = batches(&self.bytes).map(Result::unwrap).last().unwrap();
        let begin = self.bytes.len() - last.bytes.len();
        let kept = match BatchRewriter::new().retain(&last, delete_horizon, |offset, _| keep(offset)).unwrap() {
            Retained::All => panic!("something changes"),
            Retained::Some(bytes) => bytes,
            Retained::None => BatchRewriter::empty(&last.header),
        };
        self.bytes.truncate(begin);
        self.bytes.extend_from_slice(&kept);
    }
}

/// Every form of batch that we write.
fn segment() -> Segment {
    let mut segment = Segment::default();
    let mut sequence = 0;
    for compression in Compression::ALL {
        segment.append_records(300, ProducerStamp::NONE, compression);
        let stamp = ProducerStamp { id: 9, epoch: 2, sequence, is_transactional: true };
        segment.append_records(10, stamp, compression);
        sequence += 10;
        let kind = if compression == Compression::Lz4 { MarkerKind::Abort } else { MarkerKind::Commit };
        segment.append(&marker(9, 2, 2_000_000, Marker { kind, coordinator_epoch: 6 }));

        segment.append_records(50, ProducerStamp::NONE, compression);
        let begin = segment.bytes.len() - batches(&segment.bytes).map(Result::unwrap).last().unwrap().bytes.len();
        header::set_max_timestamp(&mut segment.bytes[begin..], TimestampType::LogAppendTime, 3_000_000);

        segment.append_records(50, ProducerStamp::NONE, compression);
        segment.rewrite_last(None, |offset| offset.value() % 10 == 3);
        segment.append_records(50, ProducerStamp::NONE, compression);
        segment.rewrite_last(Some(5_000_000), |offset| offset.value() % 5 == 0);
        segment.append_records(50, stamp, compression);
        segment.rewrite_last(None, |_| false);
    }
    segment
}

/// What the tool must say of `segment`, in its words, as far as we can know them.
fn expected(segment: &[u8]) -> String {
    let mut text = String::new();
    let mut position = 0;
    for batch in batches(segment).map(Result::unwrap) {
        let batch_header = batch.header;
        let first = batch_header.base_offset;
        writeln!(
            text,
            "baseOffset: {first} lastOffset: {} count: {} isTransactional: {} isControl: {} deleteHorizonMs: {} \
             position: {position} compresscodec: {} isvalid: true",
            batch_header.last_offset(),
            batch_header.record_count,
            batch_header.is_transactional,
            batch_header.is_control,
            batch_header.delete_horizon().map_or("OptionalLong.empty".into(), |ms| format!("OptionalLong[{ms}]")),
            batch_header.compression.name(),
        )
        .unwrap();
        position += batch.bytes.len();
        text.push_str(&expected_records(&batch));
    }
    text
}

fn expected_records(batch: &RecordBatch<'_>) -> String {
    let mut text = String::new();
    let time = match batch.header.timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    let mut decompressed = Vec::new();
    for record in batch.records(&mut decompressed).unwrap() {
        let (offset, record) = record.unwrap();
        let size = |part: Option<&[u8]>| part.map_or(-1, |part| part.len() as i64);
        let (key_size, value_size) = (size(record.key), size(record.value));
        let headers: Vec<String> = record.headers.to_headers().as_slice().iter().map(|h| h.key.clone()).collect();
        writeln!(
            text,
            "| offset: {offset} {time}: {} keySize: {key_size} valueSize: {value_size} headerKeys: [{}]",
            record.timestamp,
            headers.join(","),
        )
        .unwrap();
    }
    text
}

/// The same words of what it did say: only the fields that `expected` has.
fn picked(out: &str) -> String {
    const OF_BATCH: &[&str] = &[
        "baseOffset:",
        "lastOffset:",
        "count:",
        "isTransactional:",
        "isControl:",
        "position:",
        "deleteHorizonMs:",
        "compresscodec:",
        "isvalid:",
    ];
    const OF_RECORD: &[&str] = &["offset:", "CreateTime:", "LogAppendTime:", "keySize:", "valueSize:", "headerKeys:"];
    let mut text = String::new();
    for line in out.lines() {
        let (prefix, names) = match line.split_whitespace().next() {
            Some("|") => ("| ", OF_RECORD),
            Some("baseOffset:") => ("", OF_BATCH),
            _ => continue,
        };
        let mut words = line.split_whitespace().peekable();
        let mut fields = Vec::new();
        while let Some(word) = words.next() {
            if names.contains(&word) {
                fields.push(format!("{word} {}", words.peek().unwrap_or(&"")));
            }
        }
        writeln!(text, "{prefix}{}", fields.join(" ")).unwrap();
    }
    text
}

/// Everything that is neither a batch, nor a record, nor the head of the report is a complaint.
fn complaints(out: &str) -> Vec<&str> {
    let is_known = |line: &&str| {
        line.is_empty()
            || ["| ", "baseOffset: ", "Dumping ", "Log starting offset: ", "offset: "]
                .iter()
                .any(|is| line.starts_with(is))
    };
    out.lines().filter(|line| !is_known(line)).collect()
}

fn dump(jvm: &Jvm, file: &Path) -> String {
    let file = file.to_str().expect("a text path");
    let said = jvm.run("org.apache.kafka.tools.DumpLogSegments", &["--deep-iteration", "--files", file]);
    assert!(!said.err.contains("Exception"), "{}", said.err);
    said.out
}

#[test]
fn kafka_reads_every_batch_and_record() {
    let Some(jvm) = Jvm::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("00000000000000000000.log");
    let segment = segment();
    fs::write(&file, &segment.bytes).unwrap();
    let out = dump(jvm, &file);
    assert_eq!(complaints(&out), [""; 0]);
    let (said, expected) = (picked(&out), expected(&segment.bytes));
    for (said, expected) in said.lines().zip(expected.lines()) {
        assert_eq!(said, expected);
    }
    assert_eq!(said.lines().count(), expected.lines().count());
}

#[test]
fn this_test_sees_what_kafka_complains_of() {
    let Some(jvm) = Jvm::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("00000000000000000000.log");
    let mut damaged = segment().bytes;
    // One bit of the second batch's checksum.
    let second = batches(&damaged).nth(1).unwrap().unwrap().bytes.len();
    let at = batches(&damaged).next().unwrap().unwrap().bytes.len();
    assert!(second > 61);
    damaged[at + 20] ^= 1;
    fs::write(&file, &damaged).unwrap();
    let out = dump(jvm, &file);
    assert!(out.contains("isvalid: false"), "{out}");
    assert_ne!(picked(&out), expected(&damaged));
}
