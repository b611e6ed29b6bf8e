//! Why a remote did not do what was asked.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_chunkstore::format::DecodeError;
use holdfast_chunkstore::hash::AddressMismatch;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::objects::ObjectError;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use tonic::Code;

use super::Hindrance;

/// Why a remote did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The address cannot be spoken to.
    #[error("could not prepare to speak to {endpoint}")]
    Connect {
        /// Scheme, host and port.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// A server that was never reached, or that can never be as it is.
    #[error("could not reach {endpoint}: {hindrance}{}", in_brackets(detail))]
    Unreachable {
        /// Scheme, host and port.
        endpoint: String,
        /// What is in the way.
        hindrance: Hindrance,
        /// What is wrong in detail, where the system or TLS say more.
        detail: String,
    },
    /// A call that was answered by something that is no server of the remotes API.
    #[error("could not {action}: HTTP status {status}{}", told(text))]
    Plain {
        /// What was attempted.
        action: &'static str,
        /// The status of the answer.
        status: u16,
        /// The beginning of what came with it.
        text: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// TLS cannot be spoken at all.
    #[error("could not prepare TLS")]
    Tls {
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A call was answered with an error.
    #[error("could not {action}: {} ({})", status.message(), code_name(status.code()))]
    Call {
        /// What was attempted.
        action: &'static str,
        /// What the server said.
        status: Box<tonic::Status>,
    },
    /// A request for data failed on its way.
    #[error("could not {action}")]
    Http {
        /// What was attempted.
        action: &'static str,
        /// What went wrong; without the address, which is a secret for as long as it is valid.
        #[source]
        source: reqwest::Error,
    },
    /// A request for data was refused.
    #[error("could not {action}: HTTP status {status}{}", told(text))]
    Status {
        /// What was attempted.
        action: &'static str,
        /// The status.
        status: u16,
        /// The beginning of what the server said, without the address that was asked for.
        text: String,
        /// How long it asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// A request for data that lies in a damaged file of the remote.
    #[error("could not {action}: {text}")]
    Damaged {
        /// What was attempted.
        action: &'static str,
        /// What the server said, or what was seen.
        text: String,
    },
    /// A host that takes nothing of what is sent to it, and does not answer either.
    #[error("could not {action}: nothing moved for {} seconds", patience.as_secs())]
    Silent {
        /// What was attempted.
        action: &'static str,
        /// How long it was waited for.
        patience: Duration,
    },
    /// An answer that cannot be.
    #[error("could not {action}: the remote answered with {what}")]
    Answer {
        /// What was attempted.
        action: &'static str,
        /// What is wrong with the answer.
        what: String,
    },
    /// A body that ended before all of it had come.
    #[error("could not {action}: {missing} bytes are missing at the end of what the remote sent")]
    Short {
        /// What was attempted.
        action: &'static str,
        /// How many bytes did not come.
        missing: u64,
    },
    /// A call that was answered with a plain no.
    #[error("could not {action}: the remote did not do it, and does not say why")]
    Refused {
        /// What was attempted.
        action: &'static str,
    },
    /// Bytes that are no chunk.
    #[error("could not read chunk {address}: the remote sent wrong bytes")]
    Chunk {
        /// Which chunk.
        address: ChunkAddress,
        /// What is wrong with them.
        #[source]
        source: DecodeError,
    },
    /// Bytes that are another chunk than the one that was asked for.
    #[error("could not read chunk {}: the remote sent wrong bytes", source.claimed)]
    OtherChunk {
        /// Which chunk they are.
        #[source]
        source: AddressMismatch,
    },
    /// Bytes that are no dictionary.
    #[error("could not read a dictionary: the remote sent wrong bytes")]
    Dictionary {
        /// What is wrong with them.
        #[source]
        source: DecodeError,
    },
    /// A file that is to be sent cannot be read.
    #[error("could not read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A store of a form that we do not know.
    #[error(
        "could not use the remote: its chunks are of format {format:?}, and only __DOLT__ is known"
    )]
    Format {
        /// The form.
        format: String,
    },
    /// A store in a directory or a bucket that cannot be used.
    #[error("could not use the store of the remote")]
    Store {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A bucket that does not do what is asked.
    #[error("could not use the bucket of the remote")]
    Bucket {
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// A bucket on whose server pushes could overwrite each other.
    #[error(
        "could not write to the bucket: its server {what}; it does not honor {header}, and pushes could overwrite each other"
    )]
    Unconditional {
        /// The header of a request that it should honor.
        header: &'static str,
        /// What it was seen to do.
        what: &'static str,
    },
    /// Others changed the remote each time we tried.
    #[error("could not change the remote: others changed it each time")]
    Contended,
    /// The store of a database that somebody works in.
    #[error(
        "could not push to {}: it is the store of a database",
        path.display()
    )]
    Database {
        /// Where it lies.
        path: PathBuf,
    },
    /// A kind of remote that was left out of this program.
    #[error("could not use a remote of the kind {scheme}://: this program was built without them")]
    NotBuilt {
        /// The kind.
        scheme: &'static str,
    },
    /// A root whose chunk was not sent.
    #[error("could not move the root to {root}: its chunk is in no file of the remote")]
    NoRoot {
        /// The root.
        root: RootAddress,
    },
}

