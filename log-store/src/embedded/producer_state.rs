//! What one partition knows of its producers: idempotence, open transactions, and the last stable offset.
//!
//! The state is a function of the batches in the log: [`ProducerStates::replay_batch`] and
//! [`ProducerStates::replay_marker`] rebuild it, so a snapshot file only shortens the way. Nothing here reads a clock
//! or a file. Of each producer the last [`WINDOW_BATCHES`] batches are remembered: a retry of one of them is answered
//! with its first offsets and not appended again.

pub(crate) mod snapshot;

use std::collections::{BTreeMap, HashMap};

pub use snapshot::ProducerEntry;

use crate::{
    Error, Offset, Result, TopicPartition,
    batch::{BatchHeader, Malformed, MarkerKind, RecordBatch},
};

/// Batches remembered of each producer: as many as a Kafka client has under way at once.
pub(crate) const WINDOW_BATCHES: usize = 5;

/// Sequence number of a batch that has none (written by a coordinator, not by a client).
pub(crate) const NO_SEQUENCE: i32 = -1;

/// What the header of a data batch says of its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// Sequence number of the first record, or [`NO_SEQUENCE`].
    pub(crate) first_sequence: i32,
    /// Last offset minus first offset: the last record's sequence number is this much higher.
    pub(crate) last_delta: u32,
    pub(crate) is_transactional: bool,
}

impl Stamp {
    /// What `header` says.
    pub(crate) fn of(header: &BatchHeader) -> Self {
        Stamp {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            first_sequence: header.base_sequence.max(NO_SEQUENCE),
            last_delta: header.last_offset_delta,
            is_transactional: header.is_transactional,
        }
    }

    /// Sequence number of the last record; it goes on from `i32::MAX` with 0.
    fn last_sequence(&self) -> i32 {
        if self.first_sequence == NO_SEQUENCE { NO_SEQUENCE } else { advance(self.first_sequence, self.last_delta) }
    }
}

/// The sequence number `by` after `sequence`.
pub(crate) fn advance(sequence: i32, by: u32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    // 2^31 numbers, from 0 to i32::MAX.
    i32::try_from(sum % (1_i64 << 31)).expect("a remainder of 2^31 fits")
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is new: append it.
    Append,
    /// It is a retry of a batch that is in the log: answer with these offsets and append nothing.
    Duplicate { first: Offset, last: Offset },
}

/// What a control batch says: the transaction of this producer is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionEnd {
    pub(crate) producer_id: i64,
    /// Epoch of the producer from now on: one above that of the transaction's data.
    pub(crate) epoch: i16,
    pub(crate) kind: MarkerKind,
    pub(crate) coordinator_epoch: i32,
}

/// One entry of the index of aborted transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// The producer.
    pub producer_id: i64,
    /// Its first offset in the transaction.
    pub first: Offset,
    /// Offset of the abort marker.
    pub last: Offset,
    /// The last stable offset once this transaction is closed.
    pub last_stable: Offset,
}

/// A transaction that is open in this partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenTransaction {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) first: Offset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Batch {
    last_sequence: i32,
    last: Offset,
    last_delta: u32,
}

impl Batch {
    fn first_sequence(self) -> i32 {
        if self.last_sequence == NO_SEQUENCE {
            return NO_SEQUENCE;
        }
        let first = i64::from(self.last_sequence) - i64::from(self.last_delta);
        i32::try_from(first.rem_euclid(1_i64 << 31)).expect("a remainder of 2^31 fits")
    }

    fn first(self) -> Offset {
        Offset::new(self.last.value().saturating_sub(u64::from(self.last_delta)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    coordinator_epoch: i32,
    last_timestamp: i64,
    transaction_first: Option<Offset>,
    /// The oldest first; only `count` are in use.
    window: [Batch; WINDOW_BATCHES],
    count: usize,
}

impl Producer {
    fn new(epoch: i16) -> Self {
        Producer {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: -1,
            transaction_first: None,
            window: [Batch::default(); WINDOW_BATCHES],
            count: 0,
        }
    }

    fn batches(&self) -> &[Batch] {
        &self.window[..self.count]
    }

    fn push(&mut self, batch: Batch) {
        if self.count == WINDOW_BATCHES {
            self.window.rotate_left(1);
            self.count -= 1;
        }
        self.window[self.count] = batch;
        self.count += 1;
    }

    /// A new epoch starts its sequence numbers again.
    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.count = 0;
        }
    }

    fn last_sequence(&self) -> i32 {
        self.batches().last().map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }
}

/// All producers of one partition.
///
/// Invariant: `open` holds exactly the producers whose `transaction_first` is set, by that offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducerStates {
    producers: HashMap<i64, Producer>,
    open: BTreeMap<Offset, i64>,
}

