//! Changes to a store that others use: under its lock, from the manifest to the journal.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::create::NewFile;
use super::error::{StoreError, io};
use super::joining::{Joined, join_small};
use super::lock::StoreLock;
use super::{Journal, NomsDir, StoredFile, layout};
use crate::address::{ChunkAddress, RootAddress};
use crate::format::journal::encode_chunk;
use crate::format::manifest::{JOURNAL_ID, ListedFile, Manifest};
use crate::format::{FileKind, table};
use crate::objects::durable;

/// A store that nobody else writes as long as this lives.
#[derive(Debug)]
pub struct StoreWriter {
    store: Arc<NomsDir>,
    _lock: StoreLock,
}

impl StoreWriter {
    /// Takes the lock of the store in `directory`, and opens it.
    ///
    /// # Errors
    /// [`StoreError::Held`] when another process holds the lock; a Dolt process holds that of a database as long as
    /// it runs.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        if !directory.is_dir() {
            return Err(StoreError::NoStore {
                path: directory.to_owned(),
            });
        }
        let lock = StoreLock::take(directory)?;
        let store = Arc::new(NomsDir::open(directory)?);
        Ok(Self { store, _lock: lock })
    }

    /// The store as it is.
    pub fn store(&self) -> &Arc<NomsDir> {
        &self.store
    }

    /// Begins a file.
    pub fn begin_file(&self) -> Result<NewFile, StoreError> {
        NewFile::begin(self.store.directory())
    }

    /// Moves the root, lists files that landed before, and adds a few chunks: to the journal, or in a file of their own
    /// where there is none. `seconds` is the time that the journal notes. What is in the files and the chunks must,
    /// together with what is there, hold everything below the root. The lock is given back.
    pub fn commit(
        self,
        root: RootAddress,
        added: &[ListedFile],
        chunks: &[(ChunkAddress, Bytes)],
        seconds: u64,
    ) -> Result<(), StoreError> {
        let directory = self.store.directory();
        let mut added = added.to_vec();
        let mut records = Vec::new();
        match self.store.journal() {
            Some(journal) => {
                encode_chunks(journal.path(), chunks, &mut records)?;
                // A crash of Dolt may have left one that is not listed: it would find the root and not the chunks.
                added.push(ListedFile {
                    id: JOURNAL_ID,
                    chunks: u32::try_from(journal.count()).unwrap_or(u32::MAX),
                });
            }
            None => added.extend(self.write_file(chunks)?),
        }
        let old = self.store.manifest();
        let is_new = |file: &ListedFile| !old.files.iter().any(|known| known.id == file.id);
        added.retain(is_new);
        let is_listing = !added.is_empty() || self.store.journal().is_none();
        let mut end = self.store.journal().map_or(0, Journal::end);
        if is_listing && let Some(journal) = self.store.journal() {
            // Before the manifest names a root that needs them.
            end = append(journal, end, &records)?;
            records.clear();
        }
        let mut joined = None;
        if is_listing {
            let mut files = old.files.clone();
            files.extend(added);
            // It hinders no commit: the next one tries it again.
            joined = self.join_small(&files).unwrap_or_default();
            if let Some(joined) = &joined {
                joined.replace_in(&mut files);
            }
            // The names of the files, before they are listed.
            durable::sync_directory(directory).map_err(io("sync", directory))?;
            replace_manifest(directory, &old.replaced(root, files))?;
        }
        if let Some(journal) = self.store.journal() {
            // A root in the manifest alone is undone by Dolt's next start.
            records.extend(journal.encode_root(root, seconds));
            append(journal, end, &records)?;
        }
        if let Some(joined) = joined {
            joined.remove_parts();
        }
        Ok(())
    }

    /// Joins the small ones of the files that will be listed, where there are many.
    fn join_small(&self, listed: &[ListedFile]) -> Result<Option<Joined>, StoreError> {
        let directory = self.store.directory();
        let known = self.store.files().iter();
        let known = known.filter(|file| file.path().parent() == Some(directory));
        let known: HashMap<_, _> = known.map(|file| (file.id(), Arc::clone(file))).collect();
        let mut files = Vec::with_capacity(listed.len());
        for file in listed.iter().filter(|file| file.id != JOURNAL_ID) {
            match known.get(&file.id) {
                Some(known) => files.push(Arc::clone(known)),
                None => files.extend(StoredFile::open(directory, file.id)?.map(Arc::new)),
            }
        }
        join_small(directory, &files)
    }

    /// Writes chunks into a table file; none without chunks.
    fn write_file(
        &self,
        chunks: &[(ChunkAddress, Bytes)],
    ) -> Result<Option<ListedFile>, StoreError> {
        if chunks.is_empty() {
            return Ok(None);
        }
        let encode = |source| StoreError::Encode {
            path: self.store.directory().to_owned(),
            source,
        };
        let mut writer = table::Writer::new(self.begin_file()?);
        for (address, chunk) in chunks {
            writer.append_chunk(*address, chunk).map_err(encode)?;
        }
        let (file, written) = writer.finish().map_err(encode)?;
        file.land(written.id, FileKind::Table)?;
        Ok(Some(ListedFile {
            id: written.id,
            chunks: written.count,
        }))
    }
}

/// Writes records behind the valid part of a journal, which ends at `end`, durably, and returns where it ends then.
fn append(journal: &Journal, end: u64, records: &[u8]) -> Result<u64, StoreError> {
    let path = journal.path();
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(io("open for writing", path))?;
    file.set_len(end).map_err(io("cut the torn end of", path))?;
    file.write_all_at(records, end)
        .and_then(|()| file.sync_all())
        .map_err(io("add to", path))?;
    Ok(end + records.len() as u64)
}

/// Appends the journal's records of chunks.
fn encode_chunks(
    path: &Path,
    chunks: &[(ChunkAddress, Bytes)],
    records: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let encode = |source| StoreError::Encode {
        path: path.to_owned(),
        source,
    };
    let mut encoder = table::record::Encoder::new();
    for (address, chunk) in chunks {
        let mut stored = Vec::new();
        encoder.encode(chunk, &mut stored).map_err(encode)?;
        encode_chunk(*address, &stored, records).map_err(encode)?;
    }
    Ok(())
}

/// Puts a manifest in the place of the one there is, if there is one; durably.
pub(super) fn replace_manifest(directory: &Path, manifest: &Manifest) -> Result<(), StoreError> {
    let path = directory.join(layout::MANIFEST);
    let text = manifest.encode();
    durable::write_over(&path, layout::TEMPORARY_MANIFEST, 0o600, text.as_bytes())
        .map_err(io("write", &path))
}
