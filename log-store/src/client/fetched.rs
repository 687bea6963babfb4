//! A fetched batch: shared bytes of one partition, decoded lazily.

use std::sync::Arc;

use bytes::Bytes;

pub use crate::batch::RecordRef;
use crate::{
    Error, Offset, RecordView, Result, TopicPartition,
    batch::{Compression, HEADER_BYTES, Malformed, MarkerKind, RecordBatch, RecordReader},
};

/// A transaction that was aborted: data batches of this producer from `first_offset` up to its abort marker are not
/// for readers of committed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// The producer.
    pub producer_id: i64,
    /// Its first offset in the transaction.
    pub first_offset: Offset,
}

/// Whole record batches of one partition, one after the other, as they lie in the log; shared, not copied.
#[derive(Clone, Debug)]
pub struct FetchedBatch {
    /// Where the records are from.
    pub partition: TopicPartition,
    /// Record batches (format v2), the first of which may begin before `start`.
    pub bytes: Bytes,
    /// Records before this offset are skipped: they were not asked for.
    pub start: Offset,
    /// Where the next fetch goes on.
    pub next: Offset,
    /// Aborted transactions that touch these bytes; empty at [`super::Isolation::ReadUncommitted`].
    pub aborted: Arc<[AbortedTransaction]>,
}

impl FetchedBatch {
    /// Reads the records from the beginning.
    #[must_use]
    pub fn cursor(&self) -> BatchCursor {
        let mut aborted = Arc::clone(&self.aborted);
        if !aborted.is_sorted_by_key(|transaction| transaction.first_offset) {
            let mut sorted = aborted.to_vec();
            sorted.sort_by_key(|transaction| transaction.first_offset);
            aborted = sorted.into();
        }
        BatchCursor {
            partition: self.partition.clone(),
            bytes: self.bytes.clone(),
            start: self.start,
            aborted,
            aborted_seen: 0,
            aborted_producers: Vec::new(),
            batch_at: 0,
            batch_after: 0,
            payload: Bytes::new(),
            reader: RecordReader::EMPTY,
            decompressed: Vec::new(),
        }
    }
}

/// Reads the records of a [`FetchedBatch`] one after the other. Control batches, aborted transactions and records
/// before the start are skipped; a compressed batch is decompressed when it is reached.
///
/// Checksums are not looked at: the log does that where bytes come from a file.
#[derive(Clone, Debug)]
pub struct BatchCursor {
    partition: TopicPartition,
    bytes: Bytes,
    start: Offset,
    /// Sorted by first offset; those before `aborted_seen` began in batches already reached.
    aborted: Arc<[AbortedTransaction]>,
    aborted_seen: usize,
    /// Producers whose aborted transaction is open at this point.
    aborted_producers: Vec<i64>,
    /// Where the current batch begins and ends in `bytes`.
    batch_at: usize,
    batch_after: usize,
    /// Records of the current batch: a part of `bytes`, or decompressed.
    payload: Bytes,
    reader: RecordReader,
    decompressed: Vec<u8>,
}

impl BatchCursor {
    /// Moves to the next record; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Corrupt`] if the bytes are not what their header says.
    #[inline]
    pub fn advance(&mut self) -> Result<Option<RecordRef>> {
        loop {
            if let Some(record) = self.reader.next(&self.payload) {
                if record.offset >= self.start {
                    return Ok(Some(record));
                }
            } else if !self.open_next_batch()? {
                return Ok(None);
            }
        }
    }