impl ProducerStates {
    /// Decides about a batch before it is appended.
    ///
    /// # Errors
    ///
    /// `ProducerFenced` for an epoch that is over, `OutOfOrderSequence` for a gap, `Invalid` for a batch outside the
    /// transaction that its producer has open.
    pub(crate) fn check(&self, partition: &TopicPartition, stamp: &Stamp) -> Result<Verdict> {
        let out_of_order = |expected| Error::OutOfOrderSequence {
            partition: partition.clone(),
            producer_id: stamp.producer_id,
            got: stamp.first_sequence,
            expected,
        };
        let Some(known) = self.producers.get(&stamp.producer_id) else {
            // Its earlier batches may have been removed by retention, so any number may follow them. Not so in a
            // transaction: each has an epoch of its own, which starts with 0.
            return if stamp.is_transactional && stamp.first_sequence > 0 {
                Err(out_of_order(0))
            } else {
                Ok(Verdict::Append)
            };
        };
        if stamp.epoch < known.epoch {
            return Err(Error::ProducerFenced {
                transactional_id: format!("producer id {}", stamp.producer_id),
                ours: stamp.epoch,
                current: known.epoch,
            });
        }
        if stamp.first_sequence != NO_SEQUENCE {
            if stamp.epoch > known.epoch {
                if stamp.first_sequence != 0 {
                    return Err(out_of_order(0));
                }
            } else {
                let same = |batch: &&Batch| {
                    batch.first_sequence() == stamp.first_sequence && batch.last_sequence == stamp.last_sequence()
                };
                if let Some(batch) = known.batches().iter().find(same) {
                    return Ok(Verdict::Duplicate { first: batch.first(), last: batch.last });
                }
                let expected = match known.last_sequence() {
                    NO_SEQUENCE => 0,
                    last => advance(last, 1),
                };
                if stamp.first_sequence != expected {
                    return Err(out_of_order(expected));
                }
            }
        }
        if known.transaction_first.is_some() && !stamp.is_transactional {
            return Err(Error::Invalid(format!(
                "{partition}: producer {} sent a batch outside of the transaction that it has open",
                stamp.producer_id
            )));
        }
        Ok(Verdict::Append)
    }

    /// Takes in a batch from the log, data or control. Returns the entry for the index of aborted transactions, if it
    /// brings one.
    ///
    /// # Errors
    ///
    /// If a control batch cannot be read.
    pub(crate) fn replay(&mut self, batch: &RecordBatch<'_>) -> Result<Option<Aborted>, Malformed> {
        let header = &batch.header;
        if !header.has_producer() {
            return Ok(None);
        }
        if !header.is_control {
            self.replay_batch(&Stamp::of(header), header.base_offset, header.max_timestamp);
            return Ok(None);
        }
        // A marker that compaction has emptied ended a transaction of which nothing is left.
        let Some(marker) = batch.marker()? else { return Ok(None) };
        let end = TransactionEnd {
            producer_id: header.producer_id,
            epoch: header.producer_epoch,
            kind: marker.kind,
            coordinator_epoch: marker.coordinator_epoch,
        };
        Ok(self.replay_marker(&end, header.base_offset, header.max_timestamp))
    }

    /// Takes in a batch that is in the log, from `first` on. `timestamp` is the greatest of its records.
    pub(crate) fn replay_batch(&mut self, stamp: &Stamp, first: Offset, timestamp: i64) {
        let producer = self.producers.entry(stamp.producer_id).or_insert_with(|| Producer::new(stamp.epoch));
        producer.enter_epoch(stamp.epoch);
        producer.push(Batch {
            last_sequence: stamp.last_sequence(),
            last: first.plus(u64::from(stamp.last_delta)),
            last_delta: stamp.last_delta,
        });
        producer.last_timestamp = timestamp;
        if stamp.is_transactional && producer.transaction_first.is_none() {
            producer.transaction_first = Some(first);
            self.open.insert(first, stamp.producer_id);
        }
    }

