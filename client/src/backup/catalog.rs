//! The records of a target by their numbers, each read when it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};

use super::backup_id::BackupId;
use super::error::BackupError;
use super::files::Files;
use super::record::{BackupRecord, RecordError, digest};
use super::spine;
use crate::remote::{RemoteError, Shelf};

/// How many records are read at once.
pub(super) const AT_ONCE: usize = 16;

/// A record that was read.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) record: BackupRecord,
    /// The digest of its text.
    pub(super) digest: String,
}

/// The numbers of all backups of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    pub(super) ids: BTreeSet<BackupId>,
    forgotten: BTreeSet<BackupId>,
}

impl Catalog {
    /// Reads the names of all records.
    pub async fn read(shelf: &dyn Shelf) -> Result<Self, RemoteError> {
        Ok(Self::of_names(&shelf.names().await?))
    }

    /// Takes the names of files; what is no record of ours is passed by.
    pub(super) fn of_names(names: &[String]) -> Self {
        let with = |suffix| {
            let ids = names.iter();
            ids.filter_map(|name| BackupId::of_name(name, suffix))
                .collect()
        };
        Self {
            ids: with(".json"),
            forgotten: with(".forgotten"),
        }
    }

    /// The newest backup.
    pub fn newest(&self) -> Option<BackupId> {
        self.ids.last().copied()
    }

    /// All backups, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = BackupId> + '_ {
        self.ids.iter().rev().copied()
    }

    /// Those that are listed, the newest first.
    pub fn listed(&self) -> impl Iterator<Item = BackupId> + '_ {
        self.newest_first()
            .filter(|id| !self.forgotten.contains(id))
    }

    /// Whether there is a backup of that number.
    pub fn contains(&self, id: BackupId) -> bool {
        self.ids.contains(&id)
    }

    /// The backups between two numbers, both included.
    pub(super) fn between(
        &self,
        from: BackupId,
        to: BackupId,
    ) -> impl Iterator<Item = BackupId> + '_ {
        self.ids.range(from..=to).copied()
    }

    /// The backups before which a record is gone.
    pub(super) fn gaps(&self) -> impl Iterator<Item = BackupId> + '_ {
        let ids = self.ids.iter().copied();
        ids.filter(|id| {
            BackupId::of_number(id.number() - 1).is_some_and(|before| !self.contains(before))
        })
    }

    /// Reads the record of a backup that is there.
    pub(super) async fn load(
        &self,
        shelf: &dyn Shelf,
        id: BackupId,
    ) -> Result<Loaded, BackupError> {
        let text = shelf.get(&id.record_name()).await?;
        let wrong = |source| BackupError::Record { id, source };
        let text = text.ok_or_else(|| wrong(RecordError::Gap))?;
        Ok(Loaded {
            record: BackupRecord::decode(id, &text).map_err(wrong)?,
            digest: digest(&text),
        })
    }

    /// The backups whose lists of files make that of a backup, the newest first, and what they list.
    pub(super) async fn files_of(
        &self,
        shelf: &dyn Shelf,
        id: BackupId,
    ) -> Result<(Vec<BackupId>, Files), BackupError> {
        let (mut ids, mut lists, mut next) = (Vec::new(), Vec::new(), Some(id));
        while let Some(id) = next {
            let record = self.load(shelf, id).await?.record;
            let base = record.files.base();
            if let Some(base) = base.filter(|base| *base >= id) {
                let source = RecordError::Files { base };
                return Err(BackupError::Record { id, source });
            }
            ids.push(id);
            lists.push((id, record.file_count, record.files));
            next = base;
        }
        let mut files = Files::new();
        for (id, count, list) in lists.into_iter().rev() {
            let wrong = |source| BackupError::Record { id, source };
            let base = list.base().unwrap_or(id);
            files = list.over(files).map_err(wrong)?;
            if files.len() as u64 != count {
                return Err(wrong(RecordError::Files { base }));
            }
        }
        Ok((ids, files))
    }

    /// Shows the files of each backup, the oldest first. Reads all records, a few at a time; what cannot be read is left
    /// out.
    pub(super) async fn each_list(
        &self,
        shelf: &dyn Shelf,
        mut visit: impl FnMut(BackupId, &Files) + Send,
    ) -> Result<(), BackupError> {
        let loads: Vec<_> = self.ids.iter().map(|id| self.load(shelf, *id)).collect();
        let mut loads = stream::iter(loads).buffered(AT_ONCE);
        let mut lists: BTreeMap<BackupId, Files> = BTreeMap::new();
        while let Some(loaded) = loads.next().await {
            let record = match loaded {
                Ok(loaded) => loaded.record,
                Err(BackupError::Record { .. }) => continue,
                Err(error) => return Err(error),
            };
            let base = record.files.base().map(|base| lists.get(&base).cloned());
            let list = match base {
                // One that is out of the common run, or follows from what cannot be read.
                Some(None) => self
                    .files_of(shelf, record.id)
                    .await
                    .map(|(_, files)| files),
                base => {
                    let list = record.files.over(base.flatten().unwrap_or_default());
                    let id = record.id;
                    list.map_err(|source| BackupError::Record { id, source })
                }
            };
            match list {
                Ok(list) => {
                    visit(record.id, &list);
                    lists.insert(record.id, list);
                }
                Err(BackupError::Record { .. }) => {}
                Err(error) => return Err(error),
            }
            let next = std::iter::successors(Some(record.id.next()), |id| spine::base(*id));
            let next: Vec<_> = next.collect();
            lists.retain(|id, _| next.contains(id));
        }
        Ok(())
    }
}
