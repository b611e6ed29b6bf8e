//! Why a transfer did not come to its end.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, TableFileId};
use holdfast_doltdb::write::NameTooLong;
use holdfast_doltdb::{ReadError, RefFault, RefNameError};

use super::check::CheckError;
use super::known_names::KnownNames;
use super::ref_spec::RefSpecError;
use crate::database::{DatabaseError, LockError};
use crate::remote::RemoteError;

/// Why a transfer did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The remote did not do its part.
    #[error("{source}")]
    Remote {
        /// Why.
        #[from]
        source: RemoteError,
    },
    /// The remote has nothing.
    #[error("could not read the remote: it contains no Dolt data")]
    Empty,
    /// The addresses of the remote's files ended again and again before anything came.
    #[error("could not read the files of the remote: it refuses the addresses that it gives")]
    Unsteady,
    /// The remote lacks a branch.
    #[error("could not find branch {branch:?} at the remote")]
    NoBranch {
        /// Its name.
        branch: String,
        /// Those that it has.
        known: KnownNames,
    },
    /// The remote lacks a tag.
    #[error("could not find tag {tag:?} at the remote")]
    NoTag {
        /// Its name.
        tag: String,
        /// Those that it has.
        known: KnownNames,
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
    /// A ref of the remote would become one here that Dolt could not use.
    #[error("could not fetch")]
    LocalName {
        /// What is wrong with the name.
        #[source]
        source: RefNameError,
    },
    /// The remote has no branch at all.
    #[error("could not find a branch at the remote: it has none")]
    NoBranches,
    /// There is something where the clone should go.
    #[error("could not write to {}: it exists and is not an empty directory", path.display())]
    Occupied {
        /// Where.
        path: PathBuf,
    },
    /// There is an unfinished clone of something else.
    #[error(
        "could not write to {}: another clone was begun in it, of another remote or with other options",
        path.display()
    )]
    Begun {
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
    #[error(
        "could not read chunk {address}: the remote lacks it, and something there points at it"
    )]
    Lacks {
        /// The chunk.
        address: ChunkAddress,
    },
    /// A shallow clone does not hold what the remote lacks.
    #[error(
        "could not send commit {address}: a shallow clone left it out, and the remote lacks it"
    )]
    Shallow {
        /// The commit.
        address: ChunkAddress,
    },
    /// A remote that lacks chunks which are not here either.
    #[error(
        "could not repair the remote: it lacks more than this database can give; {}",
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
    #[error(
        "could not repair the remote: it lost its refs, and those that were last seen here are others"
    )]
    RefsLost {
        /// What it said.
        #[source]
        source: ReadError,
    },
    /// A ref that is not there.
    #[error("could not find {name} here: it is no branch and no tag")]
    NoRef {
        /// The full name.
        name: String,
        /// Those of its kind that are here.
        known: KnownNames,
    },
    /// Both sides have commits that the other has not.
    #[error(
        "could not pull: the branch and the remote's have diverged, here {here}, there {there}"
    )]
    Diverged {
        /// The head here.
        here: ChunkAddress,
        /// The head there.
        there: ChunkAddress,
    },
    /// A pull would overwrite what is not committed.
    #[error("could not {action}: the working set has changes that are not committed")]
    Uncommitted {
        /// What was attempted.
        action: &'static str,
    },
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
    #[error("could not find {name:?} at the remote: it is no branch, tag or commit")]
    NoRevision {
        /// What was asked for.
        name: String,
        /// The branches and tags of the remote.
        known: KnownNames,
    },
    /// Others moved the remote's root again and again.
    #[error("could not change the remote: others pushed to it at the same time, again and again")]
    Contended,
    /// The process is being ended.
    #[error("could not go on: the process is being ended")]
    Stopped,
    /// Which refs follow which cannot be told.
    #[error("could not tell which refs follow the remote's")]
    Spec {
        /// Why.
        #[source]
        source: RefSpecError,
    },
    /// A file came short.
    #[error(
        "could not read file {file} of the remote: it ended after {have} bytes, {want} were said to come"
    )]
    Short {
        /// Which file.
        file: TableFileId,
        /// How many bytes came.
        have: u64,
        /// How many should have.
        want: u64,
    },
    /// A file holds another number of chunks than the remote says.
    #[error(
        "could not use file {file} of the remote: it holds {found} chunks, and the remote says {listed}"
    )]
    Count {
        /// Which file.
        file: TableFileId,
        /// What the remote says.
        listed: u32,
        /// How many there are.
        found: u32,
    },
    /// What came is not what it should be.
    #[error("{source}")]
    Check {
        /// What is wrong with it.
        #[from]
        source: CheckError,
    },
    /// What came cannot be understood.
    #[error("{source}")]
    Read {
        /// What is wrong with it.
        #[from]
        source: ReadError,
    },
    /// A ref that cannot be written down.
    #[error("could not write the refs")]
    Name {
        /// Why.
        #[from]
        source: NameTooLong,
    },
    /// The store cannot be written.
    #[error("{source}")]
    Store {
        /// Why.
        #[from]
        source: StoreError,
    },
    /// The database cannot be written.
    #[error("{source}")]
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

    /// Whether the same may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Remote { source } => source.may_pass(),
            error => error.kind().is_transient(),
        }
    }

    /// Whether something that was named could not be read: a collection may have taken it away.
    pub(crate) fn is_of_a_collection(&self) -> bool {
        match self {
            Self::Lacks { .. } | Self::Read { .. } => true,
            Self::Store { source } => {
                matches!(source, StoreError::Vanished { .. })
                    || source.kind() == ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// One step that may help.
    pub fn hint(&self) -> Option<String> {
        let told = match self {
            Self::NoBranch { known, .. } | Self::NoTag { known, .. } => return known.hint(),
            Self::NoRef { known, .. } | Self::NoRevision { known, .. } => return known.hint(),
            Self::Occupied { .. } => "name another directory, or remove this one",
            Self::Begun { .. } => {
                "run the command that began it once more, name another directory, or remove this one"
            }
            Self::NoHead { .. } => "check out a branch that `holdfast branch` lists",
            Self::RemoteName { .. } => {
                "name another ref; `holdfast push <remote> :<ref>` removes this one there"
            }
            Self::LocalName { .. } => {
                "name another ref behind the colon, or mend the fetch_specs in .dolt/repo_state.json"
            }
            Self::Mapping { .. } => {
                "push a branch to a branch, and a tag to a tag: `dolt tag` makes one of a branch"
            }
            Self::Empty | Self::NoBranches => {
                "check the spelling of the address; where it is right, push a branch to it first"
            }
            Self::Diverged { .. } => "merge with dolt, or push to another branch",
            Self::Uncommitted { .. } => {
                "commit the changes first, or stash them; tables that dolt_ignore names count too, and \
                 `dolt stash --all` takes them along"
            }
            Self::Unrepaired { .. } => {
                "run it from a clone that has these refs, or restore a backup of the remote"
            }
            Self::RefsLost { .. } => {
                "run it from the clone that pushed last, or restore a backup of the remote"
            }
            Self::Shallow { .. } => "push from a whole clone, or to where this was cloned from",
            _ => return None,
        };
        Some(told.to_owned())
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote { source } => source.kind(),
            Self::Empty | Self::NoBranch { .. } | Self::NoBranches => ErrorKind::NotFound,
            Self::NoTag { .. } | Self::NoHead { .. } => ErrorKind::NotFound,
            Self::NotFetched { .. } | Self::LocalName { .. } => ErrorKind::Invalid,
            Self::Occupied { .. } | Self::Begun { .. } => ErrorKind::Conflict,
            Self::Lock { source } => source.kind(),
            Self::Short { .. } | Self::Unsteady | Self::Stopped => ErrorKind::Unavailable,
            Self::Count { .. }
            | Self::Lacks { .. }
            | Self::RemoteName { .. }
            | Self::Unrepaired { .. }
            | Self::RefsLost { .. } => ErrorKind::Corrupt,
            Self::Spec { .. } | Self::Unusable { .. } | Self::Mapping { .. } => ErrorKind::Invalid,
            Self::Shallow { .. } | Self::Diverged { .. } | Self::Uncommitted { .. } => {
                ErrorKind::Refused
            }
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
