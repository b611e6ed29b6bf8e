//! Small files of a store joined into one, so that a store of many pushes and pulls does not end up as many files.
//!
//! * Truth: the manifest. What a joined file holds lies in its parts as well, as long as those are listed.
//! * Order: the joined file is durable under its name, then a manifest lists it in the place of its parts, then the
//!   parts are removed. Readers that still need one find its chunks in the joined file, as after a collection.
//! * Crash: before the manifest a file that nothing lists, behind it parts that nothing lists. Dolt's next collection
//!   removes either.
//!
//! Dolt joins table files too, from 257 on, and removes the parts at once as is done here. The old generation stays as
//! it is. Every chunk that is copied is checked; a part that is damaged stays a file of its own.
//!
//! # Memory
//! Some 70 bytes for each of at most [`MOST_CHUNKS`], and one chunk.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::create::NewFile;
use super::error::StoreError;
use super::layout::file_name;
use super::stored_file::StoredFile;
use crate::address::{ChunkAddress, TableFileId};
use crate::format::archive::{self, Decoder, StoredDictionary};
use crate::format::manifest::ListedFile;
use crate::format::{EncodeError, FileKind, Written, table};
use crate::hash::hash_chunk;
use crate::index::{ByteSpan, ChunkSpan};
use crate::objects::durable;

/// A file of so many bytes is not small.
const SMALL_BYTES: u64 = 4 << 20;

/// So many small files are left as they are.
const FEW: usize = 32;

/// So many files are joined at once at most.
const MOST_FILES: usize = 512;

/// So many chunks are copied at once at most.
const MOST_CHUNKS: u64 = 1 << 17;

/// A file that may be joined with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joinable {
    /// Its id.
    pub id: TableFileId,
    /// Its length in bytes.
    pub len: u64,
    /// How many chunks are in it.
    pub chunks: u32,
}

/// A file that holds what some others hold.
#[derive(Debug)]
pub struct Joined {
    directory: PathBuf,
    file: ListedFile,
    kind: FileKind,
    parts: Vec<Arc<StoredFile>>,
}

/// Joins the small ones of some files in `directory`, where there are many. Nothing lists the result yet. Blocks.
pub fn join_small(
    directory: &Path,
    files: &[Arc<StoredFile>],
) -> Result<Option<Joined>, StoreError> {
    let joinable = files.iter().map(|file| Joinable {
        id: file.id(),
        len: file.len(),
        chunks: file.count(),
    });
    let chosen = choose_small(joinable);
    let of = |chosen: &Joinable| files.iter().find(|file| file.id() == chosen.id).cloned();
    let parts: Vec<_> = chosen.iter().filter_map(of).collect();
    match parts.is_empty() {
        true => Ok(None),
        false => join(directory, &parts),
    }
}

impl Joined {
    /// The file, as it is listed.
    pub fn file(&self) -> ListedFile {
        self.file
    }

    /// Puts the file in the place of its parts; not if one of them is not in the list.
    pub fn replace_in(&self, files: &mut Vec<ListedFile>) -> bool {
        let parts: HashSet<_> = self.parts.iter().map(|part| part.id()).collect();
        let listed = files.iter().filter(|file| parts.contains(&file.id));
        if listed.count() != parts.len() {
            return false;
        }
        files.retain(|file| !parts.contains(&file.id) && file.id != self.file.id);
        files.push(self.file);
        true
    }

    /// Removes the parts, which no manifest lists any more. What cannot be removed stays for the next collection.
    pub(super) fn remove_parts(self) {
        let own = self.directory.join(file_name(self.file.id, self.kind));
        for part in self.parts.iter().filter(|part| part.path() != own) {
            drop(durable::remove(part.path()));
        }
    }
}

/// The files that are joined, where there are many small ones, the smallest first: small ones, and those of what was
/// joined before that are not much larger than all of them. So each chunk is copied a few times only, however many files
/// come.
pub fn choose_small(files: impl IntoIterator<Item = Joinable>) -> Vec<Joinable> {
    let small = files.into_iter().filter(|file| file.len < SMALL_BYTES);
    let mut small: Vec<_> = small.collect();
    if small.len() <= FEW {
        return Vec::new();
    }
    small.sort_by_key(|file| (file.len, file.id));
    let (mut bytes, mut chunks) = (0, 0);
    let fits = |(number, file): &(usize, Joinable)| {
        let is_alike = *number < FEW || file.len <= 2 * bytes;
        bytes += file.len;
        chunks += u64::from(file.chunks);
        is_alike && *number < MOST_FILES && chunks <= MOST_CHUNKS
    };
    let chosen = small.into_iter().enumerate().take_while(fits);
    let chosen: Vec<_> = chosen.map(|(_, file)| file).collect();
    match chosen.len() {
        0 | 1 => Vec::new(),
        _ => chosen,
    }
}

