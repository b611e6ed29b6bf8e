//! Files on their way to a remote, and a note of each that arrived.
//!
//! ```text
//! <outgoing>/<key>/chunks.records, chunks.list   the table file that grows
//! <outgoing>/<key>/frames                        the archive that grows
//! <outgoing>/<key>/<id>, <id>.darc               those that are whole
//! <outgoing>/<key>/sent                          the ids of those that the remote took, one a line
//! ```
//!
//! The key stands for what is pushed to where, and for whether archives are taken there: files of another push are of no
//! use. Nothing here is brought to the disk: what a crash of the machine takes away is made again. What it damages is
//! found before it is sent, as not every remote looks into the files that it takes: whoever opens them checks those that
//! are [`unsent`](Outgoing::unsent), and [`forgets`](Outgoing::forget) the damaged ones. Everything here blocks.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use holdfast_chunkstore::format::archive::StoredDictionary;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{PartialFile, StoreError, StoredFile};
use holdfast_chunkstore::{ChunkAddress, TableFileId};

use super::frames::GrowingArchive;
use crate::remote::OutgoingFile;

/// A file is finished and sent when it is so long.
pub(super) const FILE_BYTES: u64 = 24 << 20;

/// How a chunk is stored.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'a> {
    /// As a record of a table file.
    Record(&'a [u8]),
    /// As a zstd frame.
    Frame {
        /// Its bytes.
        frame: &'a [u8],
        /// What it was made with.
        dictionary: &'a StoredDictionary,
    },
}

impl Form<'_> {
    /// The bytes of it.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Record(stored) | Self::Frame { frame: stored, .. } => stored.len(),
        }
    }
}

/// The files of one push.
#[derive(Debug)]
pub(super) struct Outgoing {
    folder: PathBuf,
    growing: PartialFile,
    /// Where zstd frames gather, if the remote takes archives.
    frames: Option<GrowingArchive>,
    kept: Vec<StoredFile>,
    sent: HashSet<TableFileId>,
}

