//! Files on their way to a remote.
//!
//! ```text
//! <outgoing>/<key>/chunks.records, chunks.list   the table file that grows
//! <outgoing>/<key>/frames                        the archive that grows
//! <outgoing>/<key>/<id>, <id>.darc               those that are whole, until they are part of the remote
//! <outgoing>/<key>/held/…                        chunks that wait for those below them, see [`super::held`]
//! ```
//!
//! The key stands for the remote, and for whether archives are taken there: files for another are of no use. What is
//! pushed is no part of it: the files hold chunks with everything below them, whatever is pushed next. Nothing here is
//! brought to the disk: what a crash of the machine takes away is made again, and what it damages is found before it is
//! sent, see [`super::kept`]. Everything here blocks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_chunkstore::format::archive::StoredDictionary;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::table::record;
use holdfast_chunkstore::format::{FileKind, table};
use holdfast_chunkstore::hash::hash_chunk;
use holdfast_chunkstore::noms_dir::{PartialFile, StoreError, StoredFile};
use holdfast_chunkstore::{ChunkAddress, TableFileId};

use super::frames::GrowingArchive;
use super::pace::FileLength;
use crate::remote::OutgoingFile;

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
        dictionary: &'a Arc<StoredDictionary>,
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
    length: FileLength,
}

/// The name of the table file that grows.
const GROWING: &str = "chunks";

impl Outgoing {
    /// Begins the files of a push to `remote` below `outgoing`, each as long as `length` says, and returns those that an
    /// earlier attempt left. What is there of pushes to other remotes is removed.
    pub(super) fn open(
        outgoing: &Path,
        remote: &str,
        takes_archives: bool,
        length: FileLength,
    ) -> Result<(Self, Vec<StoredFile>), StoreError> {
        let mut told = remote.as_bytes().to_vec();
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
        let mut growing = PartialFile::open(&folder, GROWING)?;
        growing.close(&folder)?;
        let outgoing = Self {
            growing,
            frames: takes_archives.then(|| GrowingArchive::new(&folder)),
            length,
            folder,
        };
        let kept = whole_files(&outgoing.folder)?;
        Ok((outgoing, kept))
    }

    /// The same, each file as long as that says.
    pub(super) fn of_length(self, length: FileLength) -> Self {
        Self { length, ..self }
    }

    /// Adds a chunk of `chunk_len` bytes in its stored form, and returns the files that are whole with it. Frames only
    /// where they are taken.
    pub(super) fn add(
        &mut self,
        address: ChunkAddress,
        form: Form<'_>,
        chunk_len: u32,
    ) -> Result<Vec<OutgoingFile>, StoreError> {
        match form {
            Form::Frame { frame, dictionary } => {
                let frames = self.frames.as_mut();
                let frames = frames.expect("frames are read only where they are taken");
                frames.add(address, frame, dictionary)?;
            }
            Form::Record(stored) => self.growing.append(address, stored, chunk_len)?,
        }
        let framed = self.frames.as_ref().map_or(0, GrowingArchive::len);
        match self.growing.len() + framed >= self.length.get() {
            true => self.finish_files(),
            false => Ok(Vec::new()),
        }
    }

    /// Finishes the files that grow, which hold one another's chunks below theirs; those without chunks are none.
    pub(super) fn finish_files(&mut self) -> Result<Vec<OutgoingFile>, StoreError> {
        let len = self.growing.len();
        let listed = self.growing.close(&self.folder)?;
        let mut files: Vec<_> = listed
            .map(|listed| whole(&self.folder, listed, len))
            .into_iter()
            .collect();
        if let Some(frames) = &mut self.frames {
            files.extend(frames.finish()?);
        }
        Ok(files)
    }

    /// Brings what was added to the system, so that it outlives this process; frames excepted.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        self.growing.flush()
    }

    /// Where the files lie.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

