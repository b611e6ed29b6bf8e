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
//! * Reading takes no lock: a file or a journal that vanished in between means that a collection ran, and reading
//!   begins anew.
//!
//! Everything here blocks.

mod create;
mod dissolve;
mod error;
mod ghosts;
mod journal;
mod layout;
mod lock;
mod partial;
mod stamp;
mod stored_file;
mod update;
mod writer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use create::{NewFile, NewStore, land};
pub use dissolve::dissolve;
pub use error::StoreError;
pub use journal::{Journal, JournalTail};
pub use layout::file_name;
pub use lock::{LockState, probe_lock};
pub use partial::PartialFile;
pub use stamp::StoreStamp;
pub use stored_file::StoredFile;
pub use update::ManifestUpdate;
pub use writer::StoreWriter;

use crate::address::{ChunkAddress, RootAddress};
use crate::format::MAX_CHUNK_LEN;
use crate::format::archive::Decoder;
use crate::format::manifest::{JOURNAL_ID, Manifest};
use crate::index::{ByteSpan, ChunkSpan};
use error::io;

/// How often opening is tried while a collection runs.
const ATTEMPTS: u32 = 5;

/// A store that is open for reading, as it was at one moment.
#[derive(Debug)]
pub struct NomsDir {
    directory: PathBuf,
    manifest: Manifest,
    /// Old generation first, as most chunks lie there.
    files: Vec<Arc<StoredFile>>,
    journal: Option<Journal>,
    ghosts: HashSet<ChunkAddress>,
}

/// Where a chunk lies in a [`NomsDir`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a table file or an archive.
    File {
        /// Which of [`NomsDir::files`].
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
    /// Opens the store in `directory`.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        for _ in 0..ATTEMPTS {
            match Self::open_once(directory) {
                Err(StoreError::Missing { .. }) => {}
                opened => return opened,
            }
        }
        // A file that is missing each time is no collection.
        Self::open_once(directory)
    }

    fn open_once(directory: &Path) -> Result<Self, StoreError> {
        let manifest = read_manifest(directory)?;
        let journal = Journal::open(directory)?;
        let manifest = match (manifest, &journal) {
            (Some(manifest), _) => manifest,
            (None, Some(_)) => Manifest::new(RootAddress::ZERO, Vec::new()),
            (None, None) => {
                return Err(StoreError::NoStore {
                    path: directory.to_owned(),
                });
            }
        };
        let is_listed = manifest.files.iter().any(|file| file.id == JOURNAL_ID);
        if is_listed && journal.is_none() {
            return Err(StoreError::Missing {
                id: JOURNAL_ID,
                directory: directory.to_owned(),
            });
        }
        let old_directory = directory.join(layout::OLD_GENERATION);
        let mut files = Vec::new();
        if let Some(old) = read_manifest(&old_directory)? {
            open_files(&old_directory, &old, &mut files)?;
        }
        open_files(directory, &manifest, &mut files)?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            files,
            journal,
            ghosts: ghosts::read(directory)?,
        })
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

    /// The table files and archives of both generations.
    pub fn files(&self) -> &[Arc<StoredFile>] {
        &self.files
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
        for (file, stored) in self.files.iter().enumerate() {
            if let Some(span) = stored.find(address)? {
                return Ok(Some(Place::File { file, span }));
            }
        }
        Ok(None)
    }

    /// Leaves in a list what is not here, in its order. Many are found with fewer reads than one by one.
    pub fn retain_absent(&self, addresses: &mut Vec<ChunkAddress>) -> Result<(), StoreError> {
        let mut sorted = addresses.clone();
        sorted.sort_unstable();
        let mut present = Vec::new();
        for file in &self.files {
            file.find_present(&sorted, &mut present)?;
        }
        present.sort_unstable();
        let in_journal = |address: &ChunkAddress| {
            let journal = self.journal.as_ref();
            journal.is_some_and(|journal| journal.find(*address).is_some())
        };
        addresses.retain(|address| present.binary_search(address).is_err() && !in_journal(address));
        Ok(())
    }

    /// Reads the chunk at a place onto the end of `out`; its address is not checked.
    pub fn read_chunk(
        &self,
        place: Place,
        decoder: &mut Decoder,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        match (place, &self.journal) {
            (Place::File { file, span }, _) => self.files[file].read_chunk(span, decoder, out),
            (Place::Journal { span }, Some(journal)) => journal.read_chunk(span, out),
            (Place::Journal { .. }, None) => Err(StoreError::Missing {
                id: JOURNAL_ID,
                directory: self.directory.clone(),
            }),
        }
    }

    /// Reads the chunk at a place onto the end of `chunk`, and its stored form onto the end of `stored`: a zstd frame
    /// where the place names a dictionary, and else a record as in a table file. The address is not checked.
    pub fn read_both(
        &self,
        place: Place,
        decoder: &mut Decoder,
        stored: &mut Vec<u8>,
        chunk: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        match (place, &self.journal) {
            (Place::File { file, span }, _) => {
                self.files[file].read_both(span, decoder, stored, chunk)
            }
            (Place::Journal { span }, Some(journal)) => {
                let start = stored.len();
                journal.read_stored(span, stored)?;
                let record = &stored[start..];
                let decoded = crate::format::table::record::decode(record, MAX_CHUNK_LEN, chunk);
                decoded.map_err(error::damaged(journal.path()))?;
                Ok(())
            }
            (Place::Journal { .. }, None) => Err(StoreError::Missing {
                id: JOURNAL_ID,
                directory: self.directory.clone(),
            }),
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

/// Opens what a manifest lists, but the journal.
fn open_files(
    directory: &Path,
    manifest: &Manifest,
    files: &mut Vec<Arc<StoredFile>>,
) -> Result<(), StoreError> {
    let listed = manifest.files.iter().filter(|file| file.id != JOURNAL_ID);
    for listed in listed {
        let file = StoredFile::open(directory, listed.id)?;
        let file = file.ok_or_else(|| StoreError::Missing {
            id: listed.id,
            directory: directory.to_owned(),
        })?;
        // Dolt finds the index of a table file by the count.
        if file.kind() == crate::format::FileKind::Table && file.count() != listed.chunks {
            return Err(StoreError::Count {
                path: file.path().to_owned(),
                listed: listed.chunks,
                found: file.count(),
            });
        }
        files.push(Arc::new(file));
    }
    Ok(())
}
