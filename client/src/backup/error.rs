//! Why a backup was not made, checked or restored.

use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::{ErrorKind, RootAddress};
use holdfast_doltdb::{ReadError, RefFault};

use super::backup_id::BackupId;
use super::record::{RecordError, needed_by};
use crate::database::{DatabaseError, LockError};
use crate::remote::RemoteError;
use crate::transfer::losses::in_a_line;
use crate::transfer::{Loss, TransferError};

/// Why a backup was not made, checked or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A remote did not do its part.
    #[error("{source}")]
    Remote {
        /// Why.
        #[from]
        source: RemoteError,
    },
    /// Chunks did not get from one place to the other.
    #[error("{source}")]
    Transfer {
        /// Why.
        #[from]
        source: TransferError,
    },
    /// Refs or commits cannot be read.
    #[error("{source}")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// The store that is backed up cannot be opened.
    #[error("{source}")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A file or a directory cannot be used.
    #[error("{source}")]
    Database {
        /// Why.
        #[from]
        source: DatabaseError,
    },
    /// A record of a backup that is none.
    #[error("could not read the record of backup {id}")]
    Record {
        /// Of which backup.
        id: BackupId,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// A backup that is not there.
    #[error("could not find backup {id} in {target}")]
    NoBackup {
        /// Which backup.
        id: BackupId,
        /// Where it was looked for.
        target: String,
    },
    /// No backup is old enough, or has the commit.
    #[error("could not find a backup in {target} that fits")]
    NoneFits {
        /// Where it was looked for.
        target: String,
    },
    /// Nothing was backed up yet.
    #[error("could not find a backup in {target}: there are none")]
    Empty {
        /// Where.
        target: String,
    },
    /// A database without a root.
    #[error("could not back up {origin}: there is nothing in it")]
    NoRoot {
        /// Where.
        origin: String,
    },
    /// A shallow clone, which lacks most of its history.
    #[error("could not back up {origin}: it is a shallow clone and lacks {commits} commits")]
    Shallow {
        /// Where.
        origin: String,
        /// How many commits were left out.
        commits: usize,
    },
    /// A database that somebody works in.
    #[error("could not back up to {target}: it is a database that a SQL server has open")]
    Live {
        /// Where.
        target: String,
    },
    /// A place that holds something else.
    #[error(
        "could not back up to {target}: it holds {root}, which no backup of this database put there"
    )]
    Foreign {
        /// Where.
        target: String,
        /// Its root.
        root: RootAddress,
    },
    /// Commits would be lost.
    #[error(
        "could not back up: {target} would lose commits of {}",
        in_a_line(losses)
    )]
    Ahead {
        /// Where.
        target: String,
        /// Which commits of which refs.
        losses: Vec<Loss>,
    },
    /// A ref that Dolt could not use, which a server does not take.
    #[error("could not back up to {target}{}", removal(command.as_deref()))]
    UnusableRef {
        /// Where to.
        target: String,
        /// The dolt command that removes it here, where there is one.
        command: Option<String>,
        /// What is wrong with it.
        #[source]
        source: RefFault,
    },
    /// A server, which keeps no records.
    #[error(
        "could not read the backups of {target}: it is a server, which keeps no records of them"
    )]
    NoRecords {
        /// Where.
        target: String,
    },
    /// Another process makes the same backup.
    #[error(transparent)]
    Lock {
        /// Which.
        #[from]
        source: LockError,
    },
    /// Others wrote to the target each time.
    #[error("could not write to {target}: others wrote to it each time")]
    Contended {
        /// Where.
        target: String,
    },
    /// Files of a target that do not hold what they should.
    #[error("could not rely on {target}: {}; {}", faults.join("; "), needed_by(backups))]
    Damaged {
        /// Where.
        target: String,
        /// What is wrong with which file.
        faults: Vec<String>,
        /// The backups that need one of those files, the newest first.
        backups: Vec<BackupId>,
    },
    /// Rules that would keep nothing.
    #[error("could not apply the rules: they keep no backup")]
    NoRules,
}

/// What to do about commits that would be lost.
pub(crate) const AHEAD: &str =
    "merge them into the branches here first, or leave them behind with --force";

/// What to do about a target that a SQL server works in.
pub(crate) const LIVE: &str = "name a repository of its own, a file:// directory or a bucket";

impl BackupError {
    /// One step that may help.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoBackup { .. } | Self::NoneFits { .. } => {
                Some("`holdfast backup list <target>` lists what there is")
            }
            Self::Shallow { .. } => {
                Some("back up a whole clone, or the remote that this was cloned from")
            }
            Self::Live { .. } => Some(LIVE),
            Self::Ahead { .. } => Some(AHEAD),
            Self::Foreign { .. } => {
                Some("name an empty target, or take its place with --force: the chunks there stay")
            }
            Self::NoRecords { .. } => Some(
                "older states are in the history of the forge: `holdfastd history` there lists them",
            ),
            Self::Damaged { .. } => Some(
                "a backup that is no dry run mends what its source still has; `holdfast backup verify <target>` lists all damage",
            ),
            Self::NoRules => Some("give a rule, such as --keep-daily 7"),
            _ => None,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote { source } => source.kind(),
            Self::Transfer { source } => source.kind(),
            Self::Read { source } => source.kind(),
            Self::Store { source } => source.kind(),
            Self::Database { source } => source.kind(),
            Self::Record {
                source: RecordError::Form { .. },
                ..
            } => ErrorKind::Refused,
            Self::Record { .. } | Self::Damaged { .. } => ErrorKind::Corrupt,
            Self::NoBackup { .. }
            | Self::NoneFits { .. }
            | Self::Empty { .. }
            | Self::NoRoot { .. } => ErrorKind::NotFound,
            Self::Shallow { .. }
            | Self::Live { .. }
            | Self::Foreign { .. }
            | Self::Ahead { .. }
            | Self::UnusableRef { .. }
            | Self::NoRecords { .. } => ErrorKind::Refused,
            Self::Lock { source } => source.kind(),
            Self::Contended { .. } => ErrorKind::Unavailable,
            Self::NoRules => ErrorKind::Invalid,
        }
    }

    /// Whether something that was named could not be read: a collection may have taken it away.
    pub(super) fn is_of_a_collection(&self) -> bool {
        match self {
            Self::Transfer { source } => source.is_of_a_collection(),
            Self::Store { source } => {
                matches!(source, StoreError::Vanished { .. })
                    || source.kind() == ErrorKind::NotFound
            }
            _ => false,
        }
    }
}

/// Names the command that takes a ref out of the way.
fn removal(command: Option<&str>) -> String {
    command.map_or_else(String::new, |command| {
        format!(" before the database is without a ref; this removes it: {command}")
    })
}
