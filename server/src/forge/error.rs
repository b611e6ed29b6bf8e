//! Why the forge does not do what it was asked.
//!
//! The log has all of it. Clients are not told what they could learn of the machine: paths, addresses, and what
//! the system, the index or the bucket said.

use std::error::Error;
use std::io;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::index::IndexError;
use holdfast_chunkstore::objects::ObjectError;
use holdfast_chunkstore::repo::spool::SpoolError;
use holdfast_chunkstore::repo::{
    MeaningError, RepoName, RepoNameError, RepositoryError, UploadFailure,
};

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
    /// A data file is damaged, and it is not known yet whether something needs it.
    #[error("{name} is being looked through because a data file is damaged: try again")]
    LookedThrough {
        /// The repository.
        name: RepoName,
    },
    /// A range does not lie inside a file.
    #[error("the range does not lie inside the {len} bytes of the file")]
    Range {
        /// The file's length in bytes.
        len: u64,
    },
    /// The body of an upload could not be read to its end.
    #[error("could not read the body of the upload")]
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
            _ if self.is_refused_by_store() => ErrorKind::Unavailable,
            Self::Repository(error) => error.kind(),
            Self::Upload(error) => error.kind(),
            Self::Body { .. } | Self::LookedThrough { .. } => ErrorKind::Unavailable,
        }
    }

    /// Whether the object store does not let this server do what it must: its keys ended or lack a right. The caller
    /// is not to blame, and cannot mend it.
    fn is_refused_by_store(&self) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(ObjectError::Refused { .. }) = error.downcast_ref() {
                return true;
            }
            cause = error.source();
        }
        false
    }

    /// Whether what is stored is damaged: nothing that the asker can help by asking otherwise, or again.
    pub fn is_of_damage(&self) -> bool {
        matches!(self, Self::Repository(error) if error.kind() == ErrorKind::Corrupt)
    }

    /// Whether it is about a damaged data file, which the log named when it was noticed.
    fn is_told_already(&self) -> bool {
        let (Self::Repository(error) | Self::Upload(UploadFailure::Repository(error))) = self
        else {
            return false;
        };
        matches!(error, RepositoryError::FileDamaged { .. })
    }

    /// The whole chain of causes in one line: what the log has.
    pub fn one_line(&self) -> String {
        one_line(self)
    }

    /// What a client shows, in one line: the chain of causes as far as it is about what he asked for.
    pub fn for_client(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            if let Some(end) = inner(error) {
                append(&mut text, &end);
                break;
            }
            append(&mut text, &error.to_string());
            cause = error.source();
        }
        text
    }
}

/// What is told in place of a cause that is the server's own business, and of what is behind it.
fn inner(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ObjectError>() {
        return match error {
            ObjectError::Failed { .. } => Some("the object store cannot be reached, or failed"),
            ObjectError::Refused { .. } => Some("the object store does not let this server in: whoever runs it must look at its log"),
            // They name an object's key, and nothing of the machine.
            _ => None,
        }
        .map(str::to_owned);
    }
    if let Some(error) = error.downcast_ref::<IndexError>() {
        return Some(match error {
            IndexError::Full { .. } => error.to_string(),
            _ => "the chunk index failed".to_owned(),
        });
    }
    if let Some(SpoolError::Io { source, .. }) = error.downcast_ref() {
        return Some(format!("the spool failed: {}", source.kind()));
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return Some(error.kind().to_string());
    }
    match error.downcast_ref::<MeaningError>() {
        Some(error) if error.kind == ErrorKind::Corrupt => Some(
            "it cannot be read, as a data file is damaged: `holdfast push --repair` from a whole clone sends what \
             it held again"
                .to_owned(),
        ),
        Some(error) if is_fault(error.kind) => Some("it cannot be read".to_owned()),
        _ => None,
    }
}

/// Whether something is wrong on our side.
fn is_fault(kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::Locked | ErrorKind::Unavailable | ErrorKind::Corrupt | ErrorKind::Internal => {
            true
        }
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Dangling
        | ErrorKind::Refused
        | ErrorKind::Exhausted
        | ErrorKind::Unauthenticated
        | ErrorKind::Denied => false,
    }
}

/// An error and its causes in one line.
pub fn one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        append(&mut text, &error.to_string());
        cause = error.source();
    }
    text
}

fn append(text: &mut String, part: &str) {
    if !text.ends_with(part) {
        text.push_str(": ");
        text.push_str(part);
    }
}

