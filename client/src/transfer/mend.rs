//! What a store lost, written into it again from where it still is.
//!
//! The damaged files are passed over, all that some roots reach is walked through the store and the source together, and
//! what the store has not is sent in new files. Files that are damaged stay listed until all is there: a run that is cut
//! off before leaves them for the next.
//!
//! # Memory
//! The chunks of one file of [`FILE_BYTES`], and what [`Seen`] takes.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::{ChunkSource, ReadError, children, source};

use super::error::TransferError;
use super::events::Observer;
use super::fetch::Extent;
use super::references::Forgiving;
use super::seen::Seen;
use super::send::{Sent, write_small};
use crate::remote::{Remote, RemoteSource};

/// How many chunks are looked at together.
const BATCH: usize = 256;

/// A file is sent when its chunks have so many bytes.
const FILE_BYTES: usize = 24 << 20;

/// How many chunks that are nowhere are named.
const NAMED: usize = 10;

/// Which of the two is read first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nearer {
    Source,
    Target,
}

/// Chunks that neither the store nor the source has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lacking {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<ChunkAddress>,
}

impl Lacking {
    fn add(&mut self, address: ChunkAddress) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(address);
        }
    }
}

/// What a mender works on, and how.
pub(crate) struct Mending<'a> {
    pub(crate) target: &'a Arc<dyn Remote>,
    pub(crate) source: &'a dyn ChunkSource,
    pub(crate) nearer: Nearer,
    /// Where files lie until they are sent.
    pub(crate) folder: PathBuf,
    pub(crate) extent: Extent,
    pub(crate) pool: &'a BlockingPool,
    pub(crate) observer: &'a dyn Observer,
}

/// Mends one store.
pub(crate) struct Mender<'a> {
    mending: Mending<'a>,
    /// Nothing only while another thread has it.
    seen: Option<Seen>,
    /// What goes into the next file.
    gathered: Vec<(ChunkAddress, Bytes)>,
    gathered_bytes: usize,
    sent: Sent,
}

impl<'a> Mender<'a> {
    /// Begins; the damaged files are passed over already.
    pub(crate) fn new(mending: Mending<'a>) -> Self {
        Self {
            mending,
            seen: Some(Seen::new(&std::env::temp_dir())),
            gathered: Vec::new(),
            gathered_bytes: 0,
            sent: Sent::default(),
        }
    }

    /// Sends what the store has not below some roots, them included, and returns what is nowhere. What was below earlier
    /// roots is not looked at again.
    pub(crate) async fn walk(
        &mut self,
        roots: impl IntoIterator<Item = ChunkAddress>,
    ) -> Result<Lacking, TransferError> {
        let mut lacking = Lacking::default();
        let mut waiting = self.new_ones(roots.into_iter().collect()).await?;
        while !waiting.is_empty() {
            let mut batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
            let chunks = self.read(&batch).await?;
            // No more are read at once than may be in memory.
            waiting.extend(batch.split_off(chunks.len()));
            let absent = self.mending.target.absent(&batch).await?;
            let absent: HashSet<_> = absent.into_iter().collect();
            let mut below = Vec::new();
            for (address, chunk) in batch.into_iter().zip(chunks) {
                let Some(chunk) = chunk else {
                    lacking.add(address);
                    continue;
                };
                let told = children(&chunk, &mut |child| below.push(child));
                told.map_err(|source| ReadError::Decode { address, source })?;
                if absent.contains(&address) {
                    self.gather(address, chunk).await?;
                }
            }
            waiting.extend(self.new_ones(below).await?);
        }
        Ok(lacking)
    }

    /// Makes all that was sent part of the store, and takes the damaged files off its list.
    pub(crate) async fn finish(mut self) -> Result<Sent, TransferError> {
        self.send().await?;
        if self.mending.extent == Extent::Whole {
            self.mending.target.drop_passed_over().await?;
        }
        Ok(self.sent)
    }

    /// Those that were not seen before.
    async fn new_ones(
        &mut self,
        mut addresses: Vec<ChunkAddress>,
    ) -> Result<Vec<ChunkAddress>, TransferError> {
        let mut seen = self.seen.take().expect("it is put back");
        let insert = move || seen.insert_new(&mut addresses).map(|()| (seen, addresses));
        let (seen, addresses) = self.mending.pool.run(insert).await?;
        self.seen = Some(seen);
        Ok(addresses)
    }

    /// Reads the first of some chunks where they are; those that one of the two has wrong are taken from the other.
    async fn read(&self, batch: &[ChunkAddress]) -> Result<Vec<Option<Bytes>>, TransferError> {
        let there = RemoteSource::new(Arc::clone(self.mending.target));
        let there = Forgiving::new(&there, self.mending.observer);
        let here = Forgiving::new(self.mending.source, self.mending.observer);
        let [first, second] = match self.mending.nearer {
            Nearer::Source => [&here, &there],
            Nearer::Target => [&there, &here],
        };
        let mut chunks = read_checked(first, batch).await?;
        let rest: Vec<_> = (chunks.iter().enumerate())
            .filter_map(|(number, chunk)| chunk.is_none().then_some(number))
            .collect();
        if !rest.is_empty() {
            let addresses: Vec<_> = rest.iter().map(|number| batch[*number]).collect();
            let read = read_checked(second, &addresses).await?;
            if let Some(unanswered) = rest.get(read.len()) {
                chunks.truncate(*unanswered);
            }
            for (number, chunk) in rest.into_iter().zip(read) {
                chunks[number] = chunk;
            }
        }
        Ok(chunks)
    }

    async fn gather(&mut self, address: ChunkAddress, chunk: Bytes) -> Result<(), TransferError> {
        self.gathered_bytes += chunk.len();
        self.gathered.push((address, chunk));
        match self.gathered_bytes >= FILE_BYTES {
            true => self.send().await,
            false => Ok(()),
        }
    }

    /// Sends what was gathered. It counts at once, so that the next attempt does not send it again.
    async fn send(&mut self) -> Result<(), TransferError> {
        let chunks = std::mem::take(&mut self.gathered);
        self.gathered_bytes = 0;
        if chunks.is_empty() {
            return Ok(());
        }
        self.sent.chunks += chunks.len() as u64;
        if self.mending.extent == Extent::DryRun {
            let lens = chunks.iter().map(|(_, chunk)| chunk.len() as u64);
            self.sent.bytes += lens.sum::<u64>();
            return Ok(());
        }
        let folder = self.mending.folder.clone();
        let file = self
            .mending
            .pool
            .run(move || write_small(&folder, &chunks))
            .await?;
        self.sent.bytes += file.data_len;
        self.mending.target.upload(&file).await?;
        let listed = ListedFile {
            id: file.id,
            chunks: file.chunks,
        };
        Ok(self.mending.target.add_files(&[listed]).await?)
    }
}

/// Reads the first of some chunks, and leaves out those whose bytes have another address.
async fn read_checked(
    from: &Forgiving<'_>,
    addresses: &[ChunkAddress],
) -> Result<Vec<Option<Bytes>>, ReadError> {
    let mut chunks = source::first(from, addresses).await?;
    for (address, chunk) in addresses.iter().zip(&mut chunks) {
        if chunk
            .as_ref()
            .is_none_or(|chunk| hash_chunk(chunk) != *address)
        {
            *chunk = None;
            from.fault(*address);
        }
    }
    Ok(chunks)
}
