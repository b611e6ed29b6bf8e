//! A table file or an archive, piece by piece.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::archive::{Decoder, Dictionary};
use holdfast_chunkstore::format::{FileKind, MAX_CHUNK_LEN};
use holdfast_chunkstore::hash::check_chunks;
use holdfast_chunkstore::index::{ByteSpan, ChunkEntry};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::sort::SortOptions;
use holdfast_chunkstore::stored_index::{InFileOrder, StoredIndex, StoredIndexError};
use tokio::sync::watch::Receiver;

use super::CheckError;

/// How much of a file is read and checked in one piece, unless one chunk is longer.
const PIECE_BYTES: u64 = 1 << 20;

/// How many chunks are in a piece at most.
const PIECE_CHUNKS: usize = 1 << 13;

/// How many uncompressed bytes are gathered before they are hashed together.
const GATHER_BYTES: usize = 1 << 20;

/// How many pieces are checked side by side at most.
const PIECES_AT_ONCE: usize = 4;

/// How much of an index is kept in memory.
const INDEX_BYTES: usize = 8 << 20;

/// Checks a file and returns how many chunks are in it. An index of more than some hundred thousand chunks is sorted
/// in nameless files in the directory `spill`.
///
/// Memory depends on neither the number of chunks nor the length of the file: 8 MiB for the index, and a few MiB for
/// each of at most four pieces.
pub async fn check_file(
    path: &Path,
    kind: FileKind,
    spill: &Path,
    pool: &BlockingPool,
) -> Result<u32, CheckError> {
    check_with(path, kind, sort_in(spill), pool).await
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
        pool.run(move || {
            let file = open(&path)?;
            let index = StoredIndex::open(Arc::clone(&file), kind);
            let index = index.map_err(|source| CheckError::index(&path, source))?;
            Check::of_index(path, file, &index, &sort)
        })
    };
    opened.await?.run(pool, None).await
}

/// What a check that goes on behind damage found in a file.
#[derive(Debug, Default)]
pub struct FileCheck {
    /// How many chunks the index lists.
    pub count: u32,
    /// What is wrong with which of them, in the order of the file: each chunk at most once.
    pub problems: Vec<CheckError>,
}

impl FileCheck {
    /// How many chunks are sound.
    pub fn sound(&self) -> u64 {
        u64::from(self.count).saturating_sub(self.problems.len() as u64)
    }
}

/// Checks every chunk of a file, those behind a damaged one too. Memory grows with the number of damaged chunks only.
///
/// # Errors
/// Where the index cannot be read: then no chunk can be found.
pub async fn check_whole_file(
    path: &Path,
    kind: FileKind,
    spill: &Path,
    pool: &BlockingPool,
) -> Result<FileCheck, CheckError> {
    let faults = Faults::default();
    let count = {
        let (path, sort, faults) = (path.to_owned(), sort_in(spill), faults.clone());
        let opened = pool.run(move || {
            let file = open(&path)?;
            let index = StoredIndex::open(Arc::clone(&file), kind);
            let index = index.map_err(|source| CheckError::index(&path, source))?;
            let mut check = Check::of_index(path, file, &index, &sort)?;
            check.faults = Some(faults);
            Ok::<_, CheckError>(check)
        });
        opened.await?.run(pool, None).await?
    };
    let mut found = std::mem::take(&mut *faults.lock());
    found.sort_by_key(|(offset, _)| *offset);
    let problems = found.into_iter().map(|(_, error)| error).collect();
    Ok(FileCheck { count, problems })
}

/// The damaged chunks of a file, each with where its data begins.
#[derive(Debug, Clone, Default)]
struct Faults(Arc<Mutex<Vec<(u64, CheckError)>>>);

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Vec<(u64, CheckError)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks a file whose index is known, and of which other bytes are still on their way: `arrived` tells up to where it
/// is there. When nobody is left to tell, it waits for ever: whoever wrote the file has failed then.
pub(in crate::transfer) async fn check_arriving(
    path: &Path,
    index: &StoredIndex,
    arrived: Receiver<u64>,
    spill: &Path,
    pool: &BlockingPool,
) -> Result<u32, CheckError> {
    let (path, index, sort) = (path.to_owned(), index.clone(), sort_in(spill));
    let opened = pool.run(move || {
        let file = open(&path)?;
        Check::of_index(path, file, &index, &sort)
    });
    opened.await?.run(pool, Some(arrived)).await
}

