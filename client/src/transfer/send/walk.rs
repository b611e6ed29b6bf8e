//! What is missing at a remote, put into files chunk by chunk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::{Decoder, StoredDictionary};
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::noms_dir::{NomsDir, Place, StoreError};
use holdfast_doltdb::{ReadError, children};

use super::Sent;
use super::origin::Read;
use super::outgoing::{Form, Outgoing};
use crate::remote::OutgoingFile;
use crate::transfer::check::CheckError;
use crate::transfer::error::TransferError;
use crate::transfer::seen::Seen;

/// How many chunks are hashed together.
const CHECKED_AT_ONCE: usize = 64;

/// How many dictionaries are kept; Dolt's archives have one each, conjoined ones many.
const DICTIONARIES: usize = 64;

/// A file of the store, by its number, and where in it a dictionary lies.
type DictionaryPlace = (usize, ByteSpan);

/// Takes what is missing.
pub(super) struct Walk {
    /// Where chunks go; nothing when they are only counted.
    outgoing: Option<Outgoing>,
    folder: PathBuf,
    /// Whether zstd frames go along as they are.
    takes_frames: bool,
    seen: Seen,
    decoder: Decoder,
    encoder: record::Encoder,
    /// Those of the store that were needed last.
    dictionaries: HashMap<DictionaryPlace, Arc<StoredDictionary>>,
    sent: Sent,
}

/// What came of a batch.
pub(super) struct Found {
    pub(super) below: Vec<ChunkAddress>,
    pub(super) files: Vec<OutgoingFile>,
}

impl Walk {
    /// Puts chunks into files.
    pub(super) fn into_files(
        outgoing: Outgoing,
        roots: &[ChunkAddress],
    ) -> Result<Self, StoreError> {
        let (folder, takes_frames) = (outgoing.folder().to_owned(), outgoing.takes_frames());
        Self::new(Some(outgoing), folder, takes_frames, roots)
    }

    /// Counts chunks, and leaves nothing behind.
    pub(super) fn counting(roots: &[ChunkAddress], takes_frames: bool) -> Result<Self, StoreError> {
        Self::new(None, std::env::temp_dir(), takes_frames, roots)
    }

    fn new(
        outgoing: Option<Outgoing>,
        folder: PathBuf,
        takes_frames: bool,
        roots: &[ChunkAddress],
    ) -> Result<Self, StoreError> {
        let mut seen = Seen::new(&folder);
        for root in roots {
            seen.insert(*root)?;
        }
        Ok(Self {
            outgoing,
            folder,
            takes_frames,
            seen,
            decoder: Decoder::new(),
            encoder: record::Encoder::new(),
            dictionaries: HashMap::new(),
            sent: Sent::default(),
        })
    }

    /// What was taken so far.
    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// Finishes the last files.
    pub(super) fn finish_files(&mut self) -> Result<Vec<OutgoingFile>, StoreError> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.finish_files(),
            None => Ok(Vec::new()),
        }
    }

    /// Puts chunks into files, and returns what they point at.
    pub(super) fn take(&mut self, read: Read) -> Result<Found, TransferError> {
        let mut found = Found {
            below: Vec::new(),
            files: Vec::new(),
        };
        match read {
            Read::Waiting { store, addresses } => {
                for group in addresses.chunks(CHECKED_AT_ONCE) {
                    self.take_group(&store, group, &mut found)?;
                }
            }
            Read::Came(mut parcel) => {
                for (address, chunk) in std::mem::take(&mut parcel.chunks) {
                    let record = match &chunk.record {
                        Some(record) => record.clone(),
                        None => Bytes::from(self.encoded(&chunk.chunk)?),
                    };
                    self.add(address, Form::Record(&record), &chunk.chunk, &mut found)?;
                }
            }
        }
        Ok(found)
    }

    fn take_group(
        &mut self,
        store: &Arc<NomsDir>,
        group: &[ChunkAddress],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        let (mut stored, mut chunks) = (Vec::new(), Vec::new());
        for address in group {
            let (mut bytes, mut chunk) = (Vec::new(), Vec::new());
            let Some(place) = store.find(*address)? else {
                return Err(missing(store, *address));
            };
            store.read_both(place, &mut self.decoder, &mut bytes, &mut chunk)?;
            let dictionary = match place {
                Place::File { file, span } => span.dictionary.map(|span| (file, span)),
                Place::Journal { .. } => None,
            };
            stored.push(match dictionary {
                Some(place) if self.takes_frames => (bytes, Some(self.dictionary(store, place)?)),
                Some(_) => (self.encoded(&chunk)?, None),
                None => (bytes, None),
            });
            chunks.push(chunk);
        }
        check_chunks(group, &chunks).map_err(|source| CheckError::Address {
            path: store.directory().to_owned(),
            source,
        })?;
        for ((address, (bytes, dictionary)), chunk) in group.iter().zip(&stored).zip(&chunks) {
            let form = match dictionary {
                Some(dictionary) => Form::Frame {
                    frame: bytes,
                    dictionary,
                },
                None => Form::Record(bytes),
            };
            self.add(*address, form, chunk, found)?;
        }
        Ok(())
    }

    /// A dictionary of a file of the store, read once.
    fn dictionary(
        &mut self,
        store: &NomsDir,
        place: DictionaryPlace,
    ) -> Result<Arc<StoredDictionary>, StoreError> {
        if let Some(known) = self.dictionaries.get(&place) {
            return Ok(Arc::clone(known));
        }
        let (file, span) = place;
        let dictionary = Arc::new(store.files()[file].read_dictionary(span)?);
        if self.dictionaries.len() >= DICTIONARIES {
            self.dictionaries.clear();
        }
        self.dictionaries.insert(place, Arc::clone(&dictionary));
        Ok(dictionary)
    }

    /// Takes a chunk that was checked.
    fn add(
        &mut self,
        address: ChunkAddress,
        form: Form<'_>,
        chunk: &[u8],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        let mut below = Vec::new();
        let told = children(chunk, &mut |child| below.push(child));
        told.map_err(|source| ReadError::Decode { address, source })?;
        self.seen.insert_new(&mut below)?;
        found.below.append(&mut below);
        self.sent.chunks += 1;
        self.sent.bytes += form.len() as u64;
        if let Some(outgoing) = &mut self.outgoing
            && !outgoing.has(address)?
        {
            found
                .files
                .extend(outgoing.add(address, form, chunk.len())?);
        }
        Ok(())
    }

    fn encoded(&mut self, chunk: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut record = Vec::new();
        let encoded = self.encoder.encode(chunk, &mut record);
        encoded.map_err(|source| StoreError::Encode {
            path: self.folder.clone(),
            source,
        })?;
        Ok(record)
    }
}

fn missing(store: &NomsDir, address: ChunkAddress) -> TransferError {
    match store.ghosts().contains(&address) {
        true => TransferError::Shallow { address },
        false => TransferError::Read {
            source: ReadError::Missing { address },
        },
    }
}
