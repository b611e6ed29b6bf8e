//! Chunks of a store on this machine: read, checked, and in the form in which they are sent.
//!
//! Several threads read beside the one that walks. A group that was read waits until the walk takes it; of groups with
//! a long chunk there is one at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::{Decoder, StoredDictionary};
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::noms_dir::{NomsDir, Place, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_doltdb::ReadError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::origin::Read;
use super::outgoing::Form;
use crate::transfer::check::CheckError;
use crate::transfer::error::TransferError;

/// How many chunks are read and hashed together at most.
const GROUP_CHUNKS: usize = 128;

/// How many bytes of chunks are read together, unless one is longer.
const GROUP_BYTES: usize = 512 << 10;

/// A chunk that is stored in more bytes is long.
const LONG_BYTES: u32 = 256 << 10;

/// How many dictionaries are kept; Dolt's archives have one each, conjoined ones many.
const DICTIONARIES: usize = 64;

/// A file of the store, by its number, and where in it a dictionary lies.
type DictionaryPlace = (usize, ByteSpan);

/// A chunk that was read and checked.
#[derive(Debug)]
pub(super) struct LocalChunk {
    pub(super) address: ChunkAddress,
    pub(super) chunk: Vec<u8>,
    stored: Vec<u8>,
    /// What the stored form was made with; nothing for a record.
    dictionary: Option<Arc<StoredDictionary>>,
}

impl LocalChunk {
    /// The form in which it is sent.
    pub(super) fn form(&self) -> Form<'_> {
        match &self.dictionary {
            Some(dictionary) => Form::Frame {
                frame: &self.stored,
                dictionary,
            },
            None => Form::Record(&self.stored),
        }
    }
}

/// Chunks that were read together.
#[derive(Debug)]
pub(super) struct LocalGroup {
    pub(super) chunks: Vec<LocalChunk>,
    /// Held by a group with a long chunk.
    _turn: Option<OwnedSemaphorePermit>,
}

/// Reads chunks of one store.
#[derive(Debug)]
pub(super) struct LocalReader {
    store: Arc<NomsDir>,
    /// Whether zstd frames go along as they are.
    takes_frames: bool,
    pool: BlockingPool,
    /// Those that were needed last.
    dictionaries: Mutex<HashMap<DictionaryPlace, Arc<StoredDictionary>>>,
    /// Whose turn it is to read a long chunk.
    turn: Arc<Semaphore>,
}

