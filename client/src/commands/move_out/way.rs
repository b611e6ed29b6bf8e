//! Where branches gather on their way, and what becomes of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::pool::BlockingPool;
use holdfast_client::database::FolderLock;
use holdfast_client::remote::Remote;
use holdfast_client::transfer::{
    self, CloneRequest, Observer, TransferError, end_move, lock_place,
};

use super::cache::Cache;
use crate::args;
use crate::commands::remotes::Speaker;
use crate::commands::{Complaint, pool};

/// Where the branches are gathered; no other process works there meanwhile.
pub(super) enum Way {
    /// Where they are to be: a new database.
    Target(FolderLock),
    /// In a directory that the user named, where they stay.
    Via(FolderLock),
    /// Where the same command finds them again, until they arrived.
    Cache(Cache),
}

impl Way {
    pub(super) async fn choose(
        arguments: &args::MoveOut,
        speaker: &Speaker<'_>,
        request: &CloneRequest,
        target: Option<&dyn Remote>,
    ) -> anyhow::Result<Self> {
        let pool = pool();
        Ok(match (target, &arguments.via) {
            (None, _) => Self::Target(lock_place(request, Path::new(&arguments.to), &pool).await?),
            (Some(_), Some(via)) => Self::Via(lock_place(request, via, &pool).await?),
            (Some(_), None) if arguments.keep_remote => {
                let to = arguments.to.clone();
                return Err(Complaint::NothingStays { to }.into());
            }
            (Some(target), None) => {
                let (from, to) = (request.remote.address(), target.address());
                let branches = arguments.branch.join("\n");
                let told = format!("move-out\n{from}\n{to}\n{branches}");
                let folder = speaker.kept(None, &told);
                let lock = pool.run(move || FolderLock::take(&folder)).await?;
                Self::Cache(Cache::new(lock))
            }
        })
    }

    /// Gathers there what is moved.
    pub(super) async fn gather(
        &self,
        request: &CloneRequest,
        pool: &BlockingPool,
        speaker: &Speaker<'_>,
        observer: Arc<dyn Observer>,
    ) -> Result<(), TransferError> {
        let clock = &speaker.clock;
        let cloned = match self {
            Self::Target(lock) | Self::Via(lock) => {
                transfer::clone_locked(request, lock, pool, clock, observer).await
            }
            Self::Cache(cache) => {
                transfer::clone(request, &cache.database, pool, clock, observer).await
            }
        };
        cloned.map(drop)
    }

    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Target(lock) | Self::Via(lock) => lock.folder(),
            Self::Cache(cache) => &cache.database,
        }
    }

    /// Says where what came lies when it did not come to its end, unless the user said where.
    pub(super) fn keep(self, error: anyhow::Error) -> anyhow::Error {
        match self {
            Self::Cache(cache) if cache.database.exists() => error.context(Kept {
                directory: cache.database,
            }),
            _ => error,
        }
    }

    /// Removes what was needed on the way alone.
    pub(super) fn clear(self) -> anyhow::Result<()> {
        match self {
            Self::Target(lock) => Ok(end_move(lock.folder())?),
            // The same command may be given again.
            Self::Via(_) => Ok(()),
            Self::Cache(cache) => cache.empty(),
        }
    }
}

/// A move that did not come to its end.
#[derive(Debug)]
struct Kept {
    directory: PathBuf,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let directory = self.directory.display();
        write!(
            f,
            "could not move the branches; what came is kept in {directory}, and the same command goes on with it"
        )
    }
}
