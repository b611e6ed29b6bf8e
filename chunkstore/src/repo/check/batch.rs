//! Blocks of a file, checked side by side.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Context, FindChildren, Tell, UploadError, WORKERS};
use crate::address::ChunkAddress;
use crate::format::MAX_CHUNK_LEN;
use crate::format::archive::{Decoder, Dictionary};
use crate::hash::hash_chunks;
use crate::index::{ByteSpan, ChunkSpan};
use crate::pool::BlockingPool;
use crate::repo::entries::{RECORD_LEN, StoredEntry};
use crate::sort::Sorter;

/// How much of the file is read at once, unless one chunk is longer.
const BLOCK_BYTES: u64 = 1 << 20;

/// How many uncompressed bytes are gathered before they are hashed together: enough to fill all lanes, little
/// enough to stay in a cache.
const GATHER_BYTES: usize = 384 << 10;

/// How many references are gathered before they are handed over.
const GATHER_CHILDREN: usize = 1 << 15;

/// Buffers that one long chunk made larger than this are given back.
const KEEP_BYTES: usize = 4 << 20;

/// How many blocks are checked before the thread goes back to the pool.
const BLOCKS_A_LEASE: usize = 32;

/// How many dictionaries are kept ready.
const KEPT_DICTIONARIES: usize = 64;

/// How many bytes the dictionaries that are kept may have together.
const KEPT_DICTIONARY_BYTES: usize = 4 << 20;

/// One stored chunk.
pub(super) struct Piece {
    /// The number of the record or of the span.
    pub(super) number: u32,
    /// Where it lies.
    pub(super) span: ByteSpan,
    /// What it was compressed with.
    pub(super) dictionary: Option<Arc<PieceDictionary>>,
    /// The end of its address, where the index gives it in the order of the file.
    pub(super) suffix: Option<[u8; 12]>,
}

/// Where a dictionary lies.
pub(super) struct PieceDictionary {
    /// The number of its span.
    pub(super) number: u32,
    /// Where it lies.
    pub(super) span: ByteSpan,
}

/// The stored chunks of a file in their order.
pub(super) trait Pieces: Send {
    fn next(&mut self) -> Result<Option<Piece>, UploadError>;
}

/// What the workers found.
pub(super) struct Found {
    pub(super) entries: Sorter<RECORD_LEN>,
    pub(super) children: Sorter<20>,
    pub(super) uncompressed_len: u64,
}

/// Checks all pieces on the pool.
pub(super) async fn run(
    work: Work,
    pool: &BlockingPool,
    tell: Tell<'_>,
) -> Result<Found, UploadError> {
    let work = Arc::new(work);
    // Whoever stops waiting stops the work.
    let _stop = StopOnDrop(Arc::clone(&work));
    let workers = (0..work.worker_count()).map(|_| work_in_leases(&work, pool, tell));
    futures::future::join_all(workers).await;
    work.conclude()
}

async fn work_in_leases(work: &Arc<Work>, pool: &BlockingPool, tell: Tell<'_>) {
    let mut worker = Box::new(Worker::default());
    loop {
        let leased = Arc::clone(work);
        let (kept, more) = pool
            .run(move || {
                let more = leased.lease(&mut worker);
                (worker, more)
            })
            .await;
        worker = kept;
        tell(work.checked.load(Ordering::Relaxed));
        if !more {
            return;
        }
    }
}

struct StopOnDrop(Arc<Work>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stopped.store(true, Ordering::Relaxed);
    }
}

/// What the workers share.
pub(super) struct Work {
    file: Arc<File>,
    data_len: u64,
    finder: Arc<dyn FindChildren>,
    source: Mutex<Source>,
    found: Mutex<Found>,
    dictionaries: Mutex<KeptDictionaries>,
    /// The first bad block and what is wrong with it.
    failure: Mutex<Option<(u64, UploadError)>>,
    /// How many bytes are checked.
    checked: AtomicU64,
    stopped: AtomicBool,
}

/// The pieces that are still to be checked.
struct Source {
    pieces: Box<dyn Pieces>,
    /// A piece that did not fit into the block before.
    ahead: Option<Piece>,
    next_block: u64,
    ended: bool,
}

