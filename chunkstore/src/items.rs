//! Items of a fixed size in a stretch of a file, read block by block, or in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use crate::pool::about_to_block;

/// How much is read at once unless the reader is told otherwise.
pub(crate) const BLOCK_BYTES: usize = 128 << 10;

/// Reads items of `N` bytes one after the other. Blocks.
#[derive(Debug)]
pub(crate) struct ItemReader<const N: usize> {
    /// Nothing where all that there is was in memory from the beginning.
    file: Option<Arc<File>>,
    offset: u64,
    left: u64,
    block_bytes: usize,
    block: Vec<u8>,
    used: usize,
}

impl<const N: usize> ItemReader<N> {
    /// Reads the `len` bytes at `offset`, which hold whole items, at most `block_bytes` at once (at least one
    /// item).
    pub(crate) fn new(file: Arc<File>, offset: u64, len: u64, block_bytes: usize) -> Self {
        let block_bytes = (block_bytes - block_bytes % N).max(N);
        Self {
            file: Some(file),
            offset,
            left: len,
            block_bytes,
            block: Vec::new(),
            used: 0,
        }
    }

    /// Reads the items of a stretch that should have `len` bytes; to miss some is an error where they begin.
    pub(crate) fn in_memory(items: &[u8], len: u64) -> Self {
        Self {
            file: None,
            offset: 0,
            left: len.saturating_sub(items.len() as u64),
            block_bytes: N,
            block: items.to_vec(),
            used: 0,
        }
    }

    /// Returns the next item; nothing behind the last. After an error nothing more can be read.
    pub(crate) fn next_item(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.used == self.block.len() && !self.fill()? {
            return Ok(None);
        }
        let item = self.block[self.used..]
            .first_chunk::<N>()
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        self.used += N;
        Ok(Some(*item))
    }

    fn fill(&mut self) -> io::Result<bool> {
        let len =
            usize::try_from(self.left).map_or(self.block_bytes, |left| left.min(self.block_bytes));
        self.block.clear();
        self.used = 0;
        if len == 0 {
            return Ok(false);
        }
        self.block.resize(len, 0);
        let read = match &self.file {
            Some(file) => {
                about_to_block();
                file.read_exact_at(&mut self.block, self.offset)
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        if let Err(error) = read {
            self.block.clear();
            self.left = 0;
            return Err(error);
        }
        let len = len as u64;
        self.offset += len;
        self.left -= len;
        Ok(true)
    }
}
