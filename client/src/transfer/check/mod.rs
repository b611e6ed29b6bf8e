//! Every chunk of a file against its address.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::format::archive::{self, Decoder, Dictionary};
use holdfast_chunkstore::format::{DecodeError, FileKind, MAX_CHUNK_LEN, table};
use holdfast_chunkstore::hash::{AddressMismatch, check_chunks};
use holdfast_chunkstore::index::{ByteSpan, ChunkEntry};
use holdfast_chunkstore::noms_dir::{Journal, StoreError};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, ErrorKind};

/// How much of a file is read and checked in one piece.
const PIECE_BYTES: u64 = 4 << 20;

/// Why a file is not what it should be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The file cannot be read.
    #[error("read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A journal cannot be read.
    #[error("read a chunk")]
    Store {
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The file is no table file and no archive.
    #[error("read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A stored chunk cannot be decoded.
    #[error("decode chunk {address} of {}", path.display())]
    Chunk {
        /// Which chunk.
        address: ChunkAddress,
        /// Of which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A chunk is not what it stands under.
    #[error("check the chunks of {}", path.display())]
    Address {
        /// Of which file.
        path: PathBuf,
        /// Which chunk.
        #[source]
        source: AddressMismatch,
    },
}

impl CheckError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. } => ErrorKind::Internal,
            Self::Store { source } => source.kind(),
            Self::File { .. } | Self::Chunk { .. } | Self::Address { .. } => ErrorKind::Corrupt,
        }
    }
}

/// Checks a file and returns how many chunks are in it. The index of the file is kept in memory meanwhile: 40 bytes
/// a chunk.
pub async fn check_file(
    path: &Path,
    kind: FileKind,
    pool: &BlockingPool,
) -> Result<u32, CheckError> {
    let plan = {
        let path = path.to_owned();
        pool.run(move || Plan::read(&path, kind)).await?
    };
    let plan = std::sync::Arc::new(plan);
    let checks = plan.pieces().map(|piece| {
        let plan = std::sync::Arc::clone(&plan);
        let pool = pool.clone();
        async move { pool.run(move || plan.check(piece)).await }
    });
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut checks =
        futures::stream::StreamExt::buffer_unordered(futures::stream::iter(checks), workers);
    while let Some(checked) = futures::StreamExt::next(&mut checks).await {
        checked?;
    }
    Ok(plan.count)
}

/// What is in a file, in the order of its data.
struct Plan {
    path: PathBuf,
    file: File,
    count: u32,
    entries: Vec<ChunkEntry>,
}

impl Plan {
    fn read(path: &Path, kind: FileKind) -> Result<Self, CheckError> {
        let io = |source| CheckError::Io {
            path: path.to_owned(),
            source,
        };
        let wrong = |source| CheckError::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        let tail_len = len.min(holdfast_chunkstore::format::TAIL_LEN as u64);
        let tail = read(&file, len - tail_len, tail_len).map_err(io)?;
        let (count, entries) = match kind {
            FileKind::Table => {
                let layout = table::Layout::decode(&tail, len).map_err(wrong)?;
                let section = layout.index();
                let bytes = read(&file, section.start, section.end - section.start).map_err(io)?;
                let index = table::Index::decode(&layout, &bytes).map_err(wrong)?;
                (layout.count(), index.in_file_order().collect())
            }
            FileKind::Archive => {
                let layout = archive::Layout::decode(&tail, len).map_err(wrong)?;
                let section = layout.index();
                let bytes = read(&file, section.start, section.end - section.start).map_err(io)?;
                let index = archive::Index::decode(&layout, &bytes).map_err(wrong)?;
                let entries: Vec<_> = index.in_file_order().collect();
                (layout.count(), entries)
            }
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            count,
            entries,
        })
    }

    /// Runs of entries whose data is some mebibytes together.
    fn pieces(&self) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut begin = self
            .entries
            .first()
            .map_or(0, |entry| entry.span.data.offset);
        for (at, entry) in self.entries.iter().enumerate() {
            let ByteSpan { offset, len } = entry.span.data;
            if offset + u64::from(len) - begin > PIECE_BYTES && at > start {
                pieces.push(start..at);
                (start, begin) = (at, offset);
            }
        }
        if start < self.entries.len() {
            pieces.push(start..self.entries.len());
        }
        pieces.into_iter()
    }

    fn check(&self, piece: std::ops::Range<usize>) -> Result<(), CheckError> {
        let entries = &self.entries[piece];
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(());
        };
        let begin = first.span.data.offset;
        let end = last.span.data.offset + u64::from(last.span.data.len);
        let bytes = self.bytes(begin, end - begin)?;
        let mut decoder = Decoder::new();
        let mut dictionary: Option<(ByteSpan, Dictionary)> = None;
        let (mut chunks, mut ends) = (Vec::new(), Vec::with_capacity(entries.len()));
        for ChunkEntry { address, span } in entries {
            let wrong = |source| CheckError::Chunk {
                address: *address,
                path: self.path.clone(),
                source,
            };
            let prepared = match span.dictionary {
                None => None,
                Some(wanted) => {
                    if dictionary.as_ref().is_none_or(|(span, _)| *span != wanted) {
                        let stored = self.bytes(wanted.offset, u64::from(wanted.len))?;
                        dictionary = Some((wanted, Dictionary::decode(&stored).map_err(wrong)?));
                    }
                    dictionary.as_ref().map(|(_, dictionary)| dictionary)
                }
            };
            let start = usize::try_from(span.data.offset - begin).unwrap_or(usize::MAX);
            let stored = &bytes[start..start + span.data.len as usize];
            decoder
                .decode(stored, prepared, MAX_CHUNK_LEN, &mut chunks)
                .map_err(wrong)?;
            ends.push(chunks.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let slices: Vec<&[u8]> = starts
            .zip(&ends)
            .map(|(start, end)| &chunks[start..*end])
            .collect();
        let addresses: Vec<_> = entries.iter().map(|entry| entry.address).collect();
        check_chunks(&addresses, &slices).map_err(|source| CheckError::Address {
            path: self.path.clone(),
            source,
        })
    }

    fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>, CheckError> {
        read(&self.file, offset, len).map_err(|source| CheckError::Io {
            path: self.path.clone(),
            source,
        })
    }
}

