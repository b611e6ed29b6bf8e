//! Why a store in a directory cannot be read or written.

use std::io;
use std::path::{Path, PathBuf};

use crate::address::{ChunkAddress, TableFileId};
use crate::error::ErrorKind;
use crate::format::journal::RecordError;
use crate::format::manifest::ManifestError;
use crate::format::{DecodeError, EncodeError};

/// Why a store in a directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no store.
    #[error("could not find a Dolt store in {}: it has no manifest and no journal", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is a store where one should be made.
    #[error("could not make a Dolt store in {}: there is one", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// The manifest is none.
    #[error("could not read {}", path.display())]
    Manifest {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
    /// A file that is listed and not there.
    #[error("could not read file {id}: it is listed in the manifest and missing in {}", directory.display())]
    Missing {
        /// The file.
        id: TableFileId,
        /// Where it should lie.
        directory: PathBuf,
    },
    /// A file that was there when the store was opened, and is not any more.
    #[error("could not read {}: it was taken away meanwhile, as a collection does", path.display())]
    Vanished {
        /// Where it lay.
        path: PathBuf,
    },
    /// A store that changed each time it was opened.
    #[error("could not open the store in {}: it changed each time while it was opened", path.display())]
    Changing {
        /// Where it lies.
        path: PathBuf,
    },
    /// A table file or an archive that is damaged.
    #[error("could not read {}", path.display())]
    File {
        /// Where it lies.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A chunk that is not what it stands under.
    #[error("could not copy chunk {address} of {}: its bytes have another address", path.display())]
    Chunk {
        /// The file.
        path: PathBuf,
        /// Under what it stands.
        address: ChunkAddress,
    },
    /// A table file that holds another number of chunks than is listed: Dolt cannot open it.
    #[error("could not use {}: it holds {found} chunks, and the manifest says {listed}", path.display())]
    Count {
        /// Where it lies.
        path: PathBuf,
        /// What the manifest says.
        listed: u32,
        /// What the file says.
        found: u32,
    },
    /// A record of the journal that we cannot read.
    #[error("could not read the record at {offset} of {}", path.display())]
    Journal {
        /// Where the journal lies.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// Roots were committed behind a damaged place of the journal.
    #[error(
        "could not write to {}: its sound part ends at byte {offset}, and what was committed in the {len} bytes behind it would be lost",
        path.display()
    )]
    Loss {
        /// Where the journal lies.
        path: PathBuf,
        /// Where its valid part ends.
        offset: u64,
        /// How many bytes lie behind it.
        len: u64,
    },
    /// The list of ghost commits is damaged.
    #[error("could not read the commits that a shallow clone left out: line {line} of {} is not a commit's address", path.display())]
    Ghosts {
        /// Where it lies.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
    },
    /// Somebody else writes.
    #[error("could not lock {}: a dolt or holdfast process has the database open", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// A store whose manifest alone does not say what its root is.
    #[error("could not use the store in {}: it has a chunk journal, so it is that of a database", path.display())]
    Journaled {
        /// Where it lies.
        path: PathBuf,
    },
    /// What should be written cannot be.
    #[error("could not write to {}", path.display())]
    Encode {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: EncodeError,
    },
}

impl StoreError {
    /// Says what was attempted on what when the system refused.
    pub fn io<'a>(
        action: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + use<'a> {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::NoStore { .. } => ErrorKind::NotFound,
            Self::Manifest { .. }
            | Self::Missing { .. }
            | Self::File { .. }
            | Self::Chunk { .. }
            | Self::Count { .. }
            | Self::Journal { .. }
            | Self::Loss { .. }
            | Self::Ghosts { .. } => ErrorKind::Corrupt,
            Self::Held { .. } => ErrorKind::Locked,
            Self::Vanished { .. } | Self::Changing { .. } => ErrorKind::Unavailable,
            Self::Encode { source, .. } => source.kind(),
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::Journaled { .. } => ErrorKind::Refused,
        }
    }
}

/// Says what was attempted on what.
pub(super) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> StoreError + 'a {
    StoreError::io(action, path)
}

/// Says which file is damaged.
pub(super) fn damaged(path: &Path) -> impl Fn(DecodeError) -> StoreError + '_ {
    |source| StoreError::File {
        path: path.to_owned(),
        source,
    }
}