impl Outgoing {
    /// Begins the files of a push of `roots` to `remote` below `outgoing`, or goes on with those that are there. What
    /// is there of other pushes is removed.
    pub(super) fn open(
        outgoing: &Path,
        remote: &str,
        roots: &[ChunkAddress],
        takes_archives: bool,
    ) -> Result<Self, StoreError> {
        let mut told = remote.as_bytes().to_vec();
        told.extend(roots.iter().flat_map(|root| *root.as_bytes()));
        told.push(u8::from(takes_archives));
        let key = hash_chunk(&told).to_string();
        let folder = outgoing.join(&key);
        std::fs::create_dir_all(&folder).map_err(StoreError::io("make", &folder))?;
        for entry in std::fs::read_dir(outgoing).map_err(StoreError::io("list", outgoing))? {
            let entry = entry.map_err(StoreError::io("list", outgoing))?;
            let path = entry.path();
            if entry.file_name().to_str() != Some(&key) && path.is_dir() {
                std::fs::remove_dir_all(&path).map_err(StoreError::io("remove", &path))?;
            }
        }
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let name = entry.map_err(StoreError::io("list", &folder))?.file_name();
            let name = name.to_str().unwrap_or_default();
            let id = name
                .strip_suffix(FileKind::Archive.suffix())
                .unwrap_or(name);
            let id: Option<TableFileId> = id.parse().ok();
            if let Some(id) = id {
                match StoredFile::open(&folder, id) {
                    Ok(file) => kept.extend(file),
                    Err(StoreError::File { path, .. }) => {
                        std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        let notes = folder.join("sent");
        let sent = match std::fs::read_to_string(&notes) {
            Ok(text) => text.lines().filter_map(|line| line.parse().ok()).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(StoreError::io("read", &notes)(error)),
        };
        Ok(Self {
            growing: PartialFile::open(&folder, "chunks")?,
            frames: takes_archives.then(|| GrowingArchive::new(&folder)),
            folder,
            kept,
            sent,
        })
    }

    /// Whether an earlier attempt put a chunk into one of the files.
    pub(super) fn has(&self, address: ChunkAddress) -> Result<bool, StoreError> {
        if self.growing.has_kept(address) {
            return Ok(true);
        }
        for file in &self.kept {
            if file.find(address)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The files that an earlier attempt finished.
    pub(super) fn kept(&self) -> Vec<OutgoingFile> {
        let file = |file: &StoredFile| OutgoingFile {
            path: file.path().to_owned(),
            id: file.id(),
            kind: file.kind(),
            len: file.len(),
            data_len: file.data_len(),
            chunks: file.count(),
        };
        self.kept.iter().map(file).collect()
    }

    /// Those of them that the remote did not take yet.
    pub(super) fn unsent(&self) -> Vec<OutgoingFile> {
        let mut files = self.kept();
        files.retain(|file| !self.is_sent(file.id));
        files
    }

    /// Removes kept files that are damaged: their chunks are put into others.
    pub(super) fn forget(&mut self, damaged: &[PathBuf]) -> Result<(), StoreError> {
        for path in damaged {
            std::fs::remove_file(path).map_err(StoreError::io("remove", path))?;
            self.kept.retain(|file| file.path() != path);
        }
        Ok(())
    }

    /// Whether the remote took a file.
    pub(super) fn is_sent(&self, id: TableFileId) -> bool {
        self.sent.contains(&id)
    }

    /// Adds a chunk of `chunk_len` bytes in its stored form, and returns the file that is whole with it. Frames only
    /// where they are taken.
    pub(super) fn add(
        &mut self,
        address: ChunkAddress,
        form: Form<'_>,
        chunk_len: usize,
    ) -> Result<Option<OutgoingFile>, StoreError> {
        match form {
            Form::Frame { frame, dictionary } => {
                let frames = self.frames.as_mut();
                let frames = frames.expect("frames are read only for whom takes archives");
                frames.add(address, frame, dictionary)
            }
            Form::Record(stored) => {
                let chunk_len = u32::try_from(chunk_len).unwrap_or(u32::MAX);
                self.growing.append(address, stored, chunk_len)?;
                match self.growing.len() >= FILE_BYTES {
                    true => self.finish_records(),
                    false => Ok(None),
                }
            }
        }
    }

    /// Finishes the files that grow; those without chunks are none.
    pub(super) fn finish_files(&mut self) -> Result<Vec<OutgoingFile>, StoreError> {
        let mut files: Vec<_> = self.finish_records()?.into_iter().collect();
        if let Some(frames) = &mut self.frames {
            files.extend(frames.finish()?);
        }
        Ok(files)
    }

    fn finish_records(&mut self) -> Result<Option<OutgoingFile>, StoreError> {
        let len = self.growing.len();
        let listed = self.growing.close(&self.folder)?;
        Ok(listed.map(|listed| whole(&self.folder, listed, len)))
    }

    /// Where the files lie.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the notes of what was sent stand.
    pub(super) fn notes(&self) -> PathBuf {
        self.folder.join("sent")
    }
}

/// Notes that the remote took a file.
pub(super) fn note_sent(notes: &Path, id: TableFileId) -> Result<(), StoreError> {
    let file = OpenOptions::new().create(true).append(true).open(notes);
    file.and_then(|mut file| file.write_all(format!("{id}\n").as_bytes()))
        .map_err(StoreError::io("write", notes))
}

/// Writes a few chunks into a table file in `folder`.
pub(crate) fn write_small(
    folder: &Path,
    chunks: &[(ChunkAddress, Bytes)],
) -> Result<OutgoingFile, StoreError> {
    std::fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
    let name = "refs";
    for suffix in ["records", "list"] {
        let path = folder.join(format!("{name}.{suffix}"));
        crate::database::remove(&path).map_err(|error| StoreError::Io {
            action: "remove",
            path,
            source: std::io::Error::other(error),
        })?;
    }
    let mut file = PartialFile::open(folder, name)?;
    let mut encoder = record::Encoder::new();
    for (address, chunk) in chunks {
        let mut stored = Vec::new();
        let encoded = encoder.encode(chunk, &mut stored);
        encoded.map_err(|source| StoreError::Encode {
            path: folder.to_owned(),
            source,
        })?;
        let chunk_len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        file.append(*address, &stored, chunk_len)?;
    }
    let len = file.len();
    let listed = file.close(folder)?;
    let listed = listed.ok_or_else(|| StoreError::Encode {
        path: folder.to_owned(),
        source: holdfast_chunkstore::format::EncodeError::NoChunks,
    })?;
    Ok(whole(folder, listed, len))
}

fn whole(folder: &Path, listed: ListedFile, len: u64) -> OutgoingFile {
    let index_len = u64::from(listed.chunks) * table::ENTRY_LEN + table::FOOTER_LEN as u64;
    OutgoingFile {
        path: folder.join(listed.id.to_string()),
        id: listed.id,
        kind: FileKind::Table,
        len,
        data_len: len - index_len,
        chunks: listed.chunks,
    }
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::format::archive::Decoder;

    use super::*;

    #[test]
    fn frames_are_copied_into_an_archive_that_the_next_attempt_finds() {
        let place = tempfile::tempdir().unwrap();
        let outgoing = place.path().join("outgoing");
        let root = ChunkAddress::new([7; 20]);
        let open = || Outgoing::open(&outgoing, "http://host.test/a/b", &[root], true).unwrap();
        let text = b"a dictionary of words that the chunks have in common".as_slice();
        let frame = zstd::bulk::compress(text, 3).unwrap();
        let dictionary = StoredDictionary::new(frame).unwrap();
        let mut compressor = zstd::bulk::Compressor::with_dictionary(3, text).unwrap();
        let chunks = [b"words in common".as_slice(), b"a dictionary of chunks"];

        let mut first = open();
        for chunk in chunks {
            let frame = compressor.compress(chunk).unwrap();
            let form = Form::Frame {
                frame: &frame,
                dictionary: &dictionary,
            };
            let whole = first.add(hash_chunk(chunk), form, chunk.len()).unwrap();
            assert!(whole.is_none());
        }
        let mut record = Vec::new();
        let encoded = record::Encoder::new().encode(b"of a table file", &mut record);
        encoded.unwrap();
        let of_table = hash_chunk(b"of a table file");
        first.add(of_table, Form::Record(&record), 15).unwrap();
        let files = first.finish_files().unwrap();
        let kinds: Vec<_> = files.iter().map(|file| (file.kind, file.chunks)).collect();
        assert_eq!(kinds, [(FileKind::Table, 1), (FileKind::Archive, 2)]);
        assert!(first.finish_files().unwrap().is_empty());
        for file in &files {
            assert_eq!(file.path.metadata().unwrap().len(), file.len);
        }

        let second = open();
        let mut kept: Vec<_> = second.kept().iter().map(|file| file.id).collect();
        kept.sort_unstable();
        let mut ids: Vec<_> = files.iter().map(|file| file.id).collect();
        ids.sort_unstable();
        assert_eq!(kept, ids);
        for chunk in chunks {
            assert!(second.has(hash_chunk(chunk)).unwrap());
            let stored = second.kept.iter().find_map(|file| {
                let span = file.find(hash_chunk(chunk)).unwrap()?;
                let mut read = Vec::new();
                file.read_chunk(span, &mut Decoder::new(), &mut read)
                    .unwrap();
                Some(read)
            });
            assert_eq!(stored.as_deref(), Some(chunk));
        }
        assert!(second.has(of_table).unwrap());
        assert!(!second.has(root).unwrap());
    }

    #[test]
    fn files_for_a_remote_that_takes_archives_are_not_kept_for_one_that_takes_none() {
        let place = tempfile::tempdir().unwrap();
        let outgoing = place.path().join("outgoing");
        let open = |takes_archives| {
            let roots = [ChunkAddress::new([7; 20])];
            Outgoing::open(&outgoing, "http://host.test/a/b", &roots, takes_archives).unwrap()
        };
        let mut record = Vec::new();
        let encoded = record::Encoder::new().encode(b"chunk", &mut record);
        encoded.unwrap();
        let mut first = open(true);
        let form = Form::Record(&record);
        first.add(hash_chunk(b"chunk"), form, 5).unwrap();
        assert_eq!(first.finish_files().unwrap().len(), 1);
        drop(first);
        assert_eq!(open(true).kept().len(), 1);
        assert!(open(false).kept().is_empty());
    }
}
