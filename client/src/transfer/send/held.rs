//! Chunks that wait in a file until those below them are settled.
//!
//! ```text
//! <folder>/held/held.records, held.list   those of this attempt
//! <folder>/held/<id>                      those that earlier attempts left
//! ```
//!
//! Those that came from another remote need not come again: the next attempt finds them here. Everything here blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::StoredDictionary;
use holdfast_chunkstore::index::ByteSpan;
use holdfast_chunkstore::noms_dir::{PartialFile, StoreError, StoredFile};

use super::outgoing::{Form, whole_files};

/// How many files of earlier attempts are kept.
const FILES: usize = 16;

/// A chunk that waits in the file.
#[derive(Debug)]
pub(super) struct HeldChunk {
    pub(super) address: ChunkAddress,
    pub(super) chunk_len: u32,
    span: ByteSpan,
    /// What it was made with, if it is a frame.
    dictionary: Option<Arc<StoredDictionary>>,
}

impl HeldChunk {
    /// The form in which it is sent, of its bytes.
    pub(super) fn form<'a>(&'a self, stored: &'a [u8]) -> Form<'a> {
        match &self.dictionary {
            Some(dictionary) => Form::Frame {
                frame: stored,
                dictionary,
            },
            None => Form::Record(stored),
        }
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct HeldFile {
    file: PartialFile,
}

impl HeldFile {
    /// Begins one in `folder`, and returns those that earlier attempts left.
    pub(super) fn open(folder: &Path) -> Result<(Self, Vec<StoredFile>), StoreError> {
        let folder = held_folder(folder);
        std::fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        let mut file = PartialFile::open(&folder, "held")?;
        file.close(&folder)?;
        let mut kept = whole_files(&folder)?;
        for file in kept.drain(FILES.min(kept.len())..) {
            std::fs::remove_file(file.path()).map_err(StoreError::io("remove", file.path()))?;
        }
        Ok((Self { file }, kept))
    }

    /// Removes what earlier attempts left in `folder`.
    pub(super) fn forget(folder: &Path) -> Result<(), StoreError> {
        let folder = held_folder(folder);
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// Takes a chunk.
    pub(super) fn take(
        &mut self,
        address: ChunkAddress,
        form: Form<'_>,
        chunk_len: u32,
    ) -> Result<HeldChunk, StoreError> {
        let (stored, dictionary) = match form {
            Form::Record(stored) => (stored, None),
            Form::Frame { frame, dictionary } => (frame, Some(Arc::clone(dictionary))),
        };
        let offset = self.file.data_len();
        self.file.append(address, stored, chunk_len)?;
        let len = u32::try_from(stored.len()).expect("no longer one is taken");
        Ok(HeldChunk {
            address,
            chunk_len,
            span: ByteSpan { offset, len },
            dictionary,
        })
    }

    /// Reads the bytes of one that was taken.
    pub(super) fn read(&mut self, held: &HeldChunk) -> Result<Vec<u8>, StoreError> {
        self.file.read_added(held.span)
    }

    /// Brings what was taken to the system, so that it outlives this process.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.file.flush()
    }
}

fn held_folder(folder: &Path) -> PathBuf {
    folder.join("held")
}
