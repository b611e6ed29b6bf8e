//! Where a log ends.

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::objects::{ObjectError, ObjectMeta, ObjectStoreExt as _};
use crate::repo::error::{RepositoryError, object};
use crate::repo::layout;
use crate::repo::log::Log;

impl Log {
    /// Whether there is a record with this number.
    pub(crate) async fn exists(&self, sequence: u64) -> Result<bool, RepositoryError> {
        match self
            .objects
            .head(&layout::record(self.repo, sequence))
            .await
        {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(error) => Err(object("look for a log record")(error)),
        }
    }

    /// The number of the last record, 0 if there is none.
    pub(super) async fn last_sequence(&self) -> Result<u64, RepositoryError> {
        let mut there = self.read_hint().await;
        // A hint is left after its record.
        if there > 0 && !self.exists(there).await? {
            return Err(self.lost(there, "the hint of the log names it"));
        }
        let mut step = 1;
        let mut absent = loop {
            let candidate = there.saturating_add(step);
            if !self.exists(candidate).await? {
                break candidate;
            }
            there = candidate;
            step = step.saturating_mul(2);
        };
        while absent - there > 1 {
            let middle = there + (absent - there) / 2;
            if self.exists(middle).await? {
                there = middle;
            } else {
                absent = middle;
            }
        }
        self.check_end(there).await?;
        Ok(there)
    }

    /// Checks that `last` is the last record and not one before a gap.
    async fn check_end(&self, last: u64) -> Result<(), RepositoryError> {
        let last_key = (last > 0).then(|| layout::record(self.repo, last));
        let listed = self
            .objects
            .list(&layout::log(self.repo), last_key.as_ref())
            .await
            .map_err(object("look for later records"))?;
        let is_later = |meta: &ObjectMeta| {
            let sequence = meta.key.name().parse::<u64>();
            sequence.is_ok_and(|sequence| sequence > last)
        };
        // Another server may have written on since, but then it began with the next record.
        if listed.iter().any(is_later) && !self.exists(last + 1).await? {
            return Err(self.lost(last + 1, "later records are there"));
        }
        Ok(())
    }

    pub(super) fn lost(&self, sequence: u64, why: &'static str) -> RepositoryError {
        RepositoryError::Damaged {
            key: layout::record(self.repo, sequence),
            what: format!("it is missing, and {why}: run `holdfastd verify`"),
        }
    }

    /// A hint that cannot be read is no hint.
    async fn read_hint(&self) -> u64 {
        let bytes = self
            .objects
            .read(&layout::hint(self.repo), None, 32)
            .await
            .unwrap_or_default();
        decode_hint(&bytes)
    }

    /// The store's own time: when it stored the hint, which is written anew for that.
    pub(crate) async fn store_time(&self, sequence: u64) -> Result<Timestamp, RepositoryError> {
        let key = layout::hint(self.repo);
        let hint = Bytes::from(sequence.to_string());
        let written = self.objects.overwrite(&key, hint).await;
        written.map_err(object("ask the store for its time"))?;
        let meta = self.objects.head(&key).await;
        Ok(meta.map_err(object("ask the store for its time"))?.modified)
    }

    /// When the store stored a record, by its own time.
    pub(crate) async fn stored_at(&self, sequence: u64) -> Result<Timestamp, RepositoryError> {
        let meta = self
            .objects
            .head(&layout::record(self.repo, sequence))
            .await;
        Ok(meta.map_err(object("ask how old a record is"))?.modified)
    }

    /// A hint that cannot be written costs a longer search, no more.
    pub(super) async fn leave_hint(&self, sequence: u64) {
        if let Err(error) = self
            .objects
            .overwrite(&layout::hint(self.repo), Bytes::from(sequence.to_string()))
            .await
        {
            tracing::debug!(repo = %self.repo, %error, "left no hint");
        }
    }
}

/// Reads a hint; 0 if it is none.
pub(crate) fn decode_hint(bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
