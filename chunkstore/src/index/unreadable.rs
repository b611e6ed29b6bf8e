//! An index that is there and cannot be opened: for those who doubt it and must say so.

use async_trait::async_trait;

use crate::address::ChunkAddress;
use crate::id::{PoolId, UploadId};
use crate::index::{ChunkIndex, FoundPlaces, IndexError, SortedEntries};

/// Answers every question with the damage that kept the index from being opened.
#[derive(Debug)]
pub struct UnreadableIndex {
    action: &'static str,
    reason: String,
}

impl UnreadableIndex {
    /// Stands for an index that failed at `action`, for `reason`.
    pub fn new(action: &'static str, reason: impl ToString) -> Self {
        Self {
            action,
            reason: reason.to_string(),
        }
    }

    fn damage(&self) -> IndexError {
        IndexError::Damaged {
            action: self.action,
            source: self.reason.clone().into(),
        }
    }
}

#[async_trait]
impl ChunkIndex for UnreadableIndex {
    async fn add_file(
        &self,
        _pool: PoolId,
        _file: UploadId,
        _count: u64,
        _entries: SortedEntries,
    ) -> Result<(), IndexError> {
        Err(self.damage())
    }

    async fn has_files(&self, _pool: PoolId, _files: &[UploadId]) -> Result<Vec<bool>, IndexError> {
        Err(self.damage())
    }

    async fn locate(
        &self,
        _pool: PoolId,
        _addresses: &[ChunkAddress],
    ) -> Result<Vec<FoundPlaces>, IndexError> {
        Err(self.damage())
    }
}
