//! The rules as tables, and as laws over generated batches.

use proptest::prelude::*;

use super::*;
use crate::TopicName;

fn partition() -> TopicPartition {
    TopicPartition::new(TopicName::new("orders").unwrap(), 0)
}

fn stamp(epoch: i16, first_sequence: i32, records: u32) -> Stamp {
    Stamp { producer_id: 7, epoch, first_sequence, last_delta: records - 1, is_transactional: false }
}

/// What a batch is answered after the batches before it: `epoch, first sequence, records`.
fn check(before: &[(i16, i32, u32)], batch: (i16, i32, u32), expected: &str) {
    let mut states = ProducerStates::default();
    let mut end = Offset::ZERO;
    for &(epoch, first, records) in before {
        states.replay_batch(&stamp(epoch, first, records), end, 1);
        end = end.plus(u64::from(records));
    }
    let answer = match states.check(&partition(), &stamp(batch.0, batch.1, batch.2)) {
        Ok(Verdict::Append) => "append".to_owned(),
        Ok(Verdict::Duplicate { first, last }) => format!("duplicate {first}-{last}"),
        Err(Error::OutOfOrderSequence { expected, .. }) => format!("expected {expected}"),
        Err(Error::ProducerFenced { current, .. }) => format!("fenced by {current}"),
        Err(other) => other.to_string(),
    };
    assert_eq!(answer, expected, "{before:?} then {batch:?}");
}

#[test]
fn a_batch_follows_the_last_one_of_its_producer() {
    check(&[], (0, 0, 3), "append");
    check(&[(0, 0, 3)], (0, 3, 1), "append");
    check(&[(0, 0, 3)], (0, 4, 1), "expected 3");
    check(&[(0, 0, 3)], (0, 2, 1), "expected 3");
}

#[test]
fn a_retry_is_answered_with_its_first_offsets() {
    let six = [(0, 0, 2), (0, 2, 2), (0, 4, 2), (0, 6, 2), (0, 8, 2), (0, 10, 2)];
    check(&six, (0, 10, 2), "duplicate 10-11");
    check(&six, (0, 2, 2), "duplicate 2-3");
    // The sixth last is out of the window, and another cut of the same records is no retry.
    check(&six, (0, 0, 2), "expected 12");
    check(&six, (0, 10, 1), "expected 12");
}

#[test]
fn a_new_epoch_starts_at_zero_and_ends_the_old_one() {
    check(&[(0, 0, 3)], (1, 0, 1), "append");
    check(&[(0, 0, 3)], (1, 3, 1), "expected 0");
    check(&[(0, 0, 3), (1, 0, 1)], (0, 3, 1), "fenced by 1");
    // The same numbers in another epoch are no retry.
    check(&[(0, 0, 3)], (1, 0, 3), "append");
}

#[test]
fn an_unknown_producer_may_go_on_anywhere() {
    check(&[], (4, 17, 3), "append");
}

#[test]
fn sequence_numbers_go_on_with_zero_after_the_greatest() {
    check(&[(0, i32::MAX - 1, 2)], (0, 0, 1), "append");
    check(&[(0, i32::MAX - 1, 2)], (0, 1, 1), "expected 0");
    // Records MAX, 0, 1.
    check(&[(0, i32::MAX, 3)], (0, 2, 1), "append");
    check(&[(0, i32::MAX, 3)], (0, i32::MAX, 3), "duplicate 0-2");
}

fn transactional(producer_id: i64, epoch: i16, first_sequence: i32) -> Stamp {
    Stamp { producer_id, epoch, first_sequence, last_delta: 0, is_transactional: true }
}

fn end(producer_id: i64, epoch: i16, kind: MarkerKind) -> TransactionEnd {
    TransactionEnd { producer_id, epoch, kind, coordinator_epoch: 0 }
}

#[test]
fn the_last_stable_offset_is_where_the_earliest_open_transaction_begins() {
    let mut states = ProducerStates::default();
    assert_eq!(states.last_stable(Offset::new(9)), Offset::new(9));
    states.replay_batch(&transactional(1, 0, 0), Offset::new(3), 1);
    states.replay_batch(&transactional(2, 0, 0), Offset::new(4), 1);
    states.replay_batch(&transactional(1, 0, 1), Offset::new(5), 1);
    assert_eq!(states.last_stable(Offset::new(6)), Offset::new(3));
    assert_eq!(states.replay_marker(&end(1, 1, MarkerKind::Commit), Offset::new(6), 1), None);
    assert_eq!(states.last_stable(Offset::new(7)), Offset::new(4));
    let aborted = states.replay_marker(&end(2, 1, MarkerKind::Abort), Offset::new(7), 1).unwrap();
    assert_eq!((aborted.first, aborted.last), (Offset::new(4), Offset::new(7)));
    assert_eq!(states.last_stable(Offset::new(8)), Offset::new(8));
}

