//! Where chunks that come one by one gather, until all of them are there.
//!
//! ```text
//! <folder>/chunks.records, chunks.list    the table file that grows
//! <folder>/<id>                           those that became large enough
//! ```
//!
//! What is there from an attempt that was cut off is kept: a chunk that lies here need not come again. Everything here
//! blocks.

use std::path::{Path, PathBuf};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::noms_dir::{PartialFile, StoreError, StoredFile, land};
use holdfast_chunkstore::objects::durable;

use crate::remote::RemoteChunk;

/// The name of the file that grows.
const GROWING: &str = "chunks";

/// A file is finished when it is so long; its index is in memory until then.
const FILE_BYTES: u64 = 512 << 20;

/// A folder of chunks that no store lists yet.
#[derive(Debug)]
pub(crate) struct Landing {
    folder: PathBuf,
    growing: PartialFile,
    /// Finished by an earlier attempt.
    kept: Vec<StoredFile>,
    /// Finished by this one.
    finished: Vec<ListedFile>,
    encoder: record::Encoder,
    unflushed: u64,
}

/// So many bytes come before they are brought to the system.
const FLUSH_BYTES: u64 = 4 << 20;

impl Landing {
    /// Begins in a folder, or goes on with what lies there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let io = |action| {
            move |source| StoreError::Io {
                action,
                path: folder.to_owned(),
                source,
            }
        };
        durable::create_root(folder).map_err(io("make"))?;
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io("list"))? {
            let name = entry.map_err(io("list"))?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let Some(id): Option<TableFileId> = id else {
                continue;
            };
            kept.extend(StoredFile::open(folder, id)?);
        }
        Ok(Self {
            folder: folder.to_owned(),
            growing: PartialFile::open(folder, GROWING)?,
            kept,
            finished: Vec::new(),
            encoder: record::Encoder::new(),
            unflushed: 0,
        })
    }

    /// How many chunks an earlier attempt left here.
    pub(crate) fn kept_count(&self) -> u64 {
        let finished = self.kept.iter().map(|file| u64::from(file.count()));
        finished.sum::<u64>() + self.growing.kept().len() as u64
    }

    /// Reads a chunk that an earlier attempt left here.
    pub(crate) fn read_kept(
        &self,
        address: ChunkAddress,
        decoder: &mut Decoder,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for file in &self.kept {
            if let Some(span) = file.find(address)? {
                let mut chunk = Vec::new();
                file.read_chunk(span, decoder, &mut chunk)?;
                return Ok(Some(chunk));
            }
        }
        self.growing.read_kept(address)
    }

    /// Adds a chunk that was checked and is not here yet.
    pub(crate) fn add(
        &mut self,
        address: ChunkAddress,
        chunk: &RemoteChunk,
    ) -> Result<(), StoreError> {
        let mut encoded = Vec::new();
        let stored: &[u8] = match &chunk.record {
            Some(record) => record,
            None => {
                let encode = |source| StoreError::Encode {
                    path: self.folder.clone(),
                    source,
                };
                self.encoder
                    .encode(&chunk.chunk, &mut encoded)
                    .map_err(encode)?;
                &encoded
            }
        };
        let chunk_len = u32::try_from(chunk.chunk.len()).unwrap_or(u32::MAX);
        self.growing.append(address, stored, chunk_len)?;
        self.unflushed += stored.len() as u64;
        if self.unflushed >= FLUSH_BYTES {
            self.growing.flush()?;
            self.unflushed = 0;
        }
        if self.growing.len() >= FILE_BYTES {
            self.finished.extend(self.growing.finish(&self.folder)?);
        }
        Ok(())
    }

    /// Takes everything into a store, which lists it afterwards. The folder is the caller's to remove.
    pub(crate) fn land(mut self, store: &Path) -> Result<Vec<ListedFile>, StoreError> {
        self.finished.extend(self.growing.finish(store)?);
        let mut listed = Vec::new();
        for file in &self.kept {
            listed.push(ListedFile {
                id: file.id(),
                chunks: file.count(),
            });
        }
        listed.extend(self.finished);
        for file in &listed {
            let path = self.folder.join(file.id.to_string());
            if path.exists() {
                land(&path, store, file.id, FileKind::Table)?;
            }
        }
        Ok(listed)
    }
}
