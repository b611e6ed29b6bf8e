//! Damaged files that are looked at again: an operator may have put them right.
//!
//! A file that is there with the length that was recorded is read whole and compared with what was taken in, once each
//! time that its object is another one, and again as long as that one is new.

use std::time::Duration;

use super::DamagedFile;
use crate::id::UploadId;
use crate::objects::ObjectError;
use crate::repo::error::{RepositoryError, object};
use crate::repo::file::StoredFile;
use crate::repo::layout;
use crate::repo::repository::Repository;
use crate::repo::state::State;

/// How many files are looked at in one go. The next goes on behind them.
const MOST_AT_ONCE: usize = 64;

/// An object that was stored so long ago is told from the next one by its time alone: buckets count whole seconds, and
/// their clock need not be ours.
const SETTLED: Duration = Duration::from_mins(2);

impl Repository {
    /// Looks at damaged files of the last state again, some at a time. Returns how many are whole again; each is told in
    /// the log, and counts from now on.
    pub async fn look_again(&self) -> Result<usize, RepositoryError> {
        let state = self.state().await?;
        let damaged = self.damaged_in(&state);
        let last = *self.shared.lacking.looked_at.lock();
        let behind =
            |(upload, _): &&(UploadId, DamagedFile)| last.is_none_or(|last| *upload > last);
        let mut chosen: Vec<_> = damaged.iter().filter(behind).take(MOST_AT_ONCE).collect();
        if chosen.is_empty() {
            chosen = damaged.iter().take(MOST_AT_ONCE).collect();
        }
        let chosen: Vec<_> = chosen.into_iter().map(|(upload, _)| *upload).collect();
        *self.shared.lacking.looked_at.lock() = chosen.last().copied();
        self.look_at_each(&state, &chosen).await
    }

    /// Looks at some damaged files again, and returns how many are whole.
    pub(crate) async fn look_at_each(
        &self,
        state: &State,
        uploads: &[UploadId],
    ) -> Result<usize, RepositoryError> {
        let mut whole = 0;
        for upload in uploads {
            if let Some(file) = state.files.get(upload) {
                whole += usize::from(self.look_at_again(file).await?.is_none());
            }
        }
        Ok(whole)
    }

    /// Looks at a damaged file again, and takes back what was noted of it if it is what it should be.
    pub(super) async fn look_at_again(
        &self,
        file: &StoredFile,
    ) -> Result<Option<DamagedFile>, RepositoryError> {
        let key = layout::file(self.shared.pool, file);
        let stamp = match self.shared.parts.objects.head(&key).await {
            Ok(meta) => (meta.len, meta.modified),
            Err(ObjectError::NotFound { .. }) => return Ok(self.damage(file.upload)),
            Err(error) => return Err(object("look for a data file")(error)),
        };
        let was_read = self.shared.damaged.read_at(file.upload) == Some(stamp);
        if stamp.0 != file.len || was_read {
            return Ok(self.damage(file.upload));
        }
        if !self.is_intact(file).await? {
            let now = self.shared.parts.clock.now();
            if stamp.1.plus(SETTLED) <= now {
                self.shared.damaged.note_read(file.upload, stamp);
            }
            return Ok(self.damage(file.upload));
        }
        if self.shared.damaged.forget(file.upload) {
            let repo = &self.shared.name;
            tracing::info!(%repo, file = %file.id, %key, "a data file that was damaged is whole again");
        }
        Ok(None)
    }
}