/// The files of a folder that have an id for a name; one whose index is damaged is removed.
pub(super) fn whole_files(folder: &Path) -> Result<Vec<StoredFile>, StoreError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let name = entry.map_err(StoreError::io("list", folder))?.file_name();
        let name = name.to_str().unwrap_or_default();
        let id = name
            .strip_suffix(FileKind::Archive.suffix())
            .unwrap_or(name);
        let id: Option<TableFileId> = id.parse().ok();
        let Some(id) = id else { continue };
        match StoredFile::open(folder, id) {
            Ok(file) => files.extend(file),
            Err(StoreError::File { path, .. }) => {
                std::fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(files)
}

/// A file that lies here whole, as it is sent.
pub(super) fn outgoing_file(file: &StoredFile) -> OutgoingFile {
    OutgoingFile {
        path: file.path().to_owned(),
        id: file.id(),
        kind: file.kind(),
        len: file.len(),
        data_len: file.data_len(),
        chunks: file.count(),
    }
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
    use crate::transfer::send::pace::Pace;

    fn open(outgoing: &Path, takes_archives: bool) -> (Outgoing, Vec<StoredFile>) {
        let length = Pace::new(1 << 20).length().clone();
        Outgoing::open(outgoing, "http://host.test/a/b", takes_archives, length).unwrap()
    }

    fn record(chunk: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        let encoded = record::Encoder::new().encode(chunk, &mut record);
        encoded.unwrap();
        record
    }

    #[test]
    fn frames_and_records_become_files_together_and_the_next_attempt_finds_them() {
        let place = tempfile::tempdir().unwrap();
        let text = b"a dictionary of words that the chunks have in common".as_slice();
        let frame = zstd::bulk::compress(text, 3).unwrap();
        let dictionary = Arc::new(StoredDictionary::new(frame).unwrap());
        let mut compressor = zstd::bulk::Compressor::with_dictionary(3, text).unwrap();
        let chunks = [b"words in common".as_slice(), b"a dictionary of chunks"];

        let (mut first, kept) = open(place.path(), true);
        assert!(kept.is_empty());
        for chunk in chunks {
            let frame = compressor.compress(chunk).unwrap();
            let form = Form::Frame {
                frame: &frame,
                dictionary: &dictionary,
            };
            assert!(first.add(hash_chunk(chunk), form, 1).unwrap().is_empty());
        }
        let of_table = hash_chunk(b"of a table file");
        let form = Form::Record(&record(b"of a table file"));
        assert!(first.add(of_table, form, 15).unwrap().is_empty());
        let files = first.finish_files().unwrap();
        let kinds: Vec<_> = files.iter().map(|file| (file.kind, file.chunks)).collect();
        assert_eq!(kinds, [(FileKind::Table, 1), (FileKind::Archive, 2)]);
        assert!(first.finish_files().unwrap().is_empty());
        for file in &files {
            assert_eq!(file.path.metadata().unwrap().len(), file.len);
        }
        let form = Form::Record(&record(b"in a file that grows"));
        first
            .add(hash_chunk(b"in a file that grows"), form, 20)
            .unwrap();
        first.flush().unwrap();
        drop(first);

        let (_, kept) = open(place.path(), true);
        let mut ids: Vec<_> = files.iter().map(|file| file.id).collect();
        ids.retain(|id| kept.iter().any(|file| file.id() == *id));
        assert_eq!((ids.len(), kept.len()), (2, 3));
        let all = [
            chunks[0],
            chunks[1],
            b"of a table file",
            b"in a file that grows",
        ];
        for chunk in all {
            let read = kept.iter().find_map(|file| {
                let span = file.find(hash_chunk(chunk)).unwrap()?;
                let mut read = Vec::new();
                file.read_chunk(span, &mut Decoder::new(), &mut read)
                    .unwrap();
                Some(read)
            });
            assert_eq!(read.as_deref(), Some(chunk));
        }
    }

    #[test]
    fn files_for_a_remote_that_takes_archives_are_not_kept_for_one_that_takes_none() {
        let place = tempfile::tempdir().unwrap();
        let (mut first, _) = open(place.path(), true);
        let form = Form::Record(&record(b"chunk"));
        first.add(hash_chunk(b"chunk"), form, 5).unwrap();
        assert_eq!(first.finish_files().unwrap().len(), 1);
        drop(first);
        assert_eq!(open(place.path(), true).1.len(), 1);
        assert!(open(place.path(), false).1.is_empty());
        assert!(open(place.path(), true).1.is_empty(), "removed");
    }

    #[test]
    fn a_file_is_whole_when_it_is_as_long_as_is_said_by_then() {
        let place = tempfile::tempdir().unwrap();
        let mut pace = Pace::new(64 << 10);
        let length = pace.length().clone();
        let (mut outgoing, _) =
            Outgoing::open(place.path(), "http://host.test/a/b", false, length).unwrap();
        let mut number = 0_u32;
        let mut next = |outgoing: &mut Outgoing| loop {
            number += 1;
            let chunk: Vec<u8> = (0..125_u32)
                .flat_map(|it| *hash_chunk(&(number * 1000 + it).to_be_bytes()).as_bytes())
                .collect();
            let form = Form::Record(&record(&chunk));
            let whole = outgoing.add(hash_chunk(&chunk), form, 2500).unwrap();
            if let [file] = whole.as_slice() {
                return file.len;
            }
        };
        let about = |len: u64, wanted: u64| (wanted..wanted + 4096).contains(&len);
        assert!(about(next(&mut outgoing), 64 << 10));
        pace.arrived(64 << 10, std::time::Duration::from_millis(9));
        assert!(about(next(&mut outgoing), 128 << 10));
    }
}
