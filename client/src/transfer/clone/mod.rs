//! A database from a remote: its files as they are, or chunk by chunk what some branches reach; then refs as Dolt's own
//! clone makes them.
//!
//! # Order
//! The lock of the directory, into which no other clone, restore or move goes until the end; the marker that says
//! "unfinished", the files, the manifest, the refs of the clone, settings, `repo_state.json`, and the marker goes.
//! # Crash
//! Before `repo_state.json` there is no database for Dolt, and the same call goes on. Everything that landed was
//! checked; what is half there is continued.

mod moved;
mod part;
mod place;
mod whole;

use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::{ChunkSource, RefName, unusable_refs};

pub use moved::{end_move, is_moved};
use place::Before;
pub use place::Form;
pub(crate) use place::{Place, lock_unfinished};

use super::error::TransferError;
use super::events::Observer;
use super::fetch::Extent;
use super::refs::RemoteRefs;
use super::usable::{Usable, passed_over, unusable};
use crate::database::{DatabasePaths, FolderLock, RemoteEntry, RepoState};
use crate::remote::{Reach, Remote};

/// Who is written into the working set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// A name.
    pub name: String,
    /// An e-mail address.
    pub email: String,
}

/// What is to be cloned.
#[derive(Debug, Clone)]
pub struct CloneRequest {
    /// The remote.
    pub remote: Arc<dyn Remote>,
    /// What the remote is called in the clone; nothing for a clone that is to know no remote.
    pub remote_name: Option<String>,
    /// The branch that is checked out; nothing for the remote's usual one.
    pub branch: Option<String>,
    /// The branch that the user's settings call the first one.
    pub default_branch: Option<String>,
    /// How much of it.
    pub scope: Scope,
    /// What is made.
    pub form: Form,
    /// How far it goes.
    pub extent: Extent,
    /// Who clones.
    pub identity: Option<Identity>,
}

/// How much of a remote is cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of it, also what no branch reaches any more.
    Everything,
    /// What the branch that is checked out reaches.
    Branch {
        /// Only so many generations of its commits.
        depth: Option<NonZeroU32>,
        /// As it was at this revision: a tag, a commit, another branch.
        at: Option<String>,
        /// Whether small gaps may come along on the way; they are thrown away.
        reach: Reach,
    },
    /// What these branches reach, each of which is a branch of the clone as well: a move, which [`is_moved`] tells until
    /// [`end_move`].
    Branches(Vec<String>),
}

/// What was cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloned {
    /// The branch that is checked out.
    pub branch: String,
    /// How many branches of the remote were taken.
    pub branches: usize,
    /// How many tags.
    pub tags: usize,
    /// How many chunks came and were checked; would come, of a dry run.
    pub chunks: u64,
    /// How many bytes they have in their stored form; those of the files, where files are taken as they are.
    pub bytes: u64,
    /// Whether more may come than a dry run found: it does not read all rows, which may point at values.
    pub is_least: bool,
}

