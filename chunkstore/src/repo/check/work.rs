//! A file under check as its workers share it: the pieces that are still to be checked, and what was found.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::dictionaries::KeptDictionaries;
use super::{Context, FindChildren, UploadError, WORKERS};
use crate::format::archive::Dictionary;
use crate::index::ByteSpan;
use crate::repo::entries::RECORD_LEN;
use crate::sort::Sorter;

/// How much of the file is read at once, unless one chunk is longer.
const BLOCK_BYTES: u64 = 1 << 20;

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

/// What the workers share.
pub(super) struct Work {
    pub(super) file: Arc<File>,
    data_len: u64,
    pub(super) finder: Arc<dyn FindChildren>,
    source: Mutex<Source>,
    pub(super) found: Mutex<Found>,
    dictionaries: Mutex<KeptDictionaries>,
    /// The first bad block and what is wrong with it.
    failure: Mutex<Option<(u64, UploadError)>>,
    /// How many bytes are checked.
    pub(super) checked: AtomicU64,
    /// How many bytes were decoded.
    pub(super) decoded: AtomicU64,
    /// How many may be.
    decoded_limit: u64,
    pub(super) stopped: AtomicBool,
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
        decoded_limit: u64,
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
            decoded: AtomicU64::new(0),
            decoded_limit,
            stopped: AtomicBool::new(false),
        }
    }

    /// A file of one block is not worth a second worker.
    pub(super) fn worker_count(&self) -> usize {
        if self.data_len <= BLOCK_BYTES {
            1
        } else {
            WORKERS
        }
    }

    /// Takes the pieces of the next block; an error belongs to the block it came in.
    pub(super) fn next_block(
        &self,
        pieces: &mut Vec<Piece>,
    ) -> Option<(u64, Result<(), UploadError>)> {
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

    pub(super) fn fail(&self, block: u64, error: UploadError) {
        self.source.lock().ended = true;
        let mut failure = self.failure.lock();
        if failure.as_ref().is_none_or(|(first, _)| block < *first) {
            *failure = Some((block, error));
        }
    }

    pub(super) fn conclude(&self) -> Result<Found, UploadError> {
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

    /// Counts bytes that were decoded of a piece.
    pub(super) fn count_decoded(&self, piece: &Piece, len: u64) -> Result<(), UploadError> {
        let decoded = self.decoded.fetch_add(len, Ordering::Relaxed) + len;
        match decoded > self.decoded_limit {
            true => Err(UploadError::Expansion {
                number: piece.number,
                offset: piece.span.offset,
                limit: self.decoded_limit,
            }),
            false => Ok(()),
        }
    }

    /// A dictionary, read and prepared unless it is at hand.
    pub(super) fn dictionary(
        &self,
        wanted: &PieceDictionary,
    ) -> Result<Arc<Dictionary>, UploadError> {
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
