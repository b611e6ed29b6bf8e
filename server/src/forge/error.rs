//! Why the forge does not do what it was asked.

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::repo::{RepoName, RepoNameError, RepositoryError, UploadFailure};

use super::addresses::AddressError;

/// Why the forge does not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForgeError {
    /// Nobody known is asking.
    #[error("{reason}")]
    Unauthenticated {
        /// Why, for the asker.
        reason: String,
    },
    /// Nobody may write.
    #[error("this server only provides read-only access")]
    ReadOnly,
    /// There is no such repository, or none that the asker may know of.
    #[error("repository {name} not found")]
    NoRepository {
        /// The name.
        name: RepoName,
    },
    /// No repository can have this name.
    #[error("no repository can be named so")]
    NoSuchName(#[source] RepoNameError),
    /// There is no such file.
    #[error("{name} has no table file {file:?}")]
    NoFile {
        /// The repository.
        name: RepoName,
        /// What was asked for.
        file: String,
    },
    /// The request is wrong by itself.
    #[error("{reason}")]
    Invalid {
        /// Why.
        reason: String,
    },
    /// The request cannot be served; asking again does not help.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// An address is not honored.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An upload did not become a stored file.
    #[error(transparent)]
    Upload(#[from] UploadFailure),
    /// The file of a download address is not there any more.
    #[error("the file of this address is not there any more")]
    Gone,
    /// A range does not lie inside a file.
    #[error("the range does not lie inside the {len} bytes of the file")]
    Range {
        /// The file's length in bytes.
        len: u64,
    },
    /// The body of an upload could not be read to its end.
    #[error("read the body of the upload")]
    Body {
        /// Why.
        #[source]
        source: crate::transport::BodyError,
    },
}

impl ForgeError {
    /// A request that is wrong by itself.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unauthenticated { .. } => ErrorKind::Unauthenticated,
            Self::ReadOnly => ErrorKind::Denied,
            Self::NoRepository { .. }
            | Self::NoSuchName(_)
            | Self::NoFile { .. }
            | Self::Gone
            | Self::Address(AddressError::Unknown) => ErrorKind::NotFound,
            Self::Invalid { .. } | Self::Range { .. } => ErrorKind::Invalid,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Address(AddressError::Signature | AddressError::Expired) => ErrorKind::Denied,
            Self::Repository(error) => error.kind(),
            Self::Upload(error) => error.kind(),
            Self::Body { .. } => ErrorKind::Unavailable,
        }
    }

    /// The whole chain of causes in one line: what a client shows.
    pub fn one_line(&self) -> String {
        one_line(self)
    }
}

/// An error and its causes in one line.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text
}

/// Logs an error where it ends. What clients do wrong is no fault of the server's.
pub fn log(error: &ForgeError) {
    let cause = error.one_line();
    match error.kind() {
        ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(cause, "request failed"),
        ErrorKind::Unavailable => match error {
            ForgeError::Body { .. } => tracing::debug!(cause, "upload broken off"),
            _ => tracing::warn!(cause, "request failed for now"),
        },
        ErrorKind::Exhausted => tracing::warn!(cause, "no room"),
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Dangling
        | ErrorKind::Refused
        | ErrorKind::Unauthenticated
        | ErrorKind::Denied => tracing::info!(cause, "request refused"),
    }
}