#[test]
fn an_aborted_entry_has_the_last_stable_offset_as_if_it_were_closed() {
    let mut states = ProducerStates::default();
    states.replay_batch(&transactional(1, 0, 0), Offset::new(0), 1);
    states.replay_batch(&transactional(2, 0, 0), Offset::new(1), 1);
    let first = states.replay_marker(&end(1, 1, MarkerKind::Abort), Offset::new(2), 1).unwrap();
    assert_eq!(first.last_stable, Offset::new(1));
    let second = states.replay_marker(&end(2, 1, MarkerKind::Abort), Offset::new(3), 1).unwrap();
    assert_eq!(second.last_stable, Offset::new(4));
}

#[test]
fn a_marker_fences_the_epoch_of_its_data() {
    let mut states = ProducerStates::default();
    states.replay_batch(&transactional(1, 4, 0), Offset::ZERO, 1);
    assert!(states.check_marker(&end(1, 4, MarkerKind::Abort)).is_err(), "the marker is above the data");
    assert!(states.check_marker(&end(1, 5, MarkerKind::Abort)).is_ok());
    states.replay_marker(&end(1, 5, MarkerKind::Abort), Offset::new(1), 1);
    // A retry changes nothing, a late one is refused, and a late write cannot join the next transaction.
    assert!(states.check_marker(&end(1, 5, MarkerKind::Abort)).is_ok());
    assert_eq!(states.replay_marker(&end(1, 5, MarkerKind::Abort), Offset::new(2), 1), None);
    assert!(states.check_marker(&end(1, 4, MarkerKind::Commit)).is_err());
    let late = states.check(&partition(), &transactional(1, 4, 1));
    assert!(matches!(late, Err(Error::ProducerFenced { current: 5, .. })), "{late:?}");
    assert_eq!(states.check(&partition(), &transactional(1, 5, 0)).unwrap(), Verdict::Append);
}

#[test]
fn a_transaction_starts_at_zero_and_takes_no_batch_from_outside() {
    let mut states = ProducerStates::default();
    assert!(states.check(&partition(), &transactional(1, 0, 5)).is_err());
    states.replay_batch(&transactional(1, 0, 0), Offset::ZERO, 1);
    let outside = Stamp { is_transactional: false, ..transactional(1, 0, 1) };
    assert!(matches!(states.check(&partition(), &outside), Err(Error::Invalid(_))));
}

#[test]
fn a_coordinator_writes_without_sequence_numbers() {
    let mut states = ProducerStates::default();
    for at in 0..3 {
        assert_eq!(states.check(&partition(), &transactional(1, 0, NO_SEQUENCE)).unwrap(), Verdict::Append);
        states.replay_batch(&transactional(1, 0, NO_SEQUENCE), Offset::new(at), 1);
    }
    assert_eq!(states.last_stable(Offset::new(3)), Offset::ZERO);
}

#[test]
fn a_quiet_producer_is_forgotten_but_not_its_open_transaction() {
    let mut states = ProducerStates::default();
    states.replay_batch(&transactional(1, 0, 0), Offset::ZERO, 100);
    states.replay_batch(&stamp(0, 0, 1), Offset::new(1), 100);
    states.expire(1_099, 1_000);
    assert_eq!(states.producers.len(), 2);
    states.expire(1_100, 1_000);
    assert_eq!(states.producers.len(), 1);
    assert_eq!(states.last_stable(Offset::new(2)), Offset::ZERO);
}

#[test]
fn a_snapshot_has_the_bytes_of_kafka() {
    let mut states = ProducerStates::default();
    states.replay_batch(
        &Stamp { producer_id: 5, epoch: 2, first_sequence: 0, last_delta: 9, is_transactional: true },
        Offset::new(100),
        1_000,
    );
    states.replay_marker(&end(3, 1, MarkerKind::Commit), Offset::new(110), 2_000);
    let bytes = states.encode_snapshot();
    let expected = [
        "0001",             // version
        "CCCCCCCC",         // checksum, see below
        "00000002",         // entries
        "0000000000000003", // a producer that only has a marker
        "0001",
        "ffffffff",
        "ffffffffffffffff",
        "00000000",
        "00000000000007d0",
        "00000000",
        "ffffffffffffffff",
        "0000000000000005", // a producer with an open transaction
        "0002",
        "00000009",
        "000000000000006d",
        "00000009",
        "00000000000003e8",
        "ffffffff",
        "0000000000000064",
    ]
    .concat();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(&hex[..4], &expected[..4]);
    assert_eq!(&hex[12..], &expected[12..]);
    assert_eq!(bytes[2..6], crc32c::crc32c(&bytes[6..]).to_be_bytes());
    assert_eq!(ProducerStates::decode_snapshot(&bytes).unwrap(), states);
}

