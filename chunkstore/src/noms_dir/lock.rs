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
