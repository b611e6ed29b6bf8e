//! What a remote has and a database has not: chunks first, then the refs that follow the remote's.
//!
//! # Order
//! The lock of the store, chunks into a folder of our own, the files into the store, and the root with the moved refs
//! in one step.
//! # Crash
//! Before the root moves, nothing changed for anybody. What came stays in the folder and need not come again.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreWriter};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::model::Tag;
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::{ChunkSource, ReadError, RefName, source};

use super::datasets::{Datasets, pairs};
use super::error::TransferError;
use super::estimate::Estimator;
use super::events::Observer;
use super::gather::{Gather, Gathered};
use super::ref_spec::RefSpec;
use super::refs::check_names as check_remote_names;
use crate::database::{Database, DatabasePaths, RepoState, StoreSource, remove};
use crate::remote::{Reach, Remote, RemoteSource};

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The remote.
    pub remote: Arc<dyn Remote>,
    /// What it is called in the database.
    pub remote_name: String,
    /// The branches of the remote; all that the remote's specs mean unless given.
    pub branches: Option<Vec<String>>,
    /// What becomes of refs that follow a branch which the remote no longer has.
    pub vanished: Vanished,
    /// How far it goes.
    pub extent: Extent,
}

/// What becomes of a ref that follows a branch which is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vanished {
    /// It stays.
    Kept,
    /// It goes too.
    Pruned,
}

/// How far a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// To its end.
    Whole,
    /// As far as nothing is changed: what would be done is told.
    DryRun,
}

/// A ref that moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    /// The ref here.
    pub name: RefName,
    /// Where it was.
    pub old: Option<ChunkAddress>,
    /// Where it is.
    pub new: Option<ChunkAddress>,
}

/// What was fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The refs that moved, by name.
    pub updates: Vec<RefUpdate>,
    /// How many chunks came; would come, of a dry run.
    pub chunks: u64,
    /// How many bytes they have in their stored form.
    pub bytes: u64,
    /// Whether more may come than a dry run found: it does not read all rows, which may point at values.
    pub is_least: bool,
}

/// Fetches into the database in `directory`.
pub async fn fetch(
    request: &FetchRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &dyn Clock,
    observer: Arc<dyn Observer>,
) -> Result<Fetched, TransferError> {
    let database = Database::open(directory, pool).await?;
    // What is only read needs no lock.
    let writer = match request.extent {
        Extent::Whole => {
            let store = database.paths().store();
            Some(pool.run(move || StoreWriter::open(&store)).await?)
        }
        Extent::DryRun => None,
    };
    let store = writer.as_ref().map_or(database.store(), StoreWriter::store);
    let plan = Plan::make(request, database.repo_state(), store, pool).await?;
    let fetcher = Fetcher {
        paths: database.paths(),
        pool,
        observer,
        plan,
    };
    match writer {
        Some(writer) => fetcher.run(request, writer, clock).await,
        None => fetcher.estimate(request, database.store()).await,
    }
}

/// What moves.
struct Plan {
    /// The datasets of the database.
    local: Datasets,
    updates: Vec<RefUpdate>,
    tags: Vec<UnknownTag>,
}

