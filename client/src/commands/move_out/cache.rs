//! A folder below the user's cache, which goes when what gathers in it arrived.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use holdfast_chunkstore::objects::durable;

use crate::commands::Complaint;

/// A folder that the same command finds again, for one run at a time.
pub(super) struct Cache {
    folder: PathBuf,
    /// Where the branches are gathered.
    pub(super) database: PathBuf,
    _lock: File,
}

impl Cache {
    /// How often it is tried to take a folder that runs remove which come to their end.
    const ATTEMPTS: usize = 5;

    pub(super) fn take(folder: PathBuf) -> anyhow::Result<Self> {
        for _ in 0..Self::ATTEMPTS {
            let path = lock_in(&folder);
            durable::create_root(&folder).with_context(|| format!("make {}", folder.display()))?;
            let taken = try_lock(&path).with_context(|| format!("lock {}", path.display()))?;
            match taken {
                Taken::Held => break,
                Taken::Gone => {}
                Taken::Ours(lock) => {
                    return Ok(Self {
                        database: folder.join("database"),
                        folder,
                        _lock: lock,
                    });
                }
            }
        }
        Err(Complaint::Underway { directory: folder }.into())
    }

    /// Removes what was gathered.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("remove {}", self.database.display())),
        }
    }

    /// Removes all of it, the lock after what it stands for.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        self.empty()?;
        let path = lock_in(&self.folder);
        std::fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        match std::fs::remove_dir(&self.folder) {
            // Another run begins there, or began and ended.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            removed => removed.with_context(|| format!("remove {}", self.folder.display())),
        }
    }
}

fn lock_in(folder: &Path) -> PathBuf {
    folder.join("LOCK")
}

/// What came of an attempt to take a lock.
enum Taken {
    Ours(File),
    /// Another process holds it.
    Held,
    /// Whoever held it removed it.
    Gone,
}

fn try_lock(path: &Path) -> io::Result<Taken> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Taken::Held),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    // It may have been removed before it was ours, and be another one's by now.
    match std::fs::metadata(path) {
        Ok(named) if named.ino() == file.metadata()?.ino() => Ok(Taken::Ours(file)),
        Ok(_) => Ok(Taken::Gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Taken::Gone),
        Err(error) => Err(error),
    }
}