impl RemoteError {
    /// The error of a connection that something keeps from being made; nothing for other causes, and where the server was
    /// reached before and may be back in a moment.
    pub(crate) fn unreachable(
        endpoint: &str,
        cause: &(dyn Error + 'static),
        is_reached: bool,
    ) -> Option<Self> {
        let (hindrance, detail) = Hindrance::of(cause)?;
        let is_final = hindrance.is_lasting() || !is_reached;
        is_final.then(|| Self::Unreachable {
            endpoint: endpoint.to_owned(),
            hindrance,
            detail,
        })
    }

    /// Whether data was refused in a way that a new list may mend: its address ended, or its file is gone because the
    /// remote collected its garbage.
    pub(crate) fn is_of_an_ended_address(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 400 | 401 | 403 | 404 | 410),
            Self::Store { source } => source.kind() == ErrorKind::NotFound,
            _ => false,
        }
    }

    /// How long the remote asked to be left alone, if it did.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } | Self::Plain { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the remote lost what it was asked for, which a whole clone can send again.
    pub fn is_of_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Store { source } => source.kind() == ErrorKind::Corrupt,
            Self::Call { status, .. } => is_damage(status),
            _ => false,
        }
    }

    /// The same error, where new addresses led to nothing either: the remote says where the data lies, and it does not
    /// lie there.
    pub(crate) fn of_lost_data(self) -> Self {
        match self {
            Self::Status {
                action,
                status: status @ (404 | 410),
                ..
            } => Self::Damaged {
                action,
                text: format!(
                    "the remote says where it lies, and it is not there (HTTP status {status})"
                ),
            },
            error => error,
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Call { status, .. } => !is_missing(status) && may_pass(status.code()),
            Self::Unreachable { .. } => false,
            error => error.kind().is_transient(),
        }
    }

    /// One step that may help.
    pub fn hint(&self) -> Option<&'static str> {
        if self.is_of_damage() {
            return Some(REPAIR);
        }
        match self {
            Self::Unreachable { hindrance, .. } => Some(hindrance.hint()),
            Self::Connect { .. } => Some(Hindrance::UnknownHost.hint()),
            Self::Plain { status, .. } => Some(match status {
                502..=504 => {
                    "a proxy in front of the server answers that it cannot reach it: check that the server runs"
                }
                401 | 407 => "a proxy in front of the server wants to know who calls",
                _ => {
                    "what answers there is no server of Dolt's remotes API: check host, port and path in the address"
                }
            }),
            Self::Database { .. } => {
                Some("push to a directory of its own, or through a `dolt sql-server`")
            }
            Self::Unconditional { .. } => Some("keep the remote in a bucket of another server"),
            Self::Store { .. } | Self::Bucket { .. } | Self::File { .. } => None,
            error => of_kind(error.kind()),
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. } | Self::Unreachable { .. } | Self::Http { .. } => {
                ErrorKind::Unavailable
            }
            Self::Call { status, .. } if is_missing(status) => ErrorKind::NotFound,
            Self::Call { status, .. } if is_damage(status) => ErrorKind::Corrupt,
            Self::Call { status, .. } => of_code(status.code()),
            Self::Status { status, .. } | Self::Plain { status, .. } => match status {
                401 => ErrorKind::Unauthenticated,
                403 => ErrorKind::Denied,
                404 | 410 => ErrorKind::NotFound,
                507 => ErrorKind::Exhausted,
                408 | 425 | 429 | 500.. => ErrorKind::Unavailable,
                _ => ErrorKind::Refused,
            },
            Self::Short { .. } | Self::Silent { .. } => ErrorKind::Unavailable,
            Self::Refused { .. } | Self::Format { .. } => ErrorKind::Refused,
            Self::Answer { .. }
            | Self::Damaged { .. }
            | Self::Chunk { .. }
            | Self::OtherChunk { .. }
            | Self::Dictionary { .. } => ErrorKind::Corrupt,
            Self::File { .. } | Self::Tls { .. } => ErrorKind::Internal,
            Self::Store { source } => source.kind(),
            Self::Bucket { source } => source.kind(),
            Self::Contended => ErrorKind::Unavailable,
            Self::Unconditional { .. } | Self::Database { .. } | Self::NotBuilt { .. } => {
                ErrorKind::Refused
            }
            Self::NoRoot { .. } => ErrorKind::Dangling,
        }
    }
}

