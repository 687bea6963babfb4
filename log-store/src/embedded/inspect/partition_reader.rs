//! The records of one partition, read beside whoever has the log open.

use std::{collections::VecDeque, fmt, io, sync::Arc};

use bytes::Bytes;

use super::{SegmentReader, segment_name};
use crate::{
    Error, Offset, Result, TopicPartition,
    client::{AbortedTransaction, FetchedBatch, Isolation},
    embedded::{
        log_checkpoints::{LOG_STARTS, read_offsets},
        producer_state::{Aborted, ProducerStates},
        segment::{Index, OffsetEntry, TimeEntry},
        storage::Directory,
    },
};

/// Reads a partition's segment files from an offset on, batch by batch, and goes on when more is written.
///
/// Needs no lock and changes nothing. It shows what is in the files: that may be more than what is synced, so a power
/// cut may still take it back. At [`Isolation::ReadCommitted`] a second look runs ahead, to learn which transactions
/// were aborted: it reads everything from the beginning once.
pub struct PartitionReader {
    directory: Arc<dyn Directory>,
    id: TopicPartition,
    /// What is before it was deleted.
    log_start: Offset,
    /// No batch that ends before this offset is shown.
    next: Offset,
    /// The segment under way, by its base offset.
    segment: Option<(Offset, SegmentReader)>,
    scout: Option<Box<Scout>>,
}

/// How often, and as what, the end of a segment was looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Looked {
    Once,
    /// Again, while it was the last one.
    AsLast,
    /// Again, when another one had been begun.
    AsSealed,
}

/// Looks ahead for the ends of transactions.
struct Scout {
    reader: PartitionReader,
    states: ProducerStates,
    /// In the order of their ends, those that are behind the reader left out.
    aborted: VecDeque<Aborted>,
    stable: Offset,
}

impl PartitionReader {
    /// Reads `id` from `from` on, or from the first record after it that is still there.
    ///
    /// # Errors
    ///
    /// `Io`, if the checkpoint of deleted records cannot be read.
    pub fn new(directory: Arc<dyn Directory>, id: TopicPartition, from: Offset, isolation: Isolation) -> Result<Self> {
        let log_starts = read_offsets(&*directory, LOG_STARTS)?.unwrap_or_default();
        let log_start = log_starts.get(&id).copied().unwrap_or_default();
        let next = from.max(log_start);
        let begin = |next| PartitionReader {
            directory: Arc::clone(&directory),
            id: id.clone(),
            log_start,
            next,
            segment: None,
            scout: None,
        };
        let scout = (isolation == Isolation::ReadCommitted).then(|| {
            let (reader, states) = (begin(Offset::ZERO), ProducerStates::default());
            Box::new(Scout { reader, states, aborted: VecDeque::new(), stable: Offset::ZERO })
        });
        Ok(PartitionReader { scout, ..begin(next) })
    }

    /// Where reading goes on.
    #[must_use]
    pub fn position(&self) -> Offset {
        self.next
    }

