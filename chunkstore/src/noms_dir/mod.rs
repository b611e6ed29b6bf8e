//! The store of a Dolt database in a directory, as Dolt's own processes read and write it.
//!
//! ```text
//! <dir>/manifest, LOCK, <id>, <id>.darc      the new generation: what a `.dolt/noms` holds, or a `file://` remote
//! <dir>/vvvv…, journal.idx                   its chunk journal: only in a `.dolt/noms`
//! <dir>/oldgen/…                             the old generation: what the last collection kept, of the same form
//! <dir>/ghostObjects.txt                     commits that a shallow clone left out
//! ```
//!
//! * Truth: the last root record of the journal, where there is a journal with one; else the manifest's root. The
//!   files are those that the two manifests list.
//! * Order: files are durable under their names before a manifest lists them, the manifest lists them before the
//!   journal has a root that needs them. A writer holds `LOCK` from before it reads until after it wrote.
//! * Crash: before the manifest, files that nothing lists (Dolt's next collection removes them); before the root
//!   record, the old root with more files.
//! * Reading takes no lock. Opening begins anew when the manifests are others in the end than in the beginning, so
//!   that a root is seen only with all that it needs. Files are opened when they are read: one that vanished means that
//!   a collection ran, and what lay there is found in the files that the manifests list now.
//!
//! Everything here blocks.

mod create;
mod damaged;
mod dissolve;
mod error;
mod ghosts;
mod handle;
mod joining;
mod journal;
mod later;
mod layout;
mod lock;
mod opening;
mod partial;
mod salvage;
mod stamp;
mod stored_file;
mod update;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use create::{NewFile, NewStore, land};
pub use damaged::{DamagedFile, damaged_files};
pub use dissolve::dissolve;
pub use error::StoreError;
pub use joining::{Joinable, Joined, choose_small, join, join_small};
pub use journal::{Journal, JournalTail};
pub use layout::file_name;
pub use lock::{LockState, probe_lock};
pub use partial::PartialFile;
pub use salvage::{Salvaged, salvage};
pub use stamp::StoreStamp;
pub use stored_file::StoredFile;
pub use update::ManifestUpdate;
pub use writer::StoreWriter;

use crate::address::{ChunkAddress, RootAddress, TableFileId};
use crate::format::MAX_CHUNK_LEN;
use crate::format::archive::Decoder;
use crate::format::manifest::{JOURNAL_ID, Manifest};
use crate::index::{ByteSpan, ChunkSpan};
use error::io;
use later::Later;

/// A store that is open for reading, as it was at one moment.
#[derive(Debug)]
pub struct NomsDir {
    directory: PathBuf,
    manifest: Manifest,
    /// Old generation first, as most chunks lie there.
    files: Vec<Arc<StoredFile>>,
    journal: Option<Journal>,
    ghosts: HashSet<ChunkAddress>,
    /// Files that are listed and were not looked at.
    without: HashSet<TableFileId>,
    /// What became of the files that collections took away.
    later: Later,
}

/// Where a chunk lies in a [`NomsDir`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a table file or an archive.
    File {
        /// Which file of the store: see [`NomsDir::file`].
        file: usize,
        /// Where in it.
        span: ChunkSpan,
    },
    /// In the journal: a record as in a table file.
    Journal {
        /// Where in it.
        span: ByteSpan,
    },
}