fn sort_in(spill: &Path) -> SortOptions {
    SortOptions {
        directory: spill.to_owned(),
        memory_bytes: INDEX_BYTES,
        room: None,
    }
}

fn open(path: &Path) -> Result<Arc<File>, CheckError> {
    let opened = File::open(path).map(Arc::new);
    opened.map_err(|source| CheckError::io(path, source))
}

/// A file under check.
struct Check {
    path: PathBuf,
    file: Arc<File>,
    count: u32,
    pieces: Mutex<Pieces>,
    /// Where damaged chunks are gathered; without it the first one ends the check.
    faults: Option<Faults>,
}

impl Check {
    fn of_index(
        path: PathBuf,
        file: Arc<File>,
        index: &StoredIndex,
        sort: &SortOptions,
    ) -> Result<Self, CheckError> {
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
            faults: None,
        })
    }

    /// Checks all pieces, each as soon as it is there, and returns how many chunks are in them.
    async fn run(
        self,
        pool: &BlockingPool,
        arrived: Option<Receiver<u64>>,
    ) -> Result<u32, CheckError> {
        let check = Arc::new(self);
        let workers = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let workers = (0..workers.min(PIECES_AT_ONCE)).map(|_| {
            let mut worker = Worker::new(Arc::clone(&check));
            let mut arrived = arrived.clone();
            async move {
                loop {
                    let take = move || worker.take_piece().map(|piece| (worker, piece));
                    let (next, piece) = pool.run(take).await?;
                    worker = next;
                    let Some(piece) = piece else { return Ok(()) };
                    if let Some(arrived) = &mut arrived
                        && arrived.wait_for(|have| *have >= piece.end).await.is_err()
                    {
                        std::future::pending::<()>().await;
                    }
                    let work = move || worker.check(&piece).map(|()| worker);
                    worker = pool.run(work).await?;
                }
            }
        });
        try_join_all(workers).await?;
        Ok(check.count)
    }

    fn read(&self, offset: u64, len: u64, bytes: &mut Vec<u8>) -> Result<(), CheckError> {
        let read = read(&self.file, offset, len, bytes);
        read.map_err(|source| CheckError::io(&self.path, source))
    }
}

fn read(file: &File, offset: u64, len: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
    bytes.resize(len, 0);
    file.read_exact_at(bytes, offset)
}

/// The entries that are still to be checked.
struct Pieces {
    entries: InFileOrder,
    /// An entry that did not fit into the piece before.
    ahead: Option<ChunkEntry>,
}

/// Entries whose data lies together.
struct Piece {
    entries: Vec<ChunkEntry>,
    /// Where the data begins.
    begin: u64,
    /// Where the data and all that it takes to decode it ends.
    end: u64,
}

impl Pieces {
    /// Takes entries whose data is about a mebibyte together; nothing behind the last.
    fn next_piece(&mut self) -> Result<Option<Piece>, StoredIndexError> {
        let mut piece: Option<Piece> = None;
        loop {
            let entry = match self.ahead.take() {
                Some(entry) => entry,
                None => match self.entries.next().transpose()? {
                    Some(numbered) => numbered.entry,
                    None => return Ok(piece),
                },
            };
            match &mut piece {
                None => piece = Some(Piece::new(entry)),
                Some(piece) if piece.takes(&entry) => piece.push(entry),
                Some(_) => {
                    self.ahead = Some(entry);
                    return Ok(piece);
                }
            }
        }
    }
}

impl Piece {
    fn new(entry: ChunkEntry) -> Self {
        let mut piece = Self {
            entries: Vec::new(),
            begin: entry.span.data.offset,
            end: 0,
        };
        piece.push(entry);
        piece
    }

    fn takes(&self, entry: &ChunkEntry) -> bool {
        self.entries.len() < PIECE_CHUNKS && end(entry.span.data) - self.begin <= PIECE_BYTES
    }

