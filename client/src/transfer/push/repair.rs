//! What a remote lost is sent again, also below chunks that it has.
//!
//! An ordinary push stops at a chunk that the remote has, as everything below it is there then. A remote that lost a
//! file of its own does not hold that promise; it says of each chunk alone whether it has it.
//!
//! # Order
//! Chunks below the refs first, in files that become part of the remote; then its own list of refs, if that was lost.
//! No root moves. The damaged files of a directory or a bucket are taken off its list when all is there again. In the end the remote is asked for its files: it gives them out only if all below its root is there.
//! # Crash
//! As of a push: what was sent is part of the remote, and the same command goes on behind it.

use std::path::Path;
use std::sync::Arc;

use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, ErrorKind, RootAddress};
use holdfast_doltdb::write::NewChunk;
use holdfast_doltdb::{ReadError, RefName};

use super::{PushRef, distinct};
use crate::database::{Database, DatabasePaths, FolderLock, StoreSource};
use crate::remote::{Metadata, Remote, RemoteError, RemoteSource};
use crate::transfer::datasets::{Datasets, pairs};
use crate::transfer::error::TransferError;
use crate::transfer::events::Observer;
use crate::transfer::fetch::Extent;
use crate::transfer::mend::{Lacking, Mender, Mending, Nearer};
use crate::transfer::send::{Origin, Sender, write_small};

/// What is to be sent again.
#[derive(Debug, Clone)]
pub struct RepairRequest {
    /// The remote.
    pub remote: Arc<dyn Remote>,
    /// What it is called in the database; nothing for one that nothing follows.
    pub remote_name: Option<String>,
    /// What is walked over here, beside all that the remote's refs point at.
    pub refs: Vec<PushRef>,
    /// How far it goes.
    pub extent: Extent,
}

/// What was sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// How many chunks were missing there.
    pub chunks: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// Refs of the remote that are not here, and below which it may lack something still.
    pub not_here: Vec<RefName>,
}

/// Sends what a remote lost from the database in `directory`, which is only read. The folder where files gather is
/// locked, as a push locks it.
pub async fn repair(
    request: &RepairRequest,
    directory: &Path,
    pool: &BlockingPool,
    observer: Arc<dyn Observer>,
) -> Result<Repaired, TransferError> {
    let database = Database::open(directory, pool).await?;
    let _folder = match request.extent {
        Extent::Whole => {
            let folder = database.paths().holdfast();
            let lock = pool.run(move || FolderLock::take(&folder)).await?;
            Some(lock.disposable())
        }
        Extent::DryRun => None,
    };
    let source = StoreSource::new(Arc::clone(database.store()), pool.clone());
    let local = Datasets::read(&source, database.store().root()).await?;
    let repairer = Repairer {
        request,
        paths: database.paths(),
        source,
        local,
        pool,
        observer,
    };
    repairer.run().await
}

/// What a ref here says that a branch of the remote was.
type BranchOf<'a> = &'a dyn Fn(&RefName) -> Option<RefName>;

struct Repairer<'a> {
    request: &'a RepairRequest,
    paths: &'a DatabasePaths,
    source: StoreSource,
    local: Datasets,
    pool: &'a BlockingPool,
    observer: Arc<dyn Observer>,
}

/// What a remote's root holds.
struct Root {
    datasets: Datasets,
    /// Its chunks, where the remote lost some of them.
    lost: Vec<NewChunk>,
}

