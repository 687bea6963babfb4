//! Which part of a partition is compacted, and when it is worth it. Decides only.

use std::ops::Range;

use super::retention::SegmentFacts;
use crate::{Offset, TopicConfig};

/// A partition that could be compacted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cleanable {
    /// Before it everything was compacted before.
    pub(crate) first_dirty: Offset,
    /// From here on nothing may be touched.
    pub(crate) first_uncleanable: Offset,
    /// Share of bytes that were not compacted yet.
    pub(crate) dirty_ratio: f64,
    /// Due by ratio or by `max.compaction.lag.ms`.
    pub(crate) is_due: bool,
}

/// Looks at all segments, oldest first, the active one included. `first_dirty` is where the last compaction ended;
/// `None` if nothing can be compacted.
pub(crate) fn cleanable(
    config: &TopicConfig,
    segments: &[SegmentFacts],
    first_dirty: Offset,
    last_stable: Offset,
    now_ms: i64,
) -> Option<Cleanable> {
    let (active, sealed) = segments.split_last()?;
    // A checkpoint that is not in the log (it was deleted from the front, or lost) means: all of it.
    let start = segments.first()?.base;
    let first_dirty = if first_dirty < start || first_dirty > active.base { start } else { first_dirty };

    let mut end = active.base.min(last_stable);
    let lag_min_ms = i64::try_from(config.compaction_lag_min.as_millis()).unwrap_or(i64::MAX);
    if lag_min_ms > 0 {
        let is_young = |segment: &&SegmentFacts| {
            segment.base >= first_dirty
                && segment.timestamp_max.is_some_and(|time| time > now_ms.saturating_sub(lag_min_ms))
        };
        end = end.min(sealed.iter().find(is_young).map_or(end, |segment| segment.base));
    }
    if end <= first_dirty {
        return None;
    }
    let bytes = |range: Range<Offset>| -> u64 {
        sealed.iter().filter(|segment| range.contains(&segment.base)).map(|segment| segment.size_bytes).sum()
    };
    let (clean, dirty) = (bytes(start..first_dirty), bytes(first_dirty..end));
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let dirty_ratio = dirty as f64 / (clean + dirty).max(1) as f64;

    let oldest_dirty =
        sealed.iter().find(|segment| segment.base >= first_dirty).and_then(|segment| segment.timestamp_max);
    let is_overdue = config
        .compaction_lag_max
        .zip(oldest_dirty)
        .is_some_and(|(lag, time)| now_ms.saturating_sub(time) > i64::try_from(lag.as_millis()).unwrap_or(i64::MAX));
    let is_due = dirty > 0 && (is_overdue || dirty_ratio >= config.dirty_ratio_min);
    Some(Cleanable { first_dirty, first_uncleanable: end, dirty_ratio, is_due })
}

/// Neighbouring segments that become one, so that a log does not fall into many small files. `segments` are those that
/// are rewritten, oldest first; `end` is the offset after the last of them.
pub(crate) fn group(segments: &[SegmentFacts], end: Offset, segment_bytes: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut size = 0;
    for (number, segment) in segments.iter().enumerate() {
        let segment_end = segments.get(number + 1).map_or(end, |next| next.base);
        if let Some(group) = groups.last_mut() {
            // Indexes hold offsets as 31 bits above the base.
            let span = segment_end.offsets_since(segments[group.start].base);
            if size + segment.size_bytes <= segment_bytes && span <= i32::MAX as u64 {
                group.end = number + 1;
                size += segment.size_bytes;
                continue;
            }
        }
        groups.push(number..number + 1);
        size = segment.size_bytes;
    }
    groups
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: i64 = 10_000;

    /// Segments of ten offsets and ten bytes each, with these timestamps; the last is the active one.
    fn segments(timestamps: &[i64]) -> Vec<SegmentFacts> {
        let fact = |(number, time): (usize, &i64)| SegmentFacts {
            base: Offset::new(10 * number as u64),
            size_bytes: 10,
            timestamp_max: Some(*time),
        };
        timestamps.iter().enumerate().map(fact).collect()
    }

    /// `first dirty..first uncleanable ratio due`
    fn check(config: &TopicConfig, timestamps: &[i64], first_dirty: u64, last_stable: u64, expected: &str) {
        let found = cleanable(config, &segments(timestamps), Offset::new(first_dirty), Offset::new(last_stable), NOW);
        let text = found.map_or("nothing".to_owned(), |found| {
            let due = if found.is_due { " due" } else { "" };
            format!("{}..{} {:.2}{due}", found.first_dirty, found.first_uncleanable, found.dirty_ratio)
        });
        assert_eq!(text, expected, "{timestamps:?} from {first_dirty}");
    }

    #[test]
    fn the_active_segment_is_never_compacted() {
        let config = TopicConfig::default();
        check(&config, &[0], 0, 10, "nothing");
        check(&config, &[0, 0, 0], 0, 30, "0..20 1.00 due");
    }

    #[test]
    fn enough_must_be_dirty() {
        let config = TopicConfig::default();
        check(&config, &[0, 0, 0, 0], 20, 40, "20..30 0.33");
        check(&config, &[0, 0, 0, 0], 10, 40, "10..30 0.67 due");
        check(&config, &[0, 0, 0, 0], 30, 40, "nothing");
    }

    #[test]
    fn an_open_transaction_ends_the_range() {
        check(&TopicConfig::default(), &[0, 0, 0], 0, 15, "0..15 1.00 due");
        check(&TopicConfig::default(), &[0, 0, 0], 0, 0, "nothing");
    }

    #[test]
    fn young_records_wait() {
        let config = TopicConfig { compaction_lag_min: Duration::from_millis(1_000), ..TopicConfig::default() };
        check(&config, &[100, 9_001, 200, 0], 0, 40, "0..10 1.00 due");
        check(&config, &[100, 9_000, 200, 0], 0, 40, "0..30 1.00 due");
    }

    #[test]
    fn old_records_do_not_wait_for_more() {
        let config = TopicConfig { compaction_lag_max: Some(Duration::from_millis(1_000)), ..TopicConfig::default() };
        check(&config, &[0, 0, 8_999, 0], 20, 40, "20..30 0.33 due");
        check(&config, &[0, 0, 9_000, 0], 20, 40, "20..30 0.33");
    }

    #[test]
    fn a_checkpoint_outside_the_log_means_all_of_it() {
        check(&TopicConfig::default(), &[0, 0, 0], 25, 30, "0..20 1.00 due");
    }

    #[test]
    fn small_neighbours_become_one_segment() {
        let end = Offset::new(50);
        assert_eq!(group(&segments(&[0; 5]), end, 30), [0..3, 3..5]);
        assert_eq!(group(&segments(&[0; 5]), end, 5), [0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(group(&[], end, 5), []);
        // Far apart in offsets: two files, however small.
        let mut far = segments(&[0, 0]);
        far[1].base = Offset::new(1 << 31);
        assert_eq!(group(&far, Offset::new((1 << 31) + 1), 1_000), [0..1, 1..2]);
    }
}
