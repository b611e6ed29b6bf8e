//! What the records of a target tell together: lists, the next record, and what is forgotten.
//!
//! Cost in requests: the names are one list for each thousand of them; a list of n backups reads n / 1,024 records and
//! some thirty, one at a time those of the first form that nothing tells of yet; the files of a backup are in at most
//! eight records.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::RootAddress;
use holdfast_chunkstore::clock::Timestamp;
use serde::Serialize;

use super::backup_id::BackupId;
use super::catalog::{AT_ONCE, Catalog, Loaded};
use super::error::BackupError;
use super::files::by_id;
use super::record::{BackupRecord, Draft, FileList, Last, ListedBackup, RecordedFile};
use super::retention::KeepRules;
use super::spine;
use super::survey::Survey;
use crate::remote::{Put, Shelf};

/// A record tells of so many before it at most: some 16 MiB.
const MOST_TOLD: u64 = 1 << 16;

impl Catalog {
    /// What lists show of all backups that are not forgotten, the newest first.
    pub async fn list(&self, shelf: &dyn Shelf) -> Result<Vec<ListedBackup>, BackupError> {
        let Some((newest, oldest)) = self.newest().zip(self.listed().last()) else {
            return Ok(Vec::new());
        };
        let survey = Survey::read(self, shelf, oldest, newest).await?;
        survey.pick(self.listed())
    }

    /// The newest backup of a root, forgotten or not.
    pub(super) async fn newest_of(
        &self,
        shelf: &dyn Shelf,
        root: RootAddress,
    ) -> Result<Option<BackupId>, BackupError> {
        let Some(newest) = self.newest() else {
            return Ok(None);
        };
        if self.load(shelf, newest).await?.record.root == root {
            return Ok(Some(newest));
        }
        let survey = Survey::read(self, shelf, BackupId::FIRST, newest).await?;
        let all = survey.pick(self.newest_first())?;
        let found = all.iter().find(|backup| backup.root == root);
        Ok(found.map(|backup| backup.id))
    }

    /// The record that the next one follows.
    pub(super) async fn last(&self, shelf: &dyn Shelf) -> Result<Option<Last>, BackupError> {
        let Some(id) = self.newest() else {
            return Ok(None);
        };
        let Loaded { record, digest } = self.load(shelf, id).await?;
        Ok(Some(Last {
            id,
            root: record.root,
            source: record.source,
            digest,
        }))
    }

    /// Writes the record that follows the newest one, and returns its number; nothing if another process took that
    /// number, after which the names must be read again.
    pub async fn append(
        &mut self,
        shelf: &dyn Shelf,
        draft: &Draft,
    ) -> Result<Option<BackupId>, BackupError> {
        let last = self.last(shelf).await?;
        let mut record = BackupRecord::following(last.as_ref(), draft);
        self.list_files(shelf, &mut record, &draft.files).await?;
        record.before = self.told_by(shelf, record.id).await?;
        let text = Bytes::from(record.encode());
        match shelf.put(&record.id.record_name(), text).await? {
            Put::Taken => Ok(None),
            Put::Done => {
                self.ids.insert(record.id);
                Ok(Some(record.id))
            }
        }
    }

    /// Writes into a new record which files there are.
    async fn list_files(
        &self,
        shelf: &dyn Shelf,
        record: &mut BackupRecord,
        files: &[RecordedFile],
    ) -> Result<(), BackupError> {
        let files = by_id(files.iter().copied());
        let before = match spine::base(record.id) {
            // What cannot be read is no base, and no reason not to back up.
            Some(base) => match self.files_of(shelf, base).await {
                Ok((_, files)) => Some((base, files)),
                Err(BackupError::Record { .. }) => None,
                Err(error) => return Err(error),
            },
            None => None,
        };
        let base = before.as_ref().map(|(base, files)| (*base, files));
        record.file_count = files.len() as u64;
        record.files = FileList::of(&files, base);
        Ok(())
    }

    /// What a record tells of those before it: of its span, and of all where the one at the end of that tells nothing, as
    /// records of the first form do.
    async fn told_by(
        &self,
        shelf: &dyn Shelf,
        id: BackupId,
    ) -> Result<Vec<ListedBackup>, BackupError> {
        let Some((span, newest)) = spine::span(id).zip(self.newest()) else {
            return Ok(Vec::new());
        };
        let most = BackupId::of_number(id.number().saturating_sub(MOST_TOLD));
        let most = most.unwrap_or(BackupId::FIRST);
        let from = match BackupId::of_number(id.number() - span) {
            None => BackupId::FIRST,
            Some(end) => match self.load(shelf, end).await {
                Ok(loaded) if loaded.record.before.is_empty() => most,
                Ok(_) | Err(BackupError::Record { .. }) => end,
                Err(error) => return Err(error),
            },
        };
        let survey = Survey::read(self, shelf, from, newest).await?;
        Ok(survey.vouched_from(from))
    }
}

/// Reads what lists show of the backups that are not forgotten, the newest first.
pub async fn list(shelf: &dyn Shelf) -> Result<Vec<ListedBackup>, BackupError> {
    Catalog::read(shelf).await?.list(shelf).await
}

/// Why a backup is no longer listed.
#[derive(Debug, Serialize)]
struct Forgotten<'a> {
    form: u32,
    id: BackupId,
    at: Timestamp,
    by: Option<&'a str>,
}

/// Splits backups, the newest first, into those that the rules keep and the others.
pub(super) fn split(
    rules: &KeepRules,
    backups: Vec<ListedBackup>,
) -> (Vec<ListedBackup>, Vec<ListedBackup>) {
    let times: Vec<_> = backups.iter().map(|backup| backup.at).collect();
    let mut is_kept = rules.keep(&times).into_iter();
    backups
        .into_iter()
        .partition(|_| is_kept.next().unwrap_or(true))
}

/// Marks the backups that the rules do not keep: they are no longer listed. Nothing is deleted: the records of others may
/// follow from theirs. Without a time it only tells. Returns those that were kept, and those that were not.
pub async fn forget(
    shelf: &dyn Shelf,
    rules: &KeepRules,
    now: Option<Timestamp>,
    by: Option<&str>,
) -> Result<(Vec<ListedBackup>, Vec<ListedBackup>), BackupError> {
    if rules.is_empty() {
        return Err(BackupError::NoRules);
    }
    let (kept, others) = split(rules, list(shelf).await?);
    if let Some(at) = now {
        let marks = others.iter().map(|backup| {
            let id = backup.id;
            let form = 1;
            let text = serde_json::to_vec(&Forgotten { form, id, at, by });
            let text = Bytes::from(text.expect("numbers and text can be written"));
            // Another process may have marked it too.
            async move { shelf.put(&id.forgotten_name(), text).await.map(drop) }
        });
        let marks: Vec<_> = marks.collect();
        let marked = stream::iter(marks).buffer_unordered(AT_ONCE);
        marked.try_collect::<()>().await?;
    }
    Ok((kept, others))
}

#[cfg(test)]
mod tests;
