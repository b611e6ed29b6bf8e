//! What to do about an error, as opposed to what happened: one enum for the whole project.

/// The class of an error. Every error type of ours answers `kind()`; the server maps kinds to gRPC codes and
/// HTTP statuses in one table each, the client to exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request or the bytes are wrong by themselves.
    Invalid,
    /// The named thing is not there.
    NotFound,
    /// Something else is there already.
    Conflict,
    /// A reference points at a chunk that is not there.
    Dangling,
    /// Stored bytes are not what they were when stored.
    Corrupt,
    /// The request cannot be served in the present state; asking again does not help.
    Refused,
    /// There is no room: disk full, or under the floor of free space.
    Exhausted,
    /// Nobody, or nobody known, is asking.
    Unauthenticated,
    /// The asker is known and may not.
    Denied,
    /// Another process holds the lock of what is wanted.
    Locked,
    /// A passing fault: the same request may succeed later.
    Unavailable,
    /// A defect of ours.
    Internal,
}

impl ErrorKind {
    /// Whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Locked | Self::Unavailable => true,
            Self::Invalid
            | Self::NotFound
            | Self::Conflict
            | Self::Dangling
            | Self::Corrupt
            | Self::Refused
            | Self::Exhausted
            | Self::Unauthenticated
            | Self::Denied
            | Self::Internal => false,
        }
    }
}
