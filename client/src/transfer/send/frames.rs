//! An archive that grows, of chunks that are stored as zstd frames and go along as they are.
//!
//! It is not continued: it is made anew from what lies on this machine. Everything here blocks.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::{StoredDictionary, Writer};
use holdfast_chunkstore::format::{EncodeError, FileKind};
use holdfast_chunkstore::id::IdSource;
use holdfast_chunkstore::noms_dir::{StoreError, file_name};
use holdfast_chunkstore::objects::durable;

use crate::remote::OutgoingFile;

/// Frames on their way into an archive.
#[derive(Debug)]
pub(super) struct GrowingArchive {
    folder: PathBuf,
    /// Nothing before the first frame.
    writer: Option<Box<Writer<File>>>,
}

impl GrowingArchive {
    /// Begins one in `folder`; nothing is written yet.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            writer: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("frames")
    }

    /// How long the archive is so far, without its index.
    pub(super) fn len(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.len())
    }

    /// Adds a frame. The caller vouches for all three.
    pub(super) fn add(
        &mut self,
        address: ChunkAddress,
        frame: &[u8],
        dictionary: &StoredDictionary,
    ) -> Result<(), StoreError> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let path = self.path();
                let mut file = OpenOptions::new();
                let file = file.write(true).create(true).truncate(true).open(&path);
                let file = file.map_err(StoreError::io("make", &path))?;
                // Whoever sends it digests it, on another thread.
                Box::new(Writer::new(file).without_md5())
            }
        };
        let appended = writer.append_frame(address, frame, dictionary);
        appended.map_err(|source| self.encode(source))?;
        self.writer = Some(writer);
        Ok(())
    }

    /// Finishes the archive; nothing without frames.
    pub(super) fn finish(&mut self) -> Result<Option<OutgoingFile>, StoreError> {
        let Some(writer) = self.writer.take() else {
            return Ok(None);
        };
        let version = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
        // The id is the hash of all bytes. With these nobody can tell it before, and have another file take it.
        let unique = IdSource::from_system().upload();
        let metadata = [
            ("dolt_version", version.to_owned()),
            ("holdfast_file", unique.to_string()),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
        let finished = writer.finish(&BTreeMap::from(metadata));
        let (_, written) = finished.map_err(|source| self.encode(source))?;
        let path = self.folder.join(file_name(written.id, FileKind::Archive));
        durable::rename_only(&self.path(), &path).map_err(StoreError::io("name", &path))?;
        Ok(Some(OutgoingFile {
            path,
            id: written.id,
            kind: FileKind::Archive,
            len: written.len,
            data_len: written.data_len,
            chunks: written.count,
        }))
    }

    fn encode(&self, source: EncodeError) -> StoreError {
        StoreError::Encode {
            path: self.path(),
            source,
        }
    }
}
