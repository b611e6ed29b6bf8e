//! Small files beside the chunks of a remote, and what lies in its table files.

use std::fmt;
use std::num::NonZeroU64;
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

    /// Draws some of the chunks in a table file, some ten thousand of them at most, from an entry of its index on; the first
    /// is 0.
    async fn draw(&self, file: &RemoteFile, from: u32, lot: Lot) -> Result<Drawn, RemoteError>;
}

/// How many chunks are drawn in one call.
pub(super) const MOST_DRAWN: usize = 1 << 14;

/// Chunks that were drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// How many chunks are in the file.
    pub count: u32,
    /// Those that were drawn.
    pub chunks: Vec<ChunkAddress>,
    /// From where on to draw the next ones; nothing at the end of the file.
    pub next: Option<u32>,
}

/// What became of a file that was to be put on a shelf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is there.
    Done,
    /// Another one of that name is there.
    Taken,
}

/// Which chunks are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lot {
    /// None.
    None,
    /// Some by chance.
    Chance {
        /// How many of a million.
        per_million: u32,
        /// The beginning of all chance.
        seed: u64,
    },
    /// Those whose turn it is: each chunk has one.
    Turn {
        /// In how many turns all are drawn.
        of: NonZeroU64,
        /// Which turn it is.
        turn: u64,
    },
}

impl Lot {
    /// Whether a chunk is drawn.
    pub fn takes(self, address: ChunkAddress) -> bool {
        let front = address.as_bytes().first_chunk().copied();
        let number = u64::from_be_bytes(front.unwrap_or_default());
        match self {
            Self::None => false,
            Self::Chance { per_million, seed } => {
                let mut random = StdRng::seed_from_u64(seed ^ number);
                random.random_range(0..1_000_000_u32) < per_million
            }
            Self::Turn { of, turn } => number % of == turn % of,
        }
    }

    /// Draws some of the chunks in a file from an entry on. Blocks.
    pub(super) fn draw(self, file: &StoredFile, from: u32) -> Result<Drawn, StoreError> {
        let mut drawn = Drawn {
            count: file.count(),
            chunks: Vec::new(),
            next: None,
        };
        for (entry, address) in (from..).zip(file.addresses_from(from)) {
            if entry.is_multiple_of(StoredFile::RUN) && drawn.chunks.len() >= MOST_DRAWN {
                drawn.next = Some(entry);
                return Ok(drawn);
            }
            let address = address?;
            if self.takes(address) {
                drawn.chunks.push(address);
            }
        }
        Ok(drawn)
    }
}
