//! Where chunks that come one by one gather, until all of them are there.
//!
//! ```text
//! <folder>/chunks.records, chunks.list    the table file that grows
//! <folder>/<id>                           those that became large enough
//! ```
//!
//! What is there from an attempt that was cut off is kept: a chunk that lies here need not come again. Everything here
//! blocks.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::archive::Decoder;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{PartialFile, StoreError, StoredFile, land};

use super::seen::Seen;

/// The name of the file that grows.
const GROWING: &str = "chunks";

/// A file is finished when it is so long.
const FILE_BYTES: u64 = 512 << 20;

/// A file is finished when so many chunks are in it: some 10 MiB of memory while its index is written.
const FILE_CHUNKS: usize = 1 << 16;

/// A folder of chunks that no store lists yet.
#[derive(Debug)]
pub(crate) struct Landing {
    folder: PathBuf,
    growing: PartialFile,
    /// Finished by an earlier attempt.
    kept: Vec<StoredFile>,
    /// How many chunks an earlier attempt left, in all files.
    kept_count: u64,
    /// Finished by this one.
    finished: Vec<ListedFile>,
    /// How many chunks of an earlier attempt this one came to.
    used: u64,
}

impl Landing {
    /// Begins in a folder, or goes on with what lies there.
    pub(crate) fn open(folder: &Path) -> Result<Self, StoreError> {
        let io = |action| StoreError::io(action, folder);
        std::fs::create_dir_all(folder).map_err(io("make"))?;
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io("list"))? {
            let name = entry.map_err(io("list"))?.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            let Some(id): Option<TableFileId> = id else {
                continue;
            };
            match StoredFile::open(folder, id) {
                Ok(file) => kept.extend(file),
                // Torn by a crash of the machine: its chunks come again.
                Err(StoreError::File { path, .. }) => {
                    std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                }
                Err(error) => return Err(error),
            }
        }
        let growing = PartialFile::open(folder, GROWING)?;
        let finished = kept.iter().map(|file| u64::from(file.count()));
        let kept_count = finished.sum::<u64>() + growing.kept().len() as u64;
        Ok(Self {
            folder: folder.to_owned(),
            growing,
            kept,
            kept_count,
            finished: Vec::new(),
            used: 0,
        })
    }

    /// How many chunks an earlier attempt left here.
    pub(crate) fn kept_count(&self) -> u64 {
        self.kept_count
    }

    /// Reads a chunk that an earlier attempt left here; each is asked for once.
    pub(crate) fn read_kept(
        &mut self,
        address: ChunkAddress,
        decoder: &mut Decoder,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        for file in &self.kept {
            if let Some(span) = file.find(address)? {
                let mut chunk = Vec::new();
                let read = file.read_chunk(span, decoder, &mut chunk);
                // A crash of the machine may have torn the file: the chunk comes again.
                if read.is_err() || hash_chunk(&chunk) != address {
                    continue;
                }
                self.used += 1;
                return Ok(Some(chunk));
            }
        }
        let chunk = self.growing.read_kept(address)?;
        self.used += u64::from(chunk.is_some());
        Ok(chunk)
    }

    /// Adds the record of a chunk that was checked and is not here yet.
    pub(crate) fn add(
        &mut self,
        address: ChunkAddress,
        stored: &[u8],
        chunk_len: usize,
    ) -> Result<(), StoreError> {
        let chunk_len = u32::try_from(chunk_len).unwrap_or(u32::MAX);
        self.growing.append(address, stored, chunk_len)?;
        if self.growing.len() >= FILE_BYTES || self.growing.count() >= FILE_CHUNKS {
            self.finished.extend(self.growing.close(&self.folder)?);
        }
        Ok(())
    }

    /// Brings what was added to the system, so that it outlives this process.
    pub(crate) fn flush(&mut self) -> Result<(), StoreError> {
        self.growing.flush()
    }

    /// Takes everything into a store, which lists it afterwards. The folder is the caller's to remove.
    ///
    /// What an earlier attempt left counts only as far as this one walked over it: below the rest something may be
    /// missing, and a store must hold everything below each of its chunks. What was `left_out` was met and not walked
    /// over.
    pub(crate) fn land(
        mut self,
        store: &Path,
        seen: &Seen,
        left_out: &HashSet<ChunkAddress>,
    ) -> Result<Vec<ListedFile>, StoreError> {
        if self.used < self.kept_count() {
            return self.copy_walked(seen, left_out)?.land_all(store);
        }
        self.land_all(store)
    }

    fn land_all(&mut self, store: &Path) -> Result<Vec<ListedFile>, StoreError> {
        let mut listed: Vec<_> = self.kept.iter().map(listed).collect();
        listed.append(&mut self.finished);
        for file in &listed {
            let path = self.folder.join(file.id.to_string());
            land(&path, store, file.id, FileKind::Table)?;
        }
        listed.extend(self.growing.finish(store)?);
        Ok(listed)
    }

    /// Copies what was walked over into a folder of its own.
    fn copy_walked(
        &mut self,
        seen: &Seen,
        left_out: &HashSet<ChunkAddress>,
    ) -> Result<Self, StoreError> {
        let folder = self.folder.join("walked");
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(StoreError::io("remove", &folder))?;
        }
        let mut copy = Self::open(&folder)?;
        self.finished.extend(self.growing.close(&self.folder)?);
        let mut files = std::mem::take(&mut self.kept);
        for file in &self.finished {
            files.extend(StoredFile::open(&self.folder, file.id)?);
        }
        let mut decoder = Decoder::new();
        for file in &files {
            for address in file.addresses() {
                let address = address?;
                if left_out.contains(&address) || !seen.contains(address)? {
                    continue;
                }
                if let Some(span) = file.find(address)? {
                    let (mut stored, mut chunk) = (Vec::new(), Vec::new());
                    file.read_stored(span.data, &mut stored)?;
                    let read = file.read_chunk(span, &mut decoder, &mut chunk);
                    if read.is_err() || hash_chunk(&chunk) != address {
                        continue;
                    }
                    copy.add(address, &stored, chunk.len())?;
                }
            }
        }
        Ok(copy)
    }
}

