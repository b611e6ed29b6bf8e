//! Checkpoints: the whole state, in every [`CHECKPOINT_EVERY`]th record.
//!
//! [`CHECKPOINT_EVERY`]: crate::repo::record::CHECKPOINT_EVERY

use std::collections::BTreeMap;

use crate::id::{Stamp, UploadId};
use crate::objects::ObjectError;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::log::Log;
use crate::repo::record::{Checkpoint, RecordError, RetiredFile};
use crate::repo::side::SideLists;
use crate::repo::state::{CheckpointLists, State};

/// Writes a state down, the longer lists beside the record that `stamp` marks.
pub(super) async fn write(
    side: &SideLists,
    stamp: Stamp,
    state: State,
) -> Result<Checkpoint, RepositoryError> {
    let files: Vec<StoredFile> = state.files.values().cloned().collect();
    let listed = |files: &BTreeMap<UploadId, RetiredFile>| -> Vec<RetiredFile> {
        files.values().cloned().collect()
    };
    let (retired, released) = (listed(&state.retired), listed(&state.released));
    Ok(Checkpoint {
        files: side.set_aside(stamp, "all-files", &files).await?,
        retired: side.set_aside(stamp, "all-retired", &retired).await?,
        released: side.set_aside(stamp, "all-released", &released).await?,
        cleared: state.cleared,
    })
}

impl Log {
    /// Reads the lists of a checkpoint.
    pub(crate) async fn checkpoint_lists(
        &self,
        checkpoint: &Checkpoint,
    ) -> Result<CheckpointLists, RepositoryError> {
        Ok(CheckpointLists {
            files: self.list(&checkpoint.files).await?,
            retired: self.list(&checkpoint.retired).await?,
            released: self.list(&checkpoint.released).await?,
        })
    }

    /// Reads the state after a record that carries a checkpoint.
    pub(super) async fn load_checkpoint(&self, sequence: u64) -> Result<State, RepositoryError> {
        let key = || layout::record(self.repo, sequence);
        let (record, digest) = self.read(sequence).await?.ok_or_else(|| {
            object("read a checkpoint of the log")(ObjectError::NotFound { key: key() })
        })?;
        let checkpoint = record
            .checkpoint
            .as_ref()
            .ok_or_else(|| RepositoryError::Log {
                source: RecordError::Chain {
                    key: key(),
                    what: "it should carry a checkpoint",
                },
            })?;
        let lists = self.checkpoint_lists(checkpoint).await?;
        let cleared = checkpoint.cleared;
        Ok(State::from_checkpoint(&record, digest, lists, cleared))
    }
}
