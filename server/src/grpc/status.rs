//! Error kinds as gRPC codes: the one table.
//!
//! Dolt stops at once only on InvalidArgument, NotFound, AlreadyExists, PermissionDenied, FailedPrecondition,
//! OutOfRange, Unimplemented and Unauthenticated; any other code it asks for up to five times more. So what
//! will not pass by itself, damage included, is FailedPrecondition, and only what may pass is Unavailable or
//! ResourceExhausted.

use holdfast_chunkstore::ErrorKind;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::forge::error::{self, ForgeError};

/// The code for a kind of error.
pub fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict | ErrorKind::Dangling | ErrorKind::Corrupt | ErrorKind::Refused => {
            Code::FailedPrecondition
        }
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Locked | ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Internal => Code::Internal,
    }
}

/// Ends an error as the status that the client sees. Dolt shows the text to its user.
pub fn status(error: &ForgeError) -> Status {
    error::log(error);
    let mut status = Status::new(code(error.kind()), error.for_client());
    if error.is_of_damage() {
        let mark = MetadataValue::from_static(error::DAMAGED);
        status.metadata_mut().insert(error::MARK, mark);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes on which dolt does not ask again.
    const PERMANENT: [Code; 8] = [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::PermissionDenied,
        Code::FailedPrecondition,
        Code::OutOfRange,
        Code::Unimplemented,
        Code::Unauthenticated,
    ];

    #[test]
    fn only_what_may_pass_is_asked_for_again() {
        for kind in [
            ErrorKind::Invalid,
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::Dangling,
            ErrorKind::Corrupt,
            ErrorKind::Refused,
            ErrorKind::Unauthenticated,
            ErrorKind::Denied,
        ] {
            assert!(PERMANENT.contains(&code(kind)), "{kind:?}");
        }
        assert_eq!(code(ErrorKind::Unavailable), Code::Unavailable);
        assert_eq!(code(ErrorKind::Exhausted), Code::ResourceExhausted);
    }
}
