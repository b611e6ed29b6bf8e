//! Damaged files of a store that do not count while it is mended.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_chunkstore::TableFileId;

/// The files that are passed over.
#[derive(Debug, Default)]
pub(super) struct PassedOver(Mutex<HashSet<TableFileId>>);

impl PassedOver {
    fn lock(&self) -> MutexGuard<'_, HashSet<TableFileId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes over these files, and no others.
    pub(super) fn set(&self, files: &[TableFileId]) {
        *self.lock() = files.iter().copied().collect();
    }

    pub(super) fn all(&self) -> HashSet<TableFileId> {
        self.lock().clone()
    }

    pub(super) fn contains(&self, file: TableFileId) -> bool {
        self.lock().contains(&file)
    }

    /// Notes that files are whole again, or gone from the list.
    pub(super) fn forget(&self, files: impl IntoIterator<Item = TableFileId>) {
        let mut all = self.lock();
        for file in files {
            all.remove(&file);
        }
    }
}
