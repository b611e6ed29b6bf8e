//! The indexes of the files in a bucket, each read once.
//!
//! An index is kept in a temporary file of the length of the whole one: index and footer lie where they belong, and
//! the data before them is a hole that takes no room. So it is searched as the index of any file on disk.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::TableFileId;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::format::{FileKind, TAIL_LEN, archive, table};
use holdfast_chunkstore::noms_dir::{StoreError, StoredFile, file_name};
use holdfast_chunkstore::objects::retrying::RetryingStore;
use holdfast_chunkstore::objects::{ObjectError, ObjectKey, ObjectStore as _, ObjectStoreExt as _};
use holdfast_chunkstore::pool::BlockingPool;
use tempfile::TempDir;

use crate::remote::RemoteError;

/// How many files are looked up at once.
const AT_ONCE: usize = 8;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: FileKind,
    pub(super) len: u64,
}

/// The files of a bucket, as far as they were looked up; they never change.
#[derive(Debug)]
pub(super) struct Indexes {
    objects: RetryingStore,
    pool: BlockingPool,
    /// Names the bucket in errors.
    address: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    heads: HashMap<TableFileId, Head>,
    opened: HashMap<TableFileId, Arc<StoredFile>>,
    directory: Option<Arc<TempDir>>,
}

impl Indexes {
    pub(super) fn new(objects: RetryingStore, pool: BlockingPool, address: &str) -> Self {
        Self {
            objects,
            pool,
            address: PathBuf::from(address),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was looked up of a file.
    pub(super) fn forget(&self, id: TableFileId) {
        let mut known = self.known();
        known.heads.remove(&id);
        known.opened.remove(&id);
    }

    /// Looks a file up, a table file before an archive as Dolt does.
    pub(super) async fn head(&self, id: TableFileId) -> Result<Head, RemoteError> {
        if let Some(head) = self.known().heads.get(&id) {
            return Ok(*head);
        }
        for kind in [FileKind::Table, FileKind::Archive] {
            match self.objects.head(&key_of(id, kind)).await {
                Ok(meta) => {
                    let head = Head {
                        kind,
                        len: meta.len,
                    };
                    self.known().heads.insert(id, head);
                    return Ok(head);
                }
                Err(ObjectError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(RemoteError::from(StoreError::Missing {
            id,
            directory: self.address.clone(),
        }))
    }

    /// Looks files up, in their order.
    pub(super) async fn heads(&self, files: &[ListedFile]) -> Result<Vec<Head>, RemoteError> {
        let heads: Vec<_> = files.iter().map(|file| self.head(file.id)).collect();
        stream::iter(heads).buffered(AT_ONCE).try_collect().await
    }

    /// Opens the indexes of files, in their order.
    pub(super) async fn open_all(
        &self,
        files: &[ListedFile],
    ) -> Result<Vec<Arc<StoredFile>>, RemoteError> {
        let opened: Vec<_> = files.iter().map(|file| self.open(*file)).collect();
        stream::iter(opened).buffered(AT_ONCE).try_collect().await
    }

    /// Opens the index of a file, and checks that it holds as many chunks as are listed.
    pub(super) async fn open(&self, listed: ListedFile) -> Result<Arc<StoredFile>, RemoteError> {
        if let Some(opened) = self.known().opened.get(&listed.id) {
            return Ok(Arc::clone(opened));
        }
        let head = self.head(listed.id).await?;
        let name = file_name(listed.id, head.kind);
        let path = self.address.join(&name);
        let directory = self.directory().await?;
        self.fetch(listed.id, head, directory.path().join(&name))
            .await?;
        let id = listed.id;
        let open = move || StoredFile::open(directory.path(), id);
        let opened = self.pool.run(open).await?;
        let opened = opened.ok_or_else(|| StoreError::Missing {
            id,
            directory: self.address.clone(),
        })?;
        // Dolt finds the index of a table file by the count.
        if head.kind == FileKind::Table && opened.count() != listed.chunks {
            return Err(RemoteError::from(StoreError::Count {
                path,
                listed: listed.chunks,
                found: opened.count(),
            }));
        }
        let opened = Arc::new(opened);
        self.known().opened.insert(id, Arc::clone(&opened));
        Ok(opened)
    }

    /// Reads index and footer into a file. Two who do so at once write the same.
    async fn fetch(&self, id: TableFileId, head: Head, path: PathBuf) -> Result<(), RemoteError> {
        let key = key_of(id, head.kind);
        let tail_begin = head.len.saturating_sub(TAIL_LEN as u64);
        let tail = Some(tail_begin..head.len);
        let tail = self.objects.read(&key, tail, TAIL_LEN as u64).await?;
        let index = match head.kind {
            FileKind::Table => table::Layout::decode(&tail, head.len).map(|layout| layout.index()),
            FileKind::Archive => {
                archive::Layout::decode(&tail, head.len).map(|layout| layout.index())
            }
        };
        let index = index.map_err(|source| StoreError::File {
            path: self.address.join(file_name(id, head.kind)),
            source,
        })?;
        let begin = {
            let path = path.clone();
            move || begin_file(&path, head.len)
        };
        let file = Arc::new(self.pool.run(begin).await?);
        self.copy(&key, index, &file, &path).await?;
        self.write(&file, &path, tail_begin, tail).await
    }

    /// Reads all of a file into a file.
    pub(super) async fn fetch_whole(
        &self,
        id: TableFileId,
        head: Head,
        path: PathBuf,
    ) -> Result<(), RemoteError> {
        let begin = {
            let path = path.clone();
            move || begin_file(&path, head.len)
        };
        let file = Arc::new(self.pool.run(begin).await?);
        let key = key_of(id, head.kind);
        self.copy(&key, 0..head.len, &file, &path).await
    }

    async fn copy(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        file: &Arc<File>,
        path: &Path,
    ) -> Result<(), RemoteError> {
        let mut offset = range.start;
        let mut pieces = match range.is_empty() {
            true => stream::empty().boxed(),
            false => self.objects.get(key, Some(range)).await?.stream,
        };
        while let Some(piece) = pieces.try_next().await? {
            let len = piece.len() as u64;
            self.write(file, path, offset, piece).await?;
            offset += len;
        }
        Ok(())
    }

    async fn write(
        &self,
        file: &Arc<File>,
        path: &Path,
        offset: u64,
        piece: Bytes,
    ) -> Result<(), RemoteError> {
        let file = Arc::clone(file);
        let written = self.pool.run(move || file.write_all_at(&piece, offset));
        written.await.map_err(|source| io("write", path, source))
    }

    async fn directory(&self) -> Result<Arc<TempDir>, RemoteError> {
        if let Some(directory) = &self.known().directory {
            return Ok(Arc::clone(directory));
        }
        let made = self.pool.run(tempfile::tempdir).await;
        let made = made.map_err(|source| {
            io(
                "make a directory in",
                Path::new("the system's temporary directory"),
                source,
            )
        })?;
        let mut known = self.known();
        Ok(Arc::clone(known.directory.get_or_insert(Arc::new(made))))
    }
}

/// The name of a file's object.
pub(super) fn key_of(id: TableFileId, kind: FileKind) -> ObjectKey {
    ObjectKey::parse(file_name(id, kind)).expect("the name of a file is a key")
}

fn begin_file(path: &Path, len: u64) -> Result<File, RemoteError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = file.and_then(|file| file.set_len(len).map(|()| file));
    file.map_err(|source| io("begin", path, source))
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> RemoteError {
    RemoteError::from(StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    })
}
