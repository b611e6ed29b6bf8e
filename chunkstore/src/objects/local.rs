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
//! and the last sync other readers of this process wait, so nobody acts on what a crash could take back.
//! # Crash
//! A crash leaves temporary files; an object has its name or not. What a killed process linked but did not sync
//! is synced at the next [`LocalStore::open`].
//! # Cleanup
//! `open` with [`Access::Exclusive`] removes the temporary files. Directories stay when they become empty.
//! # Retry
//! Nothing is retried here.

mod listing;

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::{Condvar, Mutex};

use super::file_pieces::{first_piece, pieces, read_piece};
use super::{
    ObjectBody, ObjectError, ObjectKey, ObjectMeta, ObjectStore, ObjectUpload, checked_range,
    durable,
};
use crate::clock::Timestamp;
use crate::error::ErrorKind;
use crate::pool::BlockingPool;

const TEMPORARY: &str = "temporary~";
/// How many bytes an upload may bring between two looks at the free space.
const ROOM_CHECK_BYTES: u64 = 16 << 20;
/// How many directories are remembered as durable; forgetting one costs some syncs.
const MAX_KNOWN_DIRECTORIES: usize = 16 << 10;

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
}

/// The blocking side of the store.
#[derive(Debug)]
struct Directory {
    root: PathBuf,
    temporary: PathBuf,
    access: Access,
    free_floor_bytes: u64,
    arriving: Arriving,
    /// Directories whose names, and the names above them, are known to be durable.
    known_directories: Mutex<HashSet<PathBuf>>,
}

/// Keys that somebody is giving a file, from before the link until it is durable.
#[derive(Debug, Default)]
struct Arriving {
    keys: Mutex<HashSet<ObjectKey>>,
    one_left: Condvar,
}

struct ArrivingKey<'a> {
    arriving: &'a Arriving,
    key: &'a ObjectKey,
}

#[derive(Debug)]
struct LocalUpload {
    store: LocalStore,
    key: ObjectKey,
    spool: PathBuf,
    len: u64,
    room_checked_at: u64,
}

struct OpenedObject {
    file: Arc<File>,
    len: u64,
    range: Range<u64>,
    first: Bytes,
}

impl LocalStore {
    /// Opens a directory, making it if it is not there.
    pub async fn open(root: &Path, options: LocalOptions) -> Result<Self, LocalOpenError> {
        let writers = BlockingPool::new(options.concurrent_writes);
        let path = root.to_owned();
        let directory = writers
            .run(move || {
                Directory::open(&path, options.access, options.free_floor_bytes)
                    .map_err(|source| LocalOpenError { path, source })
            })
            .await?;
        Ok(Self {
            directory: Arc::new(directory),
            readers: BlockingPool::new(options.concurrent_reads),
            writers,
        })
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
        let wanted = key.clone();
        let opened = self
            .reading(move |directory| directory.read_first(&wanted, range))
            .await?;
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
        let key = key.clone();
        self.writing(move |directory| directory.delete(&key)).await
    }

    async fn presign(
        &self,
        _key: &ObjectKey,
        _signed_at: Timestamp,
        _valid: Duration,
    ) -> Result<Option<String>, ObjectError> {
        Ok(None)
    }

    fn is_exclusive(&self) -> bool {
        self.directory.access == Access::Exclusive
    }
}

#[async_trait]
impl ObjectUpload for LocalUpload {
    /// Only counts: the spool file itself becomes the object.
    async fn write(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        self.len += piece.len() as u64;
        if self.len - self.room_checked_at >= ROOM_CHECK_BYTES {
            self.room_checked_at = self.len;
            let key = self.key.clone();
            let check = move |directory: &Directory| {
                directory.check_room(&key, 0, directory.free_floor_bytes)
            };
            self.store.writing(check).await?;
        }
        Ok(())
    }

    async fn complete(self: Box<Self>) -> Result<(), ObjectError> {
        let Self {
            store,
            key,
            spool,
            len,
            room_checked_at: _,
        } = *self;
        store
            .writing(move |directory| directory.adopt(&key, &spool, len))
            .await
    }

    async fn abort(self: Box<Self>) {}
}

