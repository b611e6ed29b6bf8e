//! Which directory it is, and what is read there.
//!
//! The store that was opened last is kept, and opened anew as soon as one of the files changed in which its changes
//! are seen. Everything here blocks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::noms_dir::{NomsDir, Place as ChunkPlace, StoreError, StoreStamp};
use holdfast_chunkstore::{ChunkAddress, TableFileId};

use crate::remote::passed_over::PassedOver;
use crate::remote::{MOST_BYTES, RemoteChunk, RemoteError};

/// Where the store of a database lies in its directory.
const STORE_OF_DATABASE: &str = ".dolt/noms";

/// The directory of a store.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    opened: Mutex<Option<Opened>>,
    /// Damaged files that do not count here.
    pub(super) passed_over: PassedOver,
}

/// A store, and what it looked like before it was opened.
#[derive(Debug)]
struct Opened {
    stamp: StoreStamp,
    store: Arc<NomsDir>,
}

impl Place {
    /// The directory itself, or the store of the database in it.
    pub(super) fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let has_store =
            |directory: &Path| StoreStamp::of(directory).is_ok_and(|stamp| stamp.has_store());
        let inside = path.join(STORE_OF_DATABASE);
        let is_database = !has_store(&path) && has_store(&inside);
        Self {
            directory: if is_database { inside } else { path },
            opened: Mutex::default(),
            passed_over: PassedOver::default(),
        }
    }

    /// Where the store lies, or will lie.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it is the store of a database, and not one that is only pushed to and fetched from.
    pub(super) fn is_of_database(&self) -> bool {
        self.directory.ends_with(STORE_OF_DATABASE)
    }

    /// Opens the store as it is now; nothing where there is none.
    pub(super) fn fresh(&self) -> Result<Option<Arc<NomsDir>>, RemoteError> {
        *self.lock() = None;
        self.current()
    }

    /// The store that was opened before, unless it has changed. Whoever asks meanwhile waits, so that it is opened
    /// once.
    pub(super) fn current(&self) -> Result<Option<Arc<NomsDir>>, RemoteError> {
        let mut opened = self.lock();
        let stamp = StoreStamp::of(&self.directory)?;
        if !stamp.has_store() {
            *opened = None;
            return Ok(None);
        }
        match &*opened {
            Some(known) if known.stamp == stamp => Ok(Some(Arc::clone(&known.store))),
            _ => {
                let without = self.passed_over.all();
                let store = Arc::new(NomsDir::open_without(&self.directory, &without)?);
                *opened = Some(Opened {
                    stamp,
                    store: Arc::clone(&store),
                });
                Ok(Some(store))
            }
        }
    }

    /// Counts damaged files as not listed.
    pub(super) fn pass_over(&self, files: &[TableFileId]) {
        self.passed_over.set(files);
        *self.lock() = None;
    }

    /// Counts a file again that was sent again.
    pub(super) fn count_again(&self, file: TableFileId) {
        self.passed_over.forget([file]);
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Opened>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which of some chunks are not there. A ghost is not.
    pub(super) fn absent(
        &self,
        addresses: Vec<ChunkAddress>,
    ) -> Result<Vec<ChunkAddress>, RemoteError> {
        let Some(store) = self.current()? else {
            return Ok(addresses);
        };
        let mut absent = Vec::new();
        for address in addresses {
            if store.find(address)?.is_none() {
                absent.push(address);
            }
        }
        Ok(absent)
    }

    /// How long the stored forms of chunks are.
    pub(super) fn stored_lens(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<u32>>, RemoteError> {
        let Some(store) = self.current()? else {
            return Ok(vec![None; addresses.len()]);
        };
        let len = |address: &ChunkAddress| {
            let place = store.find(*address)?;
            Ok(place.map(|place| match place {
                ChunkPlace::File { span, .. } => span.data.len,
                ChunkPlace::Journal { span } => span.len,
            }))
        };
        addresses.iter().map(len).collect()
    }

    /// Reads the first of some chunks, as many as may be in memory, and checks each against its address.
    pub(super) fn read(
        &self,
        addresses: &[ChunkAddress],
    ) -> Result<Vec<Option<RemoteChunk>>, RemoteError> {
        let Some(store) = self.current()? else {
            return Ok(vec![None; addresses.len()]);
        };
        let mut decoder = Decoder::new();
        let (mut chunks, mut bytes) = (Vec::with_capacity(addresses.len()), 0);
        for address in addresses {
            if bytes >= MOST_BYTES {
                break;
            }
            let place = store.find(*address)?;
            let read = place.map(|place| read(&store, *address, place, &mut decoder));
            let chunk = read.transpose()?;
            bytes += chunk.as_ref().map_or(0, |chunk| chunk.chunk.len());
            chunks.push(chunk);
        }
        let found = addresses.iter().zip(&chunks);
        let found = found.filter_map(|(address, chunk)| Some((*address, &chunk.as_ref()?.chunk)));
        let (claimed, bytes): (Vec<_>, Vec<_>) = found.unzip();
        check_chunks(&claimed, &bytes).map_err(|source| RemoteError::OtherChunk { source })?;
        Ok(chunks)
    }
}

/// Reads a chunk, and keeps its stored form where that is a record as in a table file.
fn read(
    store: &NomsDir,
    address: ChunkAddress,
    place: ChunkPlace,
    decoder: &mut Decoder,
) -> Result<RemoteChunk, StoreError> {
    let (mut stored, mut chunk) = (Vec::new(), Vec::new());
    let place = store.read_both(address, place, decoder, &mut stored, &mut chunk)?;
    let is_record = match place {
        ChunkPlace::Journal { .. } => true,
        ChunkPlace::File { span, .. } => span.dictionary.is_none(),
    };
    Ok(RemoteChunk {
        chunk: Bytes::from(chunk),
        record: is_record.then(|| Bytes::from(stored)),
    })
}

/// Says what was attempted on what.
pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> RemoteError {
    RemoteError::Store {
        source: StoreError::Io {
            action,
            path: path.to_owned(),
            source,
        },
    }
}