/// What to do about a remote that lost something.
const REPAIR: &str =
    "in a clone that is whole, `holdfast push --repair <remote>` sends what the remote lost again";

/// What to do next where only the class of what a remote said is known.
pub(crate) fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Unauthenticated => Some(
            "check --user and its password in DOLT_REMOTE_PASSWORD, or that the remote knows the key that \
             `holdfast key list` marks",
        ),
        ErrorKind::Denied => {
            Some("ask whoever runs the remote for the right, or come as another --user")
        }
        ErrorKind::Locked => {
            Some("wait until the other process has ended, then run the same command again")
        }
        ErrorKind::Unavailable => {
            Some("run the same command again: a transfer goes on where it was cut off")
        }
        ErrorKind::Exhausted => {
            Some("the remote has no room, or is asked for too much: whoever runs it can tell")
        }
        ErrorKind::NotFound => Some("check the owner and the name in the address"),
        ErrorKind::Corrupt | ErrorKind::Dangling => {
            Some("`holdfast verify <address of the remote>` lists all damage there")
        }
        ErrorKind::Invalid | ErrorKind::Refused | ErrorKind::Conflict | ErrorKind::Internal => None,
    }
}

/// The name of the mark on an answer, and the mark of one that says that what is stored is damaged. Only holdfastd
/// sets it: no code tells damage from a refusal.
pub(crate) const MARK: &str = "holdfast-error";
pub(crate) const DAMAGED: &str = "damaged";
/// What asks holdfastd to look at the bytes of a file, in the metadata of a call that names one.
pub(crate) const CHECK: &str = "holdfast-check";

fn is_damage(status: &tonic::Status) -> bool {
    let mark = status.metadata().get(MARK);
    mark.is_some_and(|mark| mark.as_bytes() == DAMAGED.as_bytes())
}

/// Whether a database is not there of which a SQL server says so: it has no code for that.
fn is_missing(status: &tonic::Status) -> bool {
    status.code() == Code::Unknown && status.message().starts_with("database not found")
}

fn of_code(code: Code) -> ErrorKind {
    match code {
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::Conflict,
        Code::PermissionDenied => ErrorKind::Denied,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::Unimplemented => ErrorKind::Refused,
        Code::ResourceExhausted => ErrorKind::Exhausted,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => ErrorKind::Unavailable,
    }
}

/// Whether a call may be tried again: what Dolt's own client does not take as final.
fn may_pass(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated
        | Code::Ok => false,
        Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
    }
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn in_brackets(detail: &str) -> String {
    match detail {
        "" => String::new(),
        detail => format!(" ({detail})"),
    }
}

fn told(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        // A page, or what a bucket says: it may repeat the address that was asked for.
        text if text.starts_with('<') => String::new(),
        text => format!(": {text}"),
    }
}
