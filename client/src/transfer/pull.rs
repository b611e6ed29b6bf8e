//! A fetch, and then the branch that is checked out moved along.
//!
//! # Order
//! The fetch to its end; then, under the lock again, branch and working set in one step.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::RefName;
use holdfast_doltdb::history::History;
use holdfast_doltdb::write::NewChunk;

use super::clone::Identity;
use super::datasets::{Datasets, pairs};
use super::error::TransferError;
use super::events::Observer;
use super::fetch::{Extent, FetchRequest, Fetched, fetch};
use super::working_set;
use crate::database::{Database, StoreSource};

/// What is to be pulled.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// What is fetched first.
    pub fetch: FetchRequest,
    /// The branch of the remote; the one that the local branch follows unless given.
    pub branch: Option<String>,
    /// Who pulls.
    pub identity: Option<Identity>,
}

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What was fetched.
    pub fetched: Fetched,
    /// The branch that is checked out.
    pub branch: String,
    /// Where it was.
    pub old: ChunkAddress,
    /// Where it is.
    pub new: ChunkAddress,
}

/// Pulls into the branch that is checked out in the database in `directory`.
pub async fn pull(
    request: &PullRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &dyn Clock,
    observer: Arc<dyn Observer>,
) -> Result<Pulled, TransferError> {
    let database = Database::open(directory, pool).await?;
    let state = database.repo_state();
    let branch = state.branch().unwrap_or("main").to_owned();
    let followed = state.branches.get(&branch);
    let followed = followed.filter(|upstream| upstream.remote == request.fetch.remote_name);
    let followed = followed.and_then(|upstream| upstream.head.strip_prefix("refs/heads/"));
    let wanted = match (&request.branch, followed) {
        (Some(asked), _) => asked.clone(),
        (None, Some(followed)) => followed.to_owned(),
        (None, None) => branch.clone(),
    };
    let fetched = fetch(&request.fetch, directory, pool, clock, observer).await?;
    let store = database.paths().store();
    let writer = pool.run(move || StoreWriter::open(&store)).await?;
    let source = StoreSource::new(Arc::clone(writer.store()), pool.clone());
    let mut datasets = Datasets::read(&source, writer.store().root()).await?;
    let follows = RefName::RemoteBranch {
        remote: request.fetch.remote_name.clone(),
        branch: wanted.clone(),
    };
    let here = RefName::Branch(branch.clone());
    let missing = |branch: &str| TransferError::NoBranch {
        branch: branch.to_owned(),
        known: Vec::new(),
    };
    let is_dry = request.fetch.extent == Extent::DryRun;
    let would_move = fetched.updates.iter().filter(|_| is_dry);
    let would_move = would_move.filter(|update| update.name == follows);
    let would_move = would_move.filter_map(|update| update.new).next();
    let new = would_move.or(datasets.get(&follows));
    let new = new.ok_or_else(|| missing(&wanted))?;
    let old = datasets.get(&here).ok_or_else(|| missing(&branch))?;
    let pulled = |new| Pulled {
        fetched,
        branch,
        old,
        new,
    };
    if is_dry {
        return Ok(pulled(new));
    }
    let history = History::new(&source, source.store().ghosts());
    if old == new || history.is_ancestor(new, old).await? {
        return Ok(pulled(old));
    }
    if !history.is_ancestor(old, new).await? {
        return Err(TransferError::Diverged {
            here: old,
            there: new,
        });
    }
    let name = RefName::WorkingSet(here_name(&here));
    if let Some(address) = datasets.get(&name)
        && !working_set::is_clean(&source, address, old).await?
    {
        return Err(TransferError::Uncommitted);
    }
    let now = clock.now().seconds();
    let identity = request.identity.as_ref();
    let clean = working_set::clean(&source, new, identity, "pull", now).await?;
    datasets.set(&here, Some(new));
    datasets.set(&name, Some(clean.address));
    let written = datasets.write()?;
    let mut chunks: Vec<NewChunk> = written.chunks;
    chunks.push(clean);
    let commit = move || writer.commit(written.root, &[], &pairs(&chunks), now);
    pool.run(commit).await?;
    Ok(pulled(new))
}

fn here_name(branch: &RefName) -> String {
    match branch {
        RefName::Branch(name) => name.clone(),
        other => other.to_string(),
    }
}
