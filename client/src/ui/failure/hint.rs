//! What to do next about an error: one step, where one is known.

use std::error::Error;
use std::io;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_client::backup::BackupError;
use holdfast_client::database::DatabaseError;
use holdfast_client::mirror::MirrorError;
use holdfast_client::remote::RemoteError;
use holdfast_client::transfer::TransferError;

use super::{causes, kind};
use crate::commands::Complaint;

/// The next step; that of the innermost cause of which one is known.
pub(super) fn of(error: &anyhow::Error) -> Option<&'static str> {
    let causes = causes(error);
    let own = causes.iter().find_map(|cause| of_our_own(*cause));
    own.or_else(|| {
        let is_remote = causes.iter().any(|cause| cause.is::<RemoteError>());
        let system = causes.iter().rev();
        system
            .filter_map(|cause| of_the_system(*cause, is_remote))
            .next()
            .or_else(|| of_kind(kind(error)?, is_remote))
    })
}

/// Errors of which we know more than their kind.
fn of_our_own(cause: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(complaint) = cause.downcast_ref::<Complaint>() {
        return match complaint {
            Complaint::Unknown { .. } => Some("`holdfast refs` lists what there is"),
            Complaint::Nothing { .. } => Some(
                "name the address of a chunk, a ref of `holdfast refs --all`, or the path of a file",
            ),
            Complaint::NoPlace { .. } => {
                Some("write https://host/owner/repository, file:///path or a directory")
            }
            Complaint::NoRemote { .. } => {
                Some("`dolt remote -v` lists the remotes; an address has a / in it")
            }
            Complaint::NoUpstream { .. } => {
                Some("name both: holdfast push --set-upstream origin <branch>")
            }
            Complaint::NoBranches { .. } => Some("push a branch to it first"),
            Complaint::Underway { .. } => Some("wait until it has ended"),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<TransferError>() {
        return match error {
            TransferError::Occupied { .. } => Some("name another directory, or remove this one"),
            TransferError::NoBranch { .. } => Some("`--branch` takes a branch of the remote"),
            TransferError::RemoteName { .. } => Some(
                "whoever runs it can remove that ref; until then name the branches that you need",
            ),
            TransferError::Empty => Some("push something to it first"),
            TransferError::Diverged { .. } => Some("merge with dolt, or push to another branch"),
            TransferError::Uncommitted => Some(
                "commit the changes first, or stash them; tables that dolt_ignore names count too, and \
                 `dolt stash --all` takes them along",
            ),
            TransferError::Shallow { .. } => {
                Some("push from a whole clone, or to where this was cloned from")
            }
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<BackupError>() {
        return of_a_backup(error);
    }
    if let Some(error) = cause.downcast_ref::<MirrorError>() {
        return match error {
            MirrorError::Ahead { .. } => {
                Some("fetch them from there first, or leave them behind with --force")
            }
            MirrorError::Live { .. } => Some(LIVE),
            MirrorError::Name { .. } => Some("whoever runs it can remove that ref"),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<DatabaseError>() {
        return match error {
            DatabaseError::None { .. } => Some("name the directory of a database with -C"),
            DatabaseError::Busy { .. } => Some("wait until it has ended"),
            _ => None,
        };
    }
    match cause.downcast_ref::<StoreError>()? {
        StoreError::Held { .. } => Some(
            "stop the dolt process that has the database open, or let it do so by SQL: `call dolt_fetch('origin')`, \
             `call dolt_pull('origin')`",
        ),
        StoreError::Loss { .. } => Some(
            "change nothing; keep a copy of the directory, and restore a backup or clone the database again",
        ),
        _ => None,
    }
}

/// What to do about a target that somebody works in.
const LIVE: &str = "name a repository of its own, a file:// directory or a bucket";

fn of_a_backup(error: &BackupError) -> Option<&'static str> {
    match error {
        BackupError::NoBackup { .. } | BackupError::NoneFits { .. } => {
            Some("`holdfast backup list <target>` lists what there is")
        }
        BackupError::Shallow { .. } => {
            Some("back up a whole clone, or the remote that this was cloned from")
        }
        BackupError::Live { .. } => Some(LIVE),
        BackupError::Foreign { .. } => {
            Some("name an empty target, or take its place with --force: the chunks there stay")
        }
        BackupError::NoRecords { .. } => Some(
            "older states are in the history of the forge: `holdfastd history` there lists them",
        ),
        BackupError::NoRules => Some("give a rule, such as --keep-daily 7"),
        BackupError::Busy { .. } => Some("wait until it is done, or name another --work"),
        _ => None,
    }
}

/// What the system, its name service or TLS said.
fn of_the_system(cause: &(dyn Error + 'static), is_remote: bool) -> Option<&'static str> {
    if cause.is::<rustls::Error>() {
        return Some(
            "the server's certificate is not trusted here, or it does not speak TLS: name the \
             authority's file in SSL_CERT_FILE, or write http:// if the server has no TLS",
        );
    }
    if is_remote && cause.to_string().starts_with("dns error") {
        return Some("the host's name is not known: check its spelling and the network");
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        io::ErrorKind::ConnectionRefused => {
            Some("nothing answers there: check host and port, and that the server runs")
        }
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable if is_remote => Some(
            "nobody answers: check the network and the firewall, then run the same command again",
        ),
        io::ErrorKind::PermissionDenied => {
            Some("give this user the rights on it, or name another directory")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only: name a directory on another one")
        }
        _ => None,
    }
}

/// What is left to say when only the kind is known.
fn of_kind(kind: ErrorKind, is_remote: bool) -> Option<&'static str> {
    match (kind, is_remote) {
        (ErrorKind::Unauthenticated, _) => Some(
            "check --user and its password in DOLT_REMOTE_PASSWORD, or that the remote knows the \
             key that `dolt creds` uses",
        ),
        (ErrorKind::Denied, true) => {
            Some("ask whoever runs the remote for the right, or come as another --user")
        }
        (ErrorKind::Unavailable, _) => {
            Some("run the same command again: a transfer goes on where it was cut off")
        }
        (ErrorKind::Exhausted, true) => {
            Some("the remote has no room, or is asked for too much: whoever runs it can tell")
        }
        (ErrorKind::Exhausted, false) => Some("make room, and run the same command again"),
        (ErrorKind::NotFound, true) => Some("check the owner and the name in the address"),
        (ErrorKind::Corrupt | ErrorKind::Dangling, false) => Some(
            "`holdfast verify` lists all damage; clone the database again, or restore a backup",
        ),
        (ErrorKind::Corrupt | ErrorKind::Dangling, true) => {
            Some("`holdfast verify <address of the remote>` lists all damage there")
        }
        (
            ErrorKind::Denied
            | ErrorKind::NotFound
            | ErrorKind::Invalid
            | ErrorKind::Refused
            | ErrorKind::Conflict
            | ErrorKind::Internal,
            _,
        ) => None,
    }
}
