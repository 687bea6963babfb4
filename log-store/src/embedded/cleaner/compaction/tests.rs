//! Compaction told as logs in text, and as a law: readers see the same last values before and after.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    RecordView,
    batch::{self, BatchBuilder, Compression, Marker, MarkerKind, ProducerStamp, batches, header},
    embedded::producer_state::ProducerStates,
};

/// A log as bytes, with what the partition knows of it.
#[derive(Default)]
struct TestLog {
    bytes: Vec<u8>,
    end: Offset,
    states: ProducerStates,
    aborted: Vec<Aborted>,
    epochs: BTreeMap<i64, i16>,
    sequences: BTreeMap<i64, i32>,
}

impl TestLog {
    fn push(&mut self, mut bytes: bytes::BytesMut) {
        header::set_base_offset(&mut bytes, self.end);
        let parsed = RecordBatch::parse(&bytes).unwrap();
        self.end = parsed.header.next_offset();
        self.aborted.extend(self.states.replay(&parsed).unwrap());
        self.bytes.extend_from_slice(&bytes);
    }

    fn send(&mut self, producer: Option<i64>, records: &[(&str, Option<&str>)]) {
        let mut builder = BatchBuilder::new();
        for (key, value) in records {
            let key = (*key != "null").then_some(key.as_bytes());
            builder.append(RecordView::new(self.end.as_i64(), key, value.map(str::as_bytes))).unwrap();
        }
        let stamp = match producer {
            None => ProducerStamp::NONE,
            Some(id) => {
                let sequence = self.sequences.entry(id).or_default();
                let first = *sequence;
                *sequence += i32::try_from(records.len()).unwrap();
                let epoch = *self.epochs.entry(id).or_default();
                ProducerStamp { id, epoch, sequence: first, is_transactional: true }
            }
        };
        let bytes = builder.finish(stamp, Compression::None);
        self.push(bytes);
    }

    fn end_transaction(&mut self, producer: i64, kind: MarkerKind) {
        let epoch = self.epochs.entry(producer).or_default();
        *epoch += 1;
        let epoch = *epoch;
        self.sequences.insert(producer, 0);
        self.push(batch::marker(producer, epoch, self.end.as_i64(), Marker { kind, coordinator_epoch: 0 }));
    }

    /// One batch of a word: `a=1` a value, `a=` a tombstone, `2:a=1` in the transaction of producer 2, `2+` and `2-`
    /// its commit and abort. A comma puts records into one batch.
    fn parse(text: &str) -> Self {
        let mut log = TestLog::default();
        for word in text.split_whitespace() {
            if let Some(producer) = word.strip_suffix('+') {
                log.end_transaction(producer.parse().unwrap(), MarkerKind::Commit);
            } else if let Some(producer) = word.strip_suffix('-') {
                log.end_transaction(producer.parse().unwrap(), MarkerKind::Abort);
            } else {
                let (producer, records) =
                    word.split_once(':').map_or((None, word), |(id, records)| (Some(id.parse().unwrap()), records));
                let records: Vec<_> = records
                    .split(',')
                    .map(|record| record.split_once('=').unwrap())
                    .map(|(key, value)| (key, (!value.is_empty()).then_some(value)))
                    .collect();
                log.send(producer, &records);
            }
        }
        log
    }

    fn show(&self) -> String {
        let mut words = Vec::new();
        for batch in batches(&self.bytes) {
            let batch = batch.unwrap();
            header::verify(batch.bytes).unwrap();
            let at = batch.header.base_offset;
            if batch.header.is_control {
                words.push(match batch.marker().unwrap().map(|marker| marker.kind) {
                    Some(MarkerKind::Commit) => format!("{at}:+"),
                    Some(MarkerKind::Abort) => format!("{at}:-"),
                    None => format!("{at}:()"),
                });
                continue;
            }
            let mut decompressed = Vec::new();
            let records: Vec<_> = batch
                .records(&mut decompressed)
                .unwrap()
                .map(|record| {
                    let (offset, record) = record.unwrap();
                    assert_eq!(record.timestamp, at.as_i64(), "timestamps stay");
                    let text = |part: Option<&[u8]>| String::from_utf8(part.unwrap_or_default().to_vec()).unwrap();
                    format!("{offset}:{}={}", text(record.key), text(record.value))
                })
                .collect();
            words.push(if records.is_empty() { format!("{at}:()") } else { records.join(",") });
        }
        words.join(" ")
    }

