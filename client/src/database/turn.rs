//! A folder where files gather is used by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use holdfast_chunkstore::objects::durable;

use super::{DatabaseError, io};

/// The lock file in the folder; it is never removed.
const LOCK: &str = "LOCK";

/// The lock of a folder; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: File,
}

impl Turn {
    /// Makes the folder, and takes its lock. Blocks.
    ///
    /// # Errors
    /// [`DatabaseError::Busy`] at once when another process has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, DatabaseError> {
        durable::create_root(folder).map_err(io("make", folder))?;
        let path = folder.join(LOCK);
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DatabaseError::Busy {
                path: folder.to_owned(),
            }),
            Err(TryLockError::Error(error)) => Err(io("lock", &path)(error)),
        }
    }
}
