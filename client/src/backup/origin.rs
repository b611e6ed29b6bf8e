//! What is backed up, and where files of a backup gather meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::noms_dir::{NomsDir, StoreStamp};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, RootAddress};
use holdfast_doltdb::ChunkSource;

use super::error::BackupError;
use crate::database::{DatabaseError, DatabasePaths, FolderLock, StoreSource, remove};
use crate::remote::{Remote, RemoteSource};
use crate::transfer::send::Origin;

/// What is backed up.
#[derive(Debug, Clone)]
pub enum BackupSource {
    /// A database in a directory, or a store that lies there without one. It is read without a lock, as it is at one
    /// moment; whoever works in it is not disturbed.
    Directory(PathBuf),
    /// Another remote. What is new there passes through memory, a few chunks at a time.
    Remote(Arc<dyn Remote>),
}

/// A source as it was at one moment.
pub(crate) struct Opened {
    pub(crate) origin: Origin,
    pub(crate) root: RootAddress,
    pub(crate) source: Box<dyn ChunkSource>,
}

impl BackupSource {
    /// How it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Remote(remote) => remote.address(),
        }
    }

    /// Opens it; a shallow clone, and one without a root, is refused.
    pub(crate) async fn open(&self, pool: &BlockingPool) -> Result<Opened, BackupError> {
        let opened = match self {
            Self::Directory(path) => {
                let path = path.clone();
                let store = Arc::new(pool.run(move || open_store(&path)).await?);
                if !store.ghosts().is_empty() {
                    return Err(BackupError::Shallow {
                        origin: self.name(),
                        commits: store.ghosts().len(),
                    });
                }
                Opened {
                    root: store.root(),
                    source: Box::new(StoreSource::new(Arc::clone(&store), pool.clone())),
                    origin: Origin::Store(store),
                }
            }
            Self::Remote(remote) => Opened {
                root: remote.root().await?,
                source: Box::new(RemoteSource::new(Arc::clone(remote))),
                origin: Origin::Remote(Arc::clone(remote)),
            },
        };
        match opened.root.is_zero() {
            true => Err(BackupError::NoRoot {
                origin: self.name(),
            }),
            false => Ok(opened),
        }
    }
}

impl Opened {
    /// Which of some chunks are not there.
    pub(crate) async fn absent(
        &self,
        addresses: Vec<ChunkAddress>,
        pool: &BlockingPool,
    ) -> Result<Vec<ChunkAddress>, BackupError> {
        let store = match &self.origin {
            Origin::Store(store) => Arc::clone(store),
            Origin::Remote(remote) => return Ok(remote.absent(&addresses).await?),
        };
        let look = move || {
            let mut absent = Vec::new();
            for address in addresses {
                if store.find(address)?.is_none() {
                    absent.push(address);
                }
            }
            Ok(absent)
        };
        pool.run(look).await
    }
}

fn open_store(path: &Path) -> Result<NomsDir, BackupError> {
    let inside = DatabasePaths::new(path).store();
    let directory = [inside, path.to_owned()]
        .into_iter()
        .find(|directory| StoreStamp::of(directory).is_ok_and(|stamp| stamp.has_store()));
    let directory = directory.ok_or_else(|| DatabaseError::None {
        path: path.to_owned(),
    })?;
    Ok(NomsDir::open(&directory)?)
}

/// A folder where files gather before they are sent, for one process at a time. What is left there by one that was cut
/// off is gone on with.
pub(crate) struct Workplace {
    lock: FolderLock,
}

impl Workplace {
    pub(crate) async fn open(folder: &Path, pool: &BlockingPool) -> Result<Self, BackupError> {
        let folder = folder.to_owned();
        let lock = pool.run(move || FolderLock::take(&folder)).await?;
        Ok(Self {
            lock: lock.disposable(),
        })
    }

    /// Where files gather.
    pub(crate) fn outgoing(&self) -> PathBuf {
        self.lock.folder().join("outgoing")
    }

    /// Removes what gathered: all of it arrived.
    pub(crate) async fn clear(&self, pool: &BlockingPool) -> Result<(), BackupError> {
        let outgoing = self.outgoing();
        Ok(pool.run(move || remove(&outgoing)).await?)
    }
}
