//! What is missing at a remote, put into files chunk by chunk.

use std::path::PathBuf;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::noms_dir::StoreError;
use holdfast_doltdb::{ReadError, children};

use super::Sent;
use super::origin::Read;
use super::outgoing::{Form, Outgoing};
use crate::remote::OutgoingFile;
use crate::transfer::error::TransferError;
use crate::transfer::seen::Seen;

/// Takes what is missing.
pub(super) struct Walk {
    /// Where chunks go; nothing when they are only counted.
    outgoing: Option<Outgoing>,
    folder: PathBuf,
    seen: Seen,
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
            encoder: record::Encoder::new(),
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
            Read::Local(group) => {
                for local in &group.chunks {
                    self.add(local.address, local.form(), &local.chunk, &mut found)?;
                }
            }
            Read::There(group) => {
                for local in &group.chunks {
                    self.pass(local.address, &local.chunk, &mut found)?;
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

    /// Takes a chunk that was checked.
    fn add(
        &mut self,
        address: ChunkAddress,
        form: Form<'_>,
        chunk: &[u8],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        self.pass(address, chunk, found)?;
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

    /// Notes what a chunk points at.
    fn pass(
        &mut self,
        address: ChunkAddress,
        chunk: &[u8],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        let mut below = Vec::new();
        let told = children(chunk, &mut |child| below.push(child));
        told.map_err(|source| ReadError::Decode { address, source })?;
        self.seen.insert_new(&mut below)?;
        found.below.append(&mut below);
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
