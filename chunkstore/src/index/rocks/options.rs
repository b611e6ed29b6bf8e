//! How RocksDB is set up for a load of lookups of which most find nothing.
//!
//! * Addresses are random bits, so nothing is compressed, and a block holds few of them: what a lookup reads
//!   beyond its own entry is waste.
//! * Filters hold whole keys, on every level. They and the block indexes live in the block cache, before data
//!   in its favour, so that memory has one bound.
//! * Reads are `pread`, never a memory map: a file cut short under a map would end the process by a signal.
//! * Nothing is logged ahead: see the module document for why a marker still never outlives its entries.

use std::num::NonZero;

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, IngestExternalFileOptions,
    LogLevel, MergeOperands, Options, ReadOptions, WriteOptions,
};

/// Settings of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RocksSettings {
    /// Bound of the block cache in bytes: data, block indexes and filters.
    pub cache_bytes: usize,
    /// Bound of what is kept in memory before it is written, in bytes.
    pub write_buffer_bytes: usize,
    /// How many flushes and compactions run at once.
    pub background_jobs: NonZero<u8>,
    /// How many files are held open.
    pub open_files: NonZero<u16>,
}

impl Default for RocksSettings {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            write_buffer_bytes: 16 << 20,
            background_jobs: NonZero::new(2).expect("two is not zero"),
            open_files: NonZero::new(512).expect("512 is not zero"),
        }
    }
}

/// How large a sorted file may become, in bytes.
pub(super) const SORTED_FILE_BYTES: u64 = 16 << 20;

/// Options of the whole database.
pub(super) fn database(settings: &RocksSettings) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_merge_operator_associative("join places", join);
    options.set_block_based_table_factory(&tables(settings));
    options.set_compression_type(DBCompressionType::None);
    // Half of the buffer is filled while the other half is written.
    options.set_write_buffer_size(settings.write_buffer_bytes / 2);
    options.set_max_write_buffer_number(2);
    options.set_memtable_prefix_bloom_ratio(0.1);
    options.set_memtable_whole_key_filtering(true);
    options.set_optimize_filters_for_hits(false);
    options.set_max_background_jobs(settings.background_jobs.get().into());
    options.set_max_open_files(settings.open_files.get().into());
    options.set_target_file_size_base(SORTED_FILE_BYTES);
    options.set_max_bytes_for_level_base(128 << 20);
    options.set_level_zero_file_num_compaction_trigger(8);
    options.set_paranoid_checks(true);
    options.set_compaction_readahead_size(1 << 20);
    options.set_bytes_per_sync(1 << 20);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(1 << 20);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options
}

fn tables(settings: &RocksSettings) -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(settings.cache_bytes));
    tables.set_cache_index_and_filter_blocks(true);
    tables.set_cache_index_and_filter_blocks_with_high_priority(true);
    tables.set_bloom_filter(10.0, false);
    tables.set_whole_key_filtering(true);
    tables.set_optimize_filters_for_memory(true);
    tables.set_block_size(4 << 10);
    tables.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    tables
}

/// The merge operator: rows of places end to end, the older first.
fn join(_key: &[u8], older: Option<&[u8]>, newer: &MergeOperands) -> Option<Vec<u8>> {
    let rows = || older.into_iter().chain(newer);
    let mut joined = Vec::with_capacity(rows().map(<[u8]>::len).sum());
    for row in rows() {
        joined.extend_from_slice(row);
    }
    Some(joined)
}

/// Writes without a log.
pub(super) fn writes() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Reads with every checksum looked at.
pub(super) fn reads() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_verify_checksums(true);
    options
}

/// Takes sorted files over without copying them.
pub(super) fn ingestion() -> IngestExternalFileOptions {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    options
}
