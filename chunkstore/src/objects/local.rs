//! Objects in a directory.
//!
//! ```text
//! <root>/<key>            one file per object, read-only
//! <root>/temporary~/…     files on their way; `~` occurs in no key
//! ```
//!
//! # Truth
//! A file under its key is the object, whole: it got that name by a hard link, never over something.
//! # Order
//! Bytes, their sync, the directories' names, the link, the sync of its directory, the answer. Between the link
//! and the last sync other readers of this process wait, so nobody acts on what a crash could take back. Where that
//! sync fails and the name stays, it is made durable before it is read or said to be there already.
//! # Crash
//! A crash leaves temporary files; an object has its name or not. What a killed process linked but did not sync
//! is synced at the next [`LocalStore::open`].
//! # Cleanup
//! `open` with [`Access::Exclusive`] removes the temporary files. Directories stay when they become empty.
//! # Retry
//! Nothing is retried here.

mod directory;
mod doubtful;
mod listing;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use quick_cache::sync::Cache;
use tokio::task::JoinSet;

use self::directory::{Directory, read_error};
use super::disk::{Disk, SystemDisk};
use super::file_pieces::{pieces, read_cached_piece};
use super::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, SignedAddress,
    checked_range,
};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::pool::BlockingPool;

/// How many bytes an upload may bring between two looks at the free space.
const ROOM_CHECK_BYTES: u64 = 16 << 20;

/// How many files stay open for the next range of them.
const FILES_KEPT_OPEN: usize = 128;

/// A range of at most so many bytes is copied from the system's memory at once, without a turn on the pool of threads
/// that may block.
const COPIED_AT_ONCE: u64 = 256 << 10;

/// Who else may have the directory open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody: the caller holds the lock of the data directory.
    Exclusive,
    /// Perhaps a running server, whose temporary files are left alone.
    Shared,
}

/// How a [`LocalStore`] is opened.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    /// Who else may have the directory open.
    pub access: Access,
    /// Uploads fail with [`ObjectError::Full`] before less than this is free. Small objects may use half of
    /// it, so that what makes room can still be written down.
    pub free_floor_bytes: u64,
    /// How many reads may block at once.
    pub concurrent_reads: usize,
    /// How many writes may block at once.
    pub concurrent_writes: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            access: Access::Exclusive,
            free_floor_bytes: 0,
            concurrent_reads: 32,
            concurrent_writes: 32,
        }
    }
}

/// The directory of a [`LocalStore`] could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the object directory {}", path.display())]
pub struct LocalOpenError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl LocalOpenError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
            _ => ErrorKind::Refused,
        }
    }
}

/// Objects in a directory. Clones share it.
#[derive(Debug, Clone)]
pub struct LocalStore {
    directory: Arc<Directory>,
    readers: BlockingPool,
    writers: BlockingPool,
    /// Files that ranges were read from last. Objects do not change, but for those that are only read whole.
    opened: Arc<Cache<ObjectKey, Opened>>,
}

/// An object's file that stays open for a while.
#[derive(Debug, Clone)]
struct Opened {
    file: Arc<File>,
    len: u64,
}

#[derive(Debug)]
struct LocalUpload {
    store: LocalStore,
    key: ObjectKey,
    spool: PathBuf,
    len: u64,
    room_checked_at: u64,
    /// At most one: the disk writes while more bytes come and while the file is checked.
    writing_out: JoinSet<Result<(), ObjectError>>,
}

impl LocalUpload {
    /// Waits for what is being written out. An error of it is one of the upload: the system tells it only once.
    async fn written_out(&mut self) -> Result<(), ObjectError> {
        match self.writing_out.join_next().await {
            None => Ok(()),
            Some(Ok(written)) => written,
            Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // Only a runtime that shuts down cancels it; nobody waits for the answer then.
            Some(Err(_)) => std::future::pending().await,
        }
    }

    fn write_out(&mut self) {
        let (store, key, spool) = (self.store.clone(), self.key.clone(), self.spool.clone());
        self.writing_out.spawn(async move {
            let write_out = move |directory: &Directory| directory.write_out(&key, &spool);
            store.writing(write_out).await
        });
    }
}

impl LocalStore {
    /// Opens a directory, making it if it is not there.
    pub async fn open(root: &Path, options: LocalOptions) -> Result<Self, LocalOpenError> {
        Self::open_on(Arc::new(SystemDisk), root, options).await
    }

    /// The same on a file system of the caller's.
    pub async fn open_on(
        disk: Arc<dyn Disk>,
        root: &Path,
        options: LocalOptions,
    ) -> Result<Self, LocalOpenError> {
        let writers = BlockingPool::new(options.concurrent_writes);
        let path = root.to_owned();
        let directory = writers
            .run(move || {
                Directory::open(disk, &path, options.access, options.free_floor_bytes)
                    .map_err(|source| LocalOpenError { path, source })
            })
            .await?;
        Ok(Self {
            directory: Arc::new(directory),
            readers: BlockingPool::new(options.concurrent_reads),
            writers,
            opened: Arc::new(Cache::new(FILES_KEPT_OPEN)),
        })
    }

