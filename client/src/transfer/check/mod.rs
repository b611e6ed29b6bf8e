//! Every chunk of a file against its address.

mod file;
mod journal;

use std::path::{Path, PathBuf};

use holdfast_chunkstore::format::DecodeError;
use holdfast_chunkstore::hash::AddressMismatch;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::stored_index::StoredIndexError;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

pub(super) use file::check_arriving;
pub use file::{FileCheck, check_file, check_whole_file};
pub(super) use journal::read_checked;
pub use journal::{JournalCheck, check_journal};

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The file cannot be read.
    #[error("could not read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no place for what an index is sorted by.
    #[error("could not sort the index of {}", path.display())]
    Sort {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A journal cannot be read.
    #[error("could not read a chunk")]
    Store {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The file is no table file and no archive.
    #[error("could not read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A stored chunk cannot be decoded.
    #[error("could not decode chunk {address} of {}", path.display())]
    Chunk {
        /// Which chunk.
        address: ChunkAddress,
        /// Of which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The bytes of a chunk cannot be read.
    #[error("could not read chunk {address} of {}", path.display())]
    Unread {
        /// Which chunk.
        address: ChunkAddress,
        /// Of which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<CheckError>,
    },
    /// A chunk is not what it stands under.
    #[error("could not check the chunks of {}", path.display())]
    Address {
        /// Of which file.
        path: PathBuf,
        /// Which chunk.
        #[source]
        source: AddressMismatch,
    },
}

impl CheckError {
    /// The chunk that is damaged, where it is one.
    pub fn chunk(&self) -> Option<ChunkAddress> {
        match self {
            Self::Chunk { address, .. } | Self::Unread { address, .. } => Some(*address),
            Self::Address { source, .. } => Some(source.claimed),
            Self::Io { .. } | Self::Sort { .. } | Self::Store { .. } | Self::File { .. } => None,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } | Self::Sort { .. } => ErrorKind::Internal,
            Self::Unread { source, .. } => source.kind(),
            Self::Store { source } => source.kind(),
            Self::File { .. } | Self::Chunk { .. } | Self::Address { .. } => ErrorKind::Corrupt,
        }
    }

    fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn index(path: &Path, source: StoredIndexError) -> Self {
        let path = path.to_owned();
        match source {
            StoredIndexError::Decode(source) => Self::File { path, source },
            StoredIndexError::Read(source) => Self::Io { path, source },
            StoredIndexError::Sort(source) => Self::Sort { path, source },
            other => Self::Sort {
                path,
                source: std::io::Error::other(other),
            },
        }
    }
}

#[cfg(test)]
mod tests;
