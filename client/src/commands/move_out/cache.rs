//! A folder below the user's cache, which goes when what gathers in it arrived.

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use holdfast_client::database::FolderLock;

/// A folder that the same command finds again, for one run at a time.
pub(super) struct Cache {
    /// Where the branches are gathered.
    pub(super) database: PathBuf,
    _lock: FolderLock,
}

impl Cache {
    pub(super) fn new(lock: FolderLock) -> Self {
        Self {
            database: lock.folder().join("database"),
            _lock: lock.disposable(),
        }
    }

    /// Removes what was gathered.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        match std::fs::remove_dir_all(&self.database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => {
                removed.with_context(|| format!("could not remove {}", self.database.display()))
            }
        }
    }
}
