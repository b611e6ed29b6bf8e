//! Small files beside the chunks of a remote, and what lies in its table files.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::{StoreError, StoredFile};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::{RemoteError, RemoteFile};

/// The folder of the small files. Dolt looks at nothing in it.
pub(super) const FOLDER: &str = "holdfast-backups";

/// The longest small file that is read.
pub(super) const MAX_LEN: u64 = 64 << 20;

/// Small files that lie beside the chunks of a remote and never change once they are there.
#[async_trait]
pub trait Shelf: Send + Sync + fmt::Debug {
    /// Puts a file there, durably, unless one of that name is there.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<Put, RemoteError>;

    /// The names of all files, in their order.
    async fn names(&self) -> Result<Vec<String>, RemoteError>;

    /// Reads a file; nothing where there is none.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, RemoteError>;

    /// Where a table file lies, if that is on this machine.
    fn path(&self, file: &RemoteFile) -> Option<PathBuf>;

    /// Draws some of the chunks in a table file.
    async fn draw(&self, file: &RemoteFile, lot: Lot) -> Result<Vec<ChunkAddress>, RemoteError>;
}

/// What became of a file that was to be put on a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// Another one of that name is there.
    Taken,
}

/// How many chunks are drawn, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// How many of a million.
    pub per_million: u32,
    /// The beginning of all chance.
    pub seed: u64,
}

impl Lot {
    /// Draws some of the chunks in a file. Blocks.
    pub(super) fn draw(self, file: &StoredFile) -> Result<Vec<ChunkAddress>, StoreError> {
        let mut random = StdRng::seed_from_u64(self.seed);
        let is_drawn = |_: &Result<ChunkAddress, StoreError>| {
            random.random_range(0..1_000_000_u32) < self.per_million
        };
        file.addresses().filter(is_drawn).collect()
    }
}
