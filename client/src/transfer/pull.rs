//! A fetch, and then the branch that is checked out moved along.
//!
//! # Order
//! The fetch to its end; then, under the lock again, branch and working set in one step.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::history::History;
use holdfast_doltdb::source;
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::{ChunkSource, RefName, SourceError};

use super::clone::Identity;
use super::datasets::{Datasets, pairs};
use super::error::TransferError;
use super::events::Observer;
use super::fetch::{Extent, FetchRequest, Fetched, fetch_with};
use super::known_names::KnownNames;
use super::working_set;
use crate::database::{Database, RepoState, StoreSource};
use crate::remote::RemoteSource;

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
    let wanted = wanted(request, state, &branch).to_owned();
    let here = RefName::Branch(branch.clone());
    let source = StoreSource::new(Arc::clone(database.store()), pool.clone());
    let before = Datasets::read(&source, database.store().root()).await?;
    let missing = || TransferError::NoHead {
        branch: branch.clone(),
    };
    before.get(&here).ok_or_else(missing)?;
    let also = Some(wanted.as_str());
    let fetched = fetch_with(&request.fetch, also, directory, pool, clock, observer).await?;
    // What a dry run did not bring is read where it is; it needs no lock.
    let is_dry = request.fetch.extent == Extent::DryRun;
    let writer = match is_dry {
        false => {
            let store = database.paths().store();
            Some(pool.run(move || StoreWriter::open(&store)).await?)
        }
        true => None,
    };
    let store = writer.as_ref().map_or(database.store(), StoreWriter::store);
    let store = Arc::clone(store);
    let source = Nearest {
        here: StoreSource::new(Arc::clone(&store), pool.clone()),
        there: is_dry.then(|| RemoteSource::new(Arc::clone(&request.fetch.remote))),
    };
    let mut datasets = Datasets::read(&source.here, store.root()).await?;
    let follows = RefName::RemoteBranch {
        remote: request.fetch.remote_name.clone(),
        branch: wanted.clone(),
    };
    let would_move = fetched.updates.iter().filter(|_| is_dry);
    let would_move = would_move.filter(|update| update.name == follows);
    let would_move = would_move.filter_map(|update| update.new).next();
    let new = would_move.or(datasets.get(&follows));
    let new = new.ok_or(TransferError::NoBranch {
        branch: wanted,
        known: KnownNames::default(),
    })?;
    let old = datasets.get(&here).ok_or_else(missing)?;
    let pulled = |new| Pulled {
        fetched,
        branch,
        old,
        new,
    };
    let history = History::new(&source, store.ghosts());
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
        return Err(TransferError::Uncommitted { action: "pull" });
    }
    let Some(writer) = writer else {
        return Ok(pulled(new));
    };
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

/// The branch of the remote that is pulled into `branch`: the one that was named, else the one that is followed, else
/// the one of the same name.
fn wanted<'a>(request: &'a PullRequest, state: &'a RepoState, branch: &'a str) -> &'a str {
    let short = |name: &'a str| name.strip_prefix("refs/heads/");
    if let Some(named) = &request.branch {
        return short(named).unwrap_or(named);
    }
    let followed = state.branches.get(branch);
    let followed = followed.filter(|upstream| upstream.remote == request.fetch.remote_name);
    let followed = followed.and_then(|upstream| short(&upstream.head));
    followed.unwrap_or(branch)
}

/// Chunks of the database; those that it has not, of the remote if that may be asked.
struct Nearest {
    here: StoreSource,
    there: Option<RemoteSource>,
}

#[async_trait]
impl ChunkSource for Nearest {
    async fn get_some(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<Bytes>>, SourceError> {
        let mut chunks = self.here.get_some(addresses).await?;
        if let Some(there) = &self.there {
            source::fill(&mut chunks, addresses, there).await?;
        }
        Ok(chunks)
    }
}

fn here_name(branch: &RefName) -> String {
    match branch {
        RefName::Branch(name) => name.clone(),
        other => other.to_string(),
    }
}
