//! Where uploads are tried out, and what honest clients say of their files.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_chunkstore::error::ErrorKind;
use holdfast_chunkstore::format::{FileKind, archive, table};
use holdfast_chunkstore::id::UploadId;
use holdfast_chunkstore::index::ChunkEntry;
use holdfast_chunkstore::objects::{ObjectError, ObjectUpload};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::repo::DeclaredFile;
use holdfast_chunkstore::repo::check::{ChildrenRefused, FindChildren, UploadError};
use holdfast_chunkstore::repo::receive::{CheckedFile, Upload};
use holdfast_chunkstore::repo::spool::{SpoolDir, SpoolOptions};
use holdfast_chunkstore::{ChunkAddress, TableFileId};
use parking_lot::Mutex;

/// A place for uploads: a spool, and an object that remembers what became of it.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) spool: SpoolDir,
    pub(crate) pool: BlockingPool,
}

/// What became of an object.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    received: Vec<u8>,
    pub(crate) completed: bool,
    aborted: bool,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct WatchedObject(pub(crate) Arc<Mutex<Fate>>);

#[async_trait]
impl ObjectUpload for WatchedObject {
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        self.0.lock().received.extend_from_slice(&piece);
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<(), ObjectError> {
        self.0.lock().completed = true;
        Ok(())
    }

    async fn abort(self: Box<Self>) {
        self.0.lock().aborted = true;
    }
}

/// Chunks that begin with `refs` refer to the addresses behind it; `what` is a kind that nobody knows.
#[derive(Debug)]
pub(crate) struct Refs;

impl FindChildren for Refs {
    fn children(
        &self,
        chunk: &[u8],
        visit: &mut dyn FnMut(ChunkAddress),
    ) -> Result<(), ChildrenRefused> {
        if chunk.starts_with(b"what") {
            return Err(ChildrenRefused {
                kind: ErrorKind::Refused,
                message: "unknown kind \"what\"".to_owned(),
            });
        }
        let Some(references) = chunk.strip_prefix(b"refs") else {
            return Ok(());
        };
        let (addresses, rest) = references.as_chunks::<20>();
        if !rest.is_empty() {
            return Err(ChildrenRefused {
                kind: ErrorKind::Invalid,
                message: "a reference is cut short".to_owned(),
            });
        }
        for address in addresses {
            visit(ChunkAddress::new(*address));
        }
        Ok(())
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::with_sort_memory(8 << 20)
    }

    pub(crate) fn with_sort_memory(bytes: usize) -> Self {
        Self::with_bounds(bytes, 1 << 30)
    }

    pub(crate) fn with_bounds(bytes: usize, max_total_bytes: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pool = BlockingPool::new(2);
        let options = SpoolOptions {
            max_total_bytes,
            free_floor_bytes: 0,
        };
        let spool = SpoolDir::open(directory.path(), options, pool.clone()).unwrap();
        Self {
            directory,
            spool: spool.with_sort_memory(bytes),
            pool,
        }
    }

    pub(crate) fn assert_empty(&self) {
        let left: Vec<_> = std::fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Takes a file in, whole, and checks that the object's fate fits the outcome.
    pub(crate) async fn ingest(
        &self,
        declared: DeclaredFile,
        file: &[u8],
    ) -> Result<CheckedFile, UploadError> {
        let object = WatchedObject::default();
        let fate = Arc::clone(&object.0);
        let outcome = self.ingest_into(declared, file, object).await;
        let fate = fate.lock();
        assert_eq!(fate.completed, outcome.is_ok());
        assert_eq!(fate.aborted, outcome.is_err());
        if outcome.is_ok() {
            assert!(fate.received == file, "the object got other bytes");
        }
        self.assert_empty();
        outcome
    }

    pub(crate) async fn ingest_into(
        &self,
        declared: DeclaredFile,
        file: &[u8],
        object: WatchedObject,
    ) -> Result<CheckedFile, UploadError> {
        let spool = self.spool.create(declared.len).await?;
        let id = UploadId::new([1; 16]);
        let mut upload = Upload::begin(id, declared, spool, Box::new(object));
        for piece in file.chunks(77_777) {
            if let Err(error) = upload.write(Bytes::copy_from_slice(piece)).await {
                upload.abandon().await;
                return Err(error);
            }
        }
        let verified = upload.check(Arc::new(Refs), &self.pool).await?;
        verified.publish().await
    }
}

/// What an honest client says of a file.
pub(crate) fn honest(name: TableFileId, file: &[u8]) -> DeclaredFile {
    let kind = FileKind::detect(file).unwrap();
    let chunks = match kind {
        FileKind::Table => table::Layout::decode(file, file.len() as u64)
            .unwrap()
            .count(),
        FileKind::Archive => archive::Layout::decode(file, file.len() as u64)
            .unwrap()
            .count(),
    };
    DeclaredFile {
        id: name,
        kind,
        len: file.len() as u64,
        chunks,
        md5: None,
    }
}

pub(crate) fn name_of(path: &Path) -> TableFileId {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

pub(crate) fn listed(file: &[u8]) -> Vec<ChunkEntry> {
    match FileKind::detect(file).unwrap() {
        FileKind::Table => {
            let (_, index) = table::Index::decode_file(file).unwrap();
            index.in_address_order().collect()
        }
        FileKind::Archive => {
            let (_, index) = archive::Index::decode_file(file).unwrap();
            index.in_address_order().collect()
        }
    }
}

pub(crate) fn words(count: usize) -> Vec<Vec<u8>> {
    let word = |i: usize| format!("chunk number {i} ").repeat(1 + i % 50).into_bytes();
    (0..count).map(word).collect()
}
