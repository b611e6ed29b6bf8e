//! Why the spool refuses or fails.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::ErrorKind;

/// Why a spool file could not be made, written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// The file is longer than the spool may ever hold of one sender, or of all.
    #[error("{wanted} bytes are more than the {max} bytes that uploads of one sender may take")]
    TooLarge {
        /// How many bytes were asked for.
        wanted: u64,
        /// The most that is possible.
        max: u64,
    },
    /// The budget of the spool does not allow the file beside the others that are in it.
    #[error(
        "{wanted} bytes do not fit into the spool: {reserved} of {max} bytes are taken by other uploads"
    )]
    Budget {
        /// How many bytes were asked for.
        wanted: u64,
        /// How many bytes other files have reserved.
        reserved: u64,
        /// The budget.
        max: u64,
    },
    /// The disk would have less free bytes than the floor.
    #[error(
        "{wanted} bytes do not fit on the disk: {free} bytes are free, {floor} must stay free, {promised} are promised to other uploads"
    )]
    Floor {
        /// How many bytes were asked for.
        wanted: u64,
        /// How many bytes are free.
        free: u64,
        /// How many of them other files have reserved and not yet written.
        promised: u64,
        /// The floor.
        floor: u64,
    },
    /// The disk is full.
    #[error("the disk of the spool is full")]
    Full {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// More bytes were appended than were reserved.
    #[error("more than the {expected} bytes that were reserved")]
    TooLong {
        /// How many bytes were reserved.
        expected: u64,
    },
    /// Another call to the system failed.
    #[error("{action} {path}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or the directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl SpoolError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::Refused,
            Self::Budget { .. } | Self::Floor { .. } | Self::Full { .. } => ErrorKind::Exhausted,
            Self::TooLong { .. } => ErrorKind::Invalid,
            Self::Io { .. } => ErrorKind::Unavailable,
        }
    }

    /// Names the file that a call to the system failed on.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        if is_full(&source) {
            return Self::Full { source };
        }
        Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Whether a call failed for want of room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
