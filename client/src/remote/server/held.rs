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

/// How much may be read that is not wanted yet: it is lost if the process ends before all of the file came.
const UNWANTED_BYTES: u64 = 256 << 10;

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
    /// By their names, how long those are that were met and may be read whole; zero for all others, also while one is
    /// claimed.
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

/// Leave to read a file whole. It is given back when this is dropped and the file was not kept: whoever comes back may
/// claim it again.
#[derive(Debug)]
pub(super) struct Claim {
    held: Arc<Held>,
    name: Arc<str>,
    /// How long the file is; zero when nothing is to be given back any more.
    len: u64,
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

    /// Leave to read a file whole of which so many bytes are `wanted`, if that should be done now. No other caller has it
    /// then.
    pub(super) fn claim(self: &Arc<Self>, name: &Arc<str>, wanted: u64) -> Option<Claim> {
        let mut files = self.files();
        let kept = files.bytes;
        let len = files.met.get_mut(&**name).filter(|len| **len > 0)?;
        if kept + *len > KEPT_BYTES || *len > wanted + UNWANTED_BYTES {
            return None;
        }
        let len = std::mem::take(len);
        files.bytes += len;
        drop(files);
        Some(Claim {
            held: Arc::clone(self),
            name: Arc::clone(name),
            len,
        })
    }

    /// The files that are kept.
    pub(super) fn kept(&self) -> Vec<Arc<WholeFile>> {
        self.files().kept.clone()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// How long the file is.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Keeps the file, if its index can be read; who cannot be found there is asked for. A file of another form is not
    /// claimed again. Blocks for some milliseconds.
    pub(super) fn keep(mut self, bytes: Bytes) {
        let index = match bytes.ends_with(archive::MAGIC) {
            true => archive::Index::decode_file(&bytes).map(|(_, index)| Index::Archive(index)),
            false => table::Index::decode_file(&bytes).map(|(_, index)| Index::Table(index)),
        };
        let len = std::mem::take(&mut self.len);
        let name = Arc::clone(&self.name);
        let mut files = self.held.files();
        match index {
            Ok(index) => files.kept.push(Arc::new(WholeFile { name, bytes, index })),
            Err(_) => files.bytes -= len,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.len > 0 {
            let mut files = self.held.files();
            files.bytes -= self.len;
            files.met.insert(Arc::clone(&self.name), self.len);
        }
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

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::hash::hash_chunk;

    use super::*;

    #[test]
    fn a_claim_is_given_back_unless_the_file_is_kept() {
        let mut writer = table::Writer::new(Vec::new());
        let address = hash_chunk(b"chunk");
        writer.append_chunk(address, b"chunk").unwrap();
        let (bytes, _) = writer.finish().unwrap();
        let held = Arc::new(Held::default());
        let name: Arc<str> = Arc::from("file");
        held.meet(&name, Some(bytes.len() as u64));

        let claim = held.claim(&name, 0).unwrap();
        assert!(held.claim(&name, 0).is_none());
        drop(claim);
        assert_eq!(held.files().bytes, 0);

        let claim = held.claim(&name, 0).unwrap();
        assert_eq!(claim.len(), bytes.len() as u64);
        claim.keep(Bytes::from(bytes));
        assert!(held.claim(&name, 0).is_none());
        assert!(held.kept()[0].find(address).is_some());
    }

    #[test]
    fn a_file_is_claimed_only_if_most_of_it_is_wanted() {
        let held = Arc::new(Held::default());
        let name: Arc<str> = Arc::from("file");
        held.meet(&name, Some(FILE_BYTES));
        assert!(held.claim(&name, FILE_BYTES - UNWANTED_BYTES - 1).is_none());
        assert!(held.claim(&name, FILE_BYTES - UNWANTED_BYTES).is_some());
        let name: Arc<str> = Arc::from("short");
        held.meet(&name, Some(UNWANTED_BYTES));
        assert!(held.claim(&name, 0).is_some());
    }

    #[test]
    fn a_file_without_an_index_is_claimed_once_and_takes_no_room() {
        let held = Arc::new(Held::default());
        let name: Arc<str> = Arc::from("file");
        held.meet(&name, Some(4));
        held.claim(&name, 0)
            .unwrap()
            .keep(Bytes::from_static(b"none"));
        assert!(held.claim(&name, 0).is_none());
        assert!(held.kept().is_empty());
        assert_eq!(held.files().bytes, 0);
    }
}
