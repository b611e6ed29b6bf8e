//! The chunk journal of a database: read whole once, added to by who holds the lock.
//!
//! # Memory
//! The places of chunks are kept in memory, 40 bytes for each chunk in the journal; `dolt gc` empties it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::{StoreError, io};
use super::layout;
use crate::address::{ChunkAddress, RootAddress};
use crate::format::journal::replay::{self, Found, LossSearch, Step};
use crate::format::journal::{MAX_RECORD_LEN, Record, encode_root, encode_timeless_root};
use crate::format::{MAX_CHUNK_LEN, table};
use crate::index::ByteSpan;

/// How much is read at once.
const WINDOW: usize = 1 << 20;

/// A journal that was read.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    chunks: HashMap<ChunkAddress, ByteSpan>,
    root: Option<RootAddress>,
    /// Whether the last root says when it was committed.
    tells_time: bool,
    /// Where the valid part ends.
    end: u64,
    tail: Option<JournalTail>,
}

/// What lies behind the valid part of a journal, other than the zeros that Dolt once wrote ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalTail {
    /// Where the valid part ends.
    pub offset: u64,
    /// How many bytes lie behind it.
    pub len: u64,
    /// How many intact records are among them. Without one it is what a crash leaves: Dolt cuts it off when it opens
    /// the database to write.
    pub records: u64,
}

impl Journal {
    /// Reads the journal in `directory`, if there is one, as far as it is long now. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Loss`] where roots were committed behind a damaged place.
    pub(super) fn open(directory: &Path) -> Result<Option<Self>, StoreError> {
        match Self::open_file(&directory.join(layout::JOURNAL)) {
            Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            opened => opened.map(Some),
        }
    }

    /// Reads a journal that lies anywhere. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Loss`] where roots were committed behind a damaged place.
    pub fn open_file(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        let file = File::open(&path).map_err(io("open", &path))?;
        let len = file.metadata().map_err(io("read", &path))?.len();
        let mut window = Window::new(&file, &path, len)?;
        let mut chunks = HashMap::new();
        let (mut root, mut tells_time) = (None, true);
        loop {
            let offset = window.offset;
            let step = replay::step(window.bytes(), window.is_last());
            let step = step.map_err(|source| StoreError::Journal {
                path: path.clone(),
                offset,
                source,
            })?;
            match step {
                Step::Record { record, len } => {
                    match record {
                        Record::Root {
                            root: address,
                            seconds,
                        } => (root, tells_time) = (Some(address), seconds.is_some()),
                        Record::Chunk { address, payload } => {
                            let span = ByteSpan {
                                offset: offset + u64::from(payload.offset),
                                len: payload.len,
                            };
                            chunks.insert(address, span);
                        }
                    }
                    window.skip(len as usize);
                }
                Step::More { needed } => window.fill(needed as usize)?,
                Step::End => break,
            }
        }
        let end = window.offset;
        let search = window.search_loss()?;
        let tail = search.has_noise().then(|| JournalTail {
            offset: end,
            len: len.saturating_sub(end),
            records: search.records(),
        });
        Ok(Self {
            path,
            file,
            chunks,
            root,
            tells_time,
            end,
            tail,
        })
    }

    /// The last root that was committed to it, if one was.
    pub fn root(&self) -> Option<RootAddress> {
        self.root
    }

    /// The record of a root as whoever writes this journal reads it.
    pub(super) fn encode_root(&self, root: RootAddress, seconds: u64) -> Vec<u8> {
        match self.tells_time {
            true => encode_root(root, seconds).to_vec(),
            false => encode_timeless_root(root).to_vec(),
        }
    }

    /// How many chunks are in it.
    pub fn count(&self) -> usize {
        self.chunks.len()
    }

    /// Where its valid part ends.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// What lies behind its valid part, if anything but zeros does.
    pub fn tail(&self) -> Option<JournalTail> {
        self.tail
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds where the stored form of a chunk lies.
    pub fn find(&self, address: ChunkAddress) -> Option<ByteSpan> {
        self.chunks.get(&address).copied()
    }

    /// The addresses of its chunks, in no order.
    pub fn addresses(&self) -> impl Iterator<Item = ChunkAddress> + '_ {
        self.chunks.keys().copied()
    }

    /// Its chunks in the order of the file.
    pub fn in_file_order(&self) -> Vec<(ChunkAddress, ByteSpan)> {
        let mut chunks: Vec<_> = self
            .chunks
            .iter()
            .map(|(address, span)| (*address, *span))
            .collect();
        chunks.sort_unstable_by_key(|(_, span)| span.offset);
        chunks
    }

    /// Reads the stored form of a chunk, a record as in a table file, onto the end of `out`. Blocks.
    pub fn read_stored(&self, span: ByteSpan, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let start = out.len();
        out.resize(start + span.len as usize, 0);
        self.file
            .read_exact_at(&mut out[start..], span.offset)
            .map_err(io("read a chunk of", &self.path))
    }

    /// Reads a chunk onto the end of `out`; its address is not checked. Blocks.
    pub fn read_chunk(&self, span: ByteSpan, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut stored = Vec::new();
        self.read_stored(span, &mut stored)?;
        let decoded = table::record::decode(&stored, MAX_CHUNK_LEN, out);
        decoded.map_err(super::error::damaged(&self.path))?;
        Ok(())
    }
}

/// A part of a journal in memory, moved along.
struct Window<'a> {
    file: &'a File,
    path: &'a Path,
    /// How much of the file is not read yet.
    unread: u64,
    /// Where in the file the bytes begin that are looked at.
    offset: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl<'a> Window<'a> {
    fn new(file: &'a File, path: &'a Path, len: u64) -> Result<Self, StoreError> {
        let mut from_start = file;
        from_start
            .seek(SeekFrom::Start(0))
            .map_err(io("read", path))?;
        Ok(Self {
            file,
            path,
            unread: len,
            offset: 0,
            buffer: Vec::new(),
            used: 0,
        })
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.used..]
    }

    fn is_last(&self) -> bool {
        self.unread == 0
    }

    fn skip(&mut self, len: usize) {
        let len = len.min(self.bytes().len());
        self.used += len;
        self.offset += len as u64;
    }

    /// Reads on until there are `needed` bytes, or the file ends.
    fn fill(&mut self, needed: usize) -> Result<(), StoreError> {
        debug_assert!(needed <= MAX_RECORD_LEN as usize, "no record is longer");
        self.buffer.drain(..self.used);
        self.used = 0;
        let missing = needed.saturating_sub(self.buffer.len()).max(WINDOW) as u64;
        let more = missing.min(self.unread);
        let mut reader = self.file.take(more);
        let read = reader.read_to_end(&mut self.buffer);
        let read = read.map_err(io("read", self.path))? as u64;
        // A file that is shorter than it was ends here.
        self.unread = if read < more { 0 } else { self.unread - more };
        Ok(())
    }

    /// Looks at everything behind the valid part.
    fn search_loss(&mut self) -> Result<LossSearch, StoreError> {
        let end = self.offset;
        let len = self.bytes().len() as u64 + self.unread;
        let mut search = LossSearch::default();
        loop {
            if self.bytes().is_empty() && self.is_last() {
                return Ok(search);
            }
            match search.look(self.bytes(), self.is_last()) {
                Found::Nothing { skip } if !self.bytes().is_empty() => self.skip(skip),
                Found::Nothing { .. } => self.fill(1)?,
                Found::More { needed } => self.fill(needed as usize)?,
                Found::Loss => {
                    return Err(StoreError::Loss {
                        path: self.path.to_owned(),
                        offset: end,
                        len,
                    });
                }
            }
        }
    }
}
