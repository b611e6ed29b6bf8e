//! Everything below some chunks that a remote lacks, in files to that remote.
//!
//! The remote is asked which chunks it lacks; those are read here and checked, and their children are asked for next.
//! Files are sent while the walk goes on.
//!
//! # Memory
//! What waits to be asked for are siblings on the way down, 20 bytes each: the newest are asked for first. What was
//! seen is kept as [`Seen`] says.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::{ReadError, children};
use tokio::task::JoinSet;

use super::outgoing::{Outgoing, note_sent};
use crate::remote::{OutgoingFile, Remote, RemoteError};
use crate::transfer::check::CheckError;
use crate::transfer::error::TransferError;
use crate::transfer::events::{Observer, TransferEvent};
use crate::transfer::fetch::Extent;
use crate::transfer::seen::Seen;

/// How many chunks are asked for in one call.
const BATCH: usize = 8192;

/// How many calls are under way at once.
const CALLS: usize = 3;

/// How many files are sent at once.
const UPLOADS: usize = 3;

/// How many chunks are hashed together.
const CHECKED_AT_ONCE: usize = 64;

/// Sends from a store to a remote.
pub(super) struct Sender {
    pub(super) remote: Arc<dyn Remote>,
    /// Nothing is there, so nothing need be asked.
    pub(super) is_empty: bool,
    pub(super) store: Arc<NomsDir>,
    pub(super) folder: PathBuf,
    pub(super) pool: BlockingPool,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) extent: Extent,
}

/// What was sent, and is part of the remote now.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

impl Sender {
    /// Sends what is missing below `roots`, them included.
    pub(super) async fn run(self, roots: &[ChunkAddress]) -> Result<Sent, TransferError> {
        let (folder, address, all) = (self.folder.clone(), self.remote.address(), roots.to_vec());
        let open = move || Outgoing::open(&folder, &address, &all);
        let outgoing = self.pool.run(open).await?;
        let mut uploads = Uploads {
            remote: Arc::clone(&self.remote),
            pool: self.pool.clone(),
            observer: Arc::clone(&self.observer),
            notes: outgoing.notes(),
            running: JoinSet::new(),
            files: Vec::new(),
        };
        let mut again = Vec::new();
        for file in outgoing.kept() {
            match outgoing.is_sent(file.id) {
                true => uploads.files.push(listed(&file)),
                false => uploads.begin(file.clone()).await?,
            }
            again.push(file);
        }
        let mut seen = Seen::new(outgoing.folder());
        for root in roots {
            seen.insert(*root)?;
        }
        let mut walk = Walk {
            store: Arc::clone(&self.store),
            outgoing,
            is_dry: self.extent == Extent::DryRun,
            seen,
            decoder: Decoder::new(),
            encoder: record::Encoder::new(),
            sent: Sent {
                chunks: 0,
                bytes: 0,
            },
        };
        let mut waiting = roots.to_vec();
        let mut calls = JoinSet::new();
        loop {
            while calls.len() < CALLS && !waiting.is_empty() {
                let batch = waiting.split_off(waiting.len().saturating_sub(BATCH));
                let remote = (!self.is_empty).then(|| Arc::clone(&self.remote));
                calls.spawn(async move {
                    match remote {
                        Some(remote) => remote.absent(&batch).await,
                        None => Ok::<_, RemoteError>(batch),
                    }
                });
            }
            let Some(absent) = calls.join_next().await else {
                break;
            };
            let absent = joined(absent)??;
            let take = move || walk.take(absent).map(|found| (walk, found));
            let (back, found) = self.pool.run(take).await?;
            walk = back;
            waiting.extend(found.below);
            for file in found.files {
                uploads.begin(file).await?;
            }
        }
        if walk.is_dry {
            return Ok(walk.sent);
        }
        let finish = move || walk.outgoing.finish_file().map(|file| (walk, file));
        let (walk, last) = self.pool.run(finish).await?;
        if let Some(file) = last {
            uploads.begin(file).await?;
        }
        let files = uploads.finish().await?;
        self.add(files, again).await?;
        Ok(walk.sent)
    }

    /// Makes what was sent part of the remote. It may have lost what it took in an earlier attempt.
    async fn add(
        &self,
        files: Vec<ListedFile>,
        again: Vec<OutgoingFile>,
    ) -> Result<(), TransferError> {
        if files.is_empty() {
            return Ok(());
        }
        match self.remote.add_files(&files).await {
            Err(_) if !again.is_empty() => {
                for file in again {
                    self.remote.upload(&file).await?;
                }
                self.remote.add_files(&files).await?;
            }
            added => added?,
        }
        Ok(())
    }
}

