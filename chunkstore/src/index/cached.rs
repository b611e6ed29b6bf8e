//! An index in front of which the places of chunks are kept in memory: those of fresh files and those found last.
//!
//! # Truth
//! The index behind. A place in an immutable file stays right for as long as there is the file, also when the
//! index behind begins anew; so nothing here ever goes stale, and what is kept counts only where its file is one
//! that the question names. "Absent" is always asked of the index behind.
//!
//! # Cost
//! What is kept is answered at once, without a turn on the pool of threads that may block: a turn costs more than
//! a hundred such answers.

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::places::Places;
use crate::index::{
    ChunkEntry, ChunkIndex, ChunkLocation, FileSet, FoundPlaces, IndexError, Located, SortedEntries,
};

/// A chunk index that keeps places in memory.
#[derive(Debug)]
pub struct CachedIndex {
    behind: Arc<dyn ChunkIndex>,
    places: Places,
}

impl CachedIndex {
    /// Keeps places in at most about `bytes` of memory in front of `behind`.
    pub fn new(behind: Arc<dyn ChunkIndex>, bytes: usize) -> Self {
        Self {
            behind,
            places: Places::new(bytes),
        }
    }

    /// The kept places in `files`, and the addresses that have none, with their places in the question.
    fn kept(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> (Vec<FoundPlaces>, Vec<(usize, ChunkAddress)>) {
        let mut found = Vec::with_capacity(addresses.len());
        let mut unknown = Vec::new();
        // Chunks that are asked for together mostly lie in one file.
        let mut last = None;
        self.places.find(pool, addresses, |position, place| {
            let counts = |file| last == Some(file) || files.contains(&file);
            match place.filter(|place| counts(place.file)) {
                Some(place) => {
                    last = Some(place.file);
                    found.push(FoundPlaces::from_buf([place]));
                }
                None => {
                    found.push(FoundPlaces::new());
                    unknown.push((position, addresses[position]));
                }
            }
        });
        (found, unknown)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ChunkIndex for CachedIndex {
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError> {
        // Of a larger file only a part could be kept, and no other places.
        if count > self.places.capacity() as u64 {
            return self.behind.add_file(pool, file, count, entries).await;
        }
        let room = usize::try_from(count).unwrap_or(0);
        let seen = Arc::new(Mutex::new(Vec::with_capacity(room)));
        let seeing = Arc::clone(&seen);
        let entries = entries.inspect(move |entry| seeing.lock().extend(entry.as_ref().ok()));
        let entries = Box::new(entries);
        self.behind.add_file(pool, file, count, entries).await?;
        // Only what a whole file holds is kept.
        let seen = std::mem::take(&mut *seen.lock());
        let place = |ChunkEntry { address, span }| (address, ChunkLocation { file, span });
        self.places.keep(pool, seen.into_iter().map(place));
        Ok(())
    }

    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        self.behind.has_files(pool, files).await
    }

    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        self.behind.locate(pool, addresses).await
    }

    async fn locate_in_files(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> Result<Located, IndexError> {
        let (mut found, unknown) = self.kept(pool, files, addresses);
        if unknown.is_empty() {
            return Ok(Located::Found(found));
        }
        let asked: Vec<ChunkAddress> = unknown.iter().map(|(_, address)| *address).collect();
        let answered = match self.behind.locate_in_files(pool, files, &asked).await? {
            Located::Found(answered) => answered,
            missing @ Located::Missing(_) => return Ok(missing),
        };
        let first = asked.iter().zip(&answered);
        let first = first.filter_map(|(address, places)| Some((*address, *places.first()?)));
        self.places.keep(pool, first);
        for ((position, _), places) in unknown.into_iter().zip(answered) {
            found[position] = places;
        }
        Ok(Located::Found(found))
    }

    /// What is kept of the others counts no more, as no question names them.
    async fn forget_others(
        &self,
        pool: PoolId,
        kept: &FileSet,
        least: u64,
    ) -> Result<u64, IndexError> {
        self.behind.forget_others(pool, kept, least).await
    }

    fn generation(&self) -> u64 {
        self.behind.generation()
    }
}
