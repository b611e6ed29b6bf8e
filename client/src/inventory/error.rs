//! Why an inventory cannot be written or read.

use std::path::{Path, PathBuf};

use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};
use holdfast_doltdb::DecodeError;

/// Why an inventory cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// The system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The store cannot be read.
    #[error("{source}")]
    Store {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// Something points at a chunk that is not there.
    #[error(
        "could not list chunk {address}: the store lacks it, and something that is listed points at it"
    )]
    Lacks {
        /// The chunk.
        address: ChunkAddress,
    },
    /// Chunks that lie where the list shall be the whole of it.
    #[error(
        "could not list all of {}: {count} chunks are reached by no branch and no tag that was moved",
        directory.display()
    )]
    Beside {
        /// The store.
        directory: PathBuf,
        /// How many.
        count: u64,
    },
    /// Something else in the place of the inventory.
    #[error("could not write the inventory: {} exists, and is not the one of this move", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// What a chunk points at cannot be told.
    #[error("could not decode chunk {address}")]
    Decode {
        /// The chunk.
        address: ChunkAddress,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// An inventory of a form that a later version writes.
    #[error(
        "{} is an inventory of form {form}, and this version reads form {known}; a newer holdfast reads it",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its form.
        form: u32,
        /// The form that is read.
        known: u32,
    },
    /// A file that is no inventory, or was changed.
    #[error("could not use the inventory {}: it is not as it was written, {what} is wrong", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

impl InventoryError {
    /// One step that may help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Exists { .. } => {
                Some("name another file with --inventory, or move that one away")
            }
            Self::Beside { .. } => {
                Some("remove that directory, or name another one, and move the branches again")
            }
            Self::Form { .. } => Some(
                "take the inventory that was written with the database: what a changed one lists proves nothing",
            ),
            _ => None,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    ErrorKind::Denied
                }
                std::io::ErrorKind::StorageFull => ErrorKind::Exhausted,
                _ => ErrorKind::Internal,
            },
            Self::Store { source } => source.kind(),
            Self::Decode { source, .. } => source.kind(),
            Self::Beside { .. } | Self::Newer { .. } => ErrorKind::Refused,
            Self::Exists { .. } => ErrorKind::Conflict,
            Self::Lacks { .. } | Self::Form { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Says what was attempted on what.
pub(super) fn io<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> InventoryError + 'a {
    move |source| InventoryError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}
