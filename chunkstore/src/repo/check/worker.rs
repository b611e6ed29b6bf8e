//! What one worker does with a block of a file: read, decode, hash, find children.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::UploadError;
use super::work::{Piece, Work};
use crate::address::ChunkAddress;
use crate::format::MAX_CHUNK_LEN;
use crate::format::archive::{Decoder, Dictionary};
use crate::hash::hash_chunks;
use crate::index::ChunkSpan;
use crate::repo::entries::StoredEntry;

/// How many uncompressed bytes are gathered before they are hashed together: enough to fill all lanes, little
/// enough to stay in a cache.
const GATHER_BYTES: usize = 384 << 10;

/// How many references are gathered before they are handed over.
const GATHER_CHILDREN: usize = 1 << 15;

/// Buffers that one long chunk made larger than this are given back.
const KEEP_BYTES: usize = 4 << 20;

/// How far a block came.
pub(super) enum Checked {
    Whole,
    InPart(Block),
}

/// A block whose pieces are with a worker and whose bytes were read.
pub(super) struct Block {
    pub(super) number: u64,
    /// Where its first piece begins, and how long it is.
    begin: u64,
    len: u64,
    /// How many pieces are checked.
    done: usize,
    uncompressed_len: u64,
}

/// What one worker keeps from block to block.
#[derive(Default)]
pub(super) struct Worker {
    /// The block that the lease before left.
    pub(super) block: Option<Block>,
    pub(super) pieces: Vec<Piece>,
    /// How many bytes may be decoded before the thread goes back to the pool.
    pub(super) left_of_lease: u64,
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
    /// Reads the bytes of the pieces that were taken.
    pub(super) fn begin(&mut self, work: &Work, number: u64) -> Result<Block, UploadError> {
        let begin = self.pieces.first().map_or(0, |piece| piece.span.offset);
        let end = self
            .pieces
            .last()
            .map_or(begin, |piece| piece.span.offset + u64::from(piece.span.len));
        let len = usize::try_from(end - begin).unwrap_or(usize::MAX);
        self.stored.resize(len, 0);
        let read = work.file.read_exact_at(&mut self.stored, begin);
        read.map_err(UploadError::Scratch)?;
        self.addresses.clear();
        self.children.clear();
        Ok(Block {
            number,
            begin,
            len: end - begin,
            done: 0,
            uncompressed_len: 0,
        })
    }

    /// Checks the pieces, as many as the lease lets, and adds what was found to the common sets when all are checked.
    pub(super) fn check(&mut self, work: &Work, mut block: Block) -> Result<Checked, UploadError> {
        let pieces = std::mem::take(&mut self.pieces);
        let checked = self.check_pieces(work, &pieces, &mut block);
        self.pieces = pieces;
        checked?;
        hand_over_children(work, &mut self.children)?;
        self.chunks.shrink_to(KEEP_BYTES);
        self.children.shrink_to(2 * GATHER_CHILDREN);
        if block.done < self.pieces.len() {
            return Ok(Checked::InPart(block));
        }
        self.hand_over(work, block.uncompressed_len)
            .map_err(UploadError::Scratch)?;
        work.checked.fetch_add(block.len, Ordering::Relaxed);
        self.stored.shrink_to(KEEP_BYTES);
        Ok(Checked::Whole)
    }

    fn check_pieces(
        &mut self,
        work: &Work,
        pieces: &[Piece],
        block: &mut Block,
    ) -> Result<(), UploadError> {
        self.chunks.clear();
        self.ends.clear();
        for (at, piece) in pieces.iter().enumerate().skip(block.done) {
            // The error is not looked at: the check was given up.
            if work.stopped.load(Ordering::Relaxed) {
                return Err(UploadError::GivenUp);
            }
            let len = self.decode(work, piece, block.begin)?;
            block.uncompressed_len += len;
            let is_over = self.left_of_lease == 0;
            if is_over || self.chunks.len() >= GATHER_BYTES || at + 1 == pieces.len() {
                self.hash(work, &pieces[block.done..=at])?;
                block.done = at + 1;
            }
            if is_over {
                return Ok(());
            }
        }
        Ok(())
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
            let dictionary = work.dictionary(wanted)?;
            let len = dictionary.len() as u64;
            self.left_of_lease = self.left_of_lease.saturating_sub(len);
            work.count_decoded(piece, len)?;
            self.dictionary = Some((wanted.number, dictionary));
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
        let len = len as u64;
        self.left_of_lease = self.left_of_lease.saturating_sub(len);
        work.count_decoded(piece, len)?;
        Ok(len)
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
