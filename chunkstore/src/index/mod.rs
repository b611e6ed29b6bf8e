//! Where a chunk lies: per pool, an address → every stored file that holds it.
//!
//! # Truth
//! The stored files. The index can be made again from them at any time and is never backed up; an entry that
//! no log record stands behind is rubbish, not data. Callers count a hit only in a file that the asking
//! repository names.
//!
//! # Order
//! The entries of a file first, its marker last. "Absent" may be said of a repository only when every file
//! that it names has its marker, in the same generation of the index that did not find the address:
//! [`ChunkIndex::locate_in_files`] asks in the right order.

mod cached;
mod checked;
pub mod healing;
pub mod memory;
mod places;
#[cfg(feature = "rocks")]
pub mod rocks;
mod spare;
mod unreadable;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use smallvec::SmallVec;

use crate::address::ChunkAddress;
use crate::error::ErrorKind;
use crate::id::{PoolId, UploadId};
pub use cached::CachedIndex;
pub use checked::{CheckedEntries, EntriesError};
pub use healing::HealingIndex;
pub use memory::MemoryIndex;
pub use spare::SpareIndex;
pub use unreadable::UnreadableIndex;

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

/// How often a question is asked of an index that starts anew under it.
const STARTS_ANEW: u32 = 8;

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

/// The places of one chunk; mostly it lies in one file.
pub type FoundPlaces = SmallVec<[ChunkLocation; 1]>;

/// The answer of [`ChunkIndex::locate_in_files`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Located {
    /// Where each address lies, in the order asked, in the given files and in no others. An empty list says
    /// for certain that none of them holds the address.
    Found(Vec<FoundPlaces>),
    /// These files have no marker, and some address was not found without them: add them and ask again.
    Missing(Vec<UploadId>),
}

/// An index of stored chunks by address.
#[async_trait]
pub trait ChunkIndex: Send + Sync + fmt::Debug {
    /// Adds all entries of a file and then its marker. `count` is how many there are; another number of them,
    /// or entries out of order, is [`IndexError::Entries`]. Adding a file again changes nothing; a failed or
    /// abandoned call leaves no marker and no visible difference, or has added the file whole.
    ///
    /// Success does not promise that the marker stays: an index that finds itself damaged starts anew. Ask
    /// [`ChunkIndex::has_files`], or [`ChunkIndex::locate_in_files`], and add again what is missing.
    async fn add_file(
        &self,
        pool: PoolId,
        file: UploadId,
        count: u64,
        entries: SortedEntries,
    ) -> Result<(), IndexError>;

    /// Tells for each file whether its marker is there.
    async fn has_files(&self, pool: PoolId, files: &[UploadId]) -> Result<Vec<bool>, IndexError>;

    /// Finds the files where each address lies, in the order asked; an empty list where nowhere. A file is
    /// named once for an address, with one of the places where the address lies in it. The files of one
    /// address come in no particular order. Addresses may repeat and need not be sorted.
    async fn locate(
        &self,
        pool: PoolId,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError>;

    /// Finds addresses in a set of files, if the index knows all of these.
    ///
    /// An implementation that can look at markers and entries at one time may do it in one step.
    async fn locate_in_files(
        &self,
        pool: PoolId,
        files: &FileSet,
        addresses: &[ChunkAddress],
    ) -> Result<Located, IndexError> {
        for _ in 0..STARTS_ANEW {
            let generation = self.generation();
            let markers = self.has_files(pool, files.as_slice()).await?;
            let missing = missing_files(files, &markers);
            if !missing.is_empty() {
                return Ok(Located::Missing(missing));
            }
            let mut found = self.locate(pool, addresses).await?;
            if self.generation() == generation {
                keep_places_in(files, &mut found);
                return Ok(Located::Found(found));
            }
        }
        // It loses what it is given as soon as it has it: the caller decides how often it is filled again.
        Ok(Located::Missing(files.as_slice().to_vec()))
    }

    /// Forgets all files of a pool but `kept`, if they have at least `least` entries together, so far as the index
    /// knows how many that are. Returns how many were forgotten. A file that is asked for or added meanwhile is either
    /// whole there or has no marker. After a failure some files have no marker, and entries of them may be left.
    async fn forget_others(
        &self,
        _pool: PoolId,
        _kept: &FileSet,
        _least: u64,
    ) -> Result<u64, IndexError> {
        Ok(0)
    }

    /// How often this index has started anew. While the number stays, markers stay, but for files that
    /// [`ChunkIndex::forget_others`] forgot.
    fn generation(&self) -> u64 {
        0
    }
}

/// The files that count for a question. Clones share them.
#[derive(Debug, Clone)]
pub struct FileSet {
    files: Arc<(Vec<UploadId>, HashSet<UploadId>)>,
}

impl FileSet {
    /// Whether a file is one of them.
    pub fn contains(&self, file: &UploadId) -> bool {
        self.files.1.contains(file)
    }

    /// The files, each once.
    pub fn as_slice(&self) -> &[UploadId] {
        &self.files.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.files.0.is_empty()
    }
}

impl FromIterator<UploadId> for FileSet {
    fn from_iter<I: IntoIterator<Item = UploadId>>(files: I) -> Self {
        let set: HashSet<UploadId> = files.into_iter().collect();
        let list = set.iter().copied().collect();
        Self {
            files: Arc::new((list, set)),
        }
    }
}

/// The files without a marker.
fn missing_files(files: &FileSet, markers: &[bool]) -> Vec<UploadId> {
    let pairs = files.as_slice().iter().zip(markers);
    pairs
        .filter_map(|(file, has_marker)| (!has_marker).then_some(*file))
        .collect()
}

/// Leaves only what lies in `files`.
fn keep_places_in(files: &FileSet, found: &mut [FoundPlaces]) {
    for places in found {
        places.retain(|place| files.contains(&place.file));
    }
}
