//! What the batches of a partition say of their producers, to be compared with what the other files say.

use std::collections::HashMap;

use crate::{
    Offset,
    batch::{Malformed, RecordBatch},
    embedded::producer_state::{Aborted, ProducerEntry, ProducerStates, advance},
};

/// The producers seen on the way along a partition.
#[derive(Default)]
pub(super) struct Producers {
    /// Decides which transactions were aborted.
    states: ProducerStates,
    last: HashMap<i64, Last>,
}

/// The last batch of one producer.
struct Last {
    epoch: i16,
    sequence: i32,
    offset: Offset,
}

impl Producers {
    /// Takes in a batch. Returns the transaction that it aborts, and a gap in its producer's sequence, if there is one.
    pub(super) fn follow(&mut self, batch: &RecordBatch<'_>) -> Result<(Option<Aborted>, Option<String>), Malformed> {
        let header = &batch.header;
        if !header.has_producer() {
            return Ok((None, None));
        }
        let mut gap = None;
        if !header.is_control && header.base_sequence >= 0 {
            if let Some(last) = self.last.get(&header.producer_id) {
                let expected = if last.epoch == header.producer_epoch { advance(last.sequence, 1) } else { 0 };
                if header.base_sequence != expected {
                    gap = Some(format!(
                        "producer {} (epoch {}) goes on with sequence {}, expected {expected}",
                        header.producer_id, header.producer_epoch, header.base_sequence
                    ));
                }
            }
            let (epoch, sequence, offset) = (header.producer_epoch, header.last_sequence(), header.last_offset());
            self.last.insert(header.producer_id, Last { epoch, sequence, offset });
        }
        Ok((self.states.replay(batch)?, gap))
    }

    /// What a snapshot at this point says otherwise.
    pub(super) fn compare(&self, entries: &[ProducerEntry], is_compacted: bool) -> Vec<String> {
        let mut problems = Vec::new();
        for entry in entries {
            let Some(last_offset) = entry.last_offset.filter(|_| entry.last_sequence >= 0) else { continue };
            // Its batches may have been removed by retention, or compaction.
            let Some(last) = self.last.get(&entry.producer_id) else { continue };
            // An epoch may have begun without a batch so far.
            let is_equal = last.offset == last_offset && last.sequence == entry.last_sequence;
            let is_compacted_away = is_compacted && last.offset < last_offset;
            if !is_equal && !is_compacted_away {
                problems.push(format!(
                    "producer {} is said to have ended with sequence {} at offset {last_offset}, but its last batch \
                     ends with {} at {}",
                    entry.producer_id, entry.last_sequence, last.sequence, last.offset
                ));
            }
        }
        problems
    }
}