impl Repairer<'_> {
    async fn run(&self) -> Result<Repaired, TransferError> {
        let remote = &self.request.remote;
        let damaged = remote.damaged_files().await?;
        let damaged: Vec<_> = damaged.into_iter().map(|file| file.id).collect();
        remote.pass_over(&damaged);
        let (metadata, root) = futures::try_join!(remote.metadata(), remote.root())?;
        let mut repaired = Repaired {
            chunks: 0,
            bytes: 0,
            not_here: Vec::new(),
        };
        if root.is_zero() {
            return Ok(repaired);
        }
        let Root { datasets, lost } = self.root(root).await?;
        let pushed = self.request.refs.iter();
        let pushed = pushed.filter_map(|pushed| self.local.get(pushed.source.as_ref()?));
        let mut roots: Vec<ChunkAddress> = pushed.collect();
        if !damaged.is_empty() {
            roots.extend(datasets.iter().map(|(_, address)| address));
            return self.mend(&distinct(roots), &lost).await;
        }
        for (name, address) in datasets.iter() {
            match self.is_here(address).await? {
                true => roots.push(address),
                false => repaired.not_here.push(name),
            }
        }
        let sent = self.sender(metadata).repair(&distinct(roots)).await?;
        (repaired.chunks, repaired.bytes) = (sent.chunks, sent.bytes);
        if self.request.extent == Extent::DryRun {
            repaired.chunks += lost.len() as u64;
            return Ok(repaired);
        }
        if !lost.is_empty() {
            repaired.chunks += lost.len() as u64;
            repaired.bytes += self.send_root(&lost).await?;
        }
        crate::database::remove(&self.paths.outgoing())?;
        self.check(&repaired).await?;
        Ok(repaired)
    }

    /// Sends what a store lost with its damaged files, and takes those off its list. All that its refs reach must be there
    /// afterwards, or be here.
    async fn mend(
        &self,
        roots: &[ChunkAddress],
        lost: &[NewChunk],
    ) -> Result<Repaired, TransferError> {
        let mut mender = Mender::new(Mending {
            target: &self.request.remote,
            source: &self.source,
            nearer: Nearer::Source,
            folder: self.paths.outgoing(),
            extent: self.request.extent,
            pool: self.pool,
            observer: &*self.observer,
        });
        let lacking = mender.walk(roots.iter().copied()).await?;
        if lacking.count > 0 {
            return Err(self.unrepaired(&lacking));
        }
        let mut repaired = Repaired {
            chunks: lost.len() as u64,
            bytes: 0,
            not_here: Vec::new(),
        };
        let is_whole = self.request.extent == Extent::Whole;
        if is_whole && !lost.is_empty() {
            repaired.bytes += self.send_root(lost).await?;
        }
        let sent = mender.finish().await?;
        repaired.chunks += sent.chunks;
        repaired.bytes += sent.bytes;
        if is_whole {
            crate::database::remove(&self.paths.outgoing())?;
        }
        Ok(repaired)
    }

    /// That chunks which the refs of a store need are neither there nor here.
    fn unrepaired(&self, lacking: &Lacking) -> TransferError {
        let first: Vec<_> = lacking.first.iter().map(ToString::to_string).collect();
        TransferError::Unrepaired {
            not_here: Vec::new(),
            source: RemoteError::Damaged {
                action: "look for what it lost",
                text: format!(
                    "{} chunks are neither there nor here, the first: {}",
                    lacking.count,
                    first.join(", ")
                ),
            },
        }
    }

    fn sender(&self, metadata: Metadata) -> Sender {
        Sender {
            remote: Arc::clone(&self.request.remote),
            is_empty: false,
            takes_archives: metadata.takes_archives,
            origin: Origin::Store(Arc::clone(self.source.store())),
            folder: self.paths.outgoing(),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
            extent: self.request.extent,
        }
    }

    async fn is_here(&self, address: ChunkAddress) -> Result<bool, StoreError> {
        let store = Arc::clone(self.source.store());
        let find = move || store.find(address).map(|place| place.is_some());
        self.pool.run(find).await
    }

    /// What the remote's root holds; as it is known here where the remote lost it.
    async fn root(&self, root: RootAddress) -> Result<Root, TransferError> {
        let there = RemoteSource::new(Arc::clone(&self.request.remote));
        let error = match Datasets::read(&there, root).await {
            Ok(datasets) => {
                let lost = Vec::new();
                return Ok(Root { datasets, lost });
            }
            Err(error) => error,
        };
        let is_lost = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Dangling)
            || matches!(error, ReadError::Missing { .. });
        if !is_lost {
            return Err(error.into());
        }
        for datasets in self.candidates() {
            let written = datasets.write()?;
            if written.root == root {
                let lost = written.chunks;
                return Ok(Root { datasets, lost });
            }
        }
        Err(TransferError::RefsLost { source: error })
    }

    /// What the refs of the remote may have been: those that the last fetch or push saw, or those of this database;
    /// with the tags and without. Their root has the remote's address only if they are the very same.
    fn candidates(&self) -> Vec<Datasets> {
        let name = self.request.remote_name.as_deref();
        let seen = |known: &RefName| match known {
            RefName::RemoteBranch { remote, branch } if Some(remote.as_str()) == name => {
                Some(RefName::Branch(branch.clone()))
            }
            _ => None,
        };
        let own = |known: &RefName| match known {
            RefName::Branch(_) => Some(known.clone()),
            _ => None,
        };
        let branches: [BranchOf<'_>; 2] = [&seen, &own];
        let mut candidates = Vec::new();
        for branch_of in branches {
            for with_tags in [true, false] {
                let mut datasets = Datasets::default();
                for (known, address) in self.local.iter() {
                    let is_tag = with_tags && matches!(known, RefName::Tag(_));
                    if let Some(name) = branch_of(&known).or(is_tag.then_some(known)) {
                        datasets.set(&name, Some(address));
                    }
                }
                candidates.push(datasets);
            }
        }
        candidates
    }

    /// Sends the chunks of the root; what they point at is there by now.
    async fn send_root(&self, chunks: &[NewChunk]) -> Result<u64, TransferError> {
        let (folder, chunks) = (self.paths.outgoing(), pairs(chunks));
        let file = self.pool.run(move || write_small(&folder, &chunks)).await?;
        self.request.remote.upload(&file).await?;
        let listed = ListedFile {
            id: file.id,
            chunks: file.chunks,
        };
        self.request.remote.add_files(&[listed]).await?;
        Ok(file.data_len)
    }

    /// Asks the remote whether all below its root is there now.
    async fn check(&self, repaired: &Repaired) -> Result<(), TransferError> {
        match self.request.remote.list_files().await {
            Ok(_) => Ok(()),
            Err(source) if source.is_of_damage() => Err(TransferError::Unrepaired {
                not_here: repaired.not_here.iter().map(ToString::to_string).collect(),
                source,
            }),
            Err(error) => Err(error.into()),
        }
    }
}
