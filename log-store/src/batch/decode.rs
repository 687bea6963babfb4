//! Bytes → records. Trusts nothing: the first target of the fuzzer.

use super::{
    BatchHeader, Compression, HEADER_BYTES, Malformed, TimestampType,
    varint::{Reader, Span},
};
use crate::{HeadersView, Offset, RecordView};

/// The batches in `bytes`, one after the other. The first that is malformed or cut off is an error and the last item.
/// Checksums are not looked at.
#[must_use]
pub fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { bytes, position: 0 }
}

/// See [`batches`].
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Batches<'_> {
    /// Where the next batch begins; after an error, where the damage begins.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<RecordBatch<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.position..];
        if rest.is_empty() {
            return None;
        }
        let batch = RecordBatch::parse(rest);
        match &batch {
            Ok(batch) => self.position += batch.bytes.len(),
            Err(_) => self.bytes = &self.bytes[..self.position],
        }
        Some(batch)
    }
}

/// One whole batch, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct RecordBatch<'a> {
    /// Its header.
    pub header: BatchHeader,
    /// All its bytes, the header's included.
    pub bytes: &'a [u8],
}

impl<'a> RecordBatch<'a> {
    /// The batch at the front of `bytes`. The checksum is not looked at: see [`super::header::verify`].
    ///
    /// # Errors
    ///
    /// If the header is malformed or bytes are missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let header = BatchHeader::parse(bytes)?;
        let Some(whole) = bytes.get(..header.len_bytes) else {
            return Err(Malformed::new(format!(
                "batch of {} bytes is cut off after {}",
                header.len_bytes,
                bytes.len()
            )));
        };
        Ok(RecordBatch { header, bytes: whole })
    }

    /// The records (those of a control batch too), decompressed into `decompressed` if they have to be.
    ///
    /// # Errors
    ///
    /// If they cannot be decompressed.
    pub fn records<'b>(&self, decompressed: &'b mut Vec<u8>) -> Result<Records<'b>, Malformed>
    where
        'a: 'b,
    {
        let packed = &self.bytes[HEADER_BYTES..];
        let payload = if self.header.compression == Compression::None || self.header.record_count == 0 {
            packed
        } else {
            self.header.compression.decompress(packed, decompressed)?;
            decompressed
        };
        Ok(Records { payload, reader: RecordReader::new(&self.header) })
    }
}

/// The records of one batch, with their offsets. An error is the last item.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    payload: &'a [u8],
    reader: RecordReader,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Offset, RecordView<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.reader.next(self.payload) {
            return Some(Ok((record.offset, record.view(self.payload))));
        }
        let end = self.reader.end(self.payload);
        *self = Records { payload: &[], reader: RecordReader::EMPTY };
        end.err().map(Err)
    }
}

/// Where one record lies inside the records of its batch: what a queue keeps of the record at its head.
#[derive(Clone, Debug)]
pub struct RecordRef {
    /// Offset in the partition.
    pub offset: Offset,
    /// Timestamp.
    pub timestamp: i64,
    key: Span,
    value: Span,
    headers: Span,
    header_count: u32,
}

impl RecordRef {
    /// The record, in the records that it was found in.
    #[inline]
    pub(crate) fn view<'a>(&self, payload: &'a [u8]) -> RecordView<'a> {
        RecordView {
            timestamp: self.timestamp,
            key: self.key.of(payload),
            value: self.value.of(payload),
            headers: if self.header_count == 0 {
                HeadersView::EMPTY
            } else {
                HeadersView::Encoded { count: self.header_count, bytes: self.headers.of(payload).unwrap_or_default() }
            },
        }
    }
}

/// Most bytes of a record that [`RecordReader::find`] looks at: a byte and three numbers, each as long as one can be.
pub(crate) const HEAD_BYTES_MAX: usize = 31;

/// What [`RecordReader::find`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// The record at this offset.
    At(Offset),
    /// Nothing in what is at hand: it goes on at [`RecordReader::position`].
    Further,
    /// Nothing in the whole batch.
    Nothing,
}

/// Steps through the (decompressed) records of one batch, without holding them.
#[derive(Clone, Debug)]
pub(crate) struct RecordReader {
    position: usize,
    remaining: u32,
    /// Least and greatest delta that the next record may have: offsets rise.
    delta_min: i64,
    delta_max: i64,
    base_offset: Offset,
    base_timestamp: i64,
    /// The time of every record, if the log gave it.
    append_timestamp: Option<i64>,
}

