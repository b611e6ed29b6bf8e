//! Where chunks that are sent come from.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError, StoredFile};
use holdfast_chunkstore::pool::BlockingPool;
use tokio::sync::mpsc;

use super::local::{LocalGroup, LocalReader};
use crate::remote::{Parcel, Reach, Remote, RemoteChunk};
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
    /// The same, in an earlier attempt.
    Kept(Vec<(ChunkAddress, RemoteChunk)>),
    /// What the remote has, with everything below it.
    Present(Vec<ChunkAddress>),
}

/// How many bytes that an earlier attempt kept are read together.
const KEPT_BYTES: usize = 512 << 10;

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

    /// Whether they come over a line, and are kept until they are sent on.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Self::Remote(_))
    }

    /// What reads them in the form in which they are sent; those in files that an earlier attempt `kept` from there.
    pub(super) fn reader(
        &self,
        takes_frames: bool,
        kept: Vec<StoredFile>,
        pool: &BlockingPool,
    ) -> Reader {
        match self {
            Self::Store(store) => {
                let reader = LocalReader::new(Arc::clone(store), takes_frames, pool.clone());
                Reader::Local(Arc::new(reader))
            }
            Self::Remote(remote) => Reader::Remote {
                remote: Arc::clone(remote),
                kept: kept.into(),
                pool: pool.clone(),
            },
        }
    }
}

/// What reads chunks that are sent.
#[derive(Debug, Clone)]
pub(super) enum Reader {
    /// On this machine.
    Local(Arc<LocalReader>),
    /// From another remote.
    Remote {
        remote: Arc<dyn Remote>,
        kept: Arc<[StoredFile]>,
        pool: BlockingPool,
    },
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
            Self::Remote { .. } => Ok(()),
        }
    }

    /// Reads chunks and sends them on.
    pub(super) async fn read(
        self,
        addresses: Vec<ChunkAddress>,
        to: mpsc::Sender<Read>,
    ) -> Result<(), TransferError> {
        let (remote, kept, pool) = match self {
            Self::Local(reader) => return reader.read_each(addresses, Read::Local, to).await,
            Self::Remote { remote, kept, pool } => (remote, kept, pool),
        };
        let mut addresses = addresses;
        while !kept.is_empty() && !addresses.is_empty() {
            let kept = Arc::clone(&kept);
            let read = pool.run(move || read_kept(&kept, addresses)).await?;
            let found;
            (found, addresses) = (read.found, read.rest);
            let is_all = found.is_empty();
            drop(to.send(Read::Kept(found)).await);
            if is_all {
                break;
            }
        }
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

/// What was found of some chunks in files of an earlier attempt.
struct KeptRead {
    found: Vec<(ChunkAddress, RemoteChunk)>,
    /// The others, and those that were not looked for yet.
    rest: Vec<ChunkAddress>,
}

/// Reads chunks, [`KEPT_BYTES`] at most; nothing if none is there. Damaged ones come again. Blocks.
fn read_kept(files: &[StoredFile], addresses: Vec<ChunkAddress>) -> Result<KeptRead, StoreError> {
    let mut read = KeptRead {
        found: Vec::new(),
        rest: Vec::new(),
    };
    let (mut decoder, mut bytes) = (Decoder::new(), 0);
    for address in addresses {
        let mut chunk = None;
        for file in files.iter().take_while(|_| bytes < KEPT_BYTES) {
            let Some(span) = file.find(address)? else {
                continue;
            };
            let (mut record, mut found) = (Vec::new(), Vec::new());
            let is_read = file.read_both(span, &mut decoder, &mut record, &mut found);
            if is_read.is_ok() && hash_chunk(&found) == address {
                bytes += found.len();
                chunk = Some(RemoteChunk {
                    chunk: found.into(),
                    record: Some(Bytes::from(record)),
                });
                break;
            }
        }
        match chunk {
            Some(chunk) => read.found.push((address, chunk)),
            None => read.rest.push(address),
        }
    }
    Ok(read)
}