impl LocalReader {
    pub(super) fn new(store: Arc<NomsDir>, takes_frames: bool, pool: BlockingPool) -> Self {
        Self {
            store,
            takes_frames,
            pool,
            dictionaries: Mutex::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Leaves out what is not in the store.
    pub(super) async fn only_here(
        self: &Arc<Self>,
        addresses: Vec<ChunkAddress>,
    ) -> Result<Vec<ChunkAddress>, TransferError> {
        let reader = Arc::clone(self);
        let find = move || {
            let mut here = Vec::with_capacity(addresses.len());
            for address in addresses {
                if reader.store.find(address)?.is_some() {
                    here.push(address);
                }
            }
            Ok(here)
        };
        self.pool.run(find).await
    }

    /// Reads chunks and sends them on, each group as what `kind` makes of it.
    pub(super) async fn read_each(
        self: Arc<Self>,
        addresses: Vec<ChunkAddress>,
        kind: fn(LocalGroup) -> Read,
        to: mpsc::Sender<Read>,
    ) -> Result<(), TransferError> {
        let addresses: Arc<[ChunkAddress]> = addresses.into();
        let mut at = 0;
        while at < addresses.len() {
            let mut chunks = self.read_group(&addresses, at, None).await?;
            let mut turn = None;
            if chunks.is_empty() {
                let next = Arc::clone(&self.turn).acquire_owned().await;
                turn = Some(next.expect("the semaphore is never closed"));
                chunks = self.read_group(&addresses, at, turn.as_ref()).await?;
            }
            at += chunks.len();
            let group = LocalGroup {
                chunks,
                _turn: turn,
            };
            if to.send(kind(group)).await.is_err() {
                // Who has stopped sending wants no more.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads some chunks from `at` on: those before a long one, which comes alone, and only to whom has the turn.
    async fn read_group(
        self: &Arc<Self>,
        addresses: &Arc<[ChunkAddress]>,
        at: usize,
        turn: Option<&OwnedSemaphorePermit>,
    ) -> Result<Vec<LocalChunk>, TransferError> {
        let (reader, addresses, has_turn) =
            (Arc::clone(self), Arc::clone(addresses), turn.is_some());
        let read = move || reader.read(&addresses[at..], has_turn);
        self.pool.run(read).await
    }

    fn read(
        &self,
        addresses: &[ChunkAddress],
        has_turn: bool,
    ) -> Result<Vec<LocalChunk>, TransferError> {
        let (mut decoder, mut encoder) = (Decoder::new(), None);
        let (mut group, mut bytes) = (Vec::new(), 0);
        for &address in addresses.iter().take(GROUP_CHUNKS) {
            let Some(place) = self.store.find(address)? else {
                return Err(self.missing(address));
            };
            let (len, dictionary) = match place {
                Place::File { file, span } => {
                    let dictionary = span.dictionary.map(|dictionary| (file, dictionary));
                    (span.data.len, dictionary)
                }
                Place::Journal { span } => (span.len, None),
            };
            let is_long = len > LONG_BYTES;
            if is_long && !(has_turn && group.is_empty()) {
                break;
            }
            let (mut stored, mut chunk) = (Vec::new(), Vec::new());
            (self.store).read_both(place, &mut decoder, &mut stored, &mut chunk)?;
            let dictionary = match dictionary {
                Some(place) if self.takes_frames => Some(self.dictionary(place)?),
                Some(_) => {
                    let encoder = encoder.get_or_insert_with(|| Box::new(record::Encoder::new()));
                    stored.clear();
                    self.encode(encoder, &chunk, &mut stored)?;
                    None
                }
                None => None,
            };
            bytes += chunk.len();
            group.push(LocalChunk {
                address,
                chunk,
                stored,
                dictionary,
            });
            if is_long || bytes >= GROUP_BYTES {
                break;
            }
        }
        self.check(&group)?;
        Ok(group)
    }

    fn check(&self, group: &[LocalChunk]) -> Result<(), CheckError> {
        let addresses: Vec<_> = group.iter().map(|chunk| chunk.address).collect();
        let chunks: Vec<_> = group.iter().map(|chunk| &chunk.chunk).collect();
        check_chunks(&addresses, &chunks).map_err(|source| CheckError::Address {
            path: self.store.directory().to_owned(),
            source,
        })
    }

    fn encode(
        &self,
        encoder: &mut record::Encoder,
        chunk: &[u8],
        stored: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let encoded = encoder.encode(chunk, stored);
        encoded.map(drop).map_err(|source| StoreError::Encode {
            path: self.store.directory().to_owned(),
            source,
        })
    }

    /// A dictionary of a file of the store, read once.
    fn dictionary(&self, place: DictionaryPlace) -> Result<Arc<StoredDictionary>, StoreError> {
        let known = || {
            let known = self.dictionaries.lock();
            known.unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(dictionary) = known().get(&place) {
            return Ok(Arc::clone(dictionary));
        }
        let (file, span) = place;
        let dictionary = Arc::new(self.store.files()[file].read_dictionary(span)?);
        let mut known = known();
        if known.len() >= DICTIONARIES {
            known.clear();
        }
        known.insert(place, Arc::clone(&dictionary));
        Ok(dictionary)
    }

    fn missing(&self, address: ChunkAddress) -> TransferError {
        match self.store.ghosts().contains(&address) {
            true => TransferError::Shallow { address },
            false => TransferError::Read {
                source: ReadError::Missing { address },
            },
        }
    }
}