impl RecordReader {
    /// At the end of nothing.
    pub(crate) const EMPTY: RecordReader = RecordReader {
        position: 0,
        remaining: 0,
        delta_min: 0,
        delta_max: 0,
        base_offset: Offset::ZERO,
        base_timestamp: 0,
        append_timestamp: None,
    };

    pub(crate) fn new(header: &BatchHeader) -> Self {
        RecordReader {
            position: 0,
            remaining: header.record_count,
            delta_min: 0,
            delta_max: i64::from(header.last_offset_delta),
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_timestamp: (header.timestamp_type == TimestampType::LogAppendTime).then_some(header.max_timestamp),
        }
    }

    /// The next record of `payload`, which must be the same at each call; `None` at its end or where it is malformed:
    /// [`RecordReader::end`] knows which.
    #[inline(always)]
    pub(crate) fn next(&mut self, payload: &[u8]) -> Option<RecordRef> {
        if self.remaining == 0 {
            return None;
        }
        let mut reader = Reader { bytes: payload, at: self.position };
        let length = reader.take_length()?;
        let end = reader.at + length;
        reader.bytes = &payload[..end];

        let _attributes = reader.take_byte()?;
        let timestamp_delta = reader.take()?;
        let offset_delta = reader.take()?;
        if !(self.delta_min..=self.delta_max).contains(&offset_delta) {
            return None;
        }
        let key = reader.take_span()?;
        let value = reader.take_span()?;
        let header_count = reader.take()?;
        let headers = Span::new(reader.at, end);
        if header_count != 0 {
            check_headers(header_count, &mut reader)?;
        }
        if reader.at != end {
            return None;
        }
        self.position = end;
        self.delta_min = offset_delta + 1;
        self.remaining -= 1;
        Some(RecordRef {
            offset: self.base_offset.plus(offset_delta as u64),
            timestamp: self.append_timestamp.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
            header_count: header_count as u32,
        })
    }

    /// Where the next record begins.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Steps over records by their heads, up to the first that `is_wanted` by its offset and timestamp. What records hold
    /// is not looked at, and need not be at hand: `window` is the part of `payload_bytes` that begins at
    /// [`RecordReader::position`], up to the end or at least [`HEAD_BYTES_MAX`] long.
    ///
    /// # Errors
    ///
    /// If a head is malformed.
    pub(crate) fn find(
        &mut self,
        window: &[u8],
        payload_bytes: usize,
        is_wanted: impl Fn(Offset, i64) -> bool,
    ) -> Result<Found, Malformed> {
        let begin = self.position;
        let has_end = begin + window.len() >= payload_bytes;
        while self.remaining > 0 {
            let at = self.position - begin;
            if at + HEAD_BYTES_MAX > window.len() && !has_end {
                return Ok(Found::Further);
            }
            let Some((offset, timestamp)) = self.next_head(Reader { bytes: window, at }, payload_bytes) else {
                return self.end_at(payload_bytes).map(|()| Found::Nothing);
            };
            if is_wanted(offset, timestamp) {
                return Ok(Found::At(offset));
            }
        }
        self.end_at(payload_bytes).map(|()| Found::Nothing)
    }

    /// Offset and timestamp of the record whose head `reader` is at; `None` if it is malformed.
    #[inline]
    fn next_head(&mut self, mut reader: Reader<'_>, payload_bytes: usize) -> Option<(Offset, i64)> {
        let before = reader.at;
        let length = reader.take()?;
        let head_bytes = reader.at - before;
        let end = self.position.checked_add(head_bytes)?.checked_add(usize::try_from(length).ok()?)?;
        let _attributes = reader.take_byte()?;
        let timestamp_delta = reader.take()?;
        let offset_delta = reader.take()?;
        if end > payload_bytes || !(self.delta_min..=self.delta_max).contains(&offset_delta) {
            return None;
        }
        self.position = end;
        self.delta_min = offset_delta + 1;
        self.remaining -= 1;
        let timestamp = self.append_timestamp.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta));
        Some((self.base_offset.plus(offset_delta as u64), timestamp))
    }

    /// Whether the end that [`RecordReader::next`] came to is the end that the header tells of.
    pub(crate) fn end(&self, payload: &[u8]) -> Result<(), Malformed> {
        self.end_at(payload.len())
    }

    fn end_at(&self, payload_bytes: usize) -> Result<(), Malformed> {
        let left_over = payload_bytes - self.position;
        if self.remaining > 0 {
            return Err(Malformed::new(format!(
                "record {} before the end, at byte {} of the records, is malformed",
                self.remaining, self.position
            )));
        }
        if left_over > 0 {
            return Err(Malformed::new(format!("{left_over} bytes are left over after the last record")));
        }
        Ok(())
    }
}

