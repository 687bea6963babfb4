//! When the active segment is sealed and a new one begins.

use super::{Log, Partition};
use crate::{
    Offset, Result, TopicConfig,
    batch::BatchHeader,
    embedded::segment::{RELATIVE_MAX, Segment},
};

impl Partition {
    /// Makes sure that the last segment is one that may take `bytes` of batches from `log.log_end` on.
    pub(super) fn make_room(
        &self,
        log: &mut Log,
        config: &TopicConfig,
        batches: &[BatchHeader],
        bytes: u64,
    ) -> Result<()> {
        if log.segments.is_empty() {
            self.create_directory(log.log_end)?;
            log.is_new = true;
        } else if !self.must_roll(log, config, batches, bytes)? {
            return Ok(());
        }
        self.roll(log)
    }

    fn must_roll(&self, log: &mut Log, config: &TopicConfig, batches: &[BatchHeader], bytes: u64) -> Result<bool> {
        let last = batches.last().map_or(log.log_end, BatchHeader::last_offset);
        let Some(active) = log.segments.last_mut() else { return Ok(true) };
        if active.size_bytes == 0 {
            return Ok(false);
        }
        if active.size_bytes + bytes > u64::from(config.segment_bytes)
            || last.offsets_since(active.base) > RELATIVE_MAX
            || active.indexes_are_full(config.segment_index_bytes)
        {
            return Ok(true);
        }
        // Time as the records tell it: a log that is written to rarely rolls when the next record comes.
        let oldest = active.first_timestamp(&*self.shared.directory)?;
        let newest = batches.iter().map(|header| header.max_timestamp).max();
        let age_max = i64::try_from(config.segment_age.as_millis()).unwrap_or(i64::MAX);
        Ok(matches!((oldest, newest), (Some(oldest), Some(newest)) if newest.saturating_sub(oldest) > age_max))
    }

    /// Seals the active segment and begins a new one at the log end. The sealed one's files join the next sync.
    pub(super) fn roll(&self, log: &mut Log) -> Result<()> {
        let directory = &*self.shared.directory;
        if let Some(active) = log.segments.last_mut() {
            let files = active.seal(directory)?;
            active.release();
            log.unsynced.extend(files);
            let snapshot = self.take_snapshot(log)?;
            log.unsynced.push(snapshot);
            self.drop_old_snapshots(log)?;
        }
        let segment = Segment::create(directory, &self.directory_name, log.log_end)?;
        log.segments.push(segment);
        log.has_new_names = true;
        Ok(())
    }

    /// Base of the segment that holds `offset`, as its number in the list.
    pub(super) fn segment_of(log: &Log, offset: Offset) -> Option<usize> {
        log.segments.partition_point(|segment| segment.base <= offset).checked_sub(1)
    }
}
