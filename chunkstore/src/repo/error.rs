//! Why a call to a repository failed.

use std::io;

use crate::address::{ChunkAddress, RootAddress, TableFileId};
use crate::error::ErrorKind;
use crate::index::IndexError;
use crate::objects::{ObjectError, ObjectKey};
use crate::repo::entries::EntriesError;
use crate::repo::record::RecordError;

/// Why a call to a repository failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The object store failed.
    #[error("{action}")]
    Object {
        /// What was attempted.
        action: &'static str,
        /// What the store said.
        #[source]
        source: ObjectError,
    },
    /// The chunk index failed.
    #[error("{action}")]
    Index {
        /// What was attempted.
        action: &'static str,
        /// What the index said.
        #[source]
        source: IndexError,
    },
    /// The entries of a stored file could not be read.
    #[error("enter a stored file into the chunk index")]
    Entries {
        /// Why.
        #[source]
        source: EntriesError,
    },
    /// A stored file could not be made into another.
    #[error("{action}")]
    Derive {
        /// What was attempted.
        action: &'static str,
        /// The class of the failure.
        kind: ErrorKind,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A local file failed.
    #[error("{action}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The log is damaged, or written by a later Holdfast.
    #[error("read the log of a repository")]
    Log {
        /// What was found.
        #[source]
        source: RecordError,
    },
    /// A stored object is not what its record says.
    #[error("stored object {key} is damaged: {what}")]
    Damaged {
        /// The object.
        key: ObjectKey,
        /// What is wrong with it.
        what: String,
    },
    /// What is asked for lies in a data file that is damaged, and nowhere else.
    #[error(
        "data file {key} is damaged ({what}): `holdfast push --repair` from a whole clone sends what it held again"
    )]
    FileDamaged {
        /// The file.
        key: ObjectKey,
        /// What is wrong with it.
        what: String,
    },
    /// A stored object was written by a later Holdfast.
    #[error("stored object {key} has version {version}; this Holdfast reads up to {known}")]
    Newer {
        /// The object.
        key: ObjectKey,
        /// Its version.
        version: u32,
        /// The highest that we read.
        known: u32,
    },
    /// A file is named that was never uploaded, or not to this repository.
    #[error("table file {id} was not uploaded")]
    NotUploaded {
        /// The file.
        id: TableFileId,
    },
    /// A file is named with another chunk count than it has.
    #[error("table file {id} has {have} chunks, not {said}")]
    ChunkCount {
        /// The file.
        id: TableFileId,
        /// What the request says.
        said: u32,
        /// What the file has.
        have: u32,
    },
    /// One request names two files by one id.
    #[error(
        "could not add table file {id}: the request names it with {chunks} and with {other} chunks; name each file once"
    )]
    NamedTwice {
        /// The id.
        id: TableFileId,
        /// How many chunks the request says first.
        chunks: u32,
        /// How many it says then.
        other: u32,
    },
    /// Chunks refer to chunks that are nowhere.
    #[error("table file {id} refers to {count} chunks that are not there, such as {first}")]
    Dangling {
        /// The file.
        id: TableFileId,
        /// How many references dangle.
        count: usize,
        /// One of them.
        first: ChunkAddress,
    },
    /// The proposed root is not there.
    #[error("the new root {root} is not there")]
    RootAbsent {
        /// The root.
        root: RootAddress,
    },
    /// The proposed root cannot be one.
    #[error("the new root {root} is refused")]
    RootRefused {
        /// The root.
        root: RootAddress,
        /// Why.
        #[source]
        source: MeaningError,
    },
    /// A change does not fit into the log.
    #[error("the change is too large: {what} would have {len} bytes, and {max} are the most")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// How long it is.
        len: u64,
        /// How long it may be.
        max: u64,
    },
    /// Other writers won every race for too long.
    #[error("the repository is too busy: {attempts} attempts lost their race")]
    Busy {
        /// How many times it was tried.
        attempts: u32,
    },
}

/// What whoever knows the meaning of chunks has against one.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct MeaningError {
    /// The class of the refusal.
    pub kind: ErrorKind,
    /// Why, in one line.
    pub reason: String,
}

impl RepositoryError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // What a record names is always there: its absence is damage, never the asker's mistake.
            Self::Object {
                source: ObjectError::NotFound { .. },
                ..
            } => ErrorKind::Corrupt,
            Self::Object {
                source: ObjectError::AlreadyExists { .. },
                ..
            } => ErrorKind::Unavailable,
            Self::Object { source, .. } => source.kind(),
            Self::Index { source, .. } => source.kind(),
            Self::Entries { source } => match source.kind() {
                ErrorKind::NotFound => ErrorKind::Corrupt,
                kind => kind,
            },
            Self::Derive { kind, .. } => *kind,
            Self::Io { source, .. } => io_kind(source),
            Self::Newer { .. }
            | Self::Log {
                source: RecordError::Newer { .. },
            } => ErrorKind::Refused,
            Self::Log { .. } | Self::Damaged { .. } | Self::FileDamaged { .. } => {
                ErrorKind::Corrupt
            }
            Self::NotUploaded { .. } | Self::Dangling { .. } | Self::RootAbsent { .. } => {
                ErrorKind::Dangling
            }
            Self::NamedTwice { .. } => ErrorKind::Invalid,
            Self::ChunkCount { .. } | Self::TooLong { .. } => ErrorKind::Refused,
            Self::RootRefused { source, .. } => source.kind,
            Self::Busy { .. } => ErrorKind::Unavailable,
        }
    }
}

fn io_kind(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Unavailable,
    }
}

/// Says what was attempted when the object store failed.
pub(crate) fn object(action: &'static str) -> impl FnOnce(ObjectError) -> RepositoryError {
    move |source| RepositoryError::Object { action, source }
}

/// Says what was attempted when the index failed.
pub(crate) fn index(action: &'static str) -> impl FnOnce(IndexError) -> RepositoryError {
    move |source| RepositoryError::Index { action, source }
}