fn listed(file: &OutgoingFile) -> ListedFile {
    ListedFile {
        id: file.id,
        chunks: file.chunks,
    }
}

fn joined<T>(result: Result<T, tokio::task::JoinError>) -> Result<T, TransferError> {
    match result {
        Ok(value) => Ok(value),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(TransferError::Stopped),
    }
}

/// Files that are being sent.
struct Uploads {
    remote: Arc<dyn Remote>,
    pool: BlockingPool,
    observer: Arc<dyn Observer>,
    notes: PathBuf,
    running: JoinSet<Result<OutgoingFile, RemoteError>>,
    files: Vec<ListedFile>,
}

impl Uploads {
    /// Begins to send a file, after others if there are too many.
    async fn begin(&mut self, file: OutgoingFile) -> Result<(), TransferError> {
        while self.running.len() >= UPLOADS {
            self.wait_for_one().await?;
        }
        self.observer
            .tell(TransferEvent::Expected { bytes: file.len });
        let remote = Arc::clone(&self.remote);
        self.running
            .spawn(async move { remote.upload(&file).await.map(|_| file) });
        Ok(())
    }

    async fn wait_for_one(&mut self) -> Result<(), TransferError> {
        let Some(uploaded) = self.running.join_next().await else {
            return Ok(());
        };
        let file = joined(uploaded)??;
        self.observer.tell(TransferEvent::Sent { bytes: file.len });
        let (notes, id): (_, TableFileId) = (self.notes.clone(), file.id);
        self.pool.run(move || note_sent(&notes, id)).await?;
        self.files.push(listed(&file));
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<ListedFile>, TransferError> {
        while !self.running.is_empty() {
            self.wait_for_one().await?;
        }
        Ok(self.files)
    }
}

/// Reads what is missing there.
struct Walk {
    store: Arc<NomsDir>,
    outgoing: Outgoing,
    is_dry: bool,
    seen: Seen,
    decoder: Decoder,
    encoder: record::Encoder,
    sent: Sent,
}

/// What came of a batch.
struct Found {
    below: Vec<ChunkAddress>,
    files: Vec<OutgoingFile>,
}

impl Walk {
    /// Puts chunks into files, and returns what they point at.
    fn take(&mut self, absent: Vec<ChunkAddress>) -> Result<Found, TransferError> {
        let mut found = Found {
            below: Vec::new(),
            files: Vec::new(),
        };
        for group in absent.chunks(CHECKED_AT_ONCE) {
            self.take_group(group, &mut found)?;
        }
        Ok(found)
    }

    fn take_group(
        &mut self,
        group: &[ChunkAddress],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        let (mut records, mut chunks) = (Vec::new(), Vec::new());
        for address in group {
            let (mut record, mut chunk) = (Vec::new(), Vec::new());
            self.read(*address, &mut record, &mut chunk)?;
            records.push(record);
            chunks.push(chunk);
        }
        check_chunks(group, &chunks).map_err(|source| CheckError::Address {
            path: self.store.directory().to_owned(),
            source,
        })?;
        for ((address, record), chunk) in group.iter().zip(&records).zip(&chunks) {
            let mut below = Vec::new();
            let told = children(chunk, &mut |child| below.push(child));
            told.map_err(|source| ReadError::Decode {
                address: *address,
                source,
            })?;
            self.seen.insert_new(&mut below)?;
            found.below.append(&mut below);
            self.sent.chunks += 1;
            self.sent.bytes += record.len() as u64;
            if !self.is_dry && !self.outgoing.has(*address)? {
                let whole = self.outgoing.add(*address, record, chunk.len())?;
                found.files.extend(whole);
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        address: ChunkAddress,
        record: &mut Vec<u8>,
        chunk: &mut Vec<u8>,
    ) -> Result<(), TransferError> {
        let Some(place) = self.store.find(address)? else {
            return Err(match self.store.ghosts().contains(&address) {
                true => TransferError::Shallow { address },
                false => TransferError::Read {
                    source: ReadError::Missing { address },
                },
            });
        };
        self.store
            .read_record(place, &mut self.decoder, record, chunk)?;
        if record.is_empty() {
            let encoded = self.encoder.encode(chunk, record);
            encoded.map_err(|source| StoreError::Encode {
                path: self.store.directory().to_owned(),
                source,
            })?;
        }
        Ok(())
    }
}
