//! Where chunks that are sent come from.

use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::noms_dir::NomsDir;

use crate::remote::{Reach, Remote, RemoteChunk};
use crate::transfer::error::TransferError;

/// Where chunks that are sent come from.
#[derive(Debug, Clone)]
pub(crate) enum Origin {
    /// A store on this machine, as it was when it was opened.
    Store(Arc<NomsDir>),
    /// Another remote, whose chunks pass through memory.
    Remote(Arc<dyn Remote>),
}

/// Chunks that are to be sent.
pub(super) enum Read {
    /// Those of a store, which are read and checked a few at a time.
    Waiting {
        store: Arc<NomsDir>,
        addresses: Vec<ChunkAddress>,
    },
    /// Those that came from a remote and were checked.
    Came(Vec<(ChunkAddress, RemoteChunk)>),
}

impl Origin {
    /// How many chunks are asked for in one call. Those of a remote are in memory at once.
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

    /// Reads chunks, as far as that need be waited for.
    pub(super) async fn read(self, addresses: Vec<ChunkAddress>) -> Result<Read, TransferError> {
        let remote = match self {
            Self::Store(store) => return Ok(Read::Waiting { store, addresses }),
            Self::Remote(remote) => remote,
        };
        if addresses.is_empty() {
            return Ok(Read::Came(Vec::new()));
        }
        let chunks = remote.read(&addresses, Reach::Near).await?;
        let pairs = addresses.into_iter().zip(chunks);
        let pairs = pairs.map(|(address, chunk)| {
            let chunk = chunk.ok_or(TransferError::Lacks { address })?;
            Ok::<_, TransferError>((address, chunk))
        });
        Ok(Read::Came(pairs.collect::<Result<_, _>>()?))
    }
}
