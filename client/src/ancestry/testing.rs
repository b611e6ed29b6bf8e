//! Commits made up for tests.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::testing::messages::{CommitFields, commit, tag};
use holdfast_doltdb::write::store_root;
use holdfast_doltdb::{ChunkSource, SourceError};

/// Some commits, in memory.
#[derive(Debug, Default)]
pub(super) struct Commits {
    chunks: HashMap<ChunkAddress, Bytes>,
    heights: HashMap<ChunkAddress, u64>,
    reads: AtomicU64,
}

impl Commits {
    /// Adds a commit with these parents.
    pub(super) fn add(&mut self, parents: &[ChunkAddress]) -> ChunkAddress {
        let height = parents.iter().map(|parent| self.heights[parent]).max();
        let height = height.unwrap_or(0) + 1;
        let number = self.heights.len();
        let chunk = commit(&CommitFields {
            root: ChunkAddress::new([1; 20]),
            height,
            parents,
            closure: ChunkAddress::ZERO,
            name: "Ada",
            email: "ada@example.org",
            description: &format!("commit {number}"),
            timestamp_millis: 1_000,
            user_timestamp_millis: 1_000,
            signature: None,
            committer: [None, None],
        });
        let address = self.put(chunk);
        self.heights.insert(address, height);
        address
    }

    /// A commit that is not there.
    pub(super) fn left_out(&mut self) -> ChunkAddress {
        let address = ChunkAddress::new([9; 20]);
        self.heights.insert(address, 7);
        address
    }

    /// Adds a tag of a commit.
    pub(super) fn tag(&mut self, tagged: ChunkAddress) -> ChunkAddress {
        self.put(tag(tagged, "Ada", "a tag", 1_000))
    }

    /// Adds a store root of these refs.
    pub(super) fn refs(&mut self, refs: &[(&'static str, ChunkAddress)]) -> RootAddress {
        let named = refs.iter();
        let datasets: BTreeMap<Bytes, ChunkAddress> = named
            .map(|(name, address)| (Bytes::from_static(name.as_bytes()), *address))
            .collect();
        let written = store_root(&datasets).unwrap();
        for chunk in written.chunks {
            self.put(chunk.bytes.to_vec());
        }
        written.root
    }

    /// How many chunks were asked for.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn put(&mut self, chunk: Vec<u8>) -> ChunkAddress {
        let address = hash_chunk(&chunk);
        self.chunks.insert(address, chunk.into());
        address
    }
}

#[async_trait]
impl ChunkSource for Commits {
    async fn get(&self, addresses: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, SourceError> {
        self.reads
            .fetch_add(addresses.len() as u64, Ordering::Relaxed);
        let found = addresses.iter();
        Ok(found
            .map(|address| self.chunks.get(address).cloned())
            .collect())
    }
}