/// Joins files into one in `directory`; nothing where fewer than two of them are whole. Blocks.
pub fn join(directory: &Path, parts: &[Arc<StoredFile>]) -> Result<Option<Joined>, StoreError> {
    let is_archive = parts.iter().any(|part| part.kind() == FileKind::Archive);
    let kind = match is_archive {
        true => FileKind::Archive,
        false => FileKind::Table,
    };
    let mut copier = Copier::begin(directory, kind)?;
    let mut whole = Vec::with_capacity(parts.len());
    for part in parts {
        match copier.copy(part) {
            Ok(()) => whole.push(Arc::clone(part)),
            Err(StoreError::File { .. } | StoreError::Chunk { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if whole.len() < 2 {
        return Ok(None);
    }
    let written = copier.land(kind)?;
    Ok(Some(Joined {
        directory: directory.to_owned(),
        file: ListedFile {
            id: written.id,
            chunks: written.count,
        },
        kind,
        parts: whole,
    }))
}

/// Copies chunks as they are stored.
pub(super) struct Copier<'a> {
    writer: Writer,
    seen: HashSet<ChunkAddress>,
    decoder: Decoder,
    directory: &'a Path,
}

impl<'a> Copier<'a> {
    /// Begins a file in a directory.
    pub(super) fn begin(directory: &'a Path, kind: FileKind) -> Result<Self, StoreError> {
        Ok(Self {
            writer: Writer::new(NewFile::begin(directory)?, kind),
            seen: HashSet::new(),
            decoder: Decoder::new(),
            directory,
        })
    }

    /// Ends the file, durably under its name.
    pub(super) fn land(self, kind: FileKind) -> Result<Written, StoreError> {
        let (file, written) = self.writer.finish().map_err(encode(self.directory))?;
        file.land(written.id, kind)?;
        Ok(written)
    }

    /// Copies what was not seen before, in the order of the file.
    fn copy(&mut self, part: &StoredFile) -> Result<(), StoreError> {
        let mut chunks = Vec::with_capacity(part.count() as usize);
        for address in part.addresses() {
            let address = address?;
            if !self.seen.contains(&address)
                && let Some(span) = part.find(address)?
            {
                chunks.push((span, address));
            }
        }
        chunks.sort_unstable_by_key(|(span, _)| span.data.offset);
        let mut dictionaries = HashMap::new();
        for (span, address) in chunks {
            self.copy_chunk(part, address, span, &mut dictionaries)?;
        }
        Ok(())
    }

    /// Copies one chunk, which is checked.
    pub(super) fn copy_chunk(
        &mut self,
        part: &StoredFile,
        address: ChunkAddress,
        span: ChunkSpan,
        dictionaries: &mut HashMap<ByteSpan, StoredDictionary>,
    ) -> Result<(), StoreError> {
        let (mut stored, mut chunk) = (Vec::new(), Vec::new());
        part.read_both(span, &mut self.decoder, &mut stored, &mut chunk)?;
        if hash_chunk(&chunk) != address {
            return Err(StoreError::Chunk {
                path: part.path().to_owned(),
                address,
            });
        }
        let dictionary = match span.dictionary {
            None => None,
            Some(span) => {
                if let Entry::Vacant(entry) = dictionaries.entry(span) {
                    entry.insert(part.read_dictionary(span)?);
                }
                dictionaries.get(&span)
            }
        };
        self.writer
            .append(address, &stored, dictionary)
            .map_err(encode(self.directory))?;
        self.seen.insert(address);
        Ok(())
    }
}

/// The writer of either format.
enum Writer {
    Table(table::Writer<NewFile>),
    Archive(archive::Writer<NewFile>),
}

impl Writer {
    fn new(file: NewFile, kind: FileKind) -> Self {
        match kind {
            FileKind::Table => Self::Table(table::Writer::new(file)),
            FileKind::Archive => Self::Archive(archive::Writer::new(file)),
        }
    }

    /// Adds a record as in a table file, or a frame that was made with a dictionary, which only archives have.
    fn append(
        &mut self,
        address: ChunkAddress,
        stored: &[u8],
        dictionary: Option<&StoredDictionary>,
    ) -> Result<(), EncodeError> {
        match (self, dictionary) {
            (Self::Table(writer), _) => writer.append_record(address, stored),
            (Self::Archive(writer), None) => writer.append_record(address, stored),
            (Self::Archive(writer), Some(dictionary)) => {
                writer.append_frame(address, stored, dictionary)
            }
        }
    }

    fn finish(self) -> Result<(NewFile, Written), EncodeError> {
        match self {
            Self::Table(writer) => writer.finish(),
            Self::Archive(writer) => {
                let version = concat!("holdfast ", env!("CARGO_PKG_VERSION"));
                let metadata = [("dolt_version".to_owned(), version.to_owned())];
                writer.finish(&BTreeMap::from(metadata))
            }
        }
    }
}

fn encode(directory: &Path) -> impl Fn(EncodeError) -> StoreError + '_ {
    |source| StoreError::Encode {
        path: directory.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
