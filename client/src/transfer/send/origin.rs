//! Where chunks that are sent come from.

use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::NomsDir;
use holdfast_chunkstore::pool::BlockingPool;
use tokio::sync::mpsc;

use super::local::{LocalGroup, LocalReader};
use crate::remote::{Parcel, Reach, Remote};
use crate::transfer::error::TransferError;

/// Where chunks that are sent come from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A store on this machine, as it was when it was opened.
    Store(Arc<NomsDir>),
    /// Another remote, whose chunks pass through memory a few at a time.
    Remote(Arc<dyn Remote>),
}

/// Chunks that are to be sent.
pub(super) enum Read {
    /// Those of a store.
    Local(LocalGroup),
    /// Those of a store that the remote has: only what is below them may have to be sent.
    There(LocalGroup),
    /// Those that came from a remote and were checked.
    Came(Parcel),
}

impl Origin {
    /// How many chunks are asked for in one call. Of those of a remote no more are in memory than it says.
    pub(super) fn batch(&self) -> usize {
        match self {
            Self::Store(_) => 8192,
            Self::Remote(_) => 512,
        }
    }

    /// How many calls are under way at once.
    pub(super) fn calls(&self) -> usize {
        match self {
            Self::Store(_) => 3,
            Self::Remote(_) => 8,
        }
    }

    /// Who reads them in the form in which they are sent.
    pub(super) fn reader(&self, takes_frames: bool, pool: &BlockingPool) -> Reader {
        match self {
            Self::Store(store) => {
                let reader = LocalReader::new(Arc::clone(store), takes_frames, pool.clone());
                Reader::Local(Arc::new(reader))
            }
            Self::Remote(remote) => Reader::Remote(Arc::clone(remote)),
        }
    }
}

/// Who reads chunks that are sent.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    /// On this machine.
    Local(Arc<LocalReader>),
    /// From another remote.
    Remote(Arc<dyn Remote>),
}

impl Reader {
    /// Reads chunks that the remote has, those of them that are in the store on this machine.
    pub(super) async fn read_here(
        self,
        addresses: Vec<ChunkAddress>,
        to: mpsc::Sender<Read>,
    ) -> Result<(), TransferError> {
        match self {
            Self::Local(reader) => {
                let here = reader.only_here(addresses).await?;
                reader.read_each(here, Read::There, to).await
            }
            // What a remote holds was read from it, or could be: it is walked over by its own repair.
            Self::Remote(_) => Ok(()),
        }
    }

    /// Reads chunks and sends them on.
    pub(super) async fn read(
        self,
        addresses: Vec<ChunkAddress>,
        to: mpsc::Sender<Read>,
    ) -> Result<(), TransferError> {
        let remote = match self {
            Self::Local(reader) => return reader.read_each(addresses, Read::Local, to).await,
            Self::Remote(remote) => remote,
        };
        let (parcels, mut came) = mpsc::channel(1);
        let read = remote.read_each(addresses, Reach::Near, parcels);
        let pass_on = async {
            while let Some(parcel) = came.recv().await {
                drop(to.send(Read::Came(parcel)).await);
            }
        };
        let (missing, ()) = tokio::join!(read, pass_on);
        match missing?.first() {
            Some(&address) => Err(TransferError::Lacks { address }),
            None => Ok(()),
        }
    }
}
