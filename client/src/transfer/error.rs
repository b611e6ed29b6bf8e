//! Why a transfer did not come to its end.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, TableFileId};
use holdfast_doltdb::write::NameTooLong;
use holdfast_doltdb::{ReadError, RefFault};

use super::check::CheckError;
use super::ref_spec::RefSpecError;
use crate::database::{DatabaseError, LockError};
use crate::remote::RemoteError;

/// Why a transfer did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The remote did not do its part.
    #[error("read from the remote")]
    Remote {
        /// Why.
        #[from]
        source: RemoteError,
    },
    /// The remote has nothing.
    #[error("the remote contains no Dolt data")]
    Empty,
    /// The addresses of the remote's files ended again and again before anything came.
    #[error("the remote refuses the addresses that it gives")]
    Unsteady,
    /// The remote lacks a branch.
    #[error("branch {branch:?} not found on remote")]
    NoBranch {
        /// Its name.
        branch: String,
        /// Some of those that it has.
        known: Vec<String>,
    },
    /// The remote lacks a tag.
    #[error("tag {tag:?} not found on remote")]
    NoTag {
        /// Its name.
        tag: String,
    },
    /// The branch that is checked out is not there.
    #[error(
        "could not pull into branch {branch:?}, which is checked out: it is not in this database"
    )]
    NoHead {
        /// Its name.
        branch: String,
    },
    /// A name that no fetch can take.
    #[error(
        "could not fetch {text:?}: it is no branch, no refs/tags/TAG and no BRANCH:refs/remotes/REMOTE/BRANCH"
    )]
    NotFetched {
        /// What was given.
        text: String,
    },
    /// The remote has no branch at all.
    #[error("the remote has no branches")]
    NoBranches,
    /// There is something where the clone should go.
    #[error("{} exists and is not an unfinished clone of this remote", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
    },
    /// Another process works where the clone should go.
    #[error(transparent)]
    Lock {
        /// Which.
        #[from]
        source: LockError,
    },
    /// The remote names a chunk and has it not.
    #[error("the remote lacks chunk {address}, which something of it points at")]
    Lacks {
        /// The chunk.
        address: ChunkAddress,
    },
    /// A shallow clone does not hold what the remote lacks.
    #[error("commit {address} was left out by a shallow clone, and the remote lacks it")]
    Shallow {
        /// The commit.
        address: ChunkAddress,
    },
    /// A remote that lacks chunks which are not here either.
    #[error(
        "the remote lacks more than this database can give: {}",
        told(not_here)
    )]
    Unrepaired {
        /// Refs of the remote that are not here.
        not_here: Vec<String>,
        /// What it said.
        #[source]
        source: RemoteError,
    },
    /// A remote whose refs are lost, and not known here as they were.
    #[error("the remote lost its refs, and those that are known here were others")]
    RefsLost {
        /// What it said.
        #[source]
        source: ReadError,
    },
    /// A ref that is not there.
    #[error("{name} is no branch or tag here")]
    NoRef {
        /// The full name.
        name: String,
    },
    /// Both sides have commits that the other has not.
    #[error("the branch and the remote's have diverged: here {here}, there {there}")]
    Diverged {
        /// The head here.
        here: ChunkAddress,
        /// The head there.
        there: ChunkAddress,
    },
    /// A pull would overwrite what is not committed.
    #[error("the working set has changes that are not committed")]
    Uncommitted,
    /// A ref of the remote that Dolt could not use.
    #[error("could not take a ref of {remote}")]
    RemoteName {
        /// The remote.
        remote: String,
        /// What is wrong with the ref.
        #[source]
        source: RefFault,
    },
    /// A ref that Dolt could not use, and that is not sent.
    #[error("could not push {name:?}")]
    Unusable {
        /// The full name.
        name: String,
        /// What is wrong with the ref.
        #[source]
        source: RefFault,
    },
    /// A branch that should become a tag, or the other way round.
    #[error("could not push {here:?} to {there:?}: they are not of one kind")]
    Mapping {
        /// The full name here.
        here: String,
        /// The full name there.
        there: String,
    },
    /// A revision that the remote has not.
    #[error("{name:?} is no branch, tag or commit of the remote")]
    NoRevision {
        /// What was asked for.
        name: String,
    },
    /// Others moved the remote's root again and again.
    #[error("others pushed to the remote at the same time, again and again")]
    Contended,
    /// The process is being ended.
    #[error("stopped before the end")]
    Stopped,
    /// Which refs follow which cannot be told.
    #[error("read which refs follow the remote's")]
    Spec {
        /// Why.
        #[source]
        source: RefSpecError,
    },
    /// A file came short.
    #[error("file {file} ended after {have} bytes, {want} were said to come")]
    Short {
        /// Which file.
        file: TableFileId,
        /// How many bytes came.
        have: u64,
        /// How many should have.
        want: u64,
    },
    /// A file holds another number of chunks than the remote says.
    #[error("file {file} holds {found} chunks, and the remote says {listed}")]
    Count {
        /// Which file.
        file: TableFileId,
        /// What the remote says.
        listed: u32,
        /// How many there are.
        found: u32,
    },
    /// What came is not what it should be.
    #[error("check what came from the remote")]
    Check {
        /// What is wrong with it.
        #[from]
        source: CheckError,
    },
    /// What came cannot be understood.
    #[error("read what came from the remote")]
    Read {
        /// What is wrong with it.
        #[from]
        source: ReadError,
    },
    /// A ref that cannot be written down.
    #[error("write the refs")]
    Name {
        /// Why.
        #[from]
        source: NameTooLong,
    },
    /// The store cannot be written.
    #[error("write the store")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The database cannot be written.
    #[error("write the database")]
    Database {
        /// Why.
        #[from]
        source: DatabaseError,
    },
}

impl TransferError {
    /// How long the remote asked to be left alone, if it did.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Remote { source } => source.retry_after(),
            _ => None,
        }
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote { source } => source.kind(),
            Self::Empty | Self::NoBranch { .. } | Self::NoBranches => ErrorKind::NotFound,
            Self::NoTag { .. } | Self::NoHead { .. } => ErrorKind::NotFound,
            Self::NotFetched { .. } => ErrorKind::Invalid,
            Self::Occupied { .. } => ErrorKind::Conflict,
            Self::Lock { source } => source.kind(),
            Self::Short { .. } | Self::Unsteady | Self::Stopped => ErrorKind::Unavailable,
            Self::Count { .. }
            | Self::Lacks { .. }
            | Self::RemoteName { .. }
            | Self::Unrepaired { .. }
            | Self::RefsLost { .. } => ErrorKind::Corrupt,
            Self::Spec { .. } | Self::Unusable { .. } | Self::Mapping { .. } => ErrorKind::Invalid,
            Self::Shallow { .. } | Self::Diverged { .. } | Self::Uncommitted => ErrorKind::Refused,
            Self::NoRef { .. } | Self::NoRevision { .. } => ErrorKind::NotFound,
            Self::Contended => ErrorKind::Unavailable,
            Self::Check { source } => source.kind(),
            Self::Read { source } => source.kind(),
            Self::Name { .. } => ErrorKind::Invalid,
            Self::Store { source } => source.kind(),
            Self::Database { source } => source.kind(),
        }
    }
}

/// The refs of a remote that are not here, the first of many.
fn told(not_here: &[String]) -> String {
    match not_here {
        [] => "all of its refs are here".to_owned(),
        refs => {
            let named: Vec<_> = refs.iter().take(5).map(String::as_str).collect();
            format!("not here are {}", named.join(", "))
        }
    }
}