    /// The record at `at`, which must be of the batch of the one that [`BatchCursor::advance`] or
    /// [`BatchCursor::advance_many`] came to last.
    ///
    /// # Panics
    ///
    /// May panic, or give a wrong record, if `at` is another one.
    #[inline]
    #[must_use]
    pub fn view(&self, at: &RecordRef) -> RecordView<'_> {
        at.view(&self.payload)
    }

    /// Moves over the next records of one batch, at most `max`, and appends them to `found`; nothing at the end.
    ///
    /// # Errors
    ///
    /// As [`BatchCursor::advance`], before anything is appended: records in front of damage come first.
    #[inline]
    pub fn advance_many(&mut self, max: usize, found: &mut Vec<RecordRef>) -> Result<()> {
        let Some(first) = self.advance()? else { return Ok(()) };
        found.push(first);
        for _ in 1..max {
            let Some(record) = self.reader.next(&self.payload) else { break };
            found.push(record);
        }
        Ok(())
    }

    /// Goes to the next batch that has records for the reader; false at the end.
    fn open_next_batch(&mut self) -> Result<bool> {
        if let Err(problem) = self.reader.end(&self.payload) {
            return Err(self.corrupt(problem));
        }
        while self.batch_after < self.bytes.len() {
            self.batch_at = self.batch_after;
            match self.open_batch() {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(problem) => return Err(self.corrupt(problem)),
            }
        }
        Ok(false)
    }

    /// Opens the batch at `batch_at`; false if it is not for the reader.
    fn open_batch(&mut self) -> std::result::Result<bool, Malformed> {
        let batch = RecordBatch::parse(&self.bytes[self.batch_at..])?;
        let header = batch.header;
        self.batch_after = self.batch_at + header.len_bytes;
        let is_wanted = is_wanted(&batch, &self.aborted, &mut self.aborted_seen, &mut self.aborted_producers)?;
        if !is_wanted || header.record_count == 0 || header.last_offset() < self.start {
            return Ok(false);
        }
        if header.compression == Compression::None {
            self.payload = self.bytes.slice(self.batch_at + HEADER_BYTES..self.batch_after);
        } else {
            // Nobody else has a part of it, so its memory comes back.
            if let Ok(buffer) = std::mem::take(&mut self.payload).try_into_mut() {
                self.decompressed = buffer.into();
            }
            header.compression.decompress(&batch.bytes[HEADER_BYTES..], &mut self.decompressed)?;
            self.payload = std::mem::take(&mut self.decompressed).into();
        }
        self.reader = RecordReader::new(&header);
        Ok(true)
    }

    #[cold]
    fn corrupt(&mut self, problem: Malformed) -> Error {
        // What follows a damaged batch cannot be found: the cursor is at its end.
        self.batch_after = self.bytes.len();
        self.payload = Bytes::new();
        self.reader = RecordReader::EMPTY;
        problem.at(self.partition.to_string(), self.batch_at as u64)
    }
}