    /// One pass over the batches before `upto`.
    fn compact(&mut self, upto: Offset, now_ms: i64, knows_producers: bool, keys_max: usize) -> Cleaned {
        let mut map = LastOffsets::new(Offset::ZERO, keys_max);
        let mut tracker = TransactionTracker::default();
        tracker.add_aborted(self.aborted.iter().copied());
        let mut decompressed = Vec::new();
        for batch in batches(&self.bytes) {
            let batch = batch.unwrap();
            if batch.header.next_offset() > upto || !enter(&mut map, &mut tracker, &batch, &mut decompressed).unwrap() {
                break;
            }
        }
        let known = self.states.last_offsets().map(|(id, epoch, data)| (id, LastOfProducer { epoch, data }));
        let rules = Rules {
            now_ms,
            delete_retention_ms: 100,
            log_end: self.end,
            producers: if knows_producers { known.collect() } else { HashMap::new() },
        };
        let mut cleaner = BatchCleaner::new(&rules, &map);
        cleaner.add_aborted(self.aborted.iter().copied());
        let (mut out, mut aborted) = (Vec::new(), Vec::new());
        for batch in batches(&self.bytes) {
            let batch = batch.unwrap();
            if batch.header.next_offset() > upto {
                out.extend_from_slice(batch.bytes);
                continue;
            }
            let outcome = cleaner.clean(&batch).unwrap();
            aborted.extend(outcome.aborted);
            match outcome.kept {
                Kept::Whole => out.extend_from_slice(batch.bytes),
                Kept::Rewritten(bytes) => out.extend_from_slice(&bytes),
                Kept::Nothing => {}
            }
        }
        let cleaned = cleaner.cleaned;
        aborted.extend(self.aborted.iter().filter(|entry| entry.last >= upto));
        (self.bytes, self.aborted) = (out, aborted);
        cleaned
    }

    /// The last committed value of each key, as a reader finds it.
    fn last_values(&self) -> BTreeMap<String, (Offset, Option<String>)> {
        let mut tracker = TransactionTracker::default();
        tracker.add_aborted(self.aborted.iter().copied());
        let mut values = BTreeMap::new();
        let mut decompressed = Vec::new();
        for batch in batches(&self.bytes) {
            let batch = batch.unwrap();
            if batch.header.is_control {
                tracker.end(&batch.header, batch.marker().unwrap());
            } else if !tracker.is_aborted(&batch.header) {
                for record in batch.records(&mut decompressed).unwrap() {
                    let (offset, record) = record.unwrap();
                    let text = |part: &[u8]| String::from_utf8(part.to_vec()).unwrap();
                    values.insert(record.key.map(text).unwrap_or_default(), (offset, record.value.map(text)));
                }
            }
        }
        values
    }
}

/// Compacts all of a log, once for each of `times`.
fn check(log: &str, times: &[i64], expected: &str) {
    // One more record behind, so that nothing is kept only for being the last.
    let mut log = TestLog::parse(&format!("{log} end=1"));
    let upto = Offset::new(log.end.value() - 1);
    for now_ms in times {
        log.compact(upto, *now_ms, false, 100);
    }
    let last = format!("{upto}:end=1");
    assert_eq!(log.show().strip_suffix(&last).unwrap().trim_end(), expected);
}

#[test]
fn the_last_record_of_each_key_stays() {
    check("a=1 b=1 a=2", &[0], "1:b=1 2:a=2");
    check("a=1,b=1,a=2", &[0], "1:b=1,2:a=2");
    check("a=1,b=1 c=1 b=2,a=2", &[0], "2:c=1 3:b=2,4:a=2");
}

#[test]
fn a_record_without_a_key_goes() {
    check("null=1 a=1", &[0], "1:a=1");
}

#[test]
fn a_tombstone_stays_for_its_time() {
    check("a=1 a=", &[0], "1:a=");
    check("a=1 a=", &[0, 99], "1:a=");
    check("a=1 a=", &[0, 100], "");
    // The time counts from the first compaction that meets it.
    check("a=1 a=", &[500, 599], "1:a=");
    check("a=1,a=,b=1", &[0, 100], "2:b=1");
}

#[test]
fn records_of_an_aborted_transaction_go_at_once() {
    check("1:a=1 1- b=1", &[0], "1:- 2:b=1");
    check("a=1 1:a=2 1-", &[0], "0:a=1 2:-");
    // An aborted value is not the last of its key, and does not hide the one before.
    check("a=1 1:a=2 a=3 1-", &[0], "2:a=3 3:-");
}

#[test]
fn a_marker_stays_until_nothing_is_left_and_readers_had_time() {
    check("1:a=1 1+", &[0, 100, 200, 300], "0:a=1 1:+");
    check("1:a=1 1+ a=2", &[0], "1:+ 2:a=2");
    check("1:a=1 1+ a=2", &[0, 50, 149], "1:+ 2:a=2");
    check("1:a=1 1+ a=2", &[0, 50, 150], "2:a=2");
    check("1:a=1 1- a=2", &[0, 50, 149], "1:- 2:a=2");
    check("1:a=1 1- a=2", &[0, 50, 150], "2:a=2");
}

