//! What a remote has and a database has not: chunks first, then the refs that follow the remote's.
//!
//! # Order
//! The lock of the store, chunks into a folder of our own, the files into the store, and the root with the moved refs
//! in one step.
//! # Crash
//! Before the root moves, nothing changed for anybody. What came stays in the folder and need not come again.

mod tags;
mod wanted;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
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
use super::usable::{Usable, passed_over};
use crate::database::{Database, DatabasePaths, StoreSource, remove};
use crate::remote::{Reach, Remote, RemoteSource};
use tags::Tags;
use wanted::Wanted;

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// The remote.
    pub remote: Arc<dyn Remote>,
    /// What it is called in the database.
    pub remote_name: String,
    /// Refs of the remote: branches, `refs/tags/<tag>`, `<there>:<here>`; all branches that the remote's specs mean
    /// unless given.
    pub refs: Option<Vec<String>>,
    /// What becomes of tags here that are elsewhere at the remote.
    pub moved_tags: MovedTags,
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

/// What becomes of a tag here that is elsewhere at the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MovedTags {
    /// It stays.
    Kept,
    /// It goes where the remote's is.
    Taken,
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
    /// The tags that were asked for, are elsewhere at the remote, and stay as they are here.
    pub rejected: Vec<RefUpdate>,
    /// Such tags that were not asked for.
    pub elsewhere: Vec<RefUpdate>,
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
    fetch_with(request, None, directory, pool, clock, observer).await
}

/// The same, and the branch `also`, whatever the specs of the remote mean.
pub(super) async fn fetch_with(
    request: &FetchRequest,
    also: Option<&str>,
    directory: &Path,
    pool: &BlockingPool,
    clock: &dyn Clock,
    observer: Arc<dyn Observer>,
) -> Result<Fetched, TransferError> {
    let database = Database::open(directory, pool).await?;
    let wanted = Wanted::new(request, also, database.repo_state())?;
    // What is only read needs no lock.
    let writer = match request.extent {
        Extent::Whole => {
            let store = database.paths().store();
            Some(pool.run(move || StoreWriter::open(&store)).await?)
        }
        Extent::DryRun => None,
    };
    let store = writer.as_ref().map_or(database.store(), StoreWriter::store);
    let plan = Plan::make(request, &wanted, store, pool, &*observer).await?;
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
    tags: Tags,
}