    fn push(&mut self, entry: ChunkEntry) {
        let dictionary = entry.span.dictionary.map_or(0, end);
        self.end = self.end.max(end(entry.span.data)).max(dictionary);
        self.entries.push(entry);
    }

    /// The bytes of the data.
    fn data_len(&self) -> u64 {
        let last = self.entries.last().expect("a piece has an entry");
        end(last.span.data) - self.begin
    }
}

/// Where a span ends: inside the file, as its index was found to say.
fn end(span: ByteSpan) -> u64 {
    span.offset + u64::from(span.len)
}

/// Checks one piece after the other; its memory is taken once.
struct Worker {
    check: Arc<Check>,
    stored: Vec<u8>,
    decoder: Decoder,
    /// The dictionary that was needed last.
    dictionary: Option<(ByteSpan, Dictionary)>,
    gathered: Gathered,
}

impl Worker {
    fn new(check: Arc<Check>) -> Self {
        Self {
            check,
            stored: Vec::new(),
            decoder: Decoder::new(),
            dictionary: None,
            gathered: Gathered::default(),
        }
    }

    fn take_piece(&self) -> Result<Option<Piece>, CheckError> {
        let pieces = self.check.pieces.lock();
        let mut pieces = pieces.unwrap_or_else(PoisonError::into_inner);
        let piece = pieces.next_piece();
        piece.map_err(|source| CheckError::index(&self.check.path, source))
    }

    /// Checks a piece. Where damaged chunks are gathered, a piece with one is looked at again chunk by chunk, so that
    /// each is named and none of the others is taken for damaged.
    fn check(&mut self, piece: &Piece) -> Result<(), CheckError> {
        let checked = self.check_together(piece);
        let Some(faults) = self.check.faults.clone() else {
            return checked;
        };
        if checked.is_ok() {
            return Ok(());
        }
        for entry in &piece.entries {
            self.gathered.clear();
            let ByteSpan { offset, len } = entry.span.data;
            let checked = self
                .check
                .read(offset, u64::from(len), &mut self.stored)
                .and_then(|()| self.decode(offset, entry))
                .and_then(|()| self.gathered.check(&self.check.path));
            let fault = checked
                .err()
                .map(|error| self.of_chunk(entry.address, error));
            faults.lock().extend(fault.map(|error| (offset, error)));
        }
        self.gathered.clear();
        Ok(())
    }

    /// Says which chunk it is that could not be read.
    fn of_chunk(&self, address: ChunkAddress, error: CheckError) -> CheckError {
        match error.chunk() {
            Some(_) => error,
            None => CheckError::Unread {
                address,
                path: self.check.path.clone(),
                source: Box::new(error),
            },
        }
    }

    fn check_together(&mut self, piece: &Piece) -> Result<(), CheckError> {
        let data_len = piece.data_len();
        self.check.read(piece.begin, data_len, &mut self.stored)?;
        for entry in &piece.entries {
            self.decode(piece.begin, entry)?;
            if self.gathered.chunks.len() >= GATHER_BYTES {
                self.gathered.check(&self.check.path)?;
            }
        }
        self.gathered.check(&self.check.path)
    }

    fn decode(&mut self, begin: u64, entry: &ChunkEntry) -> Result<(), CheckError> {
        let ChunkEntry { address, span } = *entry;
        let wrong = |source| CheckError::Chunk {
            address,
            path: self.check.path.clone(),
            source,
        };
        let dictionary = match span.dictionary {
            None => None,
            Some(wanted) => {
                let kept = self.dictionary.as_ref();
                if kept.is_none_or(|(kept, _)| *kept != wanted) {
                    let mut stored = Vec::new();
                    (self.check).read(wanted.offset, u64::from(wanted.len), &mut stored)?;
                    let decoded = Dictionary::decode(&stored).map_err(wrong)?;
                    self.dictionary = Some((wanted, decoded));
                }
                self.dictionary.as_ref().map(|(_, dictionary)| dictionary)
            }
        };
        let start = usize::try_from(span.data.offset - begin).unwrap_or(usize::MAX);
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
        self.clear();
        Ok(())
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.ends.clear();
        self.addresses.clear();
    }
}
