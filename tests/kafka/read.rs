//! Batches written by Kafka's own classes (`jvm/WriteBatches.java`), read by ours.

use std::{fs, io::Read, path::Path};

use bytes::Bytes;
use log_store::{
    Offset, TopicName, TopicPartition,
    batch::{self, Compression, MarkerKind, TimestampType},
    client::{AbortedTransaction, FetchedBatch},
};
use streams_tests::jvm::{self, Jvm};

const RECORDS: u64 = 200;
/// Three batches of data and a marker.
const OFFSETS_PER_CODEC: u64 = 3 * RECORDS + 1;

#[test]
fn a_segment_recorded_from_kafka_is_read() {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("formats/kafka-4.3.1/batches.log.gz");
    let mut segment = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(packed).unwrap()).read_to_end(&mut segment).unwrap();
    check(segment);
}

#[test]
fn a_segment_written_by_kafka_now_is_read() {
    let Some(jvm) = Jvm::find() else { return };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("batches.log");
    jvm.run(&jvm::source("WriteBatches.java"), &[&file]);
    check(fs::read(&file).unwrap());
}

fn check(segment: Vec<u8>) {
    check_headers(&segment);
    let bytes = Bytes::from(segment);
    let all = |_: &u64| true;
    check_records(&bytes, &[], all);
    // The second codec's transaction is aborted.
    let first = OFFSETS_PER_CODEC + 2 * RECORDS;
    let aborted = AbortedTransaction { producer_id: 42, first_offset: Offset::new(first) };
    check_records(&bytes, &[aborted], |offset| !(first..first + RECORDS).contains(offset));
}

fn check_headers(segment: &[u8]) {
    let mut next = 0;
    let mut found = batch::batches(segment);
    for compression in Compression::ALL {
        for kind in ["plain", "append time", "transaction", "marker"] {
            let batch = found.next().expect("four batches a codec").unwrap();
            let header = batch::header::verify(batch.bytes).unwrap();
            assert_eq!(header.base_offset.value(), next);
            next = header.next_offset().value();
            let is_marker = kind == "marker";
            assert_eq!(header.compression, if is_marker { Compression::None } else { compression });
            assert_eq!(header.record_count, if is_marker { 1 } else { RECORDS as u32 });
            assert_eq!(header.timestamp_type == TimestampType::LogAppendTime, kind == "append time");
            assert_eq!(header.is_transactional, is_marker || kind == "transaction");
            let last_sequence = if kind == "transaction" { 2_147_483_600 - i32::MAX - 1 + 199 } else { -1 };
            assert_eq!(header.last_sequence(), last_sequence, "sequences wrap");
            let marker = batch.marker().unwrap().map(|marker| (marker.kind, marker.coordinator_epoch));
            let end = if compression == Compression::Gzip { MarkerKind::Abort } else { MarkerKind::Commit };
            assert_eq!(marker, is_marker.then_some((end, 17)));
        }
    }
    assert!(found.next().is_none());
}

fn check_records(bytes: &Bytes, aborted: &[AbortedTransaction], is_expected: impl Fn(&u64) -> bool) {
    let fetched = FetchedBatch {
        partition: TopicPartition::new(TopicName::new("from-kafka").unwrap(), 0),
        bytes: bytes.clone(),
        start: Offset::ZERO,
        next: Offset::ZERO,
        aborted: aborted.into(),
    };
    let mut cursor = fetched.cursor();
    let data = (0..5 * OFFSETS_PER_CODEC).filter(|offset| offset % OFFSETS_PER_CODEC != 3 * RECORDS);
    for offset in data.filter(is_expected) {
        let at = cursor.advance().unwrap().unwrap_or_else(|| panic!("no record at {offset}"));
        assert_eq!(at.offset.value(), offset);
        let record = cursor.view(&at);
        let (round, index) = (offset % OFFSETS_PER_CODEC / RECORDS, offset % OFFSETS_PER_CODEC % RECORDS);
        let timestamp = if round == 1 { 7_777_777 } else { 1_000_000 + (index * 37 % 100) as i64 };
        assert_eq!(record.timestamp, timestamp);
        let key = (index % 7 != 0).then(|| format!("key-{index}").into_bytes());
        assert_eq!(record.key, key.as_deref());
        let value = (index % 11 != 0).then(|| vec![b'v'; index as usize * 5]);
        assert_eq!(record.value, value.as_deref());
        let headers = record.headers.to_headers();
        let headers: Vec<_> =
            headers.as_slice().iter().map(|header| (&header.key[..], header.value.as_deref())).collect();
        let expected: &[(&str, Option<&[u8]>)] = &[("twice", Some(&[index as u8])), ("twice", None)];
        assert_eq!(headers, if index % 5 == 0 { expected } else { &[] });
    }
    assert!(cursor.advance().unwrap().is_none());
}