#[test]
fn the_index_of_aborted_transactions_keeps_what_is_needed() {
    let mut log = TestLog::parse("1:a=1 1- 2:a=1 2- b=1");
    assert_eq!(log.aborted.len(), 2);
    log.compact(log.end, 0, false, 100);
    assert_eq!(log.aborted.len(), 2, "the data was there until now");
    log.compact(log.end, 1, false, 100);
    assert_eq!(log.aborted.len(), 0);
}

#[test]
fn the_last_trace_of_a_known_producer_stays_as_a_bare_header() {
    let mut log = TestLog::parse("1:a=1 1+ 1:b=1 1:b=2 1+ 2:c=1 a=2 b=3 c=3 end=1");
    let upto = Offset::new(log.end.value() - 1);
    for now_ms in [0, 1, 200] {
        log.compact(upto, now_ms, true, 100);
    }
    // Producer 1 has no data in its epoch: its last marker. Producer 2 has: the batch with its last sequence number.
    assert_eq!(log.show(), "4:() 5:() 6:a=2 7:b=3 8:c=3 9:end=1");
    let mut states = ProducerStates::default();
    for batch in batches(&log.bytes) {
        let batch = batch.unwrap();
        if batch.header.producer_id == 2 {
            states.replay(&batch).unwrap();
            assert_eq!((batch.header.base_sequence, batch.header.last_sequence()), (0, 0));
        }
    }
}

#[test]
fn the_end_of_the_log_stays_as_a_bare_header() {
    let mut log = TestLog::parse("a=1 a=");
    log.compact(log.end, 0, false, 100);
    log.compact(log.end, 100, false, 100);
    assert_eq!(log.show(), "1:()");
}

#[test]
fn what_does_not_fit_into_the_map_is_left_for_the_next_pass() {
    let mut log = TestLog::parse("a=1 b=1 a=2 c=1 a=3 end=1");
    log.compact(Offset::new(5), 0, false, 2);
    assert_eq!(log.show(), "1:b=1 2:a=2 3:c=1 4:a=3 5:end=1");
}

#[derive(Clone, Debug)]
enum Op {
    Send { producer: Option<i64>, records: Vec<(u8, bool)> },
    End { producer: i64, commit: bool },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (prop::option::of(0..3_i64), prop::collection::vec((0..5_u8, prop::bool::weighted(0.8)), 1..4))
            .prop_map(|(producer, records)| Op::Send { producer, records }),
        1 => (0..3_i64, any::<bool>()).prop_map(|(producer, commit)| Op::End { producer, commit }),
    ]
}

proptest! {
    /// Whatever is compacted, in whatever passes: each key has the same last value (a tombstone may be gone), every
    /// record that is left is as it was, and nothing more can be removed in the end.
    #[test]
    fn readers_see_the_same_last_values(
        ops in prop::collection::vec(op(), 0..40),
        passes in prop::collection::vec((0.0..1.0_f64, 1..8_usize, any::<bool>()), 1..5),
    ) {
        let mut log = TestLog::default();
        for (number, op) in ops.iter().enumerate() {
            match op {
                Op::Send { producer, records } => {
                    let value = number.to_string();
                    let names: Vec<_> = records.iter().map(|(key, some)| (key.to_string(), *some)).collect();
                    let records: Vec<_> =
                        names.iter().map(|(key, some)| (key.as_str(), some.then_some(value.as_str()))).collect();
                    log.send(*producer, &records);
                }
                Op::End { producer, commit } => {
                    log.end_transaction(*producer, if *commit { MarkerKind::Commit } else { MarkerKind::Abort });
                }
            }
        }
        for producer in 0..3 {
            log.end_transaction(producer, MarkerKind::Commit);
        }
        let before = log.last_values();
        let mut now_ms = 0;
        for (part, keys_max, knows_producers) in passes {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small number")]
            let upto = Offset::new((log.end.value() as f64 * part) as u64);
            log.compact(upto, now_ms, knows_producers, keys_max);
            now_ms += 60;
            let after = log.last_values();
            for (key, (offset, value)) in &before {
                match after.get(key) {
                    Some(found) => prop_assert_eq!(found, &(*offset, value.clone()), "{}", key),
                    None => prop_assert_eq!(value, &None, "key {} is gone", key),
                }
            }
            prop_assert!(after.keys().all(|key| before.contains_key(key)), "something appeared");
        }
        for _ in 0..4 {
            log.compact(log.end, now_ms, false, 100);
            now_ms += 200;
        }
        let left = log.show();
        log.compact(log.end, now_ms, false, 100);
        prop_assert_eq!(&left, &log.show(), "it is at rest");
        let values: usize = before.values().filter(|(_, value)| value.is_some()).count();
        let cleaned = log.compact(log.end, now_ms, false, 100);
        let markers = left.matches('+').count() + left.matches('-').count();
        prop_assert_eq!(cleaned.records_kept as usize - markers, values);
    }
}