    /// The first offset that is kept.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn log_start(&self) -> Result<Offset> {
        Ok(self.log_start.max(self.bases()?.first().copied().unwrap_or_default()))
    }

    /// Goes on to the end of what is written, through the indexes: what [`PartitionReader::next_batch`] shows then comes
    /// later.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next_batch`].
    pub fn seek_to_end(&mut self) -> Result<()> {
        if let Some(&base) = self.bases()?.last() {
            let from = self.next.max(base);
            let path = self.path(base, "index");
            let entries = Index::open(&*self.directory, path, base, |_: &OffsetEntry| true)?;
            let last = entries.and_then(|entries| entries.last()).map_or(from, |last| from.max(last.offset));
            (self.next, self.segment) = (last, None);
            if self.next_bytes()?.is_none() {
                // The index may be ahead of the batches, after a power cut.
                (self.next, self.segment) = (from, None);
            }
        }
        while self.next_bytes()?.is_some() {}
        Ok(())
    }

    /// Goes on to the first record that is as late as `timestamp`, or to the end if there is none: through the indexes,
    /// as far as they are written.
    ///
    /// # Errors
    ///
    /// As [`PartitionReader::next_batch`].
    pub fn seek_to_time(&mut self, timestamp: i64) -> Result<()> {
        self.next = self.next.max(self.offset_before_time(timestamp)?);
        self.segment = None;
        loop {
            let start = self.next;
            let Some(bytes) = self.next_bytes()? else { return Ok(()) };
            let batch = FetchedBatch { partition: self.id.clone(), bytes, start, next: self.next, aborted: [].into() };
            let mut cursor = batch.cursor();
            while let Some(record) = cursor.advance()? {
                if record.timestamp >= timestamp {
                    self.next = record.offset;
                    self.segment = None;
                    return Ok(());
                }
            }
        }
    }

    /// An offset before which no record is as late as `timestamp`.
    fn offset_before_time(&self, timestamp: i64) -> Result<Offset> {
        let bases = self.bases()?;
        for (number, &base) in bases.iter().enumerate() {
            // After a power cut an index may have lost its end, which then reads as zeros.
            let fits = |entry: &TimeEntry| entry.timestamp > 0 && entry.offset >= base;
            let path = self.path(base, "timeindex");
            let Some(times) = Index::open(&*self.directory, path, base, fits)? else { return Ok(base) };
            let is_sealed = number + 1 < bases.len();
            let is_earlier = times.last().is_some_and(|last| last.timestamp < timestamp);
            if !(is_sealed && is_earlier) {
                let floor = times.floor(&*self.directory, timestamp.saturating_sub(1))?;
                return Ok(floor.map_or(base, |entry| entry.offset.next()));
            }
        }
        Ok(self.next)
    }

    /// The next batch; `None` where the log ends at the moment (or the first open transaction begins). Ask again later
    /// to follow it.
    ///
    /// # Errors
    ///
    /// `Corrupt` for damage anywhere but at the end of the last segment, where it may be a write under way; `Io`.
    pub fn next_batch(&mut self) -> Result<Option<FetchedBatch>> {
        let mut aborted: Arc<[AbortedTransaction]> = [].into();
        if let Some(scout) = &mut self.scout {
            if self.next >= scout.stable {
                scout.look_ahead()?;
            }
            if self.next >= scout.stable {
                return Ok(None);
            }
        }
        let start = self.next;
        let Some(bytes) = self.next_bytes()? else { return Ok(None) };
        if let Some(scout) = &mut self.scout {
            aborted = scout.aborted_between(start, self.next);
        }
        let partition = self.id.clone();
        Ok(Some(FetchedBatch { partition, bytes, start, next: self.next, aborted }))
    }

    /// The bytes of the next whole batch.
    fn next_bytes(&mut self) -> Result<Option<Bytes>> {
        let mut looked = Looked::Once;
        loop {
            let Some((base, reader)) = &mut self.segment else {
                if !self.open_segment()? {
                    return Ok(None);
                }
                continue;
            };
            let (base, position) = (*base, reader.position());
            let stopped = match reader.next_batch() {
                Ok(Some(found)) if found.damage.is_none() => {
                    let header = found.batch.header;
                    if header.last_offset() < self.next {
                        continue;
                    }
                    let bytes = Bytes::copy_from_slice(found.batch.bytes);
                    self.next = header.next_offset();
                    return Ok(Some(bytes));
                }
                Ok(Some(found)) => {
                    let damage = found.damage.expect("the other case came before");
                    Some(damage.at(self.directory.locate(&self.path(base, "log")), position))
                }
                Ok(None) => None,
                Err(error @ Error::Corrupt { .. }) => Some(error),
                Err(error) => return Err(error),
            };
            // The end of this segment, or of the log. What was written since the last look is not missed: before the
            // next segment is opened, this one is looked at once more, now that nothing is added to it.
            let is_last = self.bases()?.last().is_none_or(|last| *last <= base);
            looked = match (is_last, looked, stopped) {
                (true, Looked::AsLast, _) => {
                    self.look_again(position)?;
                    return Ok(None);
                }
                (false, Looked::AsSealed, Some(error)) => return Err(error),
                (false, Looked::AsSealed, None) => {
                    self.segment = None;
                    self.open_segment_after(base)?;
                    Looked::Once
                }
                (true, ..) => Looked::AsLast,
                (false, ..) => Looked::AsSealed,
            };
            if looked != Looked::Once {
                self.look_again(position)?;
            }
        }
    }

    fn look_again(&mut self, position: u64) -> Result<()> {
        self.segment.as_mut().map_or(Ok(()), |(_, reader)| reader.look_again(position))
    }

    /// Opens the segment that holds the next offset, or the first one after it; false if there is none.
    fn open_segment(&mut self) -> Result<bool> {
        let bases = self.bases()?;
        let after = bases.partition_point(|base| *base <= self.next);
        let base = bases.get(after.saturating_sub(1)).copied();
        base.map_or(Ok(false), |base| self.open_at(base))
    }

    fn open_segment_after(&mut self, base: Offset) -> Result<bool> {
        let next = self.bases()?.into_iter().find(|other| *other > base);
        next.map_or(Ok(false), |base| self.open_at(base))
    }

    fn open_at(&mut self, base: Offset) -> Result<bool> {
        match SegmentReader::open(&*self.directory, &self.path(base, "log")) {
            Ok(mut reader) => {
                if let Some(position) = self.position_before(base, &reader)? {
                    reader.look_again(position)?;
                }
                self.segment = Some((base, reader));
                Ok(true)
            }
            // Removed by retention since the directory was listed: the caller lists it again.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Where a batch begins at or before the next offset, if the index knows one that is there.
    fn position_before(&self, base: Offset, reader: &SegmentReader) -> Result<Option<u64>> {
        if self.next <= base {
            return Ok(None);
        }
        let path = self.path(base, "index");
        let Some(offsets) = Index::open(&*self.directory, path, base, |_: &OffsetEntry| true)? else { return Ok(None) };
        let Some(entry) = offsets.floor(&*self.directory, self.next.as_i64())? else { return Ok(None) };
        let position = u64::from(entry.position);
        let header = reader.header_at(position)?;
        Ok(header.filter(|header| header.last_offset() == entry.offset).map(|_| position))
    }

    /// Base offsets of the segments that are there.
    fn bases(&self) -> Result<Vec<Offset>> {
        let name = self.id.to_string();
        let entries = match self.directory.list(&name) {
            Ok(entries) => entries,
            // Made when the first record comes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("list", self.directory.locate(&name), error)),
        };
        // The list is sorted, and so are the names, as numbers of a fixed width.
        let logs = entries.iter().filter_map(|entry| segment_name(&entry.name));
        Ok(logs.filter(|(_, extension)| *extension == "log").map(|(base, _)| base).collect())
    }

    fn path(&self, base: Offset, extension: &str) -> String {
        format!("{}/{:020}.{extension}", self.id, base.value())
    }
}

impl Scout {
    /// Goes to the end of what is there.
    fn look_ahead(&mut self) -> Result<()> {
        while let Some(bytes) = self.reader.next_bytes()? {
            let batch = crate::batch::RecordBatch::parse(&bytes);
            let replayed = batch.and_then(|batch| self.states.replay(&batch));
            let corrupt = |problem: crate::batch::Malformed| problem.at(self.reader.id.to_string(), 0);
            self.aborted.extend(replayed.map_err(corrupt)?);
        }
        self.stable = self.states.last_stable(self.reader.next);
        Ok(())
    }

    /// The aborted transactions with records in this range. One that ended before it says nothing of what its producer
    /// wrote since.
    fn aborted_between(&mut self, start: Offset, end: Offset) -> Arc<[AbortedTransaction]> {
        while self.aborted.front().is_some_and(|aborted| aborted.last < start) {
            self.aborted.pop_front();
        }
        let inside = self.aborted.iter().filter(|aborted| aborted.first < end && start <= aborted.last);
        inside
            .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first })
            .collect()
    }
}

