//! A table file or an archive, piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::try_join_all;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::{Decoder, Dictionary};
use holdfast_chunkstore::format::{FileKind, MAX_CHUNK_LEN};
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::index::{ByteSpan, ChunkEntry, ChunkSpan};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::sort::SortOptions;
use holdfast_chunkstore::stored_index::{InFileOrder, StoredIndex, StoredIndexError};

use super::CheckError;

/// How much of a file is read and checked in one piece, unless one chunk is longer.
const PIECE_BYTES: u64 = 4 << 20;

/// How many chunks are in a piece at most.
const PIECE_CHUNKS: usize = 1 << 14;

/// How many uncompressed bytes are gathered before they are hashed together.
const GATHER_BYTES: usize = 1 << 20;

/// How many pieces are checked side by side at most.
const PIECES_AT_ONCE: usize = 4;

/// How much of an index is kept in memory.
const INDEX_BYTES: usize = 16 << 20;

/// Checks a file and returns how many chunks are in it. An index of more than some hundred thousand chunks is sorted
/// in nameless files in the directory `spill`.
///
/// Memory depends on neither the number of chunks nor the length of the file: 16 MiB for the index, and a few times
/// 4 MiB for each of at most four pieces.
pub async fn check_file(
    path: &Path,
    kind: FileKind,
    spill: &Path,
    pool: &BlockingPool,
) -> Result<u32, CheckError> {
    let sort = SortOptions {
        directory: spill.to_owned(),
        memory_bytes: INDEX_BYTES,
        room: None,
    };
    check_with(path, kind, sort, pool).await
}

/// Does the same, and keeps as much of the index in memory as it is told.
pub(super) async fn check_with(
    path: &Path,
    kind: FileKind,
    sort: SortOptions,
    pool: &BlockingPool,
) -> Result<u32, CheckError> {
    let opened = {
        let path = path.to_owned();
        pool.run(move || Check::open(path, kind, &sort)).await?
    };
    let check = Arc::new(opened);
    let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let workers = (0..workers.min(PIECES_AT_ONCE)).map(|_| async {
        loop {
            let check = Arc::clone(&check);
            if !pool.run(move || check.check_next()).await? {
                return Ok(());
            }
        }
    });
    try_join_all(workers).await?;
    Ok(check.count)
}

/// A file under check.
struct Check {
    path: PathBuf,
    file: Arc<File>,
    count: u32,
    pieces: Mutex<Pieces>,
}

impl Check {
    fn open(path: PathBuf, kind: FileKind, sort: &SortOptions) -> Result<Self, CheckError> {
        let opened = File::open(&path);
        let file = Arc::new(opened.map_err(|source| CheckError::io(&path, source))?);
        let index = StoredIndex::open(Arc::clone(&file), kind);
        let index = index.map_err(|source| CheckError::index(&path, source))?;
        let entries = index.in_file_order(sort);
        let entries = entries.map_err(|source| CheckError::index(&path, source))?;
        Ok(Self {
            path,
            file,
            count: index.count(),
            pieces: Mutex::new(Pieces {
                entries,
                ahead: None,
            }),
        })
    }

    /// Checks the next piece, and tells whether there was one.
    fn check_next(&self) -> Result<bool, CheckError> {
        let taken = {
            let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
            pieces.next_piece()
        };
        let entries = taken.map_err(|source| CheckError::index(&self.path, source))?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(false);
        };
        let begin = first.span.data.offset;
        let end = last.span.data.offset + u64::from(last.span.data.len);
        let mut piece = Piece {
            check: self,
            begin,
            stored: self.read(begin, end - begin)?,
            decoder: Decoder::new(),
            dictionary: None,
            gathered: Gathered::default(),
        };
        piece.check(&entries)?;
        Ok(true)
    }

    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, CheckError> {
        read(&self.file, offset, len).map_err(|source| CheckError::io(&self.path, source))
    }
}

fn read(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The entries that are still to be checked.
struct Pieces {
    entries: InFileOrder,
    /// An entry that did not fit into the piece before.
    ahead: Option<ChunkEntry>,
}

impl Pieces {
    /// Takes entries whose data is some mebibytes together; none behind the last.
    fn next_piece(&mut self) -> Result<Vec<ChunkEntry>, StoredIndexError> {
        let mut piece: Vec<ChunkEntry> = Vec::new();
        while piece.len() < PIECE_CHUNKS {
            let entry = match self.ahead.take() {
                Some(entry) => entry,
                None => match self.entries.next().transpose()? {
                    Some(numbered) => numbered.entry,
                    None => break,
                },
            };
            let ByteSpan { offset, len } = entry.span.data;
            if let Some(first) = piece.first()
                && offset + u64::from(len) - first.span.data.offset > PIECE_BYTES
            {
                self.ahead = Some(entry);
                break;
            }
            piece.push(entry);
        }
        Ok(piece)
    }
}

/// A piece that was read.
struct Piece<'a> {
    check: &'a Check,
    /// Where it begins in the file.
    begin: u64,
    stored: Vec<u8>,
    decoder: Decoder,
    /// The dictionary that was needed last.
    dictionary: Option<(ByteSpan, Dictionary)>,
    gathered: Gathered,
}

impl Piece<'_> {
    fn check(&mut self, entries: &[ChunkEntry]) -> Result<(), CheckError> {
        for entry in entries {
            self.decode(entry.address, entry.span)?;
            if self.gathered.chunks.len() >= GATHER_BYTES {
                self.gathered.check(&self.check.path)?;
            }
        }
        self.gathered.check(&self.check.path)
    }

    fn decode(&mut self, address: ChunkAddress, span: ChunkSpan) -> Result<(), CheckError> {
        let wrong = |source| CheckError::Chunk {
            address,
            path: self.check.path.clone(),
            source,
        };
        let dictionary = match span.dictionary {
            None => None,
            Some(wanted) => {
                if self
                    .dictionary
                    .as_ref()
                    .is_none_or(|(kept, _)| *kept != wanted)
                {
                    let stored = self.check.read(wanted.offset, u64::from(wanted.len))?;
                    let decoded = Dictionary::decode(&stored).map_err(wrong)?;
                    self.dictionary = Some((wanted, decoded));
                }
                self.dictionary.as_ref().map(|(_, dictionary)| dictionary)
            }
        };
        let start = usize::try_from(span.data.offset - self.begin).unwrap_or(usize::MAX);
        let stored = &self.stored[start..start + span.data.len as usize];
        self.decoder
            .decode(stored, dictionary, MAX_CHUNK_LEN, &mut self.gathered.chunks)
            .map_err(wrong)?;
        self.gathered.ends.push(self.gathered.chunks.len());
        self.gathered.addresses.push(address);
        Ok(())
    }
}

/// Chunks that are hashed together.
#[derive(Default)]
struct Gathered {
    chunks: Vec<u8>,
    /// Where each ends in `chunks`.
    ends: Vec<usize>,
    addresses: Vec<ChunkAddress>,
}

impl Gathered {
    /// Checks what was gathered and forgets it.
    fn check(&mut self, path: &Path) -> Result<(), CheckError> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let chunks: Vec<&[u8]> = starts
            .zip(&self.ends)
            .map(|(start, end)| &self.chunks[start..*end])
            .collect();
        check_chunks(&self.addresses, &chunks).map_err(|source| CheckError::Address {
            path: path.to_owned(),
            source,
        })?;
        self.chunks.clear();
        self.ends.clear();
        self.addresses.clear();
        Ok(())
    }
}
