//! Memory: one number for all stores.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use rocksdb::{Cache, WriteBufferManager};

/// Memory of all stores of one application, or of several that share it: rows in memory, RocksDB's block cache and its
/// write buffers.
///
/// Three quarters go to rows in memory, where a stream application's reads are answered; one quarter to RocksDB.
pub struct MemoryBudget {
    bytes: usize,
    rows_bytes_max: usize,
    disk_bytes_max: usize,
    /// What the rows of all stores occupy now, and what the stores hold beside them.
    rows_bytes: AtomicUsize,
    /// How many stores there are now.
    stores: AtomicUsize,
    /// Made when the first files are opened.
    disk: OnceLock<(Cache, WriteBufferManager)>,
}

impl MemoryBudget {
    /// 256 MiB: word count over millions of distinct words stays below 600 MB in all.
    pub const DEFAULT_BYTES: usize = 256 << 20;

    /// A budget of `bytes` in all.
    #[must_use]
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(MemoryBudget {
            bytes,
            rows_bytes_max: bytes / 4 * 3,
            disk_bytes_max: bytes / 4,
            rows_bytes: AtomicUsize::new(0),
            stores: AtomicUsize::new(0),
            disk: OnceLock::new(),
        })
    }

    /// The one number.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What rows in memory and their stores occupy now, in bytes, an estimate.
    #[must_use]
    pub fn rows_bytes(&self) -> usize {
        self.rows_bytes.load(Relaxed)
    }

    /// The block cache and write buffer manager that all files share. Write buffers count as part of the
    /// cache, so that both together stay below the budget.
    pub(crate) fn disk(&self) -> &(Cache, WriteBufferManager) {
        self.disk.get_or_init(|| {
            let cache = Cache::new_hyper_clock_cache(self.disk_bytes_max, 0);
            let buffers =
                WriteBufferManager::new_write_buffer_manager_with_cache(self.disk_bytes_max / 2, false, cache.clone());
            (cache, buffers)
        })
    }
}

impl std::fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBudget")
            .field("rows_bytes_max", &self.rows_bytes_max)
            .field("disk_bytes_max", &self.disk_bytes_max)
            .field("rows_bytes", &self.rows_bytes())
            .finish_non_exhaustive()
    }
}

/// One store's part in the budget.
pub(crate) struct LayerBudget {
    whole: Arc<MemoryBudget>,
    /// What this store last reported.
    reported: usize,
}

impl LayerBudget {
    /// Changes smaller than this are not reported: the shared counter is touched rarely.
    const STEP: usize = 64 << 10;

    /// What a store holds beside its rows: the open batch of its changelog, buffers for rows on their way, its column
    /// family. With a hundred stores that is a fifth of the default budget.
    const BESIDE_ROWS: usize = 512 << 10;

    /// A store gets at least this much, however many there are: less would mean a commit for every few rows.
    const LEAST: usize = 1 << 20;

    pub(crate) fn new(whole: Arc<MemoryBudget>) -> Self {
        whole.stores.fetch_add(1, Relaxed);
        whole.rows_bytes.fetch_add(Self::BESIDE_ROWS, Relaxed);
        LayerBudget { whole, reported: 0 }
    }

    /// What this store may use when all want more than there is.
    pub(crate) fn share(&self) -> usize {
        let part = self.whole.rows_bytes_max / self.whole.stores.load(Relaxed).max(1);
        part.saturating_sub(Self::BESIDE_ROWS).max(Self::LEAST)
    }

    /// Tells what the store occupies. Returns true if it has to give something back: all stores together are over the
    /// budget, and this one is over its share.
    #[inline]
    pub(crate) fn is_exceeded(&mut self, bytes: usize) -> bool {
        if bytes.abs_diff(self.reported) >= Self::STEP {
            self.report(bytes);
        }
        self.whole.rows_bytes.load(Relaxed) > self.whole.rows_bytes_max && bytes > self.share()
    }

    fn report(&mut self, bytes: usize) {
        if bytes >= self.reported {
            self.whole.rows_bytes.fetch_add(bytes - self.reported, Relaxed);
        } else {
            self.whole.rows_bytes.fetch_sub(self.reported - bytes, Relaxed);
        }
        self.reported = bytes;
    }
}

impl Drop for LayerBudget {
    fn drop(&mut self) {
        self.report(0);
        self.whole.rows_bytes.fetch_sub(Self::BESIDE_ROWS, Relaxed);
        self.whole.stores.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_store_over_its_share_gives_back_only_when_all_are_over_the_budget() {
        let whole = MemoryBudget::new(16 * MIB);
        let (mut big, mut small) = (LayerBudget::new(Arc::clone(&whole)), LayerBudget::new(Arc::clone(&whole)));
        assert_eq!(big.share(), 6 * MIB - LayerBudget::BESIDE_ROWS);
        assert_eq!(whole.rows_bytes(), 2 * LayerBudget::BESIDE_ROWS);
        assert!(!big.is_exceeded(10 * MIB), "the other store does not use its share");
        assert!(!small.is_exceeded(2 * MIB), "below its share");
        assert!(big.is_exceeded(10 * MIB));
        drop(small);
        assert!(!big.is_exceeded(10 * MIB));
        drop(big);
        assert_eq!(whole.rows_bytes(), 0);
    }
}
