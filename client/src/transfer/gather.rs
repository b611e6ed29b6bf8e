//! Everything below some chunks, from a remote: what is not here yet, chunk by chunk.
//!
//! Several reads are under way at once. What comes is opened beside them, and looked through on one thread: children
//! that are neither here nor asked for already are asked for next, see [`Waiting`]. What was seen is kept as [`Seen`]
//! says.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::error::TransferError;
use super::events::{Observer, TransferEvent};
use super::fetch::UnknownTag;
use super::landing::Landing;
use super::reads::{Event, Reads, joined};
use super::seen::Seen;
use super::waiting::{Batch, Below, Kind, Waiting};
use crate::database::check_form;
use crate::remote::{Parcel, Reach, Remote};

/// How many parcels of one read wait to be opened.
const UNOPENED: usize = 2;

/// How many are opened at once.
const OPENED: usize = 4;

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
        self.landing.land(store, &self.seen, &self.left_out)
    }
}

impl Gather {
    /// Gathers everything below `roots`, them included.
    pub(crate) async fn run(self, roots: Vec<ChunkAddress>) -> Result<Gathered, TransferError> {
        let folder = self.folder.clone();
        let open = move || {
            check_form(folder.parent().unwrap_or(&folder))?;
            Ok::<_, TransferError>(Landing::open(&folder)?)
        };
        let landing = self.pool.run(open).await?;
        let opener = Opener {
            remote: self.remote,
            reach: self.reach,
            pool: self.pool.clone(),
            folder: self.folder.clone(),
        };
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
            let below = Below::inner(roots);
            sifter.sift(below).map(|new| (sifter, new))
        };
        let (mut sifter, new) = self.pool.run(begin).await?;
        let found = |new: &Below| {
            let chunks = new.len() as u64;
            self.observer.tell(TransferEvent::Found { chunks });
        };
        found(&new);
        let mut waiting = Waiting::new(new);
        let mut reads = Reads::new();
        loop {
            while let Some(batch) = waiting.next_batch() {
                let opener = opener.clone();
                reads.begin(|to| opener.read(batch, to));
            }
            let opened: Opened = match reads.next().await? {
                None => return Ok(sifter.gathered),
                Some(Event::Ended(kind)) => {
                    waiting.ended(kind);
                    continue;
                }
                Some(Event::Came(opened)) => opened,
            };
            waiting.learn(opened.kind, opened.records.len(), &opened.below);
            let (before, chunks) = (sifter.gathered.bytes, opened.records.len() as u64);
            let take = move || sifter.take(opened).map(|new| (sifter, new));
            let (back, new) = self.pool.run(take).await?;
            sifter = back;
            self.observer.tell(TransferEvent::Received {
                bytes: sifter.gathered.bytes - before,
            });
            self.observer.tell(TransferEvent::Came { chunks });
            found(&new);
            waiting.add(new);
        }
    }
}

/// Reads chunks and makes them ready to be taken.
#[derive(Clone)]
struct Opener {
    remote: Arc<dyn Remote>,
    reach: Reach,
    pool: BlockingPool,
    /// Where they gather, which errors name.
    folder: PathBuf,
}

/// Chunks that came: in the form in which they are kept, and what they point at.
struct Opened {
    kind: Kind,
    records: Vec<Record>,
    below: Below,
    /// Counts for what the records take.
    _parcel: Parcel,
}

struct Record {
    address: ChunkAddress,
    stored: Bytes,
    chunk_len: usize,
}

impl Opener {
    /// Reads a batch and sends it on. All of it must be there.
    async fn read(self, batch: Batch, to: mpsc::Sender<Opened>) -> Result<Kind, TransferError> {
        let kind = batch.kind;
        let (parcels, mut came) = mpsc::channel(UNOPENED);
        let read = self.remote.read_each(batch.addresses, self.reach, parcels);
        let read = async { Ok::<_, TransferError>(read.await?) };
        // Each is opened by a task of its own: a future that waits for a thread must not be left lying.
        let open = async {
            let mut opening = JoinSet::new();
            loop {
                tokio::select! {
                    Some(parcel) = came.recv(), if opening.len() < OPENED => {
                        let (pool, folder) = (self.pool.clone(), self.folder.clone());
                        opening.spawn(async move {
                            pool.run(move || Opened::of(parcel, kind, &folder)).await
                        });
                    }
                    Some(opened) = opening.join_next() => {
                        // Who has stopped gathering wants nothing of it.
                        drop(to.send(joined(opened)??).await);
                    }
                    else => return Ok(()),
                }
            }
        };
        let (missing, ()) = tokio::try_join!(read, open)?;
        match missing.first() {
            Some(&address) => Err(TransferError::Lacks { address }),
            None => Ok(kind),
        }
    }
}

impl Opened {
    fn of(mut parcel: Parcel, kind: Kind, folder: &Path) -> Result<Self, TransferError> {
        let mut encoder = record::Encoder::new();
        let mut records = Vec::with_capacity(parcel.chunks.len());
        let mut below = Below::default();
        for (address, chunk) in std::mem::take(&mut parcel.chunks) {
            below.add_children(address, &chunk.chunk)?;
            let stored = match chunk.record {
                Some(stored) => stored,
                None => {
                    let mut stored = Vec::new();
                    let encoded = encoder.encode(&chunk.chunk, &mut stored);
                    encoded.map_err(|source| StoreError::Encode {
                        path: folder.to_owned(),
                        source,
                    })?;
                    stored.into()
                }
            };
            records.push(Record {
                address,
                stored,
                chunk_len: chunk.chunk.len(),
            });
        }
        Ok(Self {
            kind,
            records,
            below,
            _parcel: parcel,
        })
    }
}

/// Looks through what comes.
struct Sifter {
    gathered: Gathered,
    decoder: Decoder,
}

impl Sifter {
    /// Takes chunks that came, and returns what is to be asked for next.
    fn take(&mut self, opened: Opened) -> Result<Below, TransferError> {
        for record in &opened.records {
            let Record {
                address,
                stored,
                chunk_len,
            } = record;
            self.gathered.landing.add(*address, stored, *chunk_len)?;
            self.gathered.chunks += 1;
            self.gathered.bytes += stored.len() as u64;
        }
        self.gathered.landing.flush()?;
        self.sift(opened.below)
    }

    /// Leaves out what is here or was seen before, goes below what an earlier attempt left, and returns the rest.
    fn sift(&mut self, mut candidates: Below) -> Result<Below, TransferError> {
        let mut wanted = Below::default();
        while !candidates.is_empty() {
            let mut below = Below::default();
            for kind in Kind::BOTH {
                let addresses = std::mem::take(candidates.of(kind));
                self.sift_kind(addresses, wanted.of(kind), &mut below)?;
            }
            candidates = below;
        }
        Ok(wanted)
    }

    fn sift_kind(
        &mut self,
        mut addresses: Vec<ChunkAddress>,
        wanted: &mut Vec<ChunkAddress>,
        below: &mut Below,
    ) -> Result<(), TransferError> {
        self.gathered.seen.insert_new(&mut addresses)?;
        if let Some(known) = &self.gathered.known {
            known.retain_absent(&mut addresses)?;
        }
        let landing = &mut self.gathered.landing;
        if landing.kept_count() == 0 {
            wanted.append(&mut addresses);
            return Ok(());
        }
        for address in addresses {
            match landing.read_kept(address, &mut self.decoder)? {
                Some(chunk) => below.add_children(address, &chunk)?,
                None => wanted.push(address),
            }
        }
        Ok(())
    }
}