/// Takes `count` headers; `None` if they are not there.
#[cold]
fn check_headers(count: i64, reader: &mut Reader<'_>) -> Option<()> {
    // A header has at least two bytes.
    if count as u64 > reader.remaining() as u64 / 2 {
        return None;
    }
    for _ in 0..count {
        // A null key is refused, a null value is not.
        let length = reader.take_length()?;
        reader.at += length;
        reader.take_span()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        Header, Headers,
        batch::{BatchBuilder, ProducerStamp, header, varint},
    };

    type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

    fn part() -> impl Strategy<Value = Option<Vec<u8>>> {
        prop::option::of(prop::collection::vec(any::<u8>(), 0..200))
    }

    fn headers() -> impl Strategy<Value = Headers> {
        // Few names, so that they repeat.
        let header = ("[ab]{0,2}", part()).prop_map(|(key, value)| Header { key, value: value.map(Bytes::from) });
        prop::collection::vec(header, 0..4).prop_map(Headers::from_iter)
    }

    fn records() -> impl Strategy<Value = Vec<Owned>> {
        let timestamp = prop_oneof![any::<i64>(), 1_000_000_i64..1_000_100, Just(-1)];
        prop::collection::vec((timestamp, part(), part(), headers()), 1..80)
    }

    fn view(record: &Owned) -> RecordView<'_> {
        let (timestamp, key, value, headers) = record;
        RecordView { timestamp: *timestamp, key: key.as_deref(), value: value.as_deref(), headers: headers.into() }
    }

    fn encode(records: &[Owned], compression: Compression) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for record in records {
            let bound = builder.len_bytes_with(&view(record));
            builder.append(view(record)).unwrap();
            assert!(builder.len_bytes() <= bound);
        }
        builder.finish(ProducerStamp::NONE, compression).to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Vec<Owned>, Malformed> {
        let mut all = Vec::new();
        let mut decompressed = Vec::new();
        for batch in batches(bytes) {
            for record in batch?.records(&mut decompressed)? {
                let (_, record) = record?;
                let owned = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
                all.push((record.timestamp, owned(record.key), owned(record.value), record.headers.to_headers()));
            }
        }
        Ok(all)
    }

    /// Looks for a record with no more than `window` bytes at hand at a time.
    fn find(bytes: &[u8], window: usize, is_wanted: impl Fn(Offset, i64) -> bool) -> Result<Found, Malformed> {
        let batch = RecordBatch::parse(bytes)?;
        let payload = &batch.bytes[HEADER_BYTES..];
        let mut reader = RecordReader::new(&batch.header);
        loop {
            let rest = &payload[reader.position()..];
            match reader.find(&rest[..window.min(rest.len())], payload.len(), &is_wanted)? {
                Found::Further => {}
                found => return Ok(found),
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(records in records()) {
            for compression in Compression::ALL {
                let bytes = encode(&records, compression);
                let header = header::verify(&bytes).unwrap();
                prop_assert_eq!(header.record_count as usize, records.len());
                prop_assert_eq!(header.max_timestamp, records.iter().map(|record| record.0).max().unwrap().max(-1));
                prop_assert_eq!(&decode(&bytes).unwrap(), &records);
            }
        }

        #[test]
        fn encoded_headers_are_copied_as_they_are(records in records()) {
            let bytes = encode(&records, Compression::None);
            let mut builder = BatchBuilder::new();
            let mut decompressed = Vec::new();
            for record in batches(&bytes).next().unwrap().unwrap().records(&mut decompressed).unwrap() {
                builder.append(record.unwrap().1).unwrap();
            }
            prop_assert_eq!(&builder.finish(ProducerStamp::NONE, Compression::None)[..], &bytes[..]);
        }

        #[test]
        fn heads_are_found_through_windows_of_any_size(records in records(), window in HEAD_BYTES_MAX..600) {
            let bytes = encode(&records, Compression::None);
            for (index, wanted) in records.iter().enumerate() {
                let first = records.iter().position(|record| record.0 >= wanted.0).unwrap();
                let found = find(&bytes, window, |_, timestamp| timestamp >= wanted.0).unwrap();
                prop_assert_eq!(found, Found::At(Offset::new(first as u64)));
                let found = find(&bytes, window, |offset, _| offset.value() >= index as u64).unwrap();
                prop_assert_eq!(found, Found::At(Offset::new(index as u64)));
            }
            prop_assert_eq!(find(&bytes, window, |_, _| false).unwrap(), Found::Nothing);
        }

        #[test]
        fn any_byte_may_be_any_other(records in records(), at: prop::sample::Index, byte: u8) {
            for compression in Compression::ALL {
                let mut bytes = encode(&records, compression);
                let at = at.index(bytes.len());
                bytes[at] = byte;
                let _ = decode(&bytes);
                let _ = find(&bytes, HEAD_BYTES_MAX, |_, _| false);
            }
        }

        #[test]
        fn any_records_are_survived(garbage: Vec<u8>, records in 1_u32..40) {
            let mut bytes = encode(&vec![(0, None, None, Headers::new()); records as usize], Compression::None);
            bytes.truncate(HEADER_BYTES);
            bytes.extend_from_slice(&garbage);
            let length = (bytes.len() - 12) as u32;
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            let _ = decode(&bytes);
            let _ = find(&bytes, HEAD_BYTES_MAX, |_, _| false);
        }
    }

    #[test]
    fn records_cut_anywhere_are_refused() {
        let records = vec![(5, Some(b"key".to_vec()), Some(vec![7; 70]), Headers::new()); 3];
        let whole = encode(&records, Compression::None);
        for end in HEADER_BYTES..whole.len() {
            let mut bytes = whole[..end].to_vec();
            decode(&bytes).expect_err("the batch is cut off");
            // The same with a header that says so.
            bytes[8..12].copy_from_slice(&((end - 12) as u32).to_be_bytes());
            decode(&bytes).expect_err("a record is cut off");
        }
        let mut bytes = whole.clone();
        bytes.push(0);
        bytes[8..12].copy_from_slice(&((whole.len() + 1 - 12) as u32).to_be_bytes());
        let problem = decode(&bytes).expect_err("a byte too many").to_string();
        assert_eq!(problem, "1 bytes are left over after the last record");
    }

    #[test]
    fn batches_end_at_the_first_damage() {
        let one = encode(&[(1, None, None, Headers::new())], Compression::None);
        let mut bytes = [&one[..], &one, &one].concat();
        bytes[2 * one.len() + 16] = 1;
        let mut found = batches(&bytes);
        assert!(found.next().unwrap().is_ok());
        assert!(found.next().unwrap().is_ok());
        assert!(found.next().unwrap().is_err());
        assert_eq!(found.position(), 2 * one.len());
        assert!(found.next().is_none());
    }

    #[test]
    fn the_logs_time_is_every_records_time() {
        let records = [(5, None, None, Headers::new()), (9, None, None, Headers::new())];
        let mut bytes = encode(&records, Compression::Lz4);
        header::set_max_timestamp(&mut bytes, TimestampType::LogAppendTime, 1_000);
        let times: Vec<i64> = decode(&bytes).unwrap().iter().map(|record| record.0).collect();
        assert_eq!(times, [1_000, 1_000]);
    }

    #[test]
    fn offsets_that_go_back_or_leave_the_batch_are_refused() {
        let mut builder = BatchBuilder::new();
        for delta in [3, 8] {
            builder.append_at(delta, RecordView::new(0, None, None)).unwrap();
        }
        builder.append_at(8, RecordView::new(0, None, None)).expect_err("offset 8 is taken");
        let good = builder.finish(ProducerStamp::NONE, Compression::None).to_vec();
        let offsets = |bytes: &[u8]| -> Result<Vec<u64>, Malformed> {
            let mut decompressed = Vec::new();
            let batch = RecordBatch::parse(bytes)?;
            batch.records(&mut decompressed)?.map(|record| Ok(record?.0.value())).collect()
        };
        assert_eq!(offsets(&good).unwrap(), [3, 8]);
        // The second record's delta is its fourth byte, zigzag.
        let delta_at = HEADER_BYTES + 7 + 3;
        for (delta, is_good) in [(8, true), (4, true), (3, false), (9, false), (-1, false)] {
            let mut bytes = good.clone();
            bytes[delta_at] = varint::zigzag(delta) as u8;
            assert_eq!(offsets(&bytes).is_ok(), is_good, "{delta}");
        }
    }
}