impl Work {
    pub(super) fn new(
        context: &Context,
        pieces: Box<dyn Pieces>,
        finder: Arc<dyn FindChildren>,
    ) -> Self {
        Self {
            file: Arc::clone(&context.file),
            data_len: context.len,
            finder,
            source: Mutex::new(Source {
                pieces,
                ahead: None,
                next_block: 0,
                ended: false,
            }),
            found: Mutex::new(Found {
                entries: context.sorter(),
                children: Sorter::merging_equal(context.sort.clone()),
                uncompressed_len: 0,
            }),
            dictionaries: Mutex::default(),
            failure: Mutex::new(None),
            checked: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// A file of one block is not worth a second worker.
    fn worker_count(&self) -> usize {
        if self.data_len <= BLOCK_BYTES {
            1
        } else {
            WORKERS
        }
    }

    /// Checks some blocks and tells whether there may be more.
    fn lease(&self, worker: &mut Worker) -> bool {
        for _ in 0..BLOCKS_A_LEASE {
            match self.next_block(&mut worker.pieces) {
                None => return false,
                Some((block, taken)) => {
                    if let Err(error) = taken.and_then(|()| worker.check(self)) {
                        self.fail(block, error);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Takes the pieces of the next block; an error belongs to the block it came in.
    fn next_block(&self, pieces: &mut Vec<Piece>) -> Option<(u64, Result<(), UploadError>)> {
        pieces.clear();
        let mut source = self.source.lock();
        if source.ended || self.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let taken = source.take_block(pieces);
        if taken.is_err() {
            // The pieces before the error are not looked at: it is the first thing wrong with this block.
            source.ended = true;
        } else if pieces.is_empty() {
            return None;
        }
        let block = source.next_block;
        source.next_block += 1;
        Some((block, taken))
    }

    fn fail(&self, block: u64, error: UploadError) {
        self.source.lock().ended = true;
        let mut failure = self.failure.lock();
        if failure.as_ref().is_none_or(|(first, _)| block < *first) {
            *failure = Some((block, error));
        }
    }

    fn conclude(&self) -> Result<Found, UploadError> {
        if let Some((_, error)) = self.failure.lock().take() {
            return Err(error);
        }
        let mut source = self.source.lock();
        if source.ahead.is_some() || source.pieces.next()?.is_some() {
            return Err(UploadError::GivenUp);
        }
        let mut found = self.found.lock();
        let options = found.entries.options().clone();
        let empty = Found {
            entries: Sorter::new(options.clone()),
            children: Sorter::merging_equal(options),
            uncompressed_len: 0,
        };
        Ok(std::mem::replace(&mut *found, empty))
    }

    /// A dictionary, read and prepared unless it is at hand.
    fn dictionary(&self, wanted: &PieceDictionary) -> Result<Arc<Dictionary>, UploadError> {
        if let Some(found) = self.dictionaries.lock().get(wanted.number) {
            return Ok(found);
        }
        let mut bytes = vec![0; usize::try_from(wanted.span.len).unwrap_or(usize::MAX)];
        let read = self.file.read_exact_at(&mut bytes, wanted.span.offset);
        read.map_err(UploadError::Scratch)?;
        let decoded = Dictionary::decode(&bytes);
        let decoded = decoded.map_err(|source| UploadError::Dictionary {
            span: wanted.number,
            source,
        })?;
        let decoded = Arc::new(decoded);
        self.dictionaries
            .lock()
            .keep(wanted.number, Arc::clone(&decoded));
        Ok(decoded)
    }
}

impl Source {
    fn take_block(&mut self, pieces: &mut Vec<Piece>) -> Result<(), UploadError> {
        let mut begin = None;
        loop {
            let piece = match self.ahead.take() {
                Some(piece) => piece,
                None => match self.pieces.next()? {
                    Some(piece) => piece,
                    None => return Ok(()),
                },
            };
            let begin = *begin.get_or_insert(piece.span.offset);
            let len = piece.span.offset + u64::from(piece.span.len) - begin;
            if !pieces.is_empty() && len > BLOCK_BYTES {
                self.ahead = Some(piece);
                return Ok(());
            }
            pieces.push(piece);
        }
    }
}

/// Dictionaries that were used lately, the latest first.
#[derive(Default)]
struct KeptDictionaries {
    kept: VecDeque<(u32, Arc<Dictionary>)>,
    bytes: usize,
}

impl KeptDictionaries {
    fn get(&mut self, number: u32) -> Option<Arc<Dictionary>> {
        let at = self.kept.iter().position(|(kept, _)| *kept == number)?;
        let found = self.kept.remove(at)?;
        let dictionary = Arc::clone(&found.1);
        self.kept.push_front(found);
        Some(dictionary)
    }

    fn keep(&mut self, number: u32, dictionary: Arc<Dictionary>) {
        self.bytes += dictionary.len();
        self.kept.push_front((number, dictionary));
        while self.kept.len() > KEPT_DICTIONARIES
            || (self.bytes > KEPT_DICTIONARY_BYTES && self.kept.len() > 1)
        {
            if let Some((_, dictionary)) = self.kept.pop_back() {
                self.bytes -= dictionary.len();
            }
        }
    }
}

/// What one worker keeps from block to block.
#[derive(Default)]
struct Worker {
    pieces: Vec<Piece>,
    stored: Vec<u8>,
    chunks: Vec<u8>,
    /// Where each chunk ends in `chunks`.
    ends: Vec<usize>,
    addresses: Vec<ChunkAddress>,
    children: Vec<[u8; 20]>,
    decoder: Decoder,
    dictionary: Option<(u32, Arc<Dictionary>)>,
}

impl Worker {
    /// Checks the pieces and adds what was found to the common sets.
    fn check(&mut self, work: &Work) -> Result<(), UploadError> {
        let (Some(first), Some(last)) = (self.pieces.first(), self.pieces.last()) else {
            return Ok(());
        };
        let begin = first.span.offset;
        let len = last.span.offset + u64::from(last.span.len) - begin;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        self.stored.resize(len, 0);
        let read = work.file.read_exact_at(&mut self.stored, begin);
        read.map_err(UploadError::Scratch)?;
        self.addresses.clear();
        self.children.clear();
        let pieces = std::mem::take(&mut self.pieces);
        let checked = self.check_pieces(work, &pieces, begin);
        self.pieces = pieces;
        let uncompressed_len = checked?;
        hand_over_children(work, &mut self.children)?;
        self.hand_over(work, uncompressed_len)
            .map_err(UploadError::Scratch)?;
        work.checked.fetch_add(len as u64, Ordering::Relaxed);
        self.stored.shrink_to(KEEP_BYTES);
        self.chunks.shrink_to(KEEP_BYTES);
        self.children.shrink_to(2 * GATHER_CHILDREN);
        Ok(())
    }

    fn check_pieces(
        &mut self,
        work: &Work,
        pieces: &[Piece],
        begin: u64,
    ) -> Result<u64, UploadError> {
        let mut uncompressed_len = 0;
        self.chunks.clear();
        self.ends.clear();
        let mut gathered = 0;
        for (at, piece) in pieces.iter().enumerate() {
            uncompressed_len += self.decode(work, piece, begin)?;
            if self.chunks.len() >= GATHER_BYTES || at + 1 == pieces.len() {
                self.hash(work, &pieces[gathered..=at])?;
                gathered = at + 1;
            }
        }
        Ok(uncompressed_len)
    }

    fn decode(&mut self, work: &Work, piece: &Piece, begin: u64) -> Result<u64, UploadError> {
        let from = usize::try_from(piece.span.offset - begin).unwrap_or(usize::MAX);
        let len = usize::try_from(piece.span.len).unwrap_or(usize::MAX);
        let stored = &self.stored[from..from + len];
        if let Some(wanted) = &piece.dictionary
            && self
                .dictionary
                .as_ref()
                .is_none_or(|(kept, _)| *kept != wanted.number)
        {
            self.dictionary = Some((wanted.number, work.dictionary(wanted)?));
        }
        let dictionary = match (&piece.dictionary, &self.dictionary) {
            (Some(_), Some((_, dictionary))) => Some(dictionary.as_ref()),
            _ => None,
        };
        let decoded = self
            .decoder
            .decode(stored, dictionary, MAX_CHUNK_LEN, &mut self.chunks);
        let len = decoded.map_err(|source| UploadError::Chunk {
            number: piece.number,
            offset: piece.span.offset,
            source,
        })?;
        self.ends.push(self.chunks.len());
        Ok(len as u64)
    }

    /// Hashes the gathered chunks, which are those of `pieces`, and finds their children.
    fn hash(&mut self, work: &Work, pieces: &[Piece]) -> Result<(), UploadError> {
        let mut chunks = Vec::with_capacity(self.ends.len());
        let mut begin = 0;
        for end in &self.ends {
            chunks.push(&self.chunks[begin..*end]);
            begin = *end;
        }
        let addresses = hash_chunks(&chunks);
        for ((piece, actual), chunk) in pieces.iter().zip(&addresses).zip(&chunks) {
            if piece.suffix.is_some_and(|suffix| suffix != actual.suffix()) {
                return Err(UploadError::Address {
                    number: piece.number,
                    actual: *actual,
                });
            }
            let children = &mut self.children;
            let mut visit = |child: ChunkAddress| children.push(*child.as_bytes());
            let visited = work.finder.children(chunk, &mut visit);
            visited.map_err(|refused| UploadError::Children {
                address: *actual,
                kind: refused.kind,
                message: refused.message,
            })?;
            if self.children.len() >= GATHER_CHILDREN {
                hand_over_children(work, &mut self.children)?;
            }
        }
        self.addresses.extend(addresses);
        self.chunks.clear();
        self.ends.clear();
        Ok(())
    }

    fn hand_over(&self, work: &Work, uncompressed_len: u64) -> std::io::Result<()> {
        let mut found = work.found.lock();
        found.uncompressed_len += uncompressed_len;
        for (piece, address) in self.pieces.iter().zip(&self.addresses) {
            let dictionary = piece.dictionary.as_ref().map(|dictionary| dictionary.span);
            let entry = StoredEntry {
                address: *address,
                number: piece.number,
                span: ChunkSpan {
                    data: piece.span,
                    dictionary,
                },
            };
            found.entries.push(entry.encode())?;
        }
        Ok(())
    }
}

/// Adds references to the common set and forgets them.
fn hand_over_children(work: &Work, children: &mut Vec<[u8; 20]>) -> Result<(), UploadError> {
    children.sort_unstable();
    children.dedup();
    let mut found = work.found.lock();
    let mut pushed = children.drain(..).map(|child| found.children.push(child));
    pushed.try_for_each(|pushed| pushed.map_err(UploadError::Scratch))
}
