//! RocksDB's settings: those that paid off when they were measured, and a hook for the user's own.

use std::sync::Arc;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, DBCompactionStyle, DBCompressionType, LogLevel, Options, SliceTransform,
};

use crate::state::layer::MemoryBudget;

/// Changes the settings of a store's column family, as `rocksdb.config.setter` does: given the store's name, after our
/// own settings were made.
#[derive(Clone)]
pub struct RocksDbConfigSetter(Arc<Set>);

type Set = dyn Fn(&str, &mut Options, &mut BlockBasedOptions) + Send + Sync;

impl RocksDbConfigSetter {
    /// A setter that calls `set`.
    pub fn new(set: impl Fn(&str, &mut Options, &mut BlockBasedOptions) + Send + Sync + 'static) -> Self {
        RocksDbConfigSetter(Arc::new(set))
    }
}

impl std::fmt::Debug for RocksDbConfigSetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RocksDbConfigSetter")
    }
}

/// Files that one task may have open: a few for each of a hundred stores. What is beyond is opened again for each look-up,
/// which is twenty times slower; the log keeps half of the thousand that many systems allow a process.
const OPEN_FILES_MAX: i32 = 400;

/// RocksDB splits its table of open files into two to the power of this many parts. With the default, 64 parts of which
/// each holds its part of the number above, some are full long before the others.
const OPEN_FILES_SHARD_BITS: i32 = 1;

/// A write buffer's size. The process-wide write buffer manager flushes earlier when all of them together are too big.
const WRITE_BUFFER_BYTES: usize = 16 << 20;

/// A filter of ten bits for each row, if rows take a hundred bytes of the write buffer. It is allocated with the first row.
const MEMTABLE_BLOOM_RATIO: f64 = 0.0125;

/// Write buffers grow in such pieces: with a hundred stores the default, a megabyte each, would be most of the budget.
const ARENA_BLOCK_BYTES: usize = 64 << 10;

/// First byte of rows that belong to a group: all windows of a key within a segment of time, all versions of a key.
///
/// `kind | segment (8) | length of the key (4) | key | which row of the group`
pub(crate) const GROUP_ROW: u8 = 2;

/// What comes before the key of a group row.
const GROUP_HEADER: usize = 13;

/// What all rows of a group begin with, and no row of another group: the length comes before the key, so that no group's
/// prefix is the beginning of another's.
pub(crate) fn group_prefix(row: &[u8]) -> &[u8] {
    let length =
        row.get(GROUP_HEADER - 4..GROUP_HEADER).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
    &row[..row.len().min(GROUP_HEADER + length as usize)]
}

fn is_group_row(row: &[u8]) -> bool {
    row.len() >= GROUP_HEADER && row[0] == GROUP_ROW
}

/// Settings of the database of a task.
pub(super) fn database_options(budget: &MemoryBudget) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_write_buffer_manager(&budget.disk().1);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_table_cache_num_shard_bits(OPEN_FILES_SHARD_BITS);
    options.set_max_background_jobs(2);
    // Only one thread writes, and never through the log.
    options.set_allow_concurrent_memtable_write(false);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_max_manifest_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options.set_bytes_per_sync(1 << 20);
    options
}

/// Settings of the column family of one store.
pub(super) fn store_options(store: &str, budget: &MemoryBudget, setter: Option<&RocksDbConfigSetter>) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&budget.disk().0);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    table.set_whole_key_filtering(true);
    table.set_format_version(5);
    // Indexes and filters are part of the block cache, and so of the budget: in pieces, since those of fifty million rows
    // do not fit.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_top_level_index_and_filter(true);
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_compaction_style(DBCompactionStyle::Universal);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    options.set_memtable_whole_key_filtering(true);
    options.set_prefix_extractor(SliceTransform::create("kafka-streams.group", group_prefix, Some(is_group_row)));
    if let Some(setter) = setter {
        (setter.0)(store, &mut options, &mut table);
    }
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
mod tests {
    use super::{GROUP_ROW, group_prefix, is_group_row};

    #[test]
    fn the_prefix_of_a_row_is_what_its_group_has_in_common() {
        let row = [GROUP_ROW, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, b'a', b'b', 1, 2, 3];
        assert!(is_group_row(&row));
        assert_eq!(group_prefix(&row), &row[..15]);
        assert!(is_group_row(&row[..15]), "a prefix is its own prefix");
        assert_eq!(group_prefix(&row[..15]), &row[..15]);
        assert!(!is_group_row(&[1, 0, 0, 0, 0]), "a row of another kind");
    }
}