impl Directory {
    fn open(root: &Path, access: Access, free_floor_bytes: u64) -> io::Result<Self> {
        durable::create_root(root)?;
        let root = root.canonicalize()?;
        let temporary = root.join(TEMPORARY);
        if access == Access::Exclusive {
            match fs::remove_dir_all(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            sync_file_system(&root)?;
        }
        durable::create_directories(&root, &temporary)?;
        Ok(Self {
            root,
            temporary,
            access,
            free_floor_bytes,
            arriving: Arriving::default(),
            known_directories: Mutex::default(),
        })
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.root.join(key.as_str())
    }

    /// Opens an object's file, once it is durable.
    fn open_object(&self, key: &ObjectKey) -> io::Result<(File, Metadata)> {
        loop {
            let file = File::open(self.path(key))?;
            // The wait ends with the link durable or gone, so what it is has to be asked again.
            if self.arriving.wait_for(key) {
                continue;
            }
            let metadata = file.metadata()?;
            return if metadata.is_file() {
                Ok((file, metadata))
            } else {
                Err(io::ErrorKind::NotFound.into())
            };
        }
    }

    /// Asks for an object's length and age, once it is durable.
    fn object_metadata(&self, key: &ObjectKey) -> io::Result<Metadata> {
        loop {
            let metadata = fs::symlink_metadata(self.path(key))?;
            if self.arriving.wait_for(key) {
                continue;
            }
            return if metadata.is_file() {
                Ok(metadata)
            } else {
                Err(io::ErrorKind::NotFound.into())
            };
        }
    }

    fn read_first(
        &self,
        key: &ObjectKey,
        range: Option<Range<u64>>,
    ) -> Result<OpenedObject, ObjectError> {
        let (file, metadata) = self
            .open_object(key)
            .map_err(|error| read_error("open", key, error))?;
        let range = checked_range(key, range, metadata.len())?;
        let first = read_piece(&file, first_piece(&range))
            .map_err(|error| read_error("read", key, error))?;
        Ok(OpenedObject {
            file: Arc::new(file),
            len: metadata.len(),
            range,
            first,
        })
    }

    fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let metadata = self.object_metadata(key);
        let metadata = metadata.map_err(|error| read_error("look up", key, error))?;
        Ok(object_meta(key.clone(), &metadata))
    }

    fn create(&self, key: &ObjectKey, body: &[u8]) -> Result<(), ObjectError> {
        let arriving = self.arriving.enter(key);
        self.check_absent(key)?;
        self.check_room(key, body.len() as u64, self.free_floor_bytes / 2)?;
        let fail = |error| write_error("create", key, error);
        let file = durable::write_temporary(&self.temporary, body).map_err(fail)?;
        self.publish(file.path(), &arriving).map_err(fail)
    }

    fn overwrite(&self, key: &ObjectKey, body: &[u8]) -> Result<(), ObjectError> {
        self.check_room(key, body.len() as u64, self.free_floor_bytes / 2)?;
        let fail = |error| write_error("overwrite", key, error);
        let path = self.path(key);
        let file = durable::write_temporary(&self.temporary, body).map_err(fail)?;
        self.make_parent(&path)
            .and_then(|()| durable::replace(file, &path))
            .map_err(fail)
    }

    /// Makes a spool file the object.
    fn adopt(&self, key: &ObjectKey, spool: &Path, len: u64) -> Result<(), ObjectError> {
        let arriving = self.arriving.enter(key);
        self.check_absent(key)?;
        let fail = |error| write_error("complete", key, error);
        let file = File::open(spool).map_err(fail)?;
        let spooled = file.metadata().map_err(fail)?.len();
        if spooled != len {
            let text = format!("{len} bytes were handed over, the spool file has {spooled}");
            return Err(ObjectError::refused("complete", key, text));
        }
        touch(&file)
            .and_then(|()| durable::finish(&file))
            .and_then(|()| self.publish(spool, &arriving))
            .map_err(fail)
    }

    fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        match durable::remove(&self.path(key)) {
            Err(error) if !is_absent(&error) => Err(write_error("delete", key, error)),
            _ => Ok(()),
        }
    }

    fn publish(&self, file: &Path, arriving: &ArrivingKey<'_>) -> io::Result<()> {
        let path = self.path(arriving.key);
        self.make_parent(&path)?;
        durable::link(file, &path)
    }

    /// Spares a loser the writing. The link decides.
    fn check_absent(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        match fs::symlink_metadata(self.path(key)) {
            Ok(metadata) if metadata.is_dir() => {
                Err(ObjectError::refused("store", key, "objects stand below it"))
            }
            Ok(_) => Err(ObjectError::AlreadyExists { key: key.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(write_error("look up", key, error)),
        }
    }

    fn make_parent(&self, path: &Path) -> io::Result<()> {
        let Some(parent) = path.parent().filter(|parent| *parent != self.root) else {
            return Ok(());
        };
        // Who removes a directory by hand must not make all writes to it fail from then on.
        if self.known_directories.lock().contains(parent) && parent.is_dir() {
            return Ok(());
        }
        durable::create_directories(&self.root, parent)?;
        let mut known = self.known_directories.lock();
        if known.len() >= MAX_KNOWN_DIRECTORIES {
            known.clear();
        }
        known.insert(parent.to_owned());
        Ok(())
    }

    fn check_room(&self, key: &ObjectKey, len: u64, floor: u64) -> Result<(), ObjectError> {
        let room = rustix::fs::statvfs(&self.root)
            .map_err(|error| write_error("ask for the room for", key, error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if floor > 0 && free < floor.saturating_add(len) {
            return Err(ObjectError::Full { key: key.clone() });
        }
        Ok(())
    }

    fn check_spool(&self, key: &ObjectKey, spool: &Path) -> Result<(), ObjectError> {
        self.check_room(key, 0, self.free_floor_bytes)?;
        let fail = |error| write_error("open the spool folder of", key, error);
        let folder = spool.parent().unwrap_or(Path::new("."));
        let device = fs::metadata(folder).map_err(fail)?.dev();
        if device != fs::metadata(&self.root).map_err(fail)?.dev() {
            return Err(fail(io::ErrorKind::CrossesDevices.into()));
        }
        Ok(())
    }
}

impl Arriving {
    /// Waits until nobody else is giving the key a file, and keeps others waiting.
    fn enter<'a>(&'a self, key: &'a ObjectKey) -> ArrivingKey<'a> {
        let mut keys = self.keys.lock();
        while !keys.insert(key.clone()) {
            self.one_left.wait(&mut keys);
        }
        ArrivingKey {
            arriving: self,
            key,
        }
    }

    /// Waits until nobody is giving the key a file. False if nobody was.
    fn wait_for(&self, key: &ObjectKey) -> bool {
        let mut keys = self.keys.lock();
        let mut waited = false;
        while keys.contains(key) {
            waited = true;
            self.one_left.wait(&mut keys);
        }
        waited
    }
}

impl Drop for ArrivingKey<'_> {
    fn drop(&mut self) {
        self.arriving.keys.lock().remove(self.key);
        self.arriving.one_left.notify_all();
    }
}

fn object_meta(key: ObjectKey, metadata: &Metadata) -> ObjectMeta {
    let since_1970 = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    ObjectMeta {
        key,
        len: metadata.len(),
        modified: Timestamp(0).plus(since_1970.unwrap_or_default()),
    }
}

/// Sets a file's time to now, by the file system's clock: an object is as old as its completion.
fn touch(file: &File) -> io::Result<()> {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    let times = rustix::fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// Makes durable what a killed process left in the page cache, where it would already be seen.
#[cfg(target_os = "linux")]
fn sync_file_system(root: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(root)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(root: &Path) -> io::Result<()> {
    durable::sync_directory(root)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn read_error(action: &'static str, key: &ObjectKey, error: io::Error) -> ObjectError {
    if is_absent(&error) {
        return ObjectError::NotFound { key: key.clone() };
    }
    match error.kind() {
        io::ErrorKind::PermissionDenied => ObjectError::refused(action, key, error),
        _ => ObjectError::failed(action, key, error),
    }
}

fn write_error(action: &'static str, key: &ObjectKey, error: io::Error) -> ObjectError {
    match error.kind() {
        io::ErrorKind::AlreadyExists => ObjectError::AlreadyExists { key: key.clone() },
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ObjectError::Full { key: key.clone() }
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::CrossesDevices
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotADirectory => ObjectError::refused(action, key, error),
        _ => ObjectError::failed(action, key, error),
    }
}
