//! What went wrong, for people and for scripts.

use holdfast_chunkstore::ErrorKind;
use holdfast_client::database::DatabaseError;
use holdfast_client::remote::{RemoteError, UrlError};
use holdfast_client::transfer::TransferError;
use holdfast_doltdb::ReadError;

use crate::commands::Complaint;

/// The error with all its causes, and what to do next where that is known.
pub(crate) fn text(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  caused by: {cause}"));
    }
    if let Some(hint) = hint(error) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

/// Whether the output went nowhere any more.
pub(crate) fn is_of_a_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The exit code that the help names.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<UrlError>()) {
        return 2;
    }
    match kind(error) {
        None | Some(ErrorKind::Internal) => 1,
        Some(ErrorKind::Invalid) => 2,
        Some(ErrorKind::NotFound) => 3,
        Some(
            ErrorKind::Refused
            | ErrorKind::Denied
            | ErrorKind::Unauthenticated
            | ErrorKind::Conflict,
        ) => 4,
        Some(ErrorKind::Unavailable) => 5,
        Some(ErrorKind::Corrupt | ErrorKind::Dangling) => 6,
        Some(ErrorKind::Exhausted) => 7,
    }
}

fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.chain().find_map(|cause| {
        cause
            .downcast_ref::<Complaint>()
            .map(Complaint::kind)
            .or_else(|| {
                cause
                    .downcast_ref::<TransferError>()
                    .map(TransferError::kind)
            })
            .or_else(|| cause.downcast_ref::<RemoteError>().map(RemoteError::kind))
            .or_else(|| {
                cause
                    .downcast_ref::<DatabaseError>()
                    .map(DatabaseError::kind)
            })
            .or_else(|| cause.downcast_ref::<ReadError>().map(ReadError::kind))
    })
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<TransferError>() {
        match error {
            TransferError::Occupied { .. } => {
                return Some("name another directory, or remove this one");
            }
            TransferError::NoBranch { .. } => {
                return Some("`--branch` takes a branch of the remote");
            }
            TransferError::Diverged { .. } => {
                return Some("merge with dolt, or push to another branch");
            }
            TransferError::Uncommitted => return Some("commit or stash the changes first"),
            TransferError::Shallow { .. } => {
                return Some("push from a whole clone, or to where this was cloned from");
            }
            TransferError::Empty => return Some("push something to it first"),
            _ => {}
        }
    }
    if let Some(Complaint::NoUpstream { .. }) = error.downcast_ref() {
        return Some("name both: holdfast push --set-upstream origin <branch>");
    }
    match kind(error)? {
        ErrorKind::Unauthenticated => Some("give --user, and its password in DOLT_REMOTE_PASSWORD"),
        ErrorKind::Unavailable => {
            Some("run the same command again: it goes on where it was cut off")
        }
        ErrorKind::Exhausted => Some("make room, and run the same command again"),
        _ => None,
    }
}
