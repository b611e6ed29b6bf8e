//! What a database has and a remote has not, and then the remote's refs.
//!
//! # Order
//! Files of chunks to the remote, each of which becomes part of it when it is there; then a small file with the new refs,
//! and the root in one step. In the end the refs here that follow the remote's.
//! # Locks
//! The folder where files gather is ours alone. The store is only read until the remote's root has moved: where another
//! process has its lock, as a `dolt sql-server` does, the refs here stay as they are, and that is told.
//! # Crash
//! Before the root of the remote moves, nothing changed for anybody. Files that were sent are part of the remote within
//! a second: the next push, of whatever, goes on behind them.

mod held;
mod plan;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::StoreWriter;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::RefName;
use holdfast_doltdb::write::NewChunk;

pub use plan::{PushResult, Rejection};
pub use repair::{RepairRequest, Repaired, repair};

use self::held::Held;
use self::plan::{Plan, Planner};
use super::clone::Identity;
use super::datasets::{Datasets, pairs};
use super::error::TransferError;
use super::events::Observer;
use super::fetch::Extent;
use super::send::{Origin, Sender, Sent, write_small};
use crate::database::{Database, DatabasePaths, StoreSource, Upstream, set_upstreams};
use crate::remote::{Budget, Remote, RemoteSource, Swap};

/// How often a root that moved meanwhile is tried again.
const ATTEMPTS: u32 = 10;

/// How often a database is read whose chunks a collection takes away.
const READS: u32 = 3;

/// What is to be pushed.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The remote.
    pub remote: Arc<dyn Remote>,
    /// What it is called in the database; nothing for one that nothing follows.
    pub remote_name: Option<String>,
    /// What goes where.
    pub refs: Vec<PushRef>,
    /// Whether local branches follow those that they were pushed to from now on.
    pub upstream: SetUpstream,
    /// How far it goes.
    pub extent: Extent,
    /// Who pushes.
    pub identity: Option<Identity>,
}

/// One ref of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushRef {
    /// What is pushed; nothing to delete.
    pub source: Option<RefName>,
    /// The branch or tag of the remote.
    pub destination: RefName,
    /// When it may be left behind.
    pub force: Force,
}

/// When a branch of the remote may move to a commit that does not follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Never.
    No,
    /// If it is where the last fetch saw it.
    WithLease,
}

/// Whether local branches are made to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetUpstream {
    /// As it is.
    Unchanged,
    /// Each branch that was pushed.
    Pushed,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What became of each ref, in the order of the request.
    pub results: Vec<(PushRef, PushResult)>,
    /// How many chunks were missing there.
    pub chunks: u64,
    /// How many bytes the files of this push have.
    pub bytes: u64,
    /// Whether another process has the lock of the store, so that nothing could be written down here.
    pub is_beside: bool,
    /// The refs here that follow the remote's and should have moved, had they not stayed for that reason.
    pub left: Vec<RefName>,
}

/// Pushes from the database in `directory`.
pub async fn push(
    request: &PushRequest,
    directory: &Path,
    pool: &BlockingPool,
    clock: &Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
) -> Result<Pushed, TransferError> {
    let mut reads = 0;
    loop {
        reads += 1;
        let database = Database::open(directory, pool).await?;
        let held = Held::take(&database, request.extent, pool).await?;
        let source = StoreSource::new(Arc::clone(held.store()), pool.clone());
        let local = Datasets::read(&source, held.store().root()).await?;
        let pusher = Pusher {
            request,
            paths: database.paths(),
            source,
            local,
            pool,
            clock,
            observer: Arc::clone(&observer),
        };
        match pusher.run().await {
            Err(error) if reads < READS && held.may_change() && error.is_of_a_collection() => {}
            Err(error) => return Err(error),
            Ok((pushed, plan)) => return pusher.finish(pushed, &plan, held).await,
        }
    }
}

struct Pusher<'a> {
    request: &'a PushRequest,
    paths: &'a DatabasePaths,
    source: StoreSource,
    local: Datasets,
    pool: &'a BlockingPool,
    clock: &'a Arc<dyn Clock>,
    observer: Arc<dyn Observer>,
}

