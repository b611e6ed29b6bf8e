//! The chunk index in RocksDB: one per server, disposable, bounded in memory.
//!
//! # Truth
//! The stored files. Whatever is odd here (a checksum, a record that nobody wrote, another schema) is damage,
//! and damage is answered by starting anew; no answer is ever guessed.
//!
//! # Order
//! All that is known of a file becomes visible at once: its entries, its marker, the record of its number, and
//! the record of its pool's number. A small file is one write batch. A large one is written as sorted files
//! beside the database, and these are taken over in one step together with a last one that holds the records.
//!
//! # Crash
//! Nothing is logged ahead and nothing is synced by us; a crash loses additions, never parts of one.
//! * There is one column family. A write batch goes into one memtable whole (memtables are exchanged between
//!   batches, not within), and a flush writes a memtable whole, so that a batch is kept or lost whole.
//! * Sorted files are synced before one record of the manifest names all of them.
//! * Numbers come from one rising sequence that begins above every number recorded at the opening. Entries are
//!   never kept without the record of the number that they name, so that a number that is given again after a
//!   crash is named by nothing.
//! * A manifest cut short is an earlier state of the whole, or names files that are gone, which is damage.
//!
//! # Cleanup
//! Sorted files that were never taken over are removed at the opening. A damaged database is removed whole. Files that
//! nothing names any more are forgotten when they have many entries together (`forgetting`).
//!
//! # Retry
//! Adding a file that has its marker does nothing. Two additions of one file at the same time both go in, under
//! two numbers; their places are one when they are read.

mod directory;
mod failure;
mod forgetting;
mod handle;
pub(crate) mod keys;
mod options;
mod sorted;
pub(crate) mod values;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

pub use directory::RocksDirectory;
pub use options::RocksSettings;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{
    ChunkIndex, FileSet, FoundPlaces, IndexError, Located, SortedEntries, keep_places_in,
    missing_files,
};
use crate::pool::BlockingPool;
use handle::Handle;

/// A chunk index on disk. Dropping the last one closes the database, which blocks: [`RocksIndex::close`] does
/// it on a thread that may.
#[derive(Debug)]
pub struct RocksIndex {
    handle: Arc<Handle>,
    blocking: BlockingPool,
    /// Files are forgotten by one caller at a time.
    forgetting: tokio::sync::Mutex<()>,
}

/// What an index did since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RocksStatistics {
    /// How many distinct addresses were looked up, summed over all questions.
    pub lookups: u64,
    /// How many of these were found.
    pub hits: u64,
    /// How often a filter let a lookup pass that then found nothing in that sorted file.
    pub false_positives: u64,
}

impl RocksStatistics {
    /// How many lookups found nothing.
    pub fn absent(&self) -> u64 {
        self.lookups.saturating_sub(self.hits)
    }

    /// How many lookups found nothing without a look at any data, at the least: two false positives of one
    /// lookup count as two lookups.
    pub fn absent_by_filter(&self) -> u64 {
        self.absent().saturating_sub(self.false_positives)
    }
}

impl RocksIndex {
    /// Opens the index in `directory`, or begins one there. A damaged one, or one of another schema, is removed
    /// and begun anew; then the damage is returned beside the index. An index that another process holds open
    /// is left alone: [`IndexError::Failed`].
    pub async fn open(
        directory: &Path,
        settings: &RocksSettings,
        blocking: BlockingPool,
    ) -> Result<(Self, Option<IndexError>), IndexError> {
        let (directory, settings) = (directory.to_path_buf(), settings.clone());
        let (handle, damage) = blocking
            .run(move || Handle::open(&directory, &settings))
            .await?;
        let handle = Arc::new(handle);
        Ok((Self::new(handle, blocking), damage))
    }

    /// Opens what is on disk of the index in `directory`, which another process may be using, for reading only.
    /// RocksDB writes its own log into `log_directory`.
    pub async fn open_read_only(
        directory: &Path,
        settings: &RocksSettings,
        log_directory: &Path,
        blocking: BlockingPool,
    ) -> Result<Self, IndexError> {
        let (directory, log_directory) = (directory.to_path_buf(), log_directory.to_path_buf());
        let settings = settings.clone();
        let handle = blocking
            .run(move || Handle::open_read_only(&directory, &settings, &log_directory))
            .await?;
        let handle = Arc::new(handle);
        Ok(Self::new(handle, blocking))
    }

    fn new(handle: Arc<Handle>, blocking: BlockingPool) -> Self {
        Self {
            handle,
            blocking,
            forgetting: tokio::sync::Mutex::default(),
        }
    }

    /// Writes out what is in memory and closes, when no call is under way.
    pub async fn close(self) {
        let Self {
            handle, blocking, ..
        } = self;
        blocking.run(move || drop(handle)).await;
    }

    /// Writes out what is in memory and waits until the index has tidied itself up. Lookups are fastest then.
    pub async fn settle(&self) -> Result<(), IndexError> {
        self.run(|handle| handle.settle()).await
    }

    /// What this index did so far.
    pub fn statistics(&self) -> RocksStatistics {
        self.handle.statistics()
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Handle) -> T + Send + 'static) -> T {
        let handle = Arc::clone(&self.handle);
        self.blocking.run(move || work(&handle)).await
    }
}

#[async_trait]
impl ChunkIndex for RocksIndex {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        self.run(move |handle| handle.add_file(pool, file, count, entries))
            .await
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        let files = files.to_vec();
        self.run(move |handle| {
            let _rows_stay = handle.answering();
            handle.has_files(pool, &files)
        })
        .await
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        let addresses = addresses.to_vec();
        self.run(move |handle| {
            let _rows_stay = handle.answering();
            handle.locate(pool, &addresses)
        })
        .await
    }

    /// One turn on the blocking pool for both questions.
    async fn locate_in_files(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> Result<Located, IndexError> {
        let (files, addresses) = (files.clone(), addresses.to_vec());
        self.run(move |handle| {
            let _rows_stay = handle.answering();
            let missing = missing_files(&files, &handle.has_files(pool, files.as_slice())?);
            if !missing.is_empty() {
                return Ok(Located::Missing(missing));
            }
            let mut found = handle.locate(pool, &addresses)?;
            keep_places_in(&files, &mut found);
            Ok(Located::Found(found))
        })
        .await
    }

    /// Many turns on the blocking pool, so that questions come between.
    async fn forget_others(
        &self,
        pool: PoolId,
        kept: &FileSet,
        least: u64,
    ) -> Result<u64, IndexError> {
        let _one_at_a_time = self.forgetting.lock().await;
        let kept = kept.clone();
        let begun = self
            .run(move |handle| handle.begin_forgetting(pool, kept, least))
            .await?;
        let Some(mut forgetting) = begun else {
            return Ok(0);
        };
        loop {
            let work = move |handle: &Handle| {
                handle
                    .forget_some(&mut forgetting)
                    .map(|is_done| (is_done, forgetting))
            };
            let (is_done, rest) = self.run(work).await?;
            forgetting = rest;
            if is_done {
                break;
            }
        }
        self.run(move |handle| handle.end_forgetting(&forgetting))
            .await
    }
}
