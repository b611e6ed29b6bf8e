//! Which branch is checked out: `head` in `repo_state.json`, and a working set for it.
//!
//! Only from a clean working set, as each branch has one of its own: what is not committed would be left behind unseen.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::RefName;
use holdfast_doltdb::history::History;
use holdfast_doltdb::write::NewChunk;
use serde_json::value::to_raw_value;

use super::LocalError;
use crate::database::{
    Database, DatabasePaths, RepoState, StoreSource, Upstream, change_state, set_upstreams,
};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::{Identity, from_head, working_set};

/// What a working set that is made says was done.
const NOTE: &str = "checkout";

/// What is to be checked out.
#[derive(Debug, Clone)]
pub struct CheckoutRequest {
    /// The branch.
    pub branch: String,
    /// Where it begins, if it is to be made.
    pub start: Option<String>,
    /// Who does it.
    pub identity: Option<Identity>,
}

/// What was checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedOut {
    /// Where the branch is.
    pub head: ChunkAddress,
    /// The branch that was checked out before.
    pub before: String,
    /// Whether the branch was made.
    pub is_new: bool,
    /// The branch of a remote that it follows from now on, as `<remote>/<branch>`.
    pub follows: Option<String>,
}

/// The branch that will be checked out.
struct Target {
    head: ChunkAddress,
    is_new: bool,
    /// The remote whose branch it is made after.
    remote: Option<String>,
}

/// Checks out a branch of the database in `directory`. One that is not here and that exactly one remote has is made to
/// follow it.
pub async fn checkout(
    request: &CheckoutRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &dyn Clock,
) -> Result<CheckedOut, LocalError> {
    let database = Database::open(directory, pool).await?;
    let paths = database.paths().clone();
    let store = paths.store();
    let writer = pool.run(move || StoreWriter::open(&store)).await?;
    let source = StoreSource::new(Arc::clone(writer.store()), pool.clone());
    let mut datasets = Datasets::read(&source, writer.store().root()).await?;
    // What was read before the lock may be what another command has changed since.
    let at = paths.clone();
    let state = pool.run(move || RepoState::load(&at)).await?;
    let state = &state;
    let before = state.branch().unwrap_or("main").to_owned();
    let branch = &request.branch;
    let target = choose(request, state, &source, &datasets).await?;
    if before != *branch {
        check_clean(&before, branch, &source, &datasets).await?;
    }
    let mut chunks: Vec<NewChunk> = Vec::new();
    let now = clock.now().seconds();
    datasets.set(&RefName::Branch(branch.clone()), Some(target.head));
    let working = RefName::WorkingSet(branch.clone());
    if target.is_new || datasets.get(&working).is_none() {
        let identity = request.identity.as_ref();
        let clean = working_set::clean(&source, target.head, identity, NOTE, now).await?;
        datasets.set(&working, Some(clean.address));
        chunks.push(clean);
    }
    if !chunks.is_empty() {
        let written = datasets.write()?;
        chunks.extend(written.chunks);
        let commit = move || writer.commit(written.root, &[], &pairs(&chunks), now);
        pool.run(commit).await?;
        write_state(&paths, branch, target.remote.as_deref(), pool).await?;
    } else {
        // The lock is held until `repo_state.json` says so.
        write_state(&paths, branch, None, pool).await?;
        drop(writer);
    }
    Ok(CheckedOut {
        head: target.head,
        before,
        is_new: target.is_new,
        follows: target.remote.map(|remote| format!("{remote}/{branch}")),
    })
}

/// Finds the branch, or where a new one begins.
async fn choose(
    request: &CheckoutRequest,
    state: &RepoState,
    source: &StoreSource,
    datasets: &Datasets,
) -> Result<Target, LocalError> {
    let branch = &request.branch;
    let name = RefName::Branch(branch.clone());
    let known = datasets.get(&name);
    let at = |head, is_new, remote| Target {
        head,
        is_new,
        remote,
    };
    let Some(start) = &request.start else {
        if let Some(head) = known {
            return Ok(at(head, false, None));
        }
        let mut theirs = Vec::new();
        for (found, head) in datasets.iter() {
            if let RefName::RemoteBranch {
                remote,
                branch: theirs_name,
            } = found
                && theirs_name == *branch
                && state.remotes.contains_key(&remote)
            {
                theirs.push((remote, head));
            }
        }
        return match theirs.len() {
            0 => Err(LocalError::NoBranch {
                branch: branch.clone(),
                is_tag: datasets.get(&RefName::Tag(branch.clone())).is_some(),
                known: datasets.known(&name),
            }),
            1 => {
                let (remote, head) = theirs.remove(0);
                name.check()
                    .map_err(|source| LocalError::BranchName { source })?;
                Ok(at(head, true, Some(remote)))
            }
            _ => Err(LocalError::Ambiguous {
                branch: branch.clone(),
                remotes: theirs.into_iter().map(|(remote, _)| remote).collect(),
            }),
        };
    };
    if known.is_some() {
        let branch = branch.clone();
        return Err(LocalError::BranchExists { branch });
    }
    name.check()
        .map_err(|source| LocalError::BranchName { source })?;
    let current = state.branch().unwrap_or("main");
    let revision = from_head(start, current);
    let store = source.store();
    let history = History::new(source, store.ghosts());
    match history.resolve(store.root(), &revision).await? {
        Some(found) => Ok(at(found.commit, true, None)),
        None => Err(LocalError::NoRevision {
            revision: start.clone(),
            known: datasets.known(&RefName::Other(start.clone())),
        }),
    }
}

/// Checks that nothing would be left behind on the branch that is checked out.
async fn check_clean(
    current: &str,
    branch: &str,
    source: &StoreSource,
    datasets: &Datasets,
) -> Result<(), LocalError> {
    let head = datasets.get(&RefName::Branch(current.to_owned()));
    let set = datasets.get(&RefName::WorkingSet(current.to_owned()));
    if let (Some(head), Some(set)) = (head, set)
        && !working_set::is_clean(source, set, head).await?
    {
        return Err(LocalError::Uncommitted {
            branch: branch.to_owned(),
            current: current.to_owned(),
        });
    }
    Ok(())
}

/// Writes down which branch is checked out, and which it follows.
async fn write_state(
    paths: &DatabasePaths,
    branch: &str,
    remote: Option<&str>,
    pool: &BlockingPool,
) -> Result<(), LocalError> {
    let (paths, head) = (paths.clone(), format!("refs/heads/{branch}"));
    let upstream = remote.map(|remote| Upstream {
        head: head.clone(),
        remote: remote.to_owned(),
    });
    let upstreams: BTreeMap<_, _> = upstream
        .map(|upstream| (branch.to_owned(), upstream))
        .into_iter()
        .collect();
    let write = move || {
        set_upstreams(&paths, &upstreams)?;
        change_state(&paths, |state| {
            state.set("head", to_raw_value(&head)?);
            Ok(())
        })
    };
    Ok(pool.run(write).await?)
}