impl fmt::Debug for PartitionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartitionReader({} at {})", self.id, self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RecordView, TopicName,
        batch::{BatchBuilder, Compression, Marker, MarkerKind, ProducerStamp, header, marker},
        embedded::storage::{MemoryDirectory, OpenMode},
    };

    fn id() -> TopicPartition {
        TopicPartition::new(TopicName::new("t").unwrap(), 0)
    }

    fn write(directory: &MemoryDirectory, base: u64, position: u64, bytes: &[u8]) {
        directory.create_dir("t-0").unwrap();
        let file = directory.open(&format!("t-0/{base:020}.log"), OpenMode::Create).unwrap();
        file.write_at(position, bytes).unwrap();
    }

    fn data(first: u64, producer: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        builder.append(RecordView::new(0, None, Some(b"x"))).unwrap();
        let stamp = match producer {
            -1 => ProducerStamp::NONE,
            id => ProducerStamp { id, epoch: 0, sequence: 0, is_transactional: true },
        };
        placed(builder.finish(stamp, Compression::None).to_vec(), first)
    }

    fn end(first: u64, producer: i64, kind: MarkerKind) -> Vec<u8> {
        placed(marker(producer, 0, 0, Marker { kind, coordinator_epoch: 0 }).to_vec(), first)
    }

    fn placed(mut batch: Vec<u8>, first: u64) -> Vec<u8> {
        header::set_base_offset(&mut batch, Offset::new(first));
        batch
    }

    fn offsets(reader: &mut PartitionReader) -> Vec<u64> {
        let mut offsets = Vec::new();
        while let Some(batch) = reader.next_batch().unwrap() {
            let mut cursor = batch.cursor();
            while let Some(record) = cursor.advance().unwrap() {
                offsets.push(record.offset.value());
            }
        }
        offsets
    }

    fn reader(directory: &MemoryDirectory, from: u64, isolation: Isolation) -> PartitionReader {
        PartitionReader::new(Arc::new(directory.clone()), id(), Offset::new(from), isolation).unwrap()
    }

    #[test]
    fn it_goes_on_from_segment_to_segment_and_follows_what_is_written() {
        let directory = MemoryDirectory::new();
        let mut following = reader(&directory, 0, Isolation::ReadUncommitted);
        assert_eq!(offsets(&mut following), []);
        let one = data(5, -1);
        write(&directory, 5, 0, &[one.clone(), data(6, -1)].concat());
        assert_eq!(offsets(&mut following), [5, 6]);
        // Half a batch is a write under way; zeros are room for more.
        let third = data(7, -1);
        write(&directory, 5, 2 * one.len() as u64, &third[..30]);
        assert_eq!(offsets(&mut following), []);
        write(&directory, 5, 2 * one.len() as u64, &[third, vec![0; 500]].concat());
        assert_eq!(offsets(&mut following), [7]);
        write(&directory, 8, 0, &data(8, -1));
        assert_eq!(offsets(&mut following), [8]);
        assert_eq!(offsets(&mut reader(&directory, 7, Isolation::ReadUncommitted)), [7, 8]);
        assert_eq!(offsets(&mut reader(&directory, 9, Isolation::ReadUncommitted)), []);
    }

    #[test]
    fn readers_of_committed_records_wait_for_markers() {
        let directory = MemoryDirectory::new();
        let open = [data(0, -1), data(1, 7), data(2, -1)].concat();
        write(&directory, 0, 0, &open);
        let mut committed = reader(&directory, 0, Isolation::ReadCommitted);
        assert_eq!(offsets(&mut committed), [0]);
        assert_eq!(offsets(&mut reader(&directory, 0, Isolation::ReadUncommitted)), [0, 1, 2]);
        write(&directory, 0, open.len() as u64, &[end(3, 7, MarkerKind::Abort), data(4, -1)].concat());
        assert_eq!(offsets(&mut committed), [2, 4]);
    }

    #[test]
    fn what_a_producer_writes_after_an_abort_is_seen() {
        let directory = MemoryDirectory::new();
        let log = [
            data(0, 7),
            end(1, 7, MarkerKind::Abort),
            data(2, 7),
            end(3, 7, MarkerKind::Commit),
            data(4, 7),
            data(5, -1),
            end(6, 7, MarkerKind::Abort),
            data(7, 7),
            end(8, 7, MarkerKind::Commit),
        ];
        write(&directory, 0, 0, &log.concat());
        for (from, expected) in [(0, &[2, 5, 7][..]), (2, &[2, 5, 7]), (3, &[5, 7]), (6, &[7])] {
            assert_eq!(offsets(&mut reader(&directory, from, Isolation::ReadCommitted)), expected, "from {from}");
        }
    }

    #[test]
    fn damage_before_the_last_segment_is_an_error() {
        let directory = MemoryDirectory::new();
        let mut damaged = data(0, -1);
        damaged[65] ^= 1;
        write(&directory, 0, 0, &damaged);
        assert_eq!(offsets(&mut reader(&directory, 0, Isolation::ReadUncommitted)), []);
        write(&directory, 1, 0, &data(1, -1));
        reader(&directory, 0, Isolation::ReadUncommitted).next_batch().expect_err("it is not the last any more");
    }
}