impl Plan {
    async fn make(
        request: &FetchRequest,
        repo_state: &RepoState,
        store: &Arc<NomsDir>,
        pool: &BlockingPool,
    ) -> Result<Self, TransferError> {
        let specs = specs(repo_state, &request.remote_name)?;
        // Both at once: what is read then asks for the metadata as well.
        let remote = &request.remote;
        let (_, root) = futures::try_join!(remote.metadata(), remote.root())?;
        let source = RemoteSource::reaching(Arc::clone(&request.remote), Reach::Near);
        let remote = Datasets::read(&source, root).await?;
        let local_source = StoreSource::new(Arc::clone(store), pool.clone());
        let local = Datasets::read(&local_source, store.root()).await?;
        check_names(request.branches.as_deref(), &remote)?;
        let is_asked = |branch: &str| match &request.branches {
            Some(branches) => branches.iter().any(|asked| asked == branch),
            None => true,
        };
        let mut updates = Vec::new();
        let mut followed = BTreeSet::new();
        for (name, address) in remote.iter() {
            let RefName::Branch(branch) = &name else {
                continue;
            };
            for here in specs.iter().filter_map(|spec| spec.map(&name.to_string())) {
                followed.insert(here.clone());
                let here = RefName::parse(&here);
                let old = local.get(&here);
                if is_asked(branch) && old != Some(address) {
                    check_remote_names(&request.remote.address(), [&name])?;
                    let new = Some(address);
                    updates.push(RefUpdate {
                        name: here,
                        old,
                        new,
                    });
                }
            }
        }
        if request.vanished == Vanished::Pruned {
            let gone = local.iter().filter(|(name, _)| {
                let full = name.to_string();
                specs.iter().any(|spec| spec.map_back(&full).is_some()) && !followed.contains(&full)
            });
            updates.extend(gone.map(|(name, address)| RefUpdate {
                name,
                old: Some(address),
                new: None,
            }));
        }
        let tags = unknown_tags(&source, &remote, &local).await?;
        let names = tags.iter().map(|tag| &tag.name);
        check_remote_names(&request.remote.address(), names)?;
        Ok(Self {
            local,
            updates,
            tags,
        })
    }
}

/// The specs of a remote; those that every remote has where none are written down.
fn specs(repo_state: &RepoState, remote: &str) -> Result<Vec<RefSpec>, TransferError> {
    let written = repo_state.remotes.get(remote);
    let written = written.map(|entry| entry.fetch_specs.as_slice());
    let usual = [format!("refs/heads/*:refs/remotes/{remote}/*")];
    let texts = match written {
        Some(specs) if !specs.is_empty() => specs,
        _ => &usual,
    };
    let parse = |text: &String| RefSpec::parse(text);
    let parsed = texts.iter().map(parse).collect::<Result<_, _>>();
    parsed.map_err(|source| TransferError::Spec { source })
}

fn check_names(branches: Option<&[String]>, remote: &Datasets) -> Result<(), TransferError> {
    for branch in branches.unwrap_or_default() {
        if remote.get(&RefName::Branch(branch.clone())).is_none() {
            let branches = remote.iter().filter_map(|(name, _)| match name {
                RefName::Branch(branch) => Some(branch),
                _ => None,
            });
            return Err(TransferError::NoBranch {
                branch: branch.clone(),
                known: branches.take(10).collect(),
            });
        }
    }
    Ok(())
}

/// A tag of a remote that the database lacks.
#[derive(Debug, Clone)]
pub(crate) struct UnknownTag {
    pub(crate) name: RefName,
    /// Its own chunk.
    pub(crate) chunk: NewChunk,
    /// The commit that it stands for.
    pub(crate) commit: ChunkAddress,
}

impl UnknownTag {
    /// What becomes of it here.
    fn update(&self) -> RefUpdate {
        RefUpdate {
            name: self.name.clone(),
            old: None,
            new: Some(self.chunk.address),
        }
    }

    /// Its short name and its address.
    pub(crate) fn named(&self) -> (String, ChunkAddress) {
        let name = match &self.name {
            RefName::Tag(name) => name.clone(),
            other => other.to_string(),
        };
        (name, self.chunk.address)
    }
}

/// The tags of a remote that the database has not, with their chunks.
pub(crate) async fn unknown_tags(
    there: &dyn ChunkSource,
    remote: &Datasets,
    local: &Datasets,
) -> Result<Vec<UnknownTag>, TransferError> {
    let unknown: Vec<_> = remote
        .iter()
        .filter(|(name, _)| matches!(name, RefName::Tag(_)) && local.get(name).is_none())
        .collect();
    if unknown.is_empty() {
        return Ok(Vec::new());
    }
    let addresses: Vec<_> = unknown.iter().map(|(_, address)| *address).collect();
    let chunks = source::get(there, &addresses).await?;
    let mut tags = Vec::new();
    for ((name, address), chunk) in unknown.into_iter().zip(chunks) {
        let bytes = chunk.ok_or(TransferError::Lacks { address })?;
        let tag = Tag::decode(&bytes).map_err(|source| ReadError::Decode { address, source })?;
        tags.push(UnknownTag {
            name,
            commit: tag.commit,
            chunk: NewChunk { address, bytes },
        });
    }
    Ok(tags)
}

