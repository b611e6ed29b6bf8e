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
    CheckedEntries, ChunkEntry, ChunkIndex, ChunkLocation, FileSet, FoundPlaces, IndexError,
    Located, SortedEntries, keep_places_in, missing_files,
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

    fn forget_others(&mut self, kept: &FileSet, least: u64) -> u64 {
        let places = self.chunks.values().flatten();
        let gone = places.filter(|place| !kept.contains(&place.file)).count() as u64;
        if gone < least.max(1) {
            return 0;
        }
        self.files.retain(|file| kept.contains(file));
        for places in self.chunks.values_mut() {
            places.retain(|place| kept.contains(&place.file));
        }
        self.chunks.retain(|_, places| !places.is_empty());
        gone
    }

    fn newest_first(&self, address: &ChunkAddress) -> FoundPlaces {
        match self.chunks.get(address) {
            Some(places) => places.iter().rev().copied().collect(),
            None => FoundPlaces::new(),
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
        let find = |address| entries.newest_first(address);
        Ok(addresses.iter().map(find).collect())
    }

    /// Markers and entries of one moment.
    async fn locate_in_files(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> Result<Located, IndexError> {
        let none = PoolEntries::default();
        let pools = self.pools.read();
        let entries = pools.get(&pool).unwrap_or(&none);
        let is_marked = |file| entries.files.contains(file);
        let markers: Vec<bool> = files.as_slice().iter().map(is_marked).collect();
        let missing = missing_files(files, &markers);
        if !missing.is_empty() {
            return Ok(Located::Missing(missing));
        }
        let find = |address| entries.newest_first(address);
        let mut found: Vec<FoundPlaces> = addresses.iter().map(find).collect();
        keep_places_in(files, &mut found);
        Ok(Located::Found(found))
    }

    async fn forget_others(
        &self,
        pool: PoolId,
        kept: &FileSet,
        least: u64,
    ) -> Result<u64, IndexError> {
        let mut pools = self.pools.write();
        let entries = pools.get_mut(&pool);
        Ok(entries.map_or(0, |entries| entries.forget_others(kept, least)))
    }
}