impl Plan {
    async fn make(
        request: &FetchRequest,
        wanted: &Wanted,
        store: &Arc<NomsDir>,
        pool: &BlockingPool,
        observer: &dyn Observer,
    ) -> Result<Self, TransferError> {
        // Both at once: what is read then asks for the metadata as well.
        let remote = &request.remote;
        let (_, root) = futures::try_join!(remote.metadata(), remote.root())?;
        let source = RemoteSource::reaching(Arc::clone(&request.remote), Reach::Near);
        let remote = Datasets::read(&source, root).await?;
        let address = request.remote.address();
        let local_source = StoreSource::new(Arc::clone(store), pool.clone());
        let local = Datasets::read(&local_source, store.root()).await?;
        wanted.check_found(&remote)?;
        // What is there and cannot be used is still followed: nothing here goes because of it.
        let is_moved = |name: &RefName, at| {
            let mut here = wanted.here(name).into_iter();
            let is_taken = match name {
                RefName::Branch(_) => true,
                // What was not asked for is looked at when it comes along.
                RefName::Tag(_) => wanted.names(name),
                _ => false,
            };
            is_taken && here.any(|here| local.get(&here) != Some(at))
        };
        let usable = Usable::by_kind(&source, remote.clone(), is_moved).await?;
        wanted.check_usable(&usable, &address)?;
        usable.warn(&address, observer);
        let mut updates = Vec::new();
        for (name, address) in remote.iter() {
            if !matches!(name, RefName::Branch(_)) {
                continue;
            }
            for here in wanted.here(&name) {
                let old = local.get(&here);
                let is_usable = usable.datasets.get(&name).is_some();
                if is_usable && old != Some(address) {
                    // What is named, and what the specs of the remote say, may be no name that Dolt opens.
                    let checked = here.check_usable();
                    checked.map_err(|source| TransferError::LocalName { source })?;
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
            updates.extend(wanted.gone(&remote, &local));
        }
        let reader = TagReader {
            of: &address,
            observer,
        };
        let there = &usable.datasets;
        let tags = Tags::read(&reader, &source, wanted, request.moved_tags, there, &local).await?;
        Ok(Self {
            local,
            updates,
            tags,
        })
    }

    /// The commits that come with everything below them that is not here.
    fn roots(&self) -> Vec<ChunkAddress> {
        let branches = self.updates.iter().filter_map(|update| update.new);
        branches.chain(self.tags.roots()).collect()
    }
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
    /// What becomes of it among the datasets here.
    fn update(&self, local: &Datasets) -> RefUpdate {
        RefUpdate {
            name: self.name.clone(),
            old: local.get(&self.name),
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

/// Reads the tags of a remote that are taken over.
pub(crate) struct TagReader<'a> {
    /// How the remote is called.
    pub(crate) of: &'a str,
    /// Who is told what is passed over.
    pub(crate) observer: &'a dyn Observer,
}

impl TagReader<'_> {
    /// Those that the database has not, with their chunks; what Dolt could not use is passed over.
    pub(crate) async fn unknown(
        &self,
        there: &dyn ChunkSource,
        remote: &Datasets,
        local: &Datasets,
    ) -> Result<Vec<UnknownTag>, TransferError> {
        let mut unknown = Vec::new();
        for (name, address) in remote.iter() {
            if !matches!(name, RefName::Tag(_)) || local.get(&name).is_some() {
                continue;
            }
            match name.check_usable() {
                Ok(()) => unknown.push((name, address)),
                Err(fault) => self.observer.warn(&passed_over(self.of, &fault.into())),
            }
        }
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let addresses: Vec<_> = unknown.iter().map(|(_, address)| *address).collect();
        let mut tags = Vec::new();
        let mut names = unknown.into_iter().map(|(name, _)| name);
        let show = |address, chunk: Option<Bytes>| {
            let (Some(name), Some(bytes)) = (names.next(), chunk) else {
                return Err(ReadError::Missing { address });
            };
            if let Err(fault) = name.check_kind(&bytes) {
                self.observer.warn(&passed_over(self.of, &fault));
                return Ok(());
            }
            let tag =
                Tag::decode(&bytes).map_err(|source| ReadError::Decode { address, source })?;
            tags.push(UnknownTag {
                name,
                commit: tag.commit,
                chunk: NewChunk { address, bytes },
            });
            Ok(())
        };
        let read = source::each(there, &addresses, show).await;
        read.map_err(|error| match error {
            ReadError::Missing { address } => TransferError::Lacks { address },
            error => error.into(),
        })?;
        Ok(tags)
    }
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
        let roots = self.plan.roots();
        let Plan {
            mut local,
            mut updates,
            tags:
                Tags {
                    taken,
                    rejected,
                    elsewhere,
                    ..
                },
        } = self.plan;
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
        let sort_out = move || gathered.reached(taken).map(|tags| (gathered, tags));
        let (gathered, tags) = self.pool.run(sort_out).await?;
        let mut chunks = Vec::new();
        for tag in tags {
            updates.push(tag.update(&local));
            chunks.push(tag.chunk);
        }
        let fetched = Fetched {
            updates,
            rejected,
            elsewhere,
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
        let roots = self.plan.roots();
        let Plan {
            local,
            mut updates,
            tags:
                Tags {
                    taken,
                    rejected,
                    elsewhere,
                    ..
                },
        } = self.plan;
        let estimator = Estimator {
            remote: Arc::clone(&request.remote),
            known: Some(Arc::clone(store)),
            left_out: left_out(store, &roots),
            pool: self.pool.clone(),
            observer: self.observer,
        };
        let estimate = estimator.run(roots).await?;
        let finish = move || {
            for tag in taken {
                if estimate.has(tag.commit)? {
                    updates.push(tag.update(&local));
                }
            }
            Ok(Fetched {
                updates,
                rejected,
                elsewhere,
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