/// Clones a database into `directory`, which must be missing, empty, or of an unfinished clone of the same. It is locked
/// from beginning to end; a dry run, which leaves nothing, needs no lock.
pub async fn clone(
    request: &CloneRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Cloned, TransferError> {
    let _lock = match request.extent {
        Extent::Whole => Some(lock_place(request, directory, pool).await?),
        Extent::DryRun => None,
    };
    let cloner = Cloner {
        request,
        place: place(request, directory),
        pool,
        clock,
        observer,
    };
    cloner.run().await
}

/// Locks the directory that a clone goes into, for [`clone_locked`]. It may hold what [`is_moved`] tells as well.
pub async fn lock_place(
    request: &CloneRequest,
    directory: &Path,
    pool: &BlockingPool,
) -> Result<FolderLock, TransferError> {
    let place = place(request, directory);
    pool.run(move || place.lock()).await
}

/// Clones a database into a directory that is locked already.
pub async fn clone_locked(
    request: &CloneRequest,
    lock: &FolderLock,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Cloned, TransferError> {
    let cloner = Cloner {
        request,
        place: place(request, lock.folder()),
        pool,
        clock,
        observer,
    };
    cloner.run().await
}

fn place(request: &CloneRequest, directory: &Path) -> Place {
    Place {
        paths: DatabasePaths::new(directory),
        form: request.form,
        origin: origin(request),
        is_move: matches!(request.scope, Scope::Branches(_)),
    }
}

/// What of which remote, in a line that tells clones apart, and that people are shown.
fn origin(request: &CloneRequest) -> String {
    let mut line = request.remote.address();
    let mut add = |what: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(", {what} {value}"));
        }
    };
    match &request.scope {
        Scope::Everything => {}
        Scope::Branch { depth, at, .. } => {
            let branch = request.branch.as_deref().unwrap_or("usual");
            add("only branch", Some(branch.to_owned()));
            add("depth", depth.map(|depth| depth.to_string()));
            add("at", at.clone());
        }
        Scope::Branches(branches) => add("only branches", Some(branches.join(" "))),
    }
    line
}

struct Cloner<'a> {
    request: &'a CloneRequest,
    place: Place,
    pool: &'a BlockingPool,
    clock: &'a Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Cloner<'_> {
    async fn run(self) -> Result<Cloned, TransferError> {
        let pool = self.pool;
        let cloned = match &self.request.scope {
            Scope::Everything => self.whole().await,
            Scope::Branch { .. } | Scope::Branches(_) => self.part().await,
        };
        // What an error left running writes there, and the lock of the directory may be given back now.
        pool.quiet().await;
        cloned
    }

    async fn prepare(&self) -> Result<Before, TransferError> {
        let place = self.place.clone();
        self.pool.run(move || place.prepare()).await
    }

    async fn check_free(&self) -> Result<(), TransferError> {
        let place = self.place.clone();
        self.pool.run(move || place.check_free()).await
    }

    fn choose<'r>(&self, refs: &'r RemoteRefs) -> Result<&'r str, TransferError> {
        let request = self.request;
        refs.choose(request.branch.as_deref(), request.default_branch.as_deref())
    }

    /// Refuses a branch that was asked for and that Dolt could not use.
    fn check_asked(&self, usable: &Usable) -> Result<(), TransferError> {
        let asked = match &self.request.scope {
            Scope::Branches(branches) => branches.iter().collect(),
            _ => Vec::from_iter(&self.request.branch),
        };
        let of = self.request.remote.address();
        let mut names = asked.into_iter().cloned().map(RefName::Branch);
        names.try_for_each(|name| usable.check_asked(&of, &name))
    }

    /// Chooses the branch that is checked out; one that stands for no commit is passed over, unless it was asked for.
    async fn choose_usable(
        &self,
        source: &dyn ChunkSource,
        refs: &mut RemoteRefs,
    ) -> Result<String, TransferError> {
        let of = self.request.remote.address();
        loop {
            let branch = self.choose(refs)?.to_owned();
            let named = (RefName::Branch(branch.clone()), refs.branches[&branch]);
            let Some((_, fault)) = unusable_refs(source, [named]).await?.pop() else {
                return Ok(branch);
            };
            if self.request.branch.as_ref() == Some(&branch) {
                return Err(unusable(&of, fault));
            }
            self.observer.warn(&passed_over(&of, &fault));
            refs.branches.remove(&branch);
        }
    }

    /// What the clone says of itself: the branch that is checked out, and its remote, if it is to know it. As with Dolt's
    /// own, all branches of the remote are followed, also where only some were taken: dolt ends with a panic when it pushes
    /// a branch for which no spec of the remote says what follows it.
    fn repo_state(&self, branch: &str) -> RepoState {
        let address = self.request.remote.address();
        match &self.request.remote_name {
            Some(name) => RepoState::cloned(branch, RemoteEntry::new(name, &address)),
            None => RepoState::alone(branch),
        }
    }
}