fn listed(file: &StoredFile) -> ListedFile {
    ListedFile {
        id: file.id(),
        chunks: file.count(),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::format::table::record;

    use super::*;

    #[test]
    fn many_small_chunks_end_a_file_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = tempfile::tempdir_in(directory.path()).unwrap();
        let mut landing = Landing::open(&directory.path().join("landing")).unwrap();
        for number in 0..=FILE_CHUNKS as u64 {
            let mut address = [0; 20];
            address[..8].copy_from_slice(&number.to_be_bytes());
            landing
                .add(ChunkAddress::new(address), b"record", 1)
                .unwrap();
        }
        assert_eq!(landing.growing.count(), 1);
        let seen = Seen::new(directory.path());
        let mut counts: Vec<_> = landing.land(store.path(), &seen, &HashSet::new()).unwrap();
        counts.sort_unstable_by_key(|file| file.chunks);
        let counts: Vec<_> = counts.iter().map(|file| file.chunks as usize).collect();
        assert_eq!(counts, [1, FILE_CHUNKS]);
    }

    #[test]
    fn what_was_not_walked_over_does_not_land() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("landing");
        let store = tempfile::tempdir_in(directory.path()).unwrap();
        let add = |landing: &mut Landing, text: &'static [u8]| {
            let mut stored = Vec::new();
            record::Encoder::new().encode(text, &mut stored).unwrap();
            landing.add(hash_chunk(text), &stored, text.len()).unwrap();
            hash_chunk(text)
        };
        let mut landing = Landing::open(&folder).unwrap();
        let kept = add(&mut landing, b"walked");
        add(&mut landing, b"left by a fetch of something else");
        let ghost = add(
            &mut landing,
            b"the head of an earlier attempt of a shallow clone",
        );
        landing.growing.flush().unwrap();
        drop(landing);

        let mut landing = Landing::open(&folder).unwrap();
        assert_eq!(landing.kept_count(), 3);
        let mut seen = Seen::new(directory.path());
        let found = landing.read_kept(kept, &mut Decoder::new()).unwrap();
        assert_eq!(found.as_deref(), Some(&b"walked"[..]));
        seen.insert(kept).unwrap();
        seen.insert(ghost).unwrap();
        seen.insert(add(&mut landing, b"new")).unwrap();
        // A file that is finished meanwhile changes nothing.
        let closed = landing.growing.close(&folder).unwrap();
        landing.finished.extend(closed);
        let left_out = HashSet::from([ghost]);
        let listed = landing.land(store.path(), &seen, &left_out).unwrap();
        let files = listed
            .iter()
            .map(|file| StoredFile::open(store.path(), file.id));
        let mut addresses: Vec<_> = files
            .flat_map(|file| file.unwrap().unwrap().addresses().collect::<Vec<_>>())
            .map(Result::unwrap)
            .collect();
        addresses.sort_unstable();
        let mut wanted = [kept, hash_chunk(b"new")];
        wanted.sort_unstable();
        assert_eq!(addresses, wanted);
    }
}
