//! One writer at a time: the lock that Dolt's processes take.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::error::{StoreError, io};
use super::layout;

/// How long is waited for a lock, as Dolt does.
const WAIT: Duration = Duration::from_millis(100);

/// How often it is tried in that time.
const TRIES: u32 = 10;

/// Whether somebody writes to a store, or may at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockState {
    /// Nobody holds the lock.
    Free,
    /// Another process holds it: a Dolt process does as long as it runs.
    Held,
}

/// Asks who holds the lock of the store in `directory`. It is shared for the moment of the question, so that two who
/// ask do not see each other, and it is not made where there is none. Blocks.
pub fn probe_lock(directory: &Path) -> Result<LockState, StoreError> {
    let path = directory.join(layout::LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(LockState::Free),
        Err(error) => return Err(io("open the lock", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(LockState::Free),
        Err(TryLockError::WouldBlock) => Ok(LockState::Held),
        Err(TryLockError::Error(source)) => Err(io("ask for the lock", &path)(source)),
    }
}

/// The lock of a store; given back when it is dropped. It excludes other processes and other locks of this one.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock of the store in `directory`, which must be there. Blocks for a tenth of a second at most.
    #[expect(
        clippy::disallowed_methods,
        reason = "a tenth of a second, and everything here blocks"
    )]
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(layout::LOCK);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open the lock", &path))?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(WAIT / TRIES),
                Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
            }
        }
        Err(StoreError::Held { path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_sees_the_holder_and_leaves_no_trace() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(probe_lock(directory.path()).unwrap(), LockState::Free);
        assert!(!directory.path().join(layout::LOCK).exists());
        let lock = StoreLock::take(directory.path()).unwrap();
        assert_eq!(probe_lock(directory.path()).unwrap(), LockState::Held);
        drop(lock);
        assert_eq!(probe_lock(directory.path()).unwrap(), LockState::Free);
        drop(StoreLock::take(directory.path()).unwrap());
    }
}