/// What marks an answer in its metadata or its header: [`DAMAGED`] is told from a refusal by nothing else.
pub const MARK: &str = "holdfast-error";
/// The mark of an answer that says that what is stored is damaged.
pub const DAMAGED: &str = "damaged";

/// What a client, to whom wrong bytes came, sets in the metadata of a call that names a file.
pub const CHECK: &str = "holdfast-check";

/// Logs an error where it ends. What clients do wrong is no fault of the server's. Why a caller is not let in stands in the
/// one line of its request, which is left out where there are many.
pub fn log(error: &ForgeError) {
    let cause = error.one_line();
    match error.kind() {
        ErrorKind::Unauthenticated => {
            tracing::Span::current().record("refused", cause.as_str());
        }
        _ if matches!(error, ForgeError::Address(_)) => {
            tracing::Span::current().record("refused", cause.as_str());
        }
        _ if error.is_refused_by_store() => {
            tracing::error!(
                cause,
                "the object store refuses this server: look at its keys and rights"
            );
        }
        ErrorKind::Corrupt if error.is_told_already() => {
            tracing::info!(cause, "request refused: a data file is damaged");
        }
        ErrorKind::Internal | ErrorKind::Corrupt => tracing::error!(cause, "request failed"),
        ErrorKind::Locked | ErrorKind::Unavailable => match error {
            ForgeError::Body { .. } => tracing::debug!(cause, "upload broken off"),
            ForgeError::LookedThrough { .. } => tracing::info!(cause, "request refused for now"),
            _ => tracing::warn!(cause, "request failed for now"),
        },
        ErrorKind::Exhausted => tracing::warn!(cause, "no room"),
        ErrorKind::Invalid
        | ErrorKind::NotFound
        | ErrorKind::Conflict
        | ErrorKind::Dangling
        | ErrorKind::Refused
        | ErrorKind::Denied => tracing::info!(cause, "request refused"),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::objects::ObjectKey;
    use holdfast_chunkstore::repo::check::UploadError;

    use super::*;
    use crate::telemetry::lines::Lines;

    /// What a file and the log say of an error, and what a client is told.
    fn told(error: impl Into<ForgeError>) -> (String, String) {
        let error = error.into();
        (error.one_line(), error.for_client())
    }

    fn failing() -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, "open /srv/data/x")
    }

    #[test]
    fn clients_are_told_what_failed_and_nothing_of_the_machine() {
        let key = ObjectKey::parse("repos/x").unwrap();
        let (action, source) = ("read the catalog", Box::new(failing()));
        let source = ObjectError::Failed {
            action: "read",
            key,
            source,
        };
        let spool = |path: &str| SpoolError::Io {
            action: "create the spool file",
            path: path.into(),
            source: failing(),
        };
        let index = IndexError::Failed {
            action: "look up",
            source: Box::new(failing()),
        };
        for (error, words) in [
            (
                told(RepositoryError::Object { action, source }),
                "read the catalog: the object store cannot be reached, or failed",
            ),
            (
                told(RepositoryError::Index {
                    action: "find chunks",
                    source: index,
                }),
                "find chunks: the chunk index failed",
            ),
            (
                told(UploadFailure::Upload(spool("/srv/data/spool/1").into())),
                "take in a table file: receive the file: the spool failed: permission denied",
            ),
            (
                told(UploadFailure::Upload(UploadError::Scratch(failing()))),
                "take in a table file: check the file: permission denied",
            ),
        ] {
            let (log, client) = error;
            assert_eq!(client, words);
            assert!(log.contains("/srv/data"), "{log}");
        }
    }

    #[test]
    fn what_a_bucket_refuses_us_is_no_fault_of_the_callers() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .finish();
        let key = ObjectKey::parse("repos/x").unwrap();
        let source = ObjectError::Refused {
            action: "read",
            key,
            source: "status 403 AccessDenied, Access Denied".into(),
        };
        let action = "read the catalog";
        let error = ForgeError::from(RepositoryError::Object { action, source });
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        tracing::subscriber::with_default(subscriber, || log(&error));
        assert!(lines.text().contains("ERROR"), "{}", lines.text());
        assert!(lines.text().contains("AccessDenied"), "{}", lines.text());
        assert!(!error.for_client().contains("AccessDenied"));
    }

    #[test]
    fn clients_are_told_all_that_is_wrong_with_what_they_sent() {
        let error = UploadError::TooLong { declared: 7 };
        let (log, client) = told(UploadFailure::Upload(error));
        assert_eq!(log, client);
        assert!(
            client.ends_with("more than the 7 bytes declared"),
            "{client}"
        );
    }
}
