//! An index in a map: for tests, and for a check of a small store beside a running server. The strictest one.
//!
//! Nothing of a file is seen before all its entries were read and found in order, and the files of an address
//! come in the order that a careless caller expects least: the newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{
    CheckedEntries, ChunkEntry, ChunkIndex, ChunkLocation, FoundPlaces, IndexError, SortedEntries,
};
use crate::pool::BlockingPool;

/// A chunk index in memory, gone with the process.
#[derive(Debug)]
pub struct MemoryIndex {
    blocking: BlockingPool,
    pools: Arc<RwLock<BTreeMap<PoolId, PoolEntries>>>,
}

#[derive(Debug, Default)]
struct PoolEntries {
    files: BTreeSet<UploadId>,
    chunks: BTreeMap<ChunkAddress, Vec<ChunkLocation>>,
}

impl MemoryIndex {
    /// Makes an empty index that reads entries on `blocking`.
    pub fn new(blocking: BlockingPool) -> Self {
        Self {
            blocking,
            pools: Arc::default(),
        }
    }

    fn has_file(&self, pool: PoolId, file: &UploadId) -> bool {
        self.pools
            .read()
            .get(&pool)
            .is_some_and(|entries| entries.files.contains(file))
    }
}

impl PoolEntries {
    fn add(&mut self, file: UploadId, entries: Vec<ChunkEntry>) {
        if !self.files.insert(file) {
            return;
        }
        for ChunkEntry { address, span } in entries {
            let places = self.chunks.entry(address).or_default();
            places.push(ChunkLocation { file, span });
        }
    }
}

#[async_trait]
impl ChunkIndex for MemoryIndex {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        if self.has_file(pool, &file) {
            return Ok(());
        }
        let pools = Arc::clone(&self.pools);
        self.blocking
            .run(move || {
                let entries: Vec<ChunkEntry> =
                    CheckedEntries::new(file, count, entries).collect::<Result<_, _>>()?;
                pools.write().entry(pool).or_default().add(file, entries);
                Ok(())
            })
            .await
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        Ok(files.iter().map(|file| self.has_file(pool, file)).collect())
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        let pools = self.pools.read();
        let Some(entries) = pools.get(&pool) else {
            return Ok(vec![FoundPlaces::new(); addresses.len()]);
        };
        let newest_first = |address| match entries.chunks.get(address) {
            Some(places) => places.iter().rev().copied().collect(),
            None => FoundPlaces::new(),
        };
        Ok(addresses.iter().map(newest_first).collect())
    }
}
