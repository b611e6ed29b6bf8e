//! What to do next about an error: one step, where one is known. Errors of ours say it themselves, where they are made;
//! here is what can be said of the system and of a class of errors.

use std::error::Error;
use std::io;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_client::backup::BackupError;
use holdfast_client::database::DatabaseError;
use holdfast_client::inventory::InventoryError;
use holdfast_client::local::LocalError;
use holdfast_client::mirror::MirrorError;
use holdfast_client::remote::{RemoteError, UrlError};
use holdfast_client::transfer::TransferError;

use super::{causes, kind};
use crate::commands::Complaint;

/// The next step; that of the outermost cause of which one is known.
pub(super) fn of(error: &anyhow::Error) -> Option<String> {
    let causes = causes(error);
    let own = causes.iter().find_map(|cause| of_our_own(*cause));
    own.or_else(|| {
        let system = causes.iter().rev();
        let system = system.filter_map(|cause| of_the_system(*cause)).next();
        let of_its_kind = || of_kind(kind(error)?);
        system.or_else(of_its_kind).map(str::to_owned)
    })
}

/// What an error of ours says itself.
fn of_our_own(cause: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<Complaint>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<TransferError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<LocalError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<BackupError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<MirrorError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<InventoryError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<DatabaseError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<UrlError>() {
        return error.hint().map(str::to_owned);
    }
    if let Some(error) = cause.downcast_ref::<RemoteError>() {
        return error.hint().map(str::to_owned);
    }
    let told = match cause.downcast_ref::<StoreError>()? {
        StoreError::Held { .. } => {
            "wait until the other command has ended, or stop the dolt process that has the database open; a running \
             sql-server does the same by SQL, such as `call dolt_fetch('origin')` or `call dolt_checkout('main')`"
        }
        StoreError::Loss { .. } => {
            "change nothing; keep a copy of the directory, and restore a backup or clone the database again"
        }
        _ => return None,
    };
    Some(told.to_owned())
}

/// What the system said.
fn of_the_system(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::PermissionDenied => {
            Some("give this user the rights on it, or name another directory")
        }
        io::ErrorKind::NotADirectory => {
            Some("a part of that path is a file: name another directory")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only: name a directory on another one")
        }
        _ => None,
    }
}

/// What is left to say when only the kind of something on this machine is known.
fn of_kind(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Locked => {
            Some("wait until the other process has ended, then run the same command again")
        }
        ErrorKind::Unavailable => {
            Some("run the same command again: a transfer goes on where it was cut off")
        }
        ErrorKind::Exhausted => Some("make room, and run the same command again"),
        ErrorKind::Corrupt | ErrorKind::Dangling => Some(
            "`holdfast verify` lists all damage; clone the database again, or restore a backup",
        ),
        ErrorKind::Unauthenticated
        | ErrorKind::Denied
        | ErrorKind::NotFound
        | ErrorKind::Invalid
        | ErrorKind::Refused
        | ErrorKind::Conflict
        | ErrorKind::Internal => None,
    }
}
