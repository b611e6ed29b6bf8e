//! What to do next about an error: one step, where one is known.

use std::error::Error;
use std::io;

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_client::backup::BackupError;
use holdfast_client::database::DatabaseError;
use holdfast_client::inventory::InventoryError;
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
        return of_a_complaint(complaint);
    }
    if let Some(error) = cause.downcast_ref::<TransferError>() {
        return match error {
            TransferError::Occupied { .. } => Some("name another directory, or remove this one"),
            TransferError::NoBranch { .. } => Some("`holdfast branch --remote` lists those it has"),
            TransferError::NoTag { .. } => Some("`holdfast refs --remote` lists those it has"),
            TransferError::NoHead { .. } => Some("check out a branch that `dolt branch` lists"),
            TransferError::RemoteName { .. } => {
                Some("name another ref; `holdfast push <remote> :<ref>` removes this one there")
            }
            TransferError::Mapping { .. } => Some(
                "push a branch to a branch, and a tag to a tag: `dolt tag` makes one of a branch",
            ),
            TransferError::Empty => Some("push something to it first"),
            TransferError::Diverged { .. } => Some("merge with dolt, or push to another branch"),
            TransferError::Uncommitted => Some(
                "commit the changes first, or stash them; tables that dolt_ignore names count too, and \
                 `dolt stash --all` takes them along",
            ),
            TransferError::Unrepaired { .. } => {
                Some("run it from a clone that has these refs, or restore a backup of the remote")
            }
            TransferError::Shallow { .. } => {
                Some("push from a whole clone, or to where this was cloned from")
            }
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<RemoteError>() {
        return error.is_of_damage().then_some(REPAIR);
    }
    if let Some(error) = cause.downcast_ref::<BackupError>() {
        return of_a_backup(error);
    }
    if let Some(error) = cause.downcast_ref::<MirrorError>() {
        return match error {
            MirrorError::Ahead { .. } => Some(AHEAD),
            MirrorError::Uncommitted { .. } => Some(
                "commit them there first, keep those branches with --keep-vanished, or leave the changes behind with --force",
            ),
            MirrorError::Live { .. } => Some(LIVE),
            _ => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<InventoryError>() {
        return of_an_inventory(error);
    }
    if let Some(error) = cause.downcast_ref::<DatabaseError>() {
        return match error {
            DatabaseError::None { .. } => Some("name the directory of a database with -C"),
            DatabaseError::File { .. } => Some("put that file right: it holds a JSON object"),
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

fn of_a_complaint(complaint: &Complaint) -> Option<&'static str> {
    match complaint {
        Complaint::Unknown { .. } => Some("`holdfast refs` lists what there is"),
        Complaint::Inventory { is_more: true, .. } => Some(
            "what was committed or fetched since the move is not listed, and `dolt gc` removes what no ref reaches; for \
             a new list, move the branches out again into a new directory",
        ),
        Complaint::Inventory { .. } => Some(
            "move the branches out again, into a new directory: this one is not what the inventory lists",
        ),
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
        Complaint::Behind { .. } => Some("write --backup and the number"),
        Complaint::Number { .. } => Some("write --backup 1 for a backup, ./1 for a directory"),
        Complaint::NoPage { .. } => Some("name another directory, or move that file away"),
        Complaint::NoBranch => Some("name the branch behind the address"),
        Complaint::Clobbered { .. } => {
            Some("keep those tags, or take the remote's: holdfast fetch --force")
        }
        Complaint::Unnamed { .. } => {
            Some("give it a name: dolt remote add <name> <address>; then push to that name")
        }
        Complaint::Absent { .. } => Some("check the spelling of the address"),
        Complaint::NoBranches { .. } => Some("push a branch to it first"),
        Complaint::NothingStays { .. } => Some("name a directory that stays, with --via"),
        _ => None,
    }
}

/// What to do about commits that would be lost.
const AHEAD: &str = "merge them into the branches here first, or leave them behind with --force";

/// What to do about a remote that lost something.
const REPAIR: &str =
    "in a clone that is whole, `holdfast push --repair <remote>` sends what the remote lost again";

/// What to do about a target that somebody works in.
const LIVE: &str = "name a repository of its own, a file:// directory or a bucket";

fn of_an_inventory(error: &InventoryError) -> Option<&'static str> {
    match error {
        InventoryError::Exists { .. } => {
            Some("name another file with --inventory, or move that one away")
        }
        InventoryError::Beside { .. } => {
            Some("remove that directory, or name another one, and move the branches again")
        }
        _ => None,
    }
}

fn of_a_backup(error: &BackupError) -> Option<&'static str> {
    match error {
        BackupError::NoBackup { .. } | BackupError::NoneFits { .. } => {
            Some("`holdfast backup list <target>` lists what there is")
        }
        BackupError::Shallow { .. } => {
            Some("back up a whole clone, or the remote that this was cloned from")
        }
        BackupError::Live { .. } => Some(LIVE),
        BackupError::Ahead { .. } => Some(AHEAD),
        BackupError::Foreign { .. } => {
            Some("name an empty target, or take its place with --force: the chunks there stay")
        }
        BackupError::NoRecords { .. } => Some(
            "older states are in the history of the forge: `holdfastd history` there lists them",
        ),
        BackupError::Damaged { .. } => Some(
            "a backup that is no dry run mends what its source still has; `holdfast backup verify <target>` lists all damage",
        ),
        BackupError::NoRules => Some("give a rule, such as --keep-daily 7"),
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
        (ErrorKind::Locked, _) => {
            Some("wait until the other process has ended, then run the same command again")
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
