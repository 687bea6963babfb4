//! One compaction of one partition: read the keys, rewrite the segments, put the new ones in place. Appends and fetches
//! go on meanwhile.

use std::{ops::Range, sync::Arc};

use super::{
    compaction::{BatchCleaner, Cleaned, Kept, Rules, enter},
    keys::LastOffsets,
    plan::{Cleanable, group},
    throttle::Throttle,
    transactions::TransactionTracker,
};
use crate::{
    Error, Offset, Result, TopicConfig,
    batch::{BatchHeader, BatchRewriter, RecordBatch},
    embedded::{
        partition::{Partition, Source, Survey},
        producer_state::Aborted,
        segment::{AppendFailure, AppendSettings, Segment, recovery},
        storage::Directory,
    },
};

/// Bytes of rewritten batches that are written at once.
const WRITE_BYTES: usize = 1 << 20;

/// What a compaction is given beside the partition.
pub(crate) struct Limits<'a> {
    pub(crate) keys_max: usize,
    pub(crate) now_ms: i64,
    pub(crate) throttle: &'a mut Throttle,
}

/// Compacts the part that was found to be due. Returns what was done, and where the next compaction begins.
pub(crate) fn compact(
    directory: &dyn Directory,
    partition: &Arc<Partition>,
    survey: &Survey,
    due: Cleanable,
    limits: &mut Limits<'_>,
) -> Result<(Cleaned, Offset)> {
    let config = partition.config();
    let map = read_keys(partition, survey, due, limits)?;
    let end = map.end();
    let rules = Rules {
        now_ms: limits.now_ms,
        delete_retention_ms: i64::try_from(config.delete_retention.as_millis()).unwrap_or(i64::MAX),
        log_end: survey.log_end,
        producers: partition.last_traces()?,
    };
    // The active segment is the last one and never among them.
    let sealed = &survey.segments[..survey.segments.len() - 1];
    let sealed = &sealed[..sealed.partition_point(|segment| segment.base < end)];
    let last_end = survey.segments[sealed.len()].base;
    let mut cleaner = BatchCleaner::new(&rules, &map);
    for members in group(sealed, last_end, u64::from(config.segment_bytes)) {
        let range = survey.segments[members.start].base..survey.segments[members.end].base;
        cleaner.add_aborted(partition.aborted_in(&range)?);
        rewrite(directory, partition, &config, &range, &mut cleaner, limits)?;
    }
    Ok((cleaner.cleaned, end))
}

/// The last offset of each key in the dirty part, or in as much of it as there is room for.
fn read_keys(partition: &Partition, survey: &Survey, due: Cleanable, limits: &mut Limits<'_>) -> Result<LastOffsets> {
    let range = due.first_dirty..due.first_uncleanable;
    let mut map = LastOffsets::new(range.start, limits.keys_max);
    let mut tracker = TransactionTracker::default();
    tracker.add_aborted(partition.aborted_in(&range)?);
    let mut decompressed = Vec::new();
    let mut is_full = false;
    // An open transaction may have ended the last compaction in the middle of a segment: the rest of that is dirty, too.
    let holds = survey.segments.partition_point(|segment| segment.base <= range.start).saturating_sub(1);
    let first = survey.segments.get(holds).map_or(range.start, |segment| segment.base);
    for source in partition.sources(&(first..range.end))? {
        scan(&source, limits.throttle, |header, bytes| {
            is_full = is_full || header.next_offset() > range.end;
            if !is_full {
                let batch = RecordBatch { header: *header, bytes };
                is_full = !enter(&mut map, &mut tracker, &batch, &mut decompressed)?;
            }
            Ok(())
        })?;
        if is_full {
            break;
        }
    }
    Ok(map)
}

/// Writes what is left of the segments in `range` to one new segment, which takes their place.
fn rewrite(
    directory: &dyn Directory,
    partition: &Partition,
    config: &TopicConfig,
    range: &Range<Offset>,
    cleaner: &mut BatchCleaner<'_>,
    limits: &mut Limits<'_>,
) -> Result<()> {
    let mut output = Output {
        directory,
        segment: partition.cleaned_segment(range.start)?,
        bytes: Vec::with_capacity(WRITE_BYTES),
        headers: Vec::new(),
        index_interval_bytes: config.index_interval_bytes,
    };
    let mut aborted: Vec<Aborted> = Vec::new();
    let mut last: Option<(BatchHeader, bool)> = None;
    for source in partition.sources(range)? {
        scan(&source, limits.throttle, |header, bytes| {
            let outcome = cleaner.clean(&RecordBatch { header: *header, bytes })?;
            aborted.extend(outcome.aborted);
            last = Some((*header, outcome.kept != Kept::Nothing));
            match &outcome.kept {
                Kept::Whole => output.push(bytes),
                Kept::Rewritten(bytes) => output.push(bytes),
                Kept::Nothing => Ok(()),
            }
        })?;
    }
    if let Some((header, false)) = last {
        // It tells where the range ends.
        output.push(&BatchRewriter::empty(&header))?;
    }
    output.flush()?;
    partition.replace(output.segment, &aborted, range)
}

/// A segment that is being written.
struct Output<'a> {
    directory: &'a dyn Directory,
    segment: Segment,
    bytes: Vec<u8>,
    headers: Vec<BatchHeader>,
    index_interval_bytes: u32,
}

impl Output<'_> {
    fn push(&mut self, batch: &[u8]) -> Result<()> {
        let header = BatchHeader::parse(batch).map_err(|malformed| Error::Invalid(malformed.to_string()))?;
        self.bytes.extend_from_slice(batch);
        self.headers.push(header);
        if self.bytes.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let settings = AppendSettings {
            index_interval_bytes: self.index_interval_bytes,
            preallocate_bytes: 0,
            segment_bytes: u64::MAX,
        };
        let written = self.segment.append(self.directory, &self.bytes, &self.headers, settings);
        self.bytes.clear();
        self.headers.clear();
        written.map_err(|failure| match failure {
            AppendFailure::Refused(error) | AppendFailure::Unknown(error) => error,
        })
    }
}

/// Shows every batch of a sealed segment, its checksum verified.
fn scan(
    source: &Source,
    throttle: &mut Throttle,
    mut visit: impl FnMut(&BatchHeader, &[u8]) -> Result<()>,
) -> Result<()> {
    let range =
        recovery::Range { from: 0, to: source.size_bytes, first: source.base, gapless_from: recovery::GAPS_ANYWHERE };
    let scanned = recovery::scan(&*source.file, &source.path, range, |header, bytes, _| {
        throttle.spend(bytes.len());
        visit(header, bytes)
    })?;
    match scanned.stopped {
        None => Ok(()),
        Some(malformed) => Err(malformed.at(&source.path, scanned.position)),
    }
}