    /// A short range of a file that is open, if the system has it in memory.
    fn read_at_once(
        &self,
        key: &ObjectKey,
        range: Option<&Range<u64>>,
    ) -> Result<Option<ObjectBody>, ObjectError> {
        let short = range.filter(|range| range.end.saturating_sub(range.start) <= COPIED_AT_ONCE);
        let Some((range, Opened { file, len })) = short.zip(self.opened.get(key)) else {
            return Ok(None);
        };
        let range = checked_range(key, Some(range.clone()), len)?;
        let piece = read_cached_piece(&file, range.clone());
        Ok(piece.map(|piece| ObjectBody {
            object_len: len,
            range,
            stream: stream::iter([Ok(piece)]).boxed(),
        }))
    }

    async fn reading<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> T + Send + 'static,
    ) -> T {
        let directory = Arc::clone(&self.directory);
        self.readers.run(move || work(&directory)).await
    }

    async fn writing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> T + Send + 'static,
    ) -> T {
        let directory = Arc::clone(&self.directory);
        self.writers.run(move || work(&directory)).await
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn get(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<ObjectBody, ObjectError> {
        if let Some(body) = self.read_at_once(key, range.as_ref())? {
            return Ok(body);
        }
        let (wanted, is_part) = (key.clone(), range.is_some());
        let opened = self
            .reading(move |directory| directory.read_first(&wanted, range))
            .await?;
        if is_part {
            let (file, len) = (Arc::clone(&opened.file), opened.len);
            self.opened.insert(key.clone(), Opened { file, len });
        }
        let rest = opened.range.start + opened.first.len() as u64..opened.range.end;
        let key = key.clone();
        let more = pieces(opened.file, rest, self.readers.clone())
            .map_err(move |error| read_error("read", &key, error));
        let first = Some(opened.first).filter(|piece| !piece.is_empty());
        Ok(ObjectBody {
            object_len: opened.len,
            range: opened.range,
            stream: stream::iter(first.map(Ok)).chain(more).boxed(),
        })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let key = key.clone();
        self.reading(move |directory| directory.head(&key)).await
    }

    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let key = key.clone();
        self.writing(move |directory| directory.create(&key, &body))
            .await
    }

    async fn overwrite(&self, key: &ObjectKey, body: Bytes) -> Result<(), ObjectError> {
        let key = key.clone();
        self.writing(move |directory| directory.overwrite(&key, &body))
            .await
    }

    async fn upload(
        &self,
        key: &ObjectKey,
        spool: &Path,
    ) -> Result<Box<dyn ObjectUpload>, ObjectError> {
        let (wanted, path) = (key.clone(), spool.to_owned());
        self.writing(move |directory| directory.check_spool(&wanted, &path))
            .await?;
        Ok(Box::new(LocalUpload {
            store: self.clone(),
            key: key.clone(),
            spool: spool.to_owned(),
            len: 0,
            room_checked_at: 0,
            writing_out: JoinSet::new(),
        }))
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&ObjectKey>,
    ) -> Result<Vec<ObjectMeta>, ObjectError> {
        let (prefix, after) = (prefix.to_owned(), after.cloned());
        self.reading(move |directory| listing::page(directory, &prefix, after.as_ref()))
            .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.opened.remove(key);
        let key = key.clone();
        self.writing(move |directory| directory.delete(&key)).await
    }

    async fn presign(
        &self,
        _key: &ObjectKey,
        _signed_at: Timestamp,
        _valid: Duration,
    ) -> Result<Option<SignedAddress>, ObjectError> {
        Ok(None)
    }

    fn is_exclusive(&self) -> bool {
        self.directory.access == Access::Exclusive
    }
}

#[async_trait]
impl ObjectUpload for LocalUpload {
    /// Counts, and keeps the disk busy: the spool file itself becomes the object.
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        self.len += piece.len() as u64;
        if self.len - self.room_checked_at >= ROOM_CHECK_BYTES {
            self.room_checked_at = self.len;
            let key = self.key.clone();
            let check = move |directory: &Directory| {
                directory.check_room(&key, 0, directory.free_floor_bytes)
            };
            self.store.writing(check).await?;
            self.written_out().await?;
            self.write_out();
        }
        Ok(())
    }

    async fn complete(mut self: Box<Self>) -> Result<(), ObjectError> {
        self.written_out().await?;
        let Self {
            store,
            key,
            spool,
            len,
            ..
        } = *self;
        store
            .writing(move |directory| directory.adopt(&key, &spool, len))
            .await
    }

    async fn abort(self: Box<Self>) {}
}