/// True for data that is not part of an aborted transaction. As Kafka's client decides it: a transaction opens once a
/// batch reaches its first offset, and its producer's abort marker closes it.
fn is_wanted(
    batch: &RecordBatch<'_>,
    aborted: &[AbortedTransaction],
    aborted_seen: &mut usize,
    aborted_producers: &mut Vec<i64>,
) -> std::result::Result<bool, Malformed> {
    let header = &batch.header;
    if aborted.is_empty() || !header.has_producer() {
        return Ok(!header.is_control);
    }
    while let Some(transaction) = aborted.get(*aborted_seen)
        && transaction.first_offset <= header.last_offset()
    {
        aborted_producers.push(transaction.producer_id);
        *aborted_seen += 1;
    }
    if header.is_control {
        if batch.marker()?.is_some_and(|marker| marker.kind == MarkerKind::Abort) {
            aborted_producers.retain(|producer_id| *producer_id != header.producer_id);
        }
        return Ok(false);
    }
    Ok(!(header.is_transactional && aborted_producers.contains(&header.producer_id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        TopicName,
        batch::{BatchBuilder, Marker, ProducerStamp, header, marker},
    };

    /// A log, written as text: `3` is a plain batch of three records, `a2` and `b1` are transactional batches of
    /// producers a and b, `a-` and `a+` are their abort and commit markers.
    fn log(text: &str, compression: Compression) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut next = 0;
        for word in text.split(' ') {
            let producer = word.bytes().next().filter(u8::is_ascii_alphabetic).map(i64::from);
            let rest = word.trim_start_matches(char::is_alphabetic);
            let kind = match rest {
                "-" => Some(MarkerKind::Abort),
                "+" => Some(MarkerKind::Commit),
                _ => None,
            };
            let mut batch = if let Some(kind) = kind {
                marker(producer.unwrap(), 0, 0, Marker { kind, coordinator_epoch: 0 })
            } else {
                let mut builder = BatchBuilder::new();
                for _ in 0..rest.parse::<u32>().unwrap() {
                    builder.append(RecordView::new(0, None, Some(word.as_bytes()))).unwrap();
                }
                let stamp = producer.map_or(ProducerStamp::NONE, |id| ProducerStamp {
                    id,
                    epoch: 0,
                    sequence: 0,
                    is_transactional: true,
                });
                builder.finish(stamp, compression)
            };
            header::set_base_offset(&mut batch, Offset::new(next));
            next = header::verify(&batch).unwrap().next_offset().value();
            bytes.extend_from_slice(&batch);
        }
        bytes
    }

    fn fetched(bytes: Vec<u8>, start: u64, aborted: &[(char, u64)]) -> FetchedBatch {
        let aborted = aborted.iter().map(|(producer, first)| AbortedTransaction {
            producer_id: i64::from(u32::from(*producer)),
            first_offset: Offset::new(*first),
        });
        FetchedBatch {
            partition: TopicPartition::new(TopicName::new("clicks").unwrap(), 3),
            bytes: bytes.into(),
            start: Offset::new(start),
            next: Offset::ZERO,
            aborted: aborted.collect(),
        }
    }

    fn check(text: &str, start: u64, aborted: &[(char, u64)], expected: &[u64]) {
        for compression in Compression::ALL {
            let mut cursor = fetched(log(text, compression), start, aborted).cursor();
            let mut offsets = Vec::new();
            while let Some(record) = cursor.advance().unwrap() {
                assert!(!cursor.view(&record).value.unwrap().is_empty());
                offsets.push(record.offset.value());
            }
            assert_eq!(offsets, expected, "{text} with {compression:?}");
            assert!(cursor.advance().unwrap().is_none(), "the end is the end");
        }
    }

    #[test]
    fn every_record_comes_once_in_order() {
        check("2 1 3", 0, &[], &[0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn records_before_the_start_are_skipped() {
        check("2 1 3", 4, &[], &[4, 5]);
        check("2 1 3", 2, &[], &[2, 3, 4, 5]);
        check("2 1 3", 6, &[], &[]);
    }

    #[test]
    fn markers_are_not_records() {
        check("a1 a+ 1 a1 a- 1", 0, &[], &[0, 2, 3, 5]);
    }

    #[test]
    fn an_aborted_transaction_is_skipped_up_to_its_marker() {
        check("a1 1 a1 a- a1 a+", 0, &[('a', 0)], &[1, 4]);
    }

    #[test]
    fn transactions_of_two_producers_may_overlap() {
        check("a1 b1 a1 b1 a- b1 b+ a1 a+", 0, &[('a', 0)], &[1, 3, 5, 7]);
        check("a1 b1 a1 b1 a- b1 b- a1 a+", 0, &[('b', 1), ('a', 0)], &[7]);
    }

    #[test]
    fn a_fetch_may_begin_inside_an_aborted_transaction() {
        check("a1 a2 a- a1 a+", 2, &[('a', 0)], &[4]);
    }

    #[test]
    fn one_producer_may_abort_twice() {
        check("a1 a- a1 a+ a1 a- 1", 0, &[('a', 0), ('a', 4)], &[2, 6]);
    }

    #[test]
    fn many_records_come_from_one_batch_at_a_time() {
        for compression in Compression::ALL {
            let mut cursor = fetched(log("2 1 3 a1 a+ 1", compression), 1, &[]).cursor();
            let mut found = Vec::new();
            for expected in [&[1][..], &[2], &[3, 4], &[5], &[6], &[8], &[], &[]] {
                found.clear();
                cursor.advance_many(2, &mut found).unwrap();
                let offsets: Vec<_> = found.iter().map(|at| at.offset.value()).collect();
                assert_eq!(offsets, expected, "{compression:?}");
                assert!(found.iter().all(|at| !cursor.view(at).value.unwrap().is_empty()));
            }
        }
    }

    #[test]
    fn damage_is_reported_with_its_place_and_ends_the_cursor() {
        let mut bytes = log("1 1 1", Compression::None);
        let place = bytes.len() / 3;
        bytes[place + 16] = 0;
        let mut cursor = fetched(bytes, 0, &[]).cursor();
        assert!(cursor.advance().unwrap().is_some());
        let problem = cursor.advance().unwrap_err().to_string();
        let expected = format!("corrupt batch at byte {place} of clicks-3: format version is 0, expected 2; ");
        assert!(problem.starts_with(&expected), "{problem}");
        assert!(cursor.advance().unwrap().is_none());
    }
}