impl NomsDir {
    /// Opens the store in `directory`. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Changing`] when others changed it each time.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::open_without(directory, &HashSet::new())
    }

    /// Opens the store in `directory` as if some files, which are damaged, were not listed. Blocks.
    pub fn open_without(
        directory: &Path,
        without: &HashSet<TableFileId>,
    ) -> Result<Self, StoreError> {
        opening::open(directory, &[], without, &mut |_| ())
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The root of the store.
    pub fn root(&self) -> RootAddress {
        let journal = self.journal.as_ref().and_then(Journal::root);
        journal.unwrap_or(self.manifest.root)
    }

    /// The manifest of the new generation as it was read. Its root may be older than [`NomsDir::root`].
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The table files and archives of both generations, as they were listed when the store was opened.
    pub fn files(&self) -> &[Arc<StoredFile>] {
        &self.files
    }

    /// The file that a [`Place`] names: one of [`NomsDir::files`], or one that a collection made since.
    pub fn file(&self, file: usize) -> Option<Arc<StoredFile>> {
        match self.files.get(file) {
            Some(stored) => Some(Arc::clone(stored)),
            None => self
                .later
                .files()
                .added
                .get(file - self.files.len())
                .cloned(),
        }
    }

    /// The journal, if there is one.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// Commits that are said to be there although they are not: a shallow clone left them out.
    pub fn ghosts(&self) -> &HashSet<ChunkAddress> {
        &self.ghosts
    }

    /// Finds where a chunk lies; nothing for a ghost.
    pub fn find(&self, address: ChunkAddress) -> Result<Option<Place>, StoreError> {
        if let Some(span) = self
            .journal
            .as_ref()
            .and_then(|journal| journal.find(address))
        {
            return Ok(Some(Place::Journal { span }));
        }
        self.in_files(|file, stored| {
            let found = stored.find(address)?;
            Ok(found.map(|span| Place::File { file, span }))
        })
    }

    /// Leaves in a list what is not here, in its order. Many are found with fewer reads than one by one.
    pub fn retain_absent(&self, addresses: &mut Vec<ChunkAddress>) -> Result<(), StoreError> {
        let mut sorted = addresses.clone();
        sorted.sort_unstable();
        let mut present = Vec::new();
        self.in_files(|_, file| {
            file.find_present(&sorted, &mut present)?;
            Ok(None::<()>)
        })?;
        present.sort_unstable();
        let in_journal = |address: &ChunkAddress| {
            let journal = self.journal.as_ref();
            journal.is_some_and(|journal| journal.find(*address).is_some())
        };
        addresses.retain(|address| present.binary_search(address).is_err() && !in_journal(address));
        Ok(())
    }

    /// Reads a chunk, which was found at a place, onto the end of `chunk`; its address is not checked. Blocks.
    pub fn read_chunk(
        &self,
        address: ChunkAddress,
        place: Place,
        decoder: &mut Decoder,
        chunk: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.read_both(address, place, decoder, &mut Vec::new(), chunk)?;
        Ok(())
    }

    /// Reads a chunk, which was found at a place, onto the end of `chunk`, and its stored form onto the end of
    /// `stored`: a zstd frame where the place names a dictionary, and else a record as in a table file. The address is
    /// not checked. Returns where it was read, which is another place if a collection took the file away. Blocks.
    pub fn read_both(
        &self,
        address: ChunkAddress,
        mut place: Place,
        decoder: &mut Decoder,
        stored: &mut Vec<u8>,
        chunk: &mut Vec<u8>,
    ) -> Result<Place, StoreError> {
        let (stored_len, chunk_len) = (stored.len(), chunk.len());
        for _ in 0..later::ATTEMPTS {
            match (self.read_at(place, decoder, stored, chunk), place) {
                (Err(StoreError::Vanished { path }), Place::File { file, .. }) => {
                    stored.truncate(stored_len);
                    chunk.truncate(chunk_len);
                    self.renew(file)?;
                    place = self.find(address)?.ok_or(StoreError::Vanished { path })?;
                }
                (read, _) => return read.map(|()| place),
            }
        }
        Err(self.changing())
    }

    fn read_at(
        &self,
        place: Place,
        decoder: &mut Decoder,
        stored: &mut Vec<u8>,
        chunk: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let missing = || StoreError::Missing {
            id: JOURNAL_ID,
            directory: self.directory.clone(),
        };
        match place {
            Place::File { file, span } => {
                let file = self.file(file).ok_or_else(missing)?;
                file.read_both(span, decoder, stored, chunk)
            }
            Place::Journal { span } => {
                let journal = self.journal.as_ref().ok_or_else(missing)?;
                let start = stored.len();
                journal.read_stored(span, stored)?;
                let record = &stored[start..];
                let decoded = crate::format::table::record::decode(record, MAX_CHUNK_LEN, chunk);
                decoded.map_err(error::damaged(journal.path()))?;
                Ok(())
            }
        }
    }
}

/// Reads the manifest in a directory, if there is one.
fn read_manifest(directory: &Path) -> Result<Option<Manifest>, StoreError> {
    let path = directory.join(layout::MANIFEST);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("read", &path)(error)),
    };
    let manifest = Manifest::decode(&text);
    let manifest = manifest.map_err(|source| StoreError::Manifest { path, source })?;
    Ok(Some(manifest))
}
