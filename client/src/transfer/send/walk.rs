//! What is missing at a remote, put into files chunk by chunk.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::noms_dir::{NomsDir, StoreError};
use holdfast_doltdb::{ReadError, children};

use super::Sent;
use super::origin::Read;
use super::outgoing::Outgoing;
use crate::remote::OutgoingFile;
use crate::transfer::check::CheckError;
use crate::transfer::error::TransferError;
use crate::transfer::seen::Seen;

/// How many chunks are hashed together.
const CHECKED_AT_ONCE: usize = 64;

/// Takes what is missing.
pub(super) struct Walk {
    /// Where chunks go; nothing when they are only counted.
    outgoing: Option<Outgoing>,
    folder: PathBuf,
    seen: Seen,
    decoder: Decoder,
    encoder: record::Encoder,
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
        let folder = outgoing.folder().to_owned();
        Self::new(Some(outgoing), folder, roots)
    }

    /// Counts chunks, and leaves nothing behind.
    pub(super) fn counting(roots: &[ChunkAddress]) -> Result<Self, StoreError> {
        Self::new(None, std::env::temp_dir(), roots)
    }

    fn new(
        outgoing: Option<Outgoing>,
        folder: PathBuf,
        roots: &[ChunkAddress],
    ) -> Result<Self, StoreError> {
        let mut seen = Seen::new(&folder);
        for root in roots {
            seen.insert(*root)?;
        }
        Ok(Self {
            outgoing,
            folder,
            seen,
            decoder: Decoder::new(),
            encoder: record::Encoder::new(),
            sent: Sent::default(),
        })
    }

    /// What was taken so far.
    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    /// Finishes the last file; nothing without chunks.
    pub(super) fn finish_file(&mut self) -> Result<Option<OutgoingFile>, StoreError> {
        match &mut self.outgoing {
            Some(outgoing) => outgoing.finish_file(),
            None => Ok(None),
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
            Read::Came(chunks) => {
                for (address, chunk) in chunks {
                    let record = match &chunk.record {
                        Some(record) => record.clone(),
                        None => Bytes::from(self.encoded(&chunk.chunk)?),
                    };
                    self.add(address, &record, &chunk.chunk, &mut found)?;
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
        let (mut records, mut chunks) = (Vec::new(), Vec::new());
        for address in group {
            let (mut record, mut chunk) = (Vec::new(), Vec::new());
            let Some(place) = store.find(*address)? else {
                return Err(missing(store, *address));
            };
            store.read_record(place, &mut self.decoder, &mut record, &mut chunk)?;
            if record.is_empty() {
                record = self.encoded(&chunk)?;
            }
            records.push(record);
            chunks.push(chunk);
        }
        check_chunks(group, &chunks).map_err(|source| CheckError::Address {
            path: store.directory().to_owned(),
            source,
        })?;
        for ((address, record), chunk) in group.iter().zip(&records).zip(&chunks) {
            self.add(*address, record, chunk, found)?;
        }
        Ok(())
    }

    /// Takes a chunk that was checked.
    fn add(
        &mut self,
        address: ChunkAddress,
        record: &[u8],
        chunk: &[u8],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        let mut below = Vec::new();
        let told = children(chunk, &mut |child| below.push(child));
        told.map_err(|source| ReadError::Decode { address, source })?;
        self.seen.insert_new(&mut below)?;
        found.below.append(&mut below);
        self.sent.chunks += 1;
        self.sent.bytes += record.len() as u64;
        if let Some(outgoing) = &mut self.outgoing
            && !outgoing.has(address)?
        {
            found
                .files
                .extend(outgoing.add(address, record, chunk.len())?);
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