fn read(file: &File, offset: u64, len: u64) -> std::io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| std::io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// What was found in a journal.
#[derive(Debug, Default)]
pub struct JournalCheck {
    /// How many chunks are in it.
    pub count: u64,
    /// What is wrong with some of them.
    pub problems: Vec<CheckError>,
}

/// Checks every chunk of a journal. Blocks.
pub fn check_journal(journal: &Journal) -> JournalCheck {
    let mut found = JournalCheck::default();
    let mut stored = Vec::new();
    for (address, span) in journal.in_file_order() {
        found.count += 1;
        let checked = read_checked(journal, address, span, &mut stored);
        found.problems.extend(checked.err());
    }
    found
}

/// Reads the stored form of a chunk of a journal into `stored`, in the place of what was there, and checks that it is
/// the chunk of that address.
pub(super) fn read_checked(
    journal: &Journal,
    address: ChunkAddress,
    span: ByteSpan,
    stored: &mut Vec<u8>,
) -> Result<(), CheckError> {
    stored.clear();
    journal
        .read_stored(span, stored)
        .map_err(|source| CheckError::Store { source })?;
    let path = || journal.path().to_owned();
    let mut chunk = Vec::new();
    table::record::decode(stored, MAX_CHUNK_LEN, &mut chunk).map_err(|source| {
        CheckError::Chunk {
            address,
            path: path(),
            source,
        }
    })?;
    check_chunks(&[address], &[&chunk]).map_err(|source| CheckError::Address {
        path: path(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::hash::hash_chunk;

    use super::*;

    /// Checks a file of two chunks, the second of which stands under `address`.
    async fn checked(kind: FileKind, address: ChunkAddress) -> Result<u32, CheckError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        let honest = hash_chunk(b"honest");
        match kind {
            FileKind::Table => {
                let mut writer = table::Writer::new(file.reopen().unwrap());
                writer.append_chunk(honest, b"honest").unwrap();
                writer.append_chunk(address, b"other").unwrap();
                writer.finish().unwrap();
            }
            FileKind::Archive => {
                let mut writer = archive::Writer::new(file.reopen().unwrap());
                writer.append_chunk(honest, b"honest").unwrap();
                writer.append_chunk(address, b"other").unwrap();
                writer.finish(&Default::default()).unwrap();
            }
        }
        check_file(file.path(), kind, &BlockingPool::new(2)).await
    }

    #[tokio::test]
    async fn a_chunk_that_is_not_what_it_stands_under_is_named() {
        for kind in [FileKind::Table, FileKind::Archive] {
            assert_eq!(checked(kind, hash_chunk(b"other")).await.unwrap(), 2);
            let claimed = ChunkAddress::new([7; 20]);
            let error = checked(kind, claimed).await.unwrap_err();
            let CheckError::Address { source, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(source.claimed, claimed);
            assert_eq!(source.actual, hash_chunk(b"other"));
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
