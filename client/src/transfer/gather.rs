//! Everything below some chunks, from a remote: what is not here yet, chunk by chunk.
//!
//! Several reads are under way at once. What comes is looked through on one thread: children that are neither here nor
//! asked for already are asked for next, the newest first, so that what waits stays small however large the database:
//! the siblings on the way down, 20 bytes each. What was seen is kept as [`Seen`] says.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::{ReadError, children};
use tokio::task::JoinSet;

use super::error::TransferError;
use super::events::{Observer, TransferEvent};
use super::fetch::UnknownTag;
use super::landing::Landing;
use super::seen::Seen;
use crate::remote::{Reach, Remote, RemoteChunk, RemoteError};

/// How many chunks are asked for in one read.
const BATCH: usize = 512;

/// How many reads are under way at once.
const READS: usize = 8;

/// What is gathered, and against what.
#[derive(Debug)]
pub(crate) struct Gather {
    pub(crate) remote: Arc<dyn Remote>,
    pub(crate) reach: Reach,
    /// What is here: everything below a chunk that is here is here as well.
    pub(crate) known: Option<Arc<NomsDir>>,
    /// What is never asked for.
    pub(crate) left_out: HashSet<ChunkAddress>,
    /// Where the chunks gather.
    pub(crate) folder: PathBuf,
    pub(crate) pool: BlockingPool,
    pub(crate) observer: Arc<dyn Observer>,
}

/// What was gathered.
#[derive(Debug)]
pub(crate) struct Gathered {
    landing: Landing,
    /// What was here before.
    known: Option<Arc<NomsDir>>,
    /// What was not asked for.
    left_out: HashSet<ChunkAddress>,
    /// Every chunk that was come across: gathered now, kept from an earlier attempt, here before, or left out.
    seen: Seen,
    /// How many of them came now.
    pub(crate) chunks: u64,
    /// The bytes that those have in their stored form.
    pub(crate) bytes: u64,
}

impl Gathered {
    /// The tags whose commits are here, now or before. Blocks.
    pub(crate) fn reached(&self, tags: Vec<UnknownTag>) -> Result<Vec<UnknownTag>, StoreError> {
        let mut found = Vec::new();
        for tag in tags {
            if self.has(tag.commit)? {
                found.push(tag);
            }
        }
        Ok(found)
    }

    fn has(&self, address: ChunkAddress) -> Result<bool, StoreError> {
        if let Some(known) = &self.known
            && known.find(address)?.is_some()
        {
            return Ok(true);
        }
        Ok(!self.left_out.contains(&address) && self.seen.contains(address)?)
    }

    /// Takes what was gathered into a store, which lists it afterwards. Blocks.
    pub(crate) fn land(self, store: &Path) -> Result<Vec<ListedFile>, StoreError> {
        self.landing.land(store, &self.seen)
    }
}

impl Gather {
    /// Gathers everything below `roots`, them included.
    pub(crate) async fn run(self, roots: Vec<ChunkAddress>) -> Result<Gathered, TransferError> {
        let folder = self.folder.clone();
        let landing = self.pool.run(move || Landing::open(&folder)).await?;
        let mut sifter = Sifter {
            gathered: Gathered {
                landing,
                known: self.known,
                left_out: self.left_out,
                seen: Seen::new(&self.folder),
                chunks: 0,
                bytes: 0,
            },
            decoder: Decoder::new(),
        };
        let begin = move || {
            let Gathered { seen, left_out, .. } = &mut sifter.gathered;
            for address in left_out.iter() {
                seen.insert(*address)?;
            }
            sifter.sift(roots).map(|new| (sifter, new))
        };
        let (mut sifter, mut waiting) = self.pool.run(begin).await?;
        let mut reads = JoinSet::new();
        loop {
            while reads.len() < READS && !waiting.is_empty() {
                let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
                let (remote, reach) = (Arc::clone(&self.remote), self.reach);
                reads.spawn(async move {
                    let chunks = remote.read(&batch, reach).await?;
                    Ok::<_, RemoteError>((batch, chunks))
                });
            }
            let Some(read) = reads.join_next().await else {
                return Ok(sifter.gathered);
            };
            let (batch, chunks) = match read {
                Ok(read) => read?,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return Err(TransferError::Stopped),
            };
            let before = sifter.gathered.bytes;
            let take = move || sifter.take(batch, chunks).map(|new| (sifter, new));
            let (back, new) = self.pool.run(take).await?;
            sifter = back;
            self.observer.tell(TransferEvent::Received {
                bytes: sifter.gathered.bytes - before,
            });
            waiting.extend(new);
        }
    }
}

/// Looks through what comes.
struct Sifter {
    gathered: Gathered,
    decoder: Decoder,
}

impl Sifter {
    /// Takes chunks that came, and returns what is to be asked for next.
    fn take(
        &mut self,
        batch: Vec<ChunkAddress>,
        chunks: Vec<Option<RemoteChunk>>,
    ) -> Result<Vec<ChunkAddress>, TransferError> {
        let mut below = Vec::new();
        for (address, chunk) in batch.into_iter().zip(chunks) {
            let chunk = chunk.ok_or(TransferError::Lacks { address })?;
            add_children(address, &chunk.chunk, &mut below)?;
            self.gathered.landing.add(address, &chunk)?;
            self.gathered.chunks += 1;
            let stored = chunk.record.as_ref().unwrap_or(&chunk.chunk);
            self.gathered.bytes += stored.len() as u64;
        }
        self.sift(below)
    }

    /// Leaves out what is here or was seen before, goes below what an earlier attempt left, and returns the rest.
    fn sift(&mut self, candidates: Vec<ChunkAddress>) -> Result<Vec<ChunkAddress>, TransferError> {
        let has_kept = self.gathered.landing.kept_count() > 0;
        let mut wanted = Vec::new();
        let mut candidates = candidates;
        while !candidates.is_empty() {
            let mut below = Vec::new();
            for address in std::mem::take(&mut candidates) {
                if !self.gathered.seen.insert(address)? {
                    continue;
                }
                if let Some(known) = &self.gathered.known
                    && known.find(address)?.is_some()
                {
                    continue;
                }
                let kept = match has_kept {
                    true => self
                        .gathered
                        .landing
                        .read_kept(address, &mut self.decoder)?,
                    false => None,
                };
                match kept {
                    Some(chunk) => add_children(address, &chunk, &mut below)?,
                    None => wanted.push(address),
                }
            }
            candidates = below;
        }
        Ok(wanted)
    }
}

fn add_children(
    address: ChunkAddress,
    chunk: &[u8],
    below: &mut Vec<ChunkAddress>,
) -> Result<(), TransferError> {
    let told = children(chunk, &mut |child| below.push(child));
    told.map_err(|source| {
        let source = ReadError::Decode { address, source };
        TransferError::Read { source }
    })
}