struct Fetcher<'a> {
    paths: &'a DatabasePaths,
    pool: &'a BlockingPool,
    observer: Arc<dyn Observer>,
    plan: Plan,
}

impl Fetcher<'_> {
    async fn run(
        self,
        request: &FetchRequest,
        writer: StoreWriter,
        clock: &dyn Clock,
    ) -> Result<Fetched, TransferError> {
        let Plan {
            mut local,
            mut updates,
            tags,
        } = self.plan;
        let roots: Vec<_> = updates.iter().filter_map(|update| update.new).collect();
        let gather = Gather {
            remote: Arc::clone(&request.remote),
            reach: Reach::Near,
            known: Some(Arc::clone(writer.store())),
            left_out: left_out(writer.store(), &roots),
            folder: self.paths.incoming(),
            pool: self.pool.clone(),
            observer: self.observer,
        };
        let gathered = gather.run(roots).await?;
        let sort_out = move || gathered.reached(tags).map(|tags| (gathered, tags));
        let (gathered, tags) = self.pool.run(sort_out).await?;
        let mut chunks = Vec::new();
        for tag in tags {
            updates.push(tag.update());
            chunks.push(tag.chunk);
        }
        let fetched = Fetched {
            updates,
            chunks: gathered.chunks,
            bytes: gathered.bytes,
            is_least: false,
        };
        for update in &fetched.updates {
            local.set(&update.name, update.new);
        }
        let (folder, now) = (self.paths.incoming(), clock.now().seconds());
        let is_changed = !fetched.updates.is_empty();
        let land = move || match is_changed {
            true => land(writer, gathered, &local, chunks, now),
            false => Ok(()),
        };
        self.pool.run(land).await?;
        remove(&folder)?;
        Ok(fetched)
    }

    /// Says what would be done.
    async fn estimate(
        self,
        request: &FetchRequest,
        store: &Arc<NomsDir>,
    ) -> Result<Fetched, TransferError> {
        let Plan {
            mut updates, tags, ..
        } = self.plan;
        let roots: Vec<_> = updates.iter().filter_map(|update| update.new).collect();
        let estimator = Estimator {
            remote: Arc::clone(&request.remote),
            known: Some(Arc::clone(store)),
            left_out: left_out(store, &roots),
            pool: self.pool.clone(),
            observer: self.observer,
        };
        let estimate = estimator.run(roots).await?;
        let finish = move || {
            for tag in tags {
                if estimate.has(tag.commit)? {
                    updates.push(tag.update());
                }
            }
            Ok(Fetched {
                updates,
                chunks: estimate.chunks,
                bytes: estimate.bytes,
                is_least: estimate.is_least,
            })
        };
        self.pool.run(finish).await
    }
}

/// What a shallow clone left out stays out, unless a ref moved there.
fn left_out(store: &NomsDir, roots: &[ChunkAddress]) -> HashSet<ChunkAddress> {
    let ghosts = store.ghosts().iter().copied();
    ghosts.filter(|ghost| !roots.contains(ghost)).collect()
}

/// Takes what was gathered into the store, and moves the refs.
fn land(
    writer: StoreWriter,
    gathered: Gathered,
    datasets: &Datasets,
    mut chunks: Vec<NewChunk>,
    now_seconds: u64,
) -> Result<(), TransferError> {
    let files = gathered.land(writer.store().directory())?;
    let written = datasets.write()?;
    chunks.extend(written.chunks);
    writer.commit(written.root, &files, &pairs(&chunks), now_seconds)?;
    Ok(())
}