    /// Decides about a marker before it is appended. A repetition of one that is in the log is allowed: it changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// `ProducerFenced` if the marker's epoch is not above that of the data. (Above the last one there is none.)
    pub(crate) fn check_marker(&self, marker: &TransactionEnd) -> Result<()> {
        let Some(known) = self.producers.get(&marker.producer_id) else { return Ok(()) };
        let repeated = marker.epoch == known.epoch && known.transaction_first.is_none();
        if marker.epoch > known.epoch || marker.epoch == i16::MAX || repeated {
            return Ok(());
        }
        Err(Error::ProducerFenced {
            transactional_id: format!("producer id {}", marker.producer_id),
            ours: marker.epoch,
            current: known.epoch,
        })
    }

    /// Takes in a marker that is in the log at `at`. Returns the entry for the index of aborted transactions, if this
    /// one left data behind.
    pub(crate) fn replay_marker(&mut self, marker: &TransactionEnd, at: Offset, timestamp: i64) -> Option<Aborted> {
        let producer = self.producers.entry(marker.producer_id).or_insert_with(|| Producer::new(marker.epoch));
        producer.enter_epoch(marker.epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = timestamp;
        let first = producer.transaction_first.take()?;
        self.open.remove(&first);
        (marker.kind == MarkerKind::Abort).then(|| Aborted {
            producer_id: marker.producer_id,
            first,
            last: at,
            last_stable: self.last_stable(at.next()),
        })
    }

    /// The last stable offset of a log that ends at `log_end`: where its earliest open transaction begins.
    pub(crate) fn last_stable(&self, log_end: Offset) -> Offset {
        self.open.keys().next().copied().unwrap_or(log_end)
    }

    /// Transactions without a marker, by first offset.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = OpenTransaction> + '_ {
        self.open.iter().filter_map(|(first, producer_id)| {
            let producer = self.producers.get(producer_id)?;
            Some(OpenTransaction { producer_id: *producer_id, epoch: producer.epoch, first: *first })
        })
    }

    /// Offset of the last record of each producer that is still known: compaction keeps its batch, even empty, so that
    /// the sequence numbers are not forgotten.
    pub(crate) fn last_offsets(&self) -> impl Iterator<Item = (i64, i16, Option<Offset>)> + '_ {
        self.producers
            .iter()
            .map(|(id, producer)| (*id, producer.epoch, producer.batches().last().map(|batch| batch.last)))
    }

    /// Forgets producers that wrote nothing for `age_max_ms` and have no transaction open.
    pub(crate) fn expire(&mut self, now_ms: i64, age_max_ms: i64) {
        self.producers.retain(|_, producer| {
            producer.transaction_first.is_some() || now_ms.saturating_sub(producer.last_timestamp) < age_max_ms
        });
    }

    /// The content of a `.snapshot` file: Kafka's, byte for byte, sorted by producer id.
    pub(crate) fn encode_snapshot(&self) -> Vec<u8> {
        let entry = |(id, producer): (&i64, &Producer)| {
            let last = producer.batches().last();
            ProducerEntry {
                producer_id: *id,
                epoch: producer.epoch,
                last_sequence: producer.last_sequence(),
                last_offset: last.map(|batch| batch.last),
                offset_delta: last.map_or(0, |batch| batch.last_delta),
                timestamp: producer.last_timestamp,
                coordinator_epoch: producer.coordinator_epoch,
                transaction_first: producer.transaction_first,
            }
        };
        let mut entries: Vec<_> = self.producers.iter().map(entry).collect();
        entries.sort_unstable_by_key(|entry| entry.producer_id);
        snapshot::encode(&entries)
    }

    /// Reads a `.snapshot` file. `Err` says what does not fit: such a file is to be removed, and the state rebuilt from
    /// an older one or from the log.
    pub(crate) fn decode_snapshot(bytes: &[u8]) -> Result<Self, String> {
        let mut states = ProducerStates::default();
        for entry in snapshot::decode(bytes)? {
            let mut producer = Producer::new(entry.epoch);
            producer.last_timestamp = entry.timestamp;
            producer.coordinator_epoch = entry.coordinator_epoch;
            producer.transaction_first = entry.transaction_first;
            if let Some(last) = entry.last_offset {
                let (last_sequence, last_delta) = (entry.last_sequence, entry.offset_delta);
                producer.push(Batch { last_sequence, last, last_delta });
            }
            if let Some(first) = producer.transaction_first {
                states.open.insert(first, entry.producer_id);
            }
            if states.producers.insert(entry.producer_id, producer).is_some() {
                return Err(format!("producer {} twice", entry.producer_id));
            }
        }
        if states.open.len() != states.producers.values().filter(|one| one.transaction_first.is_some()).count() {
            return Err("two transactions begin at one offset".to_owned());
        }
        Ok(states)
    }
}

#[cfg(test)]
mod tests;