impl Pusher<'_> {
    async fn run(&self) -> Result<(Pushed, Plan), TransferError> {
        let remote = &self.request.remote;
        let (metadata, mut root) = futures::try_join!(remote.metadata(), remote.root())?;
        let mut sent = Sent::default();
        let mut roots_there = BTreeSet::new();
        let mut budget = Budget::new();
        for _ in 0..ATTEMPTS {
            let plan = self.plan(root, metadata).await?;
            let is_dry = self.request.extent == Extent::DryRun;
            let is_there = |root: &ChunkAddress| roots_there.contains(root);
            if !plan.roots.iter().all(is_there) {
                let sender = Sender {
                    remote: Arc::clone(remote),
                    is_empty: root.is_zero() && metadata.size == 0,
                    takes_archives: metadata.takes_archives,
                    origin: Origin::Store(Arc::clone(self.source.store())),
                    folder: self.paths.outgoing(),
                    pool: self.pool.clone(),
                    observer: Arc::clone(&self.observer),
                    extent: self.request.extent,
                };
                let more = sender.run(&plan.roots).await?;
                sent.chunks += more.chunks;
                sent.bytes += more.bytes;
                roots_there.extend(plan.roots.iter().copied());
            }
            let pushed = |plan: &Plan| Pushed {
                results: plan.results.clone(),
                chunks: sent.chunks,
                bytes: sent.bytes,
                is_beside: false,
                left: Vec::new(),
            };
            let written = plan.datasets.write()?;
            if is_dry || written.root == root {
                return Ok((pushed(&plan), plan));
            }
            let mut chunks = written.chunks;
            chunks.extend(plan.working_sets.iter().cloned());
            let small = self.send_small(chunks).await?;
            match remote.commit(written.root, root, &[small]).await? {
                Swap::Won => {
                    let folder = self.paths.outgoing();
                    crate::database::remove(&folder)?;
                    return Ok((pushed(&plan), plan));
                }
                Swap::Lost => {
                    root = remote.root().await?;
                    if !budget.wait(&**self.clock).await {
                        budget.renew();
                    }
                }
            }
        }
        Err(TransferError::Contended)
    }

    async fn plan(
        &self,
        root: holdfast_chunkstore::RootAddress,
        metadata: crate::remote::Metadata,
    ) -> Result<Plan, TransferError> {
        let there = RemoteSource::new(Arc::clone(&self.request.remote));
        let planner = Planner {
            request: self.request,
            here: &self.source,
            local: &self.local,
            remote: Datasets::read(&there, root).await?,
            there,
            working_sets: metadata.working_sets,
            now_seconds: self.clock.now().seconds(),
        };
        planner.plan().await
    }

    /// Sends the chunks of the new refs in a file of their own.
    async fn send_small(&self, chunks: Vec<NewChunk>) -> Result<ListedFile, TransferError> {
        let folder = self.paths.outgoing();
        let file = self
            .pool
            .run(move || write_small(&folder, &pairs(&chunks)))
            .await?;
        self.request.remote.upload(&file).await?;
        Ok(ListedFile {
            id: file.id,
            chunks: file.chunks,
        })
    }

    /// Writes down here what became of the remote's refs, as far as that may be.
    async fn finish(
        &self,
        mut pushed: Pushed,
        plan: &Plan,
        held: Held,
    ) -> Result<Pushed, TransferError> {
        if self.request.extent == Extent::DryRun {
            return Ok(pushed);
        }
        let datasets = self.followed(plan);
        match held.writer {
            Some(writer) => {
                // While the lock of the store is held no dolt process writes there.
                self.set_upstream(&pushed).await?;
                self.follow(writer, datasets).await?;
            }
            None => {
                let moved = datasets.iter();
                let moved = moved.filter(|(name, address)| self.local.get(name) != Some(*address));
                let removed = self.local.iter().map(|(name, _)| name);
                let removed = removed.filter(|name| datasets.get(name).is_none());
                pushed.is_beside = true;
                pushed.left = moved.map(|(name, _)| name).chain(removed).collect();
            }
        }
        Ok(pushed)
    }

    /// The datasets here when those that follow the remote's have moved.
    fn followed(&self, plan: &Plan) -> Datasets {
        let Some(remote) = &self.request.remote_name else {
            return self.local.clone();
        };
        let mut datasets = self.local.clone();
        for (pushed, result) in &plan.results {
            let RefName::Branch(branch) = &pushed.destination else {
                continue;
            };
            let address = match result {
                PushResult::Created { new }
                | PushResult::Moved { new, .. }
                | PushResult::UpToDate { at: new } => Some(*new),
                PushResult::Deleted { .. } => None,
                PushResult::Rejected { .. } => continue,
            };
            let name = RefName::RemoteBranch {
                remote: remote.clone(),
                branch: branch.clone(),
            };
            datasets.set(&name, address);
        }
        datasets
    }

    /// Moves the refs here that follow the remote's.
    async fn follow(&self, writer: StoreWriter, datasets: Datasets) -> Result<(), TransferError> {
        if datasets == self.local {
            return Ok(());
        }
        let written = datasets.write()?;
        let now = self.clock.now().seconds();
        let commit = move || writer.commit(written.root, &[], &pairs(&written.chunks), now);
        self.pool.run(commit).await?;
        Ok(())
    }

    async fn set_upstream(&self, pushed: &Pushed) -> Result<(), TransferError> {
        let (SetUpstream::Pushed, Some(remote)) =
            (self.request.upstream, &self.request.remote_name)
        else {
            return Ok(());
        };
        let mut upstreams = BTreeMap::new();
        for (pushed, result) in &pushed.results {
            let is_there = !matches!(
                result,
                PushResult::Rejected { .. } | PushResult::Deleted { .. }
            );
            if let (Some(RefName::Branch(source)), RefName::Branch(_), true) =
                (&pushed.source, &pushed.destination, is_there)
            {
                let upstream = Upstream {
                    head: pushed.destination.to_string(),
                    remote: remote.clone(),
                };
                upstreams.insert(source.clone(), upstream);
            }
        }
        let paths = self.paths.clone();
        Ok(self
            .pool
            .run(move || set_upstreams(&paths, &upstreams))
            .await?)
    }
}

/// The chunks that a remote must have for the refs of a plan, each once.
fn distinct(addresses: impl IntoIterator<Item = ChunkAddress>) -> Vec<ChunkAddress> {
    let set: BTreeSet<_> = addresses.into_iter().collect();
    set.into_iter().collect()
}
