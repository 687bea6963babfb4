//! Which segments may go because of age, size or the log start. This file decides; the worker deletes.

use crate::{Offset, TopicConfig};

/// What the policies know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFacts {
    pub(crate) base: Offset,
    pub(crate) size_bytes: u64,
    /// Largest timestamp of its records; `None` if they have none.
    pub(crate) timestamp_max: Option<i64>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Keep,
    /// Delete this many segments from the front of the log. If that is all of them, a new one is begun first.
    DeleteHead {
        segments: usize,
    },
}

/// Looks at all segments of a partition, oldest first, the active one included.
///
/// Only the front goes: a hole in the middle would look like a loss. Nothing goes at or after `last_stable`: an open
/// transaction is not decided by its age.
pub(crate) fn choose(
    config: &TopicConfig,
    segments: &[SegmentFacts],
    log_start: Offset,
    last_stable: Offset,
    now_ms: i64,
) -> Choice {
    debug_assert!(segments.is_sorted_by_key(|segment| segment.base));

    let age_max_ms = config.retention.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    let mut remaining_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let next_base = |number: usize| segments.get(number + 1).map(|next| next.base);
    let may_go = |(number, segment): &(usize, &SegmentFacts)| {
        let is_old = segment.timestamp_max.zip(age_max_ms).is_some_and(|(time, max)| now_ms.saturating_sub(time) > max);
        // As much as is to be kept stays even without it.
        let is_surplus = config.retention_bytes.is_some_and(|max| remaining_bytes - segment.size_bytes >= max);
        let is_before_start = next_base(*number).is_some_and(|next| next <= log_start);
        let is_stable = next_base(*number).is_none_or(|next| next <= last_stable);
        remaining_bytes -= segment.size_bytes;
        segment.size_bytes > 0
            && is_stable
            && (is_before_start || config.cleanup_policy.is_delete && (is_old || is_surplus))
    };
    match segments.iter().enumerate().take_while(may_go).count() {
        0 => Choice::Keep,
        segments => Choice::DeleteHead { segments },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::CleanupPolicy;

    const NOW: i64 = 10_000;

    /// Segments of ten offsets each: `size, timestamp`.
    fn segments(facts: &[(u64, i64)]) -> Vec<SegmentFacts> {
        let fact = |(number, (size_bytes, timestamp)): (usize, &(u64, i64))| SegmentFacts {
            base: Offset::new(10 * number as u64),
            size_bytes: *size_bytes,
            timestamp_max: (*timestamp >= 0).then_some(*timestamp),
        };
        facts.iter().enumerate().map(fact).collect()
    }

    fn config(retention_ms: Option<u64>, retention_bytes: Option<u64>) -> TopicConfig {
        TopicConfig { retention: retention_ms.map(Duration::from_millis), retention_bytes, ..TopicConfig::default() }
    }

    fn check(config: &TopicConfig, facts: &[(u64, i64)], log_start: u64, deleted: usize) {
        let segments = segments(facts);
        let stable = Offset::new(10 * facts.len() as u64);
        let expected = if deleted == 0 { Choice::Keep } else { Choice::DeleteHead { segments: deleted } };
        assert_eq!(choose(config, &segments, Offset::new(log_start), stable, NOW), expected, "{facts:?}");
    }

    #[test]
    fn an_old_head_goes() {
        check(&config(Some(1_000), None), &[(5, 100), (5, 8_999), (5, 9_000)], 0, 2);
    }

    #[test]
    fn an_old_segment_behind_a_young_one_stays() {
        check(&config(Some(1_000), None), &[(5, 9_500), (5, 100), (5, 9_500)], 0, 0);
    }

    #[test]
    fn an_old_active_segment_goes_but_an_empty_one_stays() {
        check(&config(Some(1_000), None), &[(5, 100), (5, 100)], 0, 2);
        check(&config(Some(1_000), None), &[(5, 100), (0, -1)], 0, 1);
    }

    #[test]
    fn records_without_a_time_do_not_age() {
        check(&config(Some(1_000), None), &[(5, -1), (5, 100)], 0, 0);
    }

    #[test]
    fn size_leaves_at_least_what_is_to_be_kept() {
        check(&config(None, Some(12)), &[(5, 0), (5, 0), (5, 0), (5, 0)], 0, 1);
        check(&config(None, Some(10)), &[(5, 0), (5, 0), (5, 0), (5, 0)], 0, 2);
        check(&config(None, Some(20)), &[(5, 0), (5, 0), (5, 0), (5, 0)], 0, 0);
        check(&config(None, Some(0)), &[(5, 0), (5, 0)], 0, 2);
    }

    #[test]
    fn what_is_before_the_log_start_goes_whatever_the_policy() {
        let compacted = TopicConfig {
            cleanup_policy: CleanupPolicy { is_delete: false, is_compact: true },
            ..config(Some(1), Some(0))
        };
        check(&compacted, &[(5, 0), (5, 0), (5, 0)], 20, 2);
        check(&compacted, &[(5, 0), (5, 0), (5, 0)], 19, 1);
        check(&compacted, &[(5, 0), (5, 0), (5, 0)], 0, 0);
    }

    #[test]
    fn for_ever_is_for_ever() {
        check(&config(None, None), &[(5, 0), (5, 0)], 0, 0);
    }

    #[test]
    fn an_open_transaction_holds_its_segment() {
        let segments = segments(&[(5, 100), (5, 100), (5, 100)]);
        let config = config(Some(1_000), None);
        assert_eq!(choose(&config, &segments, Offset::ZERO, Offset::new(15), NOW), Choice::DeleteHead { segments: 1 });
    }
}
