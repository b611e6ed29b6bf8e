//! Why a database was not changed.

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_doltdb::write::NameTooLong;
use holdfast_doltdb::{ReadError, RefNameError};

use crate::database::DatabaseError;
use crate::transfer::KnownNames;

/// Why a database was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Its files cannot be read or written.
    #[error("{source}")]
    Database {
        /// Why.
        #[from]
        source: DatabaseError,
    },
    /// Its store cannot be read or written.
    #[error("{source}")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// Refs or commits cannot be read.
    #[error("{source}")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// The refs cannot be written.
    #[error("could not write the refs")]
    Name {
        /// Why.
        #[from]
        source: NameTooLong,
    },
    /// What is checked out has changes that are not committed.
    #[error(
        "could not check out {branch:?}: the working set of {current:?} has changes that are not committed"
    )]
    Uncommitted {
        /// The branch that was asked for.
        branch: String,
        /// The one that is checked out.
        current: String,
    },
    /// A branch that is not there.
    #[error("could not check out {branch:?}: there is no such branch here")]
    NoBranch {
        /// Its name.
        branch: String,
        /// Whether a tag is called so.
        is_tag: bool,
        /// Those that there are.
        known: KnownNames,
    },
    /// A branch that several remotes have.
    #[error("could not check out {branch:?}: {} have a branch of that name", remotes.join(", "))]
    Ambiguous {
        /// Its name.
        branch: String,
        /// The remotes.
        remotes: Vec<String>,
    },
    /// A branch that should be made and is there.
    #[error("could not make the branch {branch:?}: there is one")]
    BranchExists {
        /// Its name.
        branch: String,
    },
    /// A name that no branch may have.
    #[error("could not make a branch")]
    BranchName {
        /// What is wrong with it.
        #[source]
        source: RefNameError,
    },
    /// A revision that leads to no commit.
    #[error("could not begin a branch at {revision:?}: it is no branch, tag or commit here")]
    NoRevision {
        /// What was given.
        revision: String,
        /// The branches and tags that there are.
        known: KnownNames,
    },
    /// A remote that should be added and is there.
    #[error("could not add the remote {name:?}: there is one")]
    RemoteExists {
        /// Its name.
        name: String,
    },
    /// A name that Dolt gives no remote.
    #[error("could not add the remote {name:?}: Dolt takes no such name for a remote")]
    RemoteName {
        /// The name.
        name: String,
    },
    /// The address of a backup, which Dolt lets no remote have.
    #[error("could not add the remote {name:?}: the backup {backup:?} has the same address")]
    BackupAddress {
        /// The name of the remote.
        name: String,
        /// The name of the backup.
        backup: String,
    },
    /// A remote that is not there.
    #[error("could not find the remote {name:?}")]
    NoRemote {
        /// Its name.
        name: String,
        /// Those that there are.
        known: KnownNames,
    },
}

impl LocalError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Database { source } => source.kind(),
            Self::Store { source } => source.kind(),
            Self::Read { source } => source.kind(),
            Self::Uncommitted { .. } => ErrorKind::Refused,
            Self::NoBranch { .. } | Self::NoRevision { .. } | Self::NoRemote { .. } => {
                ErrorKind::NotFound
            }
            Self::BranchExists { .. } | Self::RemoteExists { .. } | Self::BackupAddress { .. } => {
                ErrorKind::Conflict
            }
            Self::Name { .. }
            | Self::Ambiguous { .. }
            | Self::BranchName { .. }
            | Self::RemoteName { .. } => ErrorKind::Invalid,
        }
    }

    /// One step that may help.
    pub fn hint(&self) -> Option<String> {
        let told = match self {
            Self::NoBranch {
                branch,
                is_tag: true,
                ..
            } => {
                return Some(format!(
                    "{branch} is a tag: `holdfast checkout -b <branch> {branch}` makes a branch of it"
                ));
            }
            Self::NoBranch { known, .. } => match known.hint() {
                Some(known) => return Some(format!("{known}; -b makes a new one")),
                None => "-b makes a new one",
            },
            Self::NoRevision { known, .. } | Self::NoRemote { known, .. } => return known.hint(),
            Self::Uncommitted { .. } => {
                "commit the changes with dolt first, or stash them; tables that dolt_ignore names count too"
            }
            Self::Ambiguous { branch, remotes } => {
                let remote = remotes.first().map_or("origin", String::as_str);
                return Some(format!(
                    "name one: `holdfast checkout -b {branch} refs/remotes/{remote}/{branch}`"
                ));
            }
            Self::BranchExists { branch } => {
                return Some(format!("`holdfast checkout {branch}` checks it out"));
            }
            Self::RemoteExists { name } => {
                return Some(format!(
                    "name another one, or change its address: `holdfast remote set-url {name} <address>`"
                ));
            }
            Self::RemoteName { .. } => "use letters, digits, - and _",
            Self::BackupAddress { .. } => "name another address",
            _ => return None,
        };
        Some(told.to_owned())
    }
}
