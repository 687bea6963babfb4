//! The control batch that ends a transaction in one partition.

use bytes::BytesMut;

use super::{BatchBuilder, BatchHeader, Compression, Malformed, RecordBatch, TimestampType};
use crate::{Offset, RecordView};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkerKind {
    /// It is undone.
    Abort,
    /// It stands.
    Commit,
}

/// What a control batch says about its producer's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// How it ended.
    pub kind: MarkerKind,
    /// Epoch of the coordinator that decided; an older one is fenced.
    pub coordinator_epoch: i32,
}

/// Size of the key: version and type.
const KEY_BYTES: usize = 4;
/// Size of the value: version and coordinator epoch.
const VALUE_BYTES: usize = 6;
const VERSION: i16 = 0;

/// A whole control batch (78 bytes, base offset 0) that ends the transaction of a producer.
#[must_use]
pub fn marker(producer_id: i64, producer_epoch: i16, timestamp: i64, marker: Marker) -> BytesMut {
    let mut key = [0; KEY_BYTES];
    key[..2].copy_from_slice(&VERSION.to_be_bytes());
    key[2..].copy_from_slice(&(marker.kind as i16).to_be_bytes());
    let mut value = [0; VALUE_BYTES];
    value[..2].copy_from_slice(&VERSION.to_be_bytes());
    value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());

    let mut builder = BatchBuilder::with_capacity(78);
    builder.append(RecordView::new(timestamp, Some(&key), Some(&value))).expect("a marker is small");
    builder.seal(BatchHeader {
        base_offset: Offset::ZERO,
        len_bytes: 0,
        leader_epoch: -1,
        checksum: 0,
        compression: Compression::None,
        timestamp_type: TimestampType::CreateTime,
        is_transactional: true,
        is_control: true,
        has_delete_horizon: false,
        last_offset_delta: 0,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id,
        producer_epoch,
        base_sequence: -1,
        record_count: 1,
    })
}

impl RecordBatch<'_> {
    /// What a control batch says about its transaction; `None` for data, for other kinds of control record, and where
    /// compaction has left only the header.
    ///
    /// # Errors
    ///
    /// If the control record is not what it should be.
    pub fn marker(&self) -> Result<Option<Marker>, Malformed> {
        if !self.header.is_control || self.header.record_count == 0 {
            return Ok(None);
        }
        let mut decompressed = Vec::new();
        let Some(first) = self.records(&mut decompressed)?.next() else { return Ok(None) };
        let (_, record) = first?;
        let key = record.key.and_then(|key| key.first_chunk::<KEY_BYTES>());
        let Some([_, _, kind @ ..]) = key else {
            return Err(Malformed::new("control record without a type"));
        };
        let kind = match i16::from_be_bytes(*kind) {
            0 => MarkerKind::Abort,
            1 => MarkerKind::Commit,
            _ => return Ok(None),
        };
        let value = record.value.and_then(|value| value.first_chunk::<VALUE_BYTES>());
        let Some([_, _, epoch @ ..]) = value else {
            return Err(Malformed::new("transaction marker without a coordinator epoch"));
        };
        Ok(Some(Marker { kind, coordinator_epoch: i32::from_be_bytes(*epoch) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{batches, header};

    #[test]
    fn a_marker_is_78_bytes_and_reads_back() {
        for kind in [MarkerKind::Abort, MarkerKind::Commit] {
            let said = Marker { kind, coordinator_epoch: 12 };
            let bytes = marker(5, 6, 1_000, said);
            assert_eq!(bytes.len(), 78);
            header::verify(&bytes).unwrap();
            let batch = batches(&bytes).next().unwrap().unwrap();
            assert_eq!(batch.marker(), Ok(Some(said)));
            let header = batch.header;
            assert!(header.is_control && header.is_transactional);
            assert_eq!((header.producer_id, header.producer_epoch, header.last_sequence()), (5, 6, -1));
        }
    }
}