#[test]
fn a_snapshot_that_claims_too_much_is_refused() {
    let mut bytes = ProducerStates::default().encode_snapshot();
    bytes[6..10].copy_from_slice(&i32::MAX.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    assert!(ProducerStates::decode_snapshot(&bytes).unwrap_err().contains("entries"));
}

/// Of one producer: epoch, next sequence number, batches of this epoch, first offset of its transaction.
type Known = (i16, i32, Vec<(Stamp, Offset)>, Option<Offset>);

#[derive(Clone, Debug)]
enum Step {
    Send { producer: i64, records: u32, transactional: bool },
    Retry { producer: i64, back: usize },
    End { producer: i64, kind: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_i64, 1..4_u32, any::<bool>()).prop_map(|(producer, records, transactional)| Step::Send {
            producer,
            records,
            transactional
        }),
        (0..3_i64, 0..8_usize).prop_map(|(producer, back)| Step::Retry { producer, back }),
        (0..3_i64, any::<bool>()).prop_map(|(producer, kind)| Step::End { producer, kind }),
    ]
}

proptest! {
    /// Well-behaved producers: every record is in once, retries find their first offsets, the snapshot keeps what
    /// decides about the next batch, and the last stable offset is that of a plain list of open transactions.
    #[test]
    fn producers_are_followed_exactly(steps in prop::collection::vec(step(), 0..60)) {
        let mut states = ProducerStates::default();
        let mut log_end = Offset::ZERO;
        let mut model: Vec<Known> = vec![(0, 0, Vec::new(), None); 3];
        for step in steps {
            match step {
                Step::Send { producer, records, transactional } => {
                    let (epoch, next, batches, open) = &mut model[producer as usize];
                    let is_transactional = transactional || open.is_some();
                    let stamp = Stamp { producer_id: producer, epoch: *epoch, first_sequence: *next, last_delta: records - 1, is_transactional };
                    prop_assert_eq!(states.check(&partition(), &stamp).unwrap(), Verdict::Append);
                    states.replay_batch(&stamp, log_end, 1);
                    batches.push((stamp, log_end));
                    *next += records as i32;
                    if is_transactional {
                        open.get_or_insert(log_end);
                    }
                    log_end = log_end.plus(u64::from(records));
                }
                Step::Retry { producer, back } => {
                    let (_, _, batches, _) = &model[producer as usize];
                    let Some(index) = batches.len().checked_sub(back + 1) else { continue };
                    let (stamp, first) = batches[index];
                    let answer = states.check(&partition(), &stamp);
                    if back < WINDOW_BATCHES {
                        let last = first.plus(u64::from(stamp.last_delta));
                        prop_assert_eq!(answer.unwrap(), Verdict::Duplicate { first, last });
                    } else {
                        prop_assert!(answer.is_err());
                    }
                }
                Step::End { producer, kind } => {
                    let (epoch, next, batches, open) = &mut model[producer as usize];
                    *epoch += 1;
                    *next = 0;
                    batches.clear();
                    let kind = if kind { MarkerKind::Commit } else { MarkerKind::Abort };
                    let marker = end(producer, *epoch, kind);
                    prop_assert!(states.check_marker(&marker).is_ok());
                    let aborted = states.replay_marker(&marker, log_end, 1);
                    prop_assert_eq!(aborted.is_some(), open.is_some() && kind == MarkerKind::Abort);
                    *open = None;
                    log_end = log_end.next();
                }
            }
            let stable = model.iter().filter_map(|one| one.3).min().unwrap_or(log_end);
            prop_assert_eq!(states.last_stable(log_end), stable);

            let restored = ProducerStates::decode_snapshot(&states.encode_snapshot()).unwrap();
            prop_assert_eq!(restored.last_stable(log_end), stable);
            prop_assert_eq!(restored.encode_snapshot(), states.encode_snapshot());
        }
    }

    #[test]
    fn any_bytes_are_survived_as_a_snapshot(bytes: Vec<u8>) {
        let _ = ProducerStates::decode_snapshot(&bytes);
    }

    #[test]
    fn a_flipped_bit_is_found(position in 0_usize..56, bit in 0..8) {
        let mut states = ProducerStates::default();
        states.replay_batch(&stamp(0, 0, 3), Offset::new(4), 9);
        let mut bytes = states.encode_snapshot();
        bytes[position] ^= 1_u8 << bit;
        prop_assert!(ProducerStates::decode_snapshot(&bytes).is_err());
    }
}
