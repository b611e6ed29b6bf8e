//! Why a remote was not made equal to another.

use holdfast_chunkstore::ErrorKind;
use holdfast_doltdb::ReadError;

use crate::backup::{AHEAD, BackupError, LIVE};
use crate::remote::RemoteError;
use crate::transfer::losses::in_a_line;
use crate::transfer::{Loss, TransferError};

/// Why a remote was not made equal to another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MirrorError {
    /// What is copied cannot be used.
    #[error("{source}")]
    Source {
        /// Why.
        #[from]
        source: BackupError,
    },
    /// The remote did not do its part.
    #[error("{source}")]
    Remote {
        /// Why.
        #[from]
        source: RemoteError,
    },
    /// Chunks did not get from one to the other.
    #[error("{source}")]
    Transfer {
        /// Why.
        #[from]
        source: TransferError,
    },
    /// Refs cannot be read.
    #[error("{source}")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// Commits would be lost.
    #[error(
        "could not mirror: {target} would lose commits of {}",
        in_a_line(losses)
    )]
    Ahead {
        /// Where.
        target: String,
        /// Which commits of which refs.
        losses: Vec<Loss>,
    },
    /// Changes that are not committed would be lost.
    #[error(
        "could not mirror: {target} would lose changes that are not committed on {}",
        branches.join(", ")
    )]
    Uncommitted {
        /// Where.
        target: String,
        /// The branches that the source lacks and that have such changes there.
        branches: Vec<String>,
    },
    /// A database that somebody works in.
    #[error("could not mirror to {target}: it is a database that a SQL server has open")]
    Live {
        /// Where.
        target: String,
    },
    /// Others wrote to the target each time.
    #[error("could not write to {target}: others wrote to it each time")]
    Contended {
        /// Where.
        target: String,
    },
}

impl MirrorError {
    /// One step that may help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Ahead { .. } => Some(AHEAD),
            Self::Uncommitted { .. } => Some(
                "commit them there first, keep those branches with --keep-vanished, or leave the changes behind with --force",
            ),
            Self::Live { .. } => Some(LIVE),
            _ => None,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source { source } => source.kind(),
            Self::Remote { source } => source.kind(),
            Self::Transfer { source } => source.kind(),
            Self::Read { source } => source.kind(),
            Self::Ahead { .. } | Self::Uncommitted { .. } | Self::Live { .. } => ErrorKind::Refused,
            Self::Contended { .. } => ErrorKind::Unavailable,
        }
    }
}
