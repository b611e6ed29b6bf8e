//! The blocking side of a [`super::LocalStore`]: what is done to files, step by step.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use super::Access;
use super::doubtful::DoubtfulNames;
use crate::clock::Timestamp;
use crate::objects::disk::Disk;
use crate::objects::file_pieces::{first_piece, read_piece};
use crate::objects::{ObjectError, ObjectKey, ObjectMeta, checked_range};

const TEMPORARY: &str = "temporary~";
/// How many directories are remembered as durable; forgetting one costs some syncs.
const MAX_KNOWN_DIRECTORIES: usize = 16 << 10;

/// An object directory. All of it blocks.
#[derive(Debug)]
pub(super) struct Directory {
    disk: Arc<dyn Disk>,
    pub(super) root: PathBuf,
    temporary: PathBuf,
    pub(super) access: Access,
    pub(super) free_floor_bytes: u64,
    arriving: Arriving,
    doubtful: DoubtfulNames,
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

/// An object's file, and the first piece of what is wanted of it.
pub(super) struct OpenedObject {
    pub(super) file: Arc<File>,
    pub(super) len: u64,
    pub(super) range: Range<u64>,
    pub(super) first: Bytes,
}

impl Directory {
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        access: Access,
        free_floor_bytes: u64,
    ) -> io::Result<Self> {
        disk.create_root(root)?;
        let root = root.canonicalize()?;
        let temporary = root.join(TEMPORARY);
        if access == Access::Exclusive {
            match fs::remove_dir_all(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            // What a killed process left in the page cache, where it would already be seen.
            disk.sync_file_system(&root, Location::caller())?;
        }
        disk.make_directories(&temporary)?;
        Ok(Self {
            disk,
            root,
            temporary,
            access,
            free_floor_bytes,
            arriving: Arriving::default(),
            doubtful: DoubtfulNames::default(),
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
            if !metadata.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.make_sure_of(key)?;
            return Ok((file, metadata));
        }
    }

    /// Asks for an object's length and age, once it is durable.
    pub(super) fn object_metadata(&self, key: &ObjectKey) -> io::Result<Metadata> {
        loop {
            let metadata = fs::symlink_metadata(self.path(key))?;
            if self.arriving.wait_for(key) {
                continue;
            }
            if !metadata.is_file() {
                return Err(io::ErrorKind::NotFound.into());
            }
            self.make_sure_of(key)?;
            return Ok(metadata);
        }
    }

    /// Makes the name of an object durable, if an earlier attempt to do so failed and left it.
    fn make_sure_of(&self, key: &ObjectKey) -> io::Result<()> {
        let path = self.path(key);
        self.doubtful.settle(&path, || {
            let folder = path.parent().unwrap_or(&self.root);
            self.disk.sync_directory(folder, Location::caller())
        })
    }

    pub(super) fn read_first(
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

    pub(super) fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, ObjectError> {
        let metadata = self.object_metadata(key);
        let metadata = metadata.map_err(|error| read_error("look up", key, error))?;
        Ok(object_meta(key.clone(), &metadata))
    }

    pub(super) fn create(&self, key: &ObjectKey, body: &[u8]) -> Result<(), ObjectError> {
        let arriving = self.arriving.enter(key);
        self.check_absent(key)?;
        self.check_room(key, body.len() as u64, self.free_floor_bytes / 2)?;
        let fail = |error| write_error("create", key, error);
        let file = self.disk.write_temporary(&self.temporary, body);
        let file = file.map_err(fail)?;
        self.publish(file.path(), &arriving).map_err(fail)
    }

    pub(super) fn overwrite(&self, key: &ObjectKey, body: &[u8]) -> Result<(), ObjectError> {
        self.check_room(key, body.len() as u64, self.free_floor_bytes / 2)?;
        let fail = |error| write_error("overwrite", key, error);
        let path = self.path(key);
        let file = self.disk.write_temporary(&self.temporary, body);
        let file = file.map_err(fail)?;
        self.make_parent(&path)
            .and_then(|()| self.named(&path, || self.disk.replace(file, &path)))
            .map_err(fail)
    }

    /// Brings what is there of a spool file to the disk, so that little is left to do in the end.
    pub(super) fn write_out(&self, key: &ObjectKey, spool: &Path) -> Result<(), ObjectError> {
        File::open(spool)
            .and_then(|file| self.disk.sync_data(&file, Location::caller()))
            .map_err(|error| write_error("write out", key, error))
    }

    /// Makes a spool file the object.
    pub(super) fn adopt(&self, key: &ObjectKey, spool: &Path, len: u64) -> Result<(), ObjectError> {
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
            .and_then(|()| self.disk.finish(&file))
            .and_then(|()| self.publish(spool, &arriving))
            .map_err(fail)
    }

    pub(super) fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let path = self.path(key);
        match self.named(&path, || self.disk.remove(&path)) {
            Err(error) if !is_absent(&error) => Err(write_error("delete", key, error)),
            _ => Ok(()),
        }
    }

    fn publish(&self, file: &Path, arriving: &ArrivingKey<'_>) -> io::Result<()> {
        let path = self.path(arriving.key);
        self.make_parent(&path)?;
        self.named(&path, || self.disk.link(file, &path))
    }

    /// Changes a name. Where that fails, the name may be there and not durable.
    fn named(&self, path: &Path, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        change().inspect_err(|error| {
            let is_settled = error.kind() == io::ErrorKind::AlreadyExists;
            if !is_settled && fs::symlink_metadata(path).is_ok() {
                self.doubtful.add(path);
            }
        })
    }

    /// Spares a loser the writing. The link decides. What is said to be there is durable: the caller may have put it
    /// there itself, and only the answer of that failed.
    fn check_absent(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let path = self.path(key);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                Err(ObjectError::refused("store", key, "objects stand below it"))
            }
            Ok(_) => {
                let folder = path.parent().unwrap_or(&self.root);
                self.make_parent(&path)
                    .and_then(|()| self.disk.sync_directory(folder, Location::caller()))
                    .map_err(|error| write_error("make sure of", key, error))?;
                Err(ObjectError::AlreadyExists { key: key.clone() })
            }
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
        self.disk.create_directories(&self.root, parent)?;
        let mut known = self.known_directories.lock();
        if known.len() >= MAX_KNOWN_DIRECTORIES {
            known.clear();
        }
        known.insert(parent.to_owned());
        Ok(())
    }

    pub(super) fn check_room(
        &self,
        key: &ObjectKey,
        len: u64,
        floor: u64,
    ) -> Result<(), ObjectError> {
        let room = rustix::fs::statvfs(&self.root)
            .map_err(|error| write_error("ask for the room for", key, error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if floor > 0 && free < floor.saturating_add(len) {
            return Err(ObjectError::Full { key: key.clone() });
        }
        Ok(())
    }

    pub(super) fn check_spool(&self, key: &ObjectKey, spool: &Path) -> Result<(), ObjectError> {
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

pub(super) fn object_meta(key: ObjectKey, metadata: &Metadata) -> ObjectMeta {
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

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

pub(super) fn read_error(action: &'static str, key: &ObjectKey, error: io::Error) -> ObjectError {
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
