//! Small files of a server that are kept whole: what else is wanted of them is found without asking.
//!
//! After a push all that is new lies in one small file, and is asked for level by level: each would cost two round
//! trips. Whoever comes back to a small file therefore reads all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use holdfast_chunkstore::ChunkAddress;
use holdfast_chunkstore::format::{archive, table};
use holdfast_chunkstore::index::{ByteSpan, ChunkSpan};

/// How long a file is at most: about what a long line carries in a round trip or two.
const FILE_BYTES: u64 = 4 << 20;

/// How much is kept.
const KEPT_BYTES: u64 = 12 << 20;

/// How many files are remembered.
const FILES: usize = 4096;

/// The small files of one server.
#[derive(Debug, Default)]
pub(super) struct Held {
    files: Mutex<Files>,
}

#[derive(Debug, Default)]
struct Files {
    /// By their names, how long those are that were met and may be read whole; zero for all others.
    met: HashMap<Arc<str>, u64>,
    kept: Vec<Arc<WholeFile>>,
    /// What is kept, or about to be.
    bytes: u64,
}

/// A file in memory.
#[derive(Debug)]
pub(super) struct WholeFile {
    /// The name of its place.
    pub(super) name: Arc<str>,
    bytes: Bytes,
    index: Index,
}

#[derive(Debug)]
enum Index {
    Table(table::Index),
    Archive(archive::Index),
}

impl Held {
    /// Notes that a file was met, and how long it is.
    pub(super) fn meet(&self, name: &Arc<str>, len: Option<u64>) {
        let mut files = self.files();
        if files.met.len() < FILES && !files.met.contains_key(name) {
            let len = len.filter(|len| *len <= FILE_BYTES).unwrap_or(0);
            files.met.insert(Arc::clone(name), len);
        }
    }

    /// How long a file is that should now be read whole. It is said once.
    pub(super) fn claim(&self, name: &str) -> Option<u64> {
        let mut files = self.files();
        let kept = files.bytes;
        let len = files.met.get_mut(name).filter(|len| **len > 0)?;
        if kept + *len > KEPT_BYTES {
            return None;
        }
        let len = std::mem::take(len);
        files.bytes += len;
        Some(len)
    }

    /// Keeps a file, if its index can be read; who cannot be found there is asked for. Blocks for some milliseconds.
    pub(super) fn keep(&self, name: Arc<str>, bytes: Bytes) {
        let len = bytes.len() as u64;
        let index = match bytes.ends_with(archive::MAGIC) {
            true => archive::Index::decode_file(&bytes).map(|(_, index)| Index::Archive(index)),
            false => table::Index::decode_file(&bytes).map(|(_, index)| Index::Table(index)),
        };
        let mut files = self.files();
        match index {
            Ok(index) => files.kept.push(Arc::new(WholeFile { name, bytes, index })),
            Err(_) => files.bytes -= len,
        }
    }

    /// The files that are kept.
    pub(super) fn kept(&self) -> Vec<Arc<WholeFile>> {
        self.files().kept.clone()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WholeFile {
    /// Where a chunk lies.
    pub(super) fn find(&self, address: ChunkAddress) -> Option<ChunkSpan> {
        match &self.index {
            Index::Table(index) => index.get(address),
            Index::Archive(index) => index.get(address),
        }
    }

    /// Some of its bytes.
    pub(super) fn slice(&self, span: ByteSpan) -> Option<Bytes> {
        let start = usize::try_from(span.offset).ok()?;
        let end = start.checked_add(usize::try_from(span.len).ok()?)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}
