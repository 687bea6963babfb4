//! What the cleaner must know of transactions while it reads a log from front to back.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    Offset,
    batch::{BatchHeader, Marker, MarkerKind},
    embedded::producer_state::Aborted,
};

/// Follows the transactions over batches in the order of their offsets.
#[derive(Debug, Default)]
pub(crate) struct TransactionTracker {
    /// Aborted transactions that begin further on, by first offset.
    coming: BTreeMap<Offset, Aborted>,
    /// Aborted transactions that have begun, and whether any of their batches was met.
    aborted: HashMap<i64, (Aborted, bool)>,
    /// Producers with committed batches before their next marker.
    committed: HashSet<i64>,
}

/// What a marker is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarkerUse {
    /// Batches of its transaction were met: it stays. An aborted one keeps its entry in the index.
    Needed(Option<Aborted>),
    /// Nothing of its transaction is left: it goes after the time that readers are given.
    Spent,
}

impl TransactionTracker {
    /// Adds aborted transactions that end in what is read next.
    pub(crate) fn add_aborted(&mut self, aborted: impl IntoIterator<Item = Aborted>) {
        self.coming.extend(aborted.into_iter().map(|entry| (entry.first, entry)));
    }

    /// A data batch: true if its transaction was aborted.
    pub(crate) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_upto(header.last_offset());
        if !header.is_transactional {
            return false;
        }
        if let Some((_, met)) = self.aborted.get_mut(&header.producer_id) {
            *met = true;
            return true;
        }
        self.committed.insert(header.producer_id);
        false
    }

    /// A control batch; `marker` is what it says, `None` if nothing is left in it.
    pub(crate) fn end(&mut self, header: &BatchHeader, marker: Option<Marker>) -> MarkerUse {
        self.begin_upto(header.last_offset());
        match marker.map(|marker| marker.kind) {
            None => MarkerUse::Spent,
            Some(MarkerKind::Abort) => match self.aborted.remove(&header.producer_id) {
                Some((entry, true)) => MarkerUse::Needed(Some(entry)),
                _ => MarkerUse::Spent,
            },
            Some(MarkerKind::Commit) => {
                if self.committed.remove(&header.producer_id) {
                    MarkerUse::Needed(None)
                } else {
                    MarkerUse::Spent
                }
            }
        }
    }

    fn begin_upto(&mut self, offset: Offset) {
        while let Some(first) = self.coming.first_entry().filter(|first| *first.key() <= offset) {
            let entry = first.remove();
            self.aborted.entry(entry.producer_id).or_insert((entry, false));
        }
    }
}
