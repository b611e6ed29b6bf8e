//! What is missing at a remote, put into files chunk by chunk, each behind everything below it.

use std::path::PathBuf;

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::noms_dir::StoreError;

use super::Sent;
use super::held::{HeldChunk, HeldFile};
use super::order::Order;
use super::origin::Read;
use super::outgoing::{Form, Outgoing};
use crate::remote::{OutgoingFile, RemoteChunk};
use crate::transfer::error::TransferError;
use crate::transfer::seen::Seen;
use crate::transfer::waiting::{Below, Kind};

/// Takes what is missing.
pub(super) struct Walk {
    /// Where chunks go; nothing when they are only counted.
    files: Option<Files>,
    folder: PathBuf,
    seen: Seen,
    encoder: record::Encoder,
    sent: Sent,
}

/// Where chunks go.
struct Files {
    outgoing: Outgoing,
    order: Order<HeldChunk>,
    held: HeldFile,
}

/// What came of a batch.
#[derive(Default)]
pub(super) struct Found {
    /// How many chunks with something below them came, and what that is.
    pub(super) nodes: usize,
    pub(super) below: Below,
    /// Files that are whole, in groups that become part of the remote together.
    pub(super) groups: Vec<Vec<OutgoingFile>>,
}

impl Walk {
    /// Puts chunks into files.
    pub(super) fn into_files(
        outgoing: Outgoing,
        held: HeldFile,
        roots: &[ChunkAddress],
    ) -> Result<Self, StoreError> {
        let folder = outgoing.folder().to_owned();
        let mut order = Order::new();
        for root in roots {
            order.expect(*root);
        }
        let files = Files {
            outgoing,
            order,
            held,
        };
        Self::new(Some(files), folder, roots)
    }

    /// Counts chunks, and leaves nothing behind.
    pub(super) fn counting(roots: &[ChunkAddress]) -> Result<Self, StoreError> {
        Self::new(None, std::env::temp_dir(), roots)
    }

    fn new(
        files: Option<Files>,
        folder: PathBuf,
        roots: &[ChunkAddress],
    ) -> Result<Self, StoreError> {
        let mut seen = Seen::new(&folder);
        for root in roots {
            seen.insert(*root)?;
        }
        Ok(Self {
            files,
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
        match &mut self.files {
            Some(files) => {
                assert!(files.order.is_settled(), "all was walked over");
                files.outgoing.finish_files()
            }
            None => Ok(Vec::new()),
        }
    }

    /// Puts chunks into files, and returns what they point at.
    pub(super) fn take(&mut self, read: Read) -> Result<Found, TransferError> {
        let mut found = Found::default();
        match read {
            Read::Present(addresses) => {
                for address in addresses {
                    self.settle(address, &mut found)?;
                }
            }
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
            Read::Kept(chunks) => self.add_remote(chunks, &mut found)?,
            Read::Came(mut parcel) => {
                self.add_remote(std::mem::take(&mut parcel.chunks), &mut found)?;
                // It need not come again.
                if let Some(files) = &mut self.files {
                    files.held.flush()?;
                    files.outgoing.flush()?;
                }
            }
        }
        Ok(found)
    }

    fn add_remote(
        &mut self,
        chunks: Vec<(ChunkAddress, RemoteChunk)>,
        found: &mut Found,
    ) -> Result<(), TransferError> {
        for (address, chunk) in chunks {
            let record = match &chunk.record {
                Some(record) => record.clone(),
                None => Bytes::from(self.encoded(&chunk.chunk)?),
            };
            self.add(address, Form::Record(&record), &chunk.chunk, found)?;
        }
        Ok(())
    }

    /// Takes a chunk that was checked.
    fn add(
        &mut self,
        address: ChunkAddress,
        form: Form<'_>,
        chunk: &[u8],
        found: &mut Found,
    ) -> Result<(), TransferError> {
        let unsettled = self.pass(address, chunk, found)?;
        self.sent.chunks += 1;
        self.sent.bytes += form.len() as u64;
        let Some(files) = &mut self.files else {
            return Ok(());
        };
        let chunk_len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        if unsettled.is_empty() {
            found.put(files.outgoing.add(address, form, chunk_len)?);
            return self.settle(address, found);
        }
        let held = files.held.take(address, form, chunk_len)?;
        files.order.hold(held, &unsettled);
        Ok(())
    }

    /// Notes what a chunk points at, and returns what of that is not settled.
    fn pass(
        &mut self,
        address: ChunkAddress,
        chunk: &[u8],
        found: &mut Found,
    ) -> Result<Vec<ChunkAddress>, TransferError> {
        let mut below = Below::default();
        below.add_children(address, chunk)?;
        found.nodes += usize::from(!below.is_empty());
        let mut unsettled = Vec::new();
        for kind in Kind::BOTH {
            let mut new = std::mem::take(below.of(kind));
            if let Some(files) = &self.files {
                let is_unsettled = |child: &mut ChunkAddress| files.order.is_unsettled(*child);
                unsettled.extend(new.extract_if(.., is_unsettled));
            }
            self.seen.insert_new(&mut new)?;
            if let Some(files) = &mut self.files {
                new.iter().for_each(|child| files.order.expect(*child));
                unsettled.extend_from_slice(&new);
            }
            found.below.of(kind).append(&mut new);
        }
        unsettled.sort_unstable();
        unsettled.dedup();
        Ok(unsettled)
    }

    /// Notes that a chunk is in a file or at the remote, and puts those into files that waited for it last.
    fn settle(&mut self, address: ChunkAddress, found: &mut Found) -> Result<(), TransferError> {
        let Some(files) = &mut self.files else {
            return Ok(());
        };
        let mut settled = vec![address];
        while let Some(address) = settled.pop() {
            for held in files.order.settle(address) {
                let stored = files.held.read(&held)?;
                let form = held.form(&stored);
                found.put(files.outgoing.add(held.address, form, held.chunk_len)?);
                settled.push(held.address);
            }
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

impl Found {
    fn put(&mut self, files: Vec<OutgoingFile>) {
        if !files.is_empty() {
            self.groups.push(files);
        }
    }
}
