//! The bytes of a file from its index on.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;

use super::StoredIndexError;
use crate::format::TAIL_LEN;
use crate::items::{BLOCK_BYTES, ItemReader};

/// The end of a stored file, at least from its index on. Clones share the bytes.
#[derive(Debug, Clone)]
pub(crate) struct IndexPart {
    bytes: PartBytes,
    /// Where it begins in the stored file.
    start: u64,
    /// Length of the stored file.
    file_len: u64,
}

#[derive(Debug, Clone)]
enum PartBytes {
    Kept(Bytes),
    File(Arc<File>),
}

impl IndexPart {
    /// What is there from `start` on of a stored file of `file_len` bytes, in memory.
    pub(crate) fn in_memory(bytes: Bytes, start: u64, file_len: u64) -> Self {
        Self {
            bytes: PartBytes::Kept(bytes),
            start,
            file_len,
        }
    }

    /// The same in a file of its own.
    pub(crate) fn in_file(file: Arc<File>, start: u64, file_len: u64) -> Self {
        Self {
            bytes: PartBytes::File(file),
            start,
            file_len,
        }
    }

    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The last bytes of the file.
    pub(super) fn tail(&self) -> io::Result<Vec<u8>> {
        let part_len = self.file_len.saturating_sub(self.start);
        let len = part_len.min(TAIL_LEN as u64);
        let mut tail = vec![0; usize::try_from(len).unwrap_or(TAIL_LEN)];
        match &self.bytes {
            PartBytes::Kept(bytes) => {
                let from = bytes.len().checked_sub(tail.len());
                let from = from.ok_or(io::ErrorKind::UnexpectedEof)?;
                tail.copy_from_slice(&bytes[from..]);
            }
            PartBytes::File(file) => file.read_exact_at(&mut tail, part_len - len)?,
        }
        Ok(tail)
    }

    /// A section of the stored file, item by item.
    pub(super) fn section<const N: usize>(&self, range: Range<u64>) -> Section<N> {
        let offset = range.start.saturating_sub(self.start);
        let len = range.end - range.start;
        Section(match &self.bytes {
            PartBytes::Kept(bytes) => {
                let at =
                    |offset| usize::try_from(offset).map_or(bytes.len(), |at| at.min(bytes.len()));
                ItemReader::in_memory(&bytes[at(offset)..at(offset.saturating_add(len))], len)
            }
            PartBytes::File(file) => ItemReader::new(Arc::clone(file), offset, len, BLOCK_BYTES),
        })
    }
}

/// A section of an index, item by item.
#[derive(Debug)]
pub(super) struct Section<const N: usize>(ItemReader<N>);

impl<const N: usize> Section<N> {
    /// The next item; nothing behind the last.
    pub(super) fn next_item(&mut self) -> Result<Option<[u8; N]>, StoredIndexError> {
        self.0.next_item().map_err(StoredIndexError::Read)
    }

    /// The next item of a section that is as long as one that had one.
    pub(super) fn expect(&mut self) -> Result<[u8; N], StoredIndexError> {
        let missing = || StoredIndexError::Read(io::ErrorKind::UnexpectedEof.into());
        self.next_item()?.ok_or_else(missing)
    }
}
