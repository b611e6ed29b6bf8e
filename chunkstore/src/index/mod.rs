//! Where a chunk lies: per pool, an address → every stored file that holds it.
//!
//! # Truth
//! The stored files. The index can be made again from them at any time and is never backed up; an entry that
//! no log record stands behind is rubbish, not data. Callers count a hit only in a file that the asking
//! repository names.
//!
//! # Order
//! The entries of a file first, its marker last. "Absent" may be said of a repository only when every file
//! that it names has its marker.

use std::fmt;

use async_trait::async_trait;

use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::id::{PoolId, UploadId};

/// A run of bytes in a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSpan {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u32,
}

/// Where the stored form of a chunk lies inside one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkSpan {
    /// The stored chunk: without a dictionary a snappy block and its checksum, else a zstd frame.
    pub data: ByteSpan,
    /// The compressed dictionary that the zstd frame was made with.
    pub dictionary: Option<ByteSpan>,
}

/// One line of a file's index: an address and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkEntry {
    /// The chunk's address.
    pub address: ChunkAddress,
    /// Where it lies in the file.
    pub span: ChunkSpan,
}

/// Where a chunk lies: the file and the place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkLocation {
    /// The stored file.
    pub file: UploadId,
    /// The place in it.
    pub span: ChunkSpan,
}

/// The entries of one file in ascending order of their addresses. An address may repeat: an archive made by
/// Dolt's conjoin can hold one several times. Read on a thread that may block.
pub type SortedEntries = Box<dyn Iterator<Item = Result<ChunkEntry, IndexError>> + Send>;

/// Why a call to a [`ChunkIndex`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The entries handed in could not be read, or were not sorted.
    #[error("read the entries of file {file}")]
    Entries {
        /// The file.
        file: UploadId,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The index itself is damaged. Its owner throws it away and makes a new one.
    #[error("the chunk index is damaged: {action}")]
    Damaged {
        /// What was attempted.
        action: &'static str,
        /// What was found.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The index has no room on its disk.
    #[error("no space left for the chunk index")]
    Full {
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A fault that may pass.
    #[error("chunk index: {action}")]
    Failed {
        /// What was attempted.
        action: &'static str,
        /// What went wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl IndexError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Entries { .. } => ErrorKind::Internal,
            Self::Damaged { .. } | Self::Failed { .. } => ErrorKind::Unavailable,
            Self::Full { .. } => ErrorKind::Exhausted,
        }
    }
}

/// An index of stored chunks by address.
#[async_trait]
pub trait ChunkIndex: Send + Sync + fmt::Debug {
    /// Adds all entries of a file and then its marker. `count` is how many there are. Adding a file again
    /// changes nothing; a failed or abandoned call leaves no marker and no visible difference.
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError>;

    /// Tells for each file whether its marker is there.
    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError>;

    /// Finds every place where each address lies, in the order asked; an empty list where nowhere. The
    /// places of one address come in no particular order. Addresses may repeat and need not be sorted.
    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Vec<ChunkLocation>>, IndexError>;

    /// Changes whenever the index has lost what it held (it was damaged and made anew). "Absent" holds only
    /// if this was the same before the markers were asked for and after the addresses were.
    fn epoch(&self) -> u64 {
        0
    }
}
