//! Why a backup was not made, checked or restored.

use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::{ErrorKind, RootAddress};
use holdfast_doltdb::{ReadError, RefFault};

use super::record::{BackupId, RecordError, needed_by};
use crate::database::{DatabaseError, LockError};
use crate::remote::RemoteError;
use crate::transfer::losses::in_a_line;
use crate::transfer::{Loss, TransferError};

/// Why a backup was not made, checked or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// A remote did not do its part.
    #[error("use the remote")]
    Remote {
        /// Why.
        #[from]
        source: RemoteError,
    },
    /// Chunks did not get from one place to the other.
    #[error("move the chunks")]
    Transfer {
        /// Why.
        #[from]
        source: TransferError,
    },
    /// Refs or commits cannot be read.
    #[error("read refs and commits")]
    Read {
        /// Why.
        #[from]
        source: ReadError,
    },
    /// The store that is backed up cannot be opened.
    #[error("open the store")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// A file or a directory cannot be used.
    #[error("use the working directory")]
    Database {
        /// Why.
        #[from]
        source: DatabaseError,
    },
    /// A record of a backup that is none.
    #[error("read the record of backup {id}")]
    Record {
        /// Of which backup.
        id: BackupId,
        /// What is wrong with it.
        #[source]
        source: RecordError,
    },
    /// A backup that is not there.
    #[error("there is no backup {id} in {target}")]
    NoBackup {
        /// Which backup.
        id: BackupId,
        /// Where it was looked for.
        target: String,
    },
    /// No backup is old enough, or has the commit.
    #[error("no backup in {target} fits")]
    NoneFits {
        /// Where it was looked for.
        target: String,
    },
    /// Nothing was backed up yet.
    #[error("there are no backups in {target}")]
    Empty {
        /// Where.
        target: String,
    },
    /// A database without a root.
    #[error("there is nothing in {origin} to back up")]
    NoRoot {
        /// Where.
        origin: String,
    },
    /// A shallow clone, which lacks most of its history.
    #[error("{origin} is a shallow clone and lacks {commits} commits")]
    Shallow {
        /// Where.
        origin: String,
        /// How many commits were left out.
        commits: usize,
    },
    /// A database that somebody works in.
    #[error("{target} is a database that a SQL server has open")]
    Live {
        /// Where.
        target: String,
    },
    /// A place that holds something else.
    #[error("{target} holds {root}, which no backup of this database put there")]
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
    #[error("{target} is a server, which keeps no records of backups")]
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
    #[error("others wrote to {target} each time we tried")]
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
    #[error("the rules keep no backup")]
    NoRules,
}

impl BackupError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote { source } => source.kind(),
            Self::Transfer { source } => source.kind(),
            Self::Read { source } => source.kind(),
            Self::Store { source } => source.kind(),
            Self::Database { source } => source.kind(),
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
