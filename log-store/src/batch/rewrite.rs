//! A batch with some records removed, as compaction leaves it.
//!
//! Whatever goes, the base offset, the last offset delta, the sequence and the producer of a batch stay: readers go on
//! at the same offsets, and the producer's next batch still follows.

use bytes::BytesMut;

use super::{BatchBuilder, BatchHeader, Compression, HEADER_BYTES, Malformed, RecordBatch};
use crate::{NO_TIMESTAMP, Offset, RecordView};

/// What is left of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retained {
    /// All of it: use the bytes as they are.
    All,
    /// These records, in a batch of its own.
    Some(BytesMut),
    /// No record: drop it, or keep [`BatchRewriter::empty`].
    None,
}

/// Makes smaller batches out of batches; keeps its buffers between them.
#[derive(Debug, Default)]
pub struct BatchRewriter {
    builder: BatchBuilder,
    decompressed: Vec<u8>,
}

impl BatchRewriter {
    /// A rewriter with empty buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The records of `batch` for which `keep` says so, under the same compression. `delete_horizon`, if given, is set
    /// on what remains; one that the batch has already stays.
    ///
    /// # Errors
    ///
    /// If the batch is malformed.
    pub fn retain(
        &mut self,
        batch: &RecordBatch<'_>,
        delete_horizon: Option<i64>,
        mut keep: impl FnMut(Offset, &RecordView<'_>) -> bool,
    ) -> Result<Retained, Malformed> {
        let header = batch.header;
        let horizon = header.delete_horizon().or(delete_horizon);
        self.builder.clear();
        if let Some(horizon) = horizon {
            self.builder.fix_base_timestamp(horizon);
        }
        let mut base_timestamp = None;
        for record in batch.records(&mut self.decompressed)? {
            let (offset, record) = record?;
            if keep(offset, &record) {
                base_timestamp = base_timestamp.or(Some(record.timestamp));
                let delta = offset.offsets_since(header.base_offset) as u32;
                self.builder.append_at(delta, record).map_err(|problem| Malformed::new(problem.to_string()))?;
            }
        }
        if self.builder.is_empty() {
            return Ok(Retained::None);
        }
        if self.builder.count() == header.record_count && horizon == header.delete_horizon() {
            return Ok(Retained::All);
        }
        let header = BatchHeader {
            has_delete_horizon: horizon.is_some(),
            base_timestamp: horizon.or(base_timestamp).unwrap_or(NO_TIMESTAMP),
            max_timestamp: self.builder.max_timestamp(),
            record_count: self.builder.count(),
            ..header
        };
        Ok(Retained::Some(self.builder.seal(header)))
    }

    /// The bare header of a batch without records: it keeps a producer's last sequence or marker, or the end of a
    /// compacted range.
    #[must_use]
    pub fn empty(header: &BatchHeader) -> BytesMut {
        let mut bytes = BytesMut::zeroed(HEADER_BYTES);
        let header = BatchHeader {
            len_bytes: HEADER_BYTES,
            compression: Compression::None,
            has_delete_horizon: false,
            base_timestamp: NO_TIMESTAMP,
            record_count: 0,
            ..*header
        };
        header.seal(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{ProducerStamp, header};

    const STAMP: ProducerStamp = ProducerStamp { id: 4, epoch: 1, sequence: 100, is_transactional: true };

    /// Records at offsets 1000.. with their times as given.
    fn batch(timestamps: &[i64], compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for timestamp in timestamps {
            builder.append(RecordView::new(*timestamp, Some(b"key"), Some(b"value"))).unwrap();
        }
        let mut bytes = builder.finish(STAMP, compression).to_vec();
        header::set_base_offset(&mut bytes, Offset::new(1_000));
        header::set_leader_epoch(&mut bytes, 5);
        bytes
    }

    fn records(bytes: &[u8]) -> Vec<(u64, i64)> {
        let batch = RecordBatch::parse(bytes).unwrap();
        let mut decompressed = Vec::new();
        let records = batch.records(&mut decompressed).unwrap().map(Result::unwrap);
        records.map(|(offset, record)| (offset.value(), record.timestamp)).collect()
    }

    #[test]
    fn what_remains_keeps_its_offsets_and_its_producer() {
        for compression in Compression::ALL {
            let bytes = batch(&[10, 40, 20, 30], compression);
            let whole = RecordBatch::parse(&bytes).unwrap();
            let middle = |offset: Offset, _: &RecordView<'_>| [1_001, 1_002].contains(&offset.value());
            let Retained::Some(kept) = BatchRewriter::new().retain(&whole, None, middle).unwrap() else {
                panic!("two records remain")
            };
            let expected = BatchHeader {
                len_bytes: kept.len(),
                checksum: BatchHeader::parse(&kept).unwrap().checksum,
                base_timestamp: 40,
                record_count: 2,
                ..whole.header
            };
            assert_eq!(header::verify(&kept).unwrap(), expected);
            assert_eq!(records(&kept), [(1_001, 40), (1_002, 20)]);
        }
    }

    #[test]
    fn a_delete_horizon_is_set_once_and_moves_no_timestamp() {
        let bytes = batch(&[10, 20], Compression::Zstd);
        let whole = RecordBatch::parse(&bytes).unwrap();
        let mut rewriter = BatchRewriter::new();
        assert_eq!(rewriter.retain(&whole, None, |_, _| true), Ok(Retained::All));
        let Retained::Some(stamped) = rewriter.retain(&whole, Some(99), |_, _| true).unwrap() else {
            panic!("the horizon is new")
        };
        let stamped = RecordBatch::parse(&stamped).unwrap();
        assert_eq!((stamped.header.delete_horizon(), stamped.header.max_timestamp), (Some(99), 20));
        assert_eq!(records(stamped.bytes), [(1_000, 10), (1_001, 20)]);
        assert_eq!(rewriter.retain(&stamped, Some(500), |_, _| true), Ok(Retained::All));
    }

    #[test]
    fn an_emptied_batch_is_a_bare_header() {
        let bytes = batch(&[10, 20], Compression::Gzip);
        let whole = RecordBatch::parse(&bytes).unwrap();
        assert_eq!(BatchRewriter::new().retain(&whole, None, |_, _| false), Ok(Retained::None));
        let bare = BatchRewriter::empty(&whole.header);
        let header = header::verify(&bare).unwrap();
        assert_eq!((header.len_bytes, header.record_count, header.base_timestamp), (HEADER_BYTES, 0, -1));
        assert_eq!((header.next_offset(), header.last_sequence(), header.max_timestamp), (Offset::new(1_002), 101, 20));
        assert_eq!(records(&bare), []);
    }

    #[test]
    fn the_logs_time_stays() {
        let mut bytes = batch(&[10, 20], Compression::Lz4);
        header::set_max_timestamp(&mut bytes, header::TimestampType::LogAppendTime, 77);
        let whole = RecordBatch::parse(&bytes).unwrap();
        let last = |offset: Offset, _: &RecordView<'_>| offset.value() == 1_001;
        let Retained::Some(kept) = BatchRewriter::new().retain(&whole, None, last).unwrap() else {
            panic!("one record remains")
        };
        assert_eq!(header::verify(&kept).unwrap().timestamp_type, header::TimestampType::LogAppendTime);
        assert_eq!(records(&kept), [(1_001, 77)]);
    }
}
