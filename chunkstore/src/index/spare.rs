//! An index for a disk without room: what is stored is found, and what is added is kept in memory, within a bound.
//!
//! # Truth
//! The stored files, as for every index. What is added here is gone with the process, and is read in again.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{ChunkIndex, FoundPlaces, IndexError, MemoryIndex, SortedEntries};
use crate::pool::BlockingPool;

/// A chunk index that writes nothing.
#[derive(Debug)]
pub struct SpareIndex {
    stored: Arc<dyn ChunkIndex>,
    added: MemoryIndex,
    /// How many more entries may be added.
    room: Mutex<u64>,
}

impl SpareIndex {
    /// Reads `stored`, and keeps at most `most_entries` beside it, which are read on `blocking`.
    pub fn new(stored: Arc<dyn ChunkIndex>, most_entries: u64, blocking: BlockingPool) -> Self {
        Self {
            stored,
            added: MemoryIndex::new(blocking),
            room: Mutex::new(most_entries),
        }
    }

    fn take_room(&self, count: u64) -> Result<(), IndexError> {
        let mut room = self.room.lock();
        let left = room.checked_sub(count).ok_or_else(|| IndexError::Full {
            source: format!("{count} entries do not fit into memory, and nothing is written")
                .into(),
        })?;
        *room = left;
        Ok(())
    }
}

#[async_trait]
impl ChunkIndex for SpareIndex {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        if self.has_files(pool, &[file]).await? == [true] {
            return Ok(());
        }
        self.take_room(count)?;
        let added = self.added.add_file(pool, file, count, entries).await;
        if added.is_err() {
            *self.room.lock() += count;
        }
        added
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        let stored = self.stored.has_files(pool, files).await?;
        let added = self.added.has_files(pool, files).await?;
        let either = stored.iter().zip(added);
        Ok(either.map(|(stored, added)| *stored || added).collect())
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        let mut found = self.stored.locate(pool, addresses).await?;
        let added = self.added.locate(pool, addresses).await?;
        for (places, more) in found.iter_mut().zip(added) {
            places.extend(more);
        }
        Ok(found)
    }
}
