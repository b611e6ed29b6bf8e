//! What a push has of a database: its store to read, and the locks that it could take.

use std::sync::Arc;

use holdfast_chunkstore::noms_dir::{NomsDir, StoreError, StoreWriter};
use holdfast_chunkstore::pool::BlockingPool;

use crate::database::{Database, FolderLock};
use crate::transfer::Extent;
use crate::transfer::error::TransferError;

/// A database that is pushed from.
pub(super) struct Held {
    store: Arc<NomsDir>,
    /// Nothing where another process has the lock of the store, and in a dry run.
    pub(super) writer: Option<StoreWriter>,
    /// The folder where files gather; a dry run makes none.
    _folder: Option<FolderLock>,
}

impl Held {
    pub(super) async fn take(
        database: &Database,
        extent: Extent,
        pool: &BlockingPool,
    ) -> Result<Self, TransferError> {
        if extent == Extent::DryRun {
            return Ok(Self {
                store: Arc::clone(database.store()),
                writer: None,
                _folder: None,
            });
        }
        let (folder, directory) = (database.paths().holdfast(), database.paths().store());
        let take = move || {
            let writer = match StoreWriter::open(&directory) {
                Ok(writer) => Some(writer),
                Err(StoreError::Held { .. }) => None,
                Err(error) => return Err(TransferError::from(error)),
            };
            Ok((FolderLock::take(&folder)?.disposable(), writer))
        };
        let (lock, writer) = pool.run(take).await?;
        let store = writer.as_ref().map_or(database.store(), StoreWriter::store);
        Ok(Self {
            store: Arc::clone(store),
            writer,
            _folder: Some(lock),
        })
    }

    /// The store, as it is or was at one moment.
    pub(super) fn store(&self) -> &Arc<NomsDir> {
        &self.store
    }

    /// Whether others may change the store meanwhile.
    pub(super) fn may_change(&self) -> bool {
        self.writer.is_none()
    }
}
