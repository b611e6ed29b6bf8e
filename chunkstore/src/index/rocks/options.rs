//! How RocksDB is set up for a load of lookups of which most find nothing.
//!
//! * Filters hold whole keys, on every level. They and the block indexes stay in memory for as long as their
//!   file is open, so the number of open files is the bound of memory.
//! * Nothing else is cached: addresses are random, so a block that was read is not read again soon, and to keep
//!   it costs more than to read it from the system's page cache.
//! * Addresses do not compress, and a block holds few of them: what a lookup reads beyond its own entry is waste.
//! * Reads are `pread`, never a memory map: a file cut short under a map would end the process by a signal.
//! * Nothing is logged ahead: see the module document for why a marker still never outlives its entries.

use std::num::NonZero;
use std::path::Path;

use rocksdb::statistics::StatsLevel;
use rocksdb::{
    BlockBasedOptions, DBCompressionType, DataBlockIndexType, IngestExternalFileOptions, LogLevel,
    MergeOperands, Options, ReadOptions, WriteOptions,
};

/// Settings of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RocksSettings {
    /// Bound of the filters and block indexes in memory, in bytes. An entry needs about two; what has no room
    /// is read again when it is needed, which costs a lookup milliseconds.
    pub filter_bytes: usize,
    /// Bound of what is kept in memory before it is written, in bytes.
    pub write_buffer_bytes: usize,
    /// How many flushes and compactions run at once.
    pub background_jobs: NonZero<u8>,
}

impl Default for RocksSettings {
    fn default() -> Self {
        Self {
            filter_bytes: 64 << 20,
            write_buffer_bytes: 16 << 20,
            background_jobs: NonZero::new(2).expect("two is not zero"),
        }
    }
}

/// How large a sorted file may become, in bytes.
pub(super) const SORTED_FILE_BYTES: u64 = 8 << 20;

/// How much of a sorted file of that length stays in memory: 200,000 entries of 10 bits of filter, and of a key
/// for every fifty of them.
const RESIDENT_BYTES_PER_FILE: usize = 384 << 10;

/// So many files are held open at the least; RocksDB takes ten of them for itself.
const LEAST_OPEN_FILES: usize = 64;

/// Options of the whole database.
pub(super) fn database(settings: &RocksSettings) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_merge_operator_associative("join places", join);
    options.set_block_based_table_factory(&tables());
    options.set_compression_type(DBCompressionType::None);
    // Half of the buffer is filled while the other half is written.
    options.set_write_buffer_size(settings.write_buffer_bytes / 2);
    options.set_max_write_buffer_number(2);
    options.set_memtable_prefix_bloom_ratio(0.1);
    options.set_memtable_whole_key_filtering(true);
    options.set_optimize_filters_for_hits(false);
    options.set_max_background_jobs(settings.background_jobs.get().into());
    options.set_max_open_files(open_files(settings));
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

/// Options for reading beside a process that may be changing the database: every file is opened at once, for it may
/// have lost its name when it is needed.
pub(super) fn read_only(settings: &RocksSettings, log_directory: &Path) -> Options {
    let mut options = database(settings);
    options.create_if_missing(false);
    options.set_max_open_files(-1);
    options.set_db_log_dir(log_directory);
    options
}

fn open_files(settings: &RocksSettings) -> i32 {
    let files = settings.filter_bytes / RESIDENT_BYTES_PER_FILE;
    i32::try_from(files.max(LEAST_OPEN_FILES)).unwrap_or(i32::MAX)
}

fn tables() -> BlockBasedOptions {
    let mut tables = BlockBasedOptions::default();
    tables.disable_cache();
    tables.set_cache_index_and_filter_blocks(false);
    tables.set_bloom_filter(10.0, false);
    tables.set_whole_key_filtering(true);
    tables.set_block_size(2 << 10);
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
