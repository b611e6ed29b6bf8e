//! The records of a target.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_chunkstore::clock::Timestamp;
use serde::Serialize;

use super::error::BackupError;
use super::record::{BackupId, BackupRecord, Last, RecordError, digest};
use super::retention::KeepRules;
use crate::remote::{Put, RemoteError, Shelf};

/// How many records are read at once.
const AT_ONCE: usize = 16;

/// A backup that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBackup {
    /// What is written down of it.
    pub record: BackupRecord,
    /// Whether it is not listed any more.
    pub is_forgotten: bool,
    digest: String,
}

/// The numbers of all backups of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalog {
    ids: BTreeSet<BackupId>,
    forgotten: BTreeSet<BackupId>,
}

impl Catalog {
    /// Reads the names of all records.
    pub async fn read(shelf: &dyn Shelf) -> Result<Self, RemoteError> {
        Ok(Self::of_names(&shelf.names().await?))
    }

    /// Takes the names of files; what is no record of ours is passed by.
    fn of_names(names: &[String]) -> Self {
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

    /// Reads the record of a backup that is there.
    pub async fn load(&self, shelf: &dyn Shelf, id: BackupId) -> Result<ListedBackup, BackupError> {
        let text = shelf.get(&id.record_name()).await?;
        let wrong = |source| BackupError::Record { id, source };
        let text = text.ok_or_else(|| wrong(RecordError::Gap))?;
        Ok(ListedBackup {
            record: BackupRecord::decode(id, &text).map_err(wrong)?,
            is_forgotten: self.forgotten.contains(&id),
            digest: digest(&text),
        })
    }

    /// Reads records, in the order of the numbers.
    pub async fn load_all(
        &self,
        shelf: &dyn Shelf,
        ids: impl IntoIterator<Item = BackupId>,
    ) -> Result<Vec<ListedBackup>, BackupError> {
        let loads: Vec<_> = ids.into_iter().map(|id| self.load(shelf, id)).collect();
        stream::iter(loads).buffered(AT_ONCE).try_collect().await
    }

    /// The record that the next one follows.
    pub(super) async fn last(&self, shelf: &dyn Shelf) -> Result<Option<Last>, BackupError> {
        let Some(id) = self.newest_first().next() else {
            return Ok(None);
        };
        let listed = self.load(shelf, id).await?;
        Ok(Some(Last {
            id,
            root: listed.record.root,
            source: listed.record.source,
            digest: listed.digest,
        }))
    }
}

/// Checks that each record follows the one before, and returns those that do not; the oldest comes first.
pub(super) fn check_chain(records: &[ListedBackup]) -> Vec<BackupError> {
    let mut faults = Vec::new();
    let mut before: Option<&ListedBackup> = None;
    for listed in records {
        let BackupRecord { id, previous, .. } = &listed.record;
        let expected = before.map_or(BackupId::FIRST, |before| before.record.id.next());
        let source = match (*id == expected, previous, before) {
            (false, _, _) => Some(RecordError::Gap),
            (true, Some(previous), Some(before)) if *previous == before.digest => None,
            (true, None, None) => None,
            (true, _, _) => Some(RecordError::Previous),
        };
        faults.extend(source.map(|source| BackupError::Record { id: *id, source }));
        before = Some(listed);
    }
    faults
}

/// Reads the records that are listed, the newest first.
pub async fn list(shelf: &dyn Shelf) -> Result<Vec<ListedBackup>, BackupError> {
    let catalog = Catalog::read(shelf).await?;
    catalog.load_all(shelf, catalog.listed()).await
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
    let times: Vec<_> = backups.iter().map(|backup| backup.record.at).collect();
    let mut is_kept = rules.keep(&times).into_iter();
    backups
        .into_iter()
        .partition(|_| is_kept.next().unwrap_or(true))
}

/// Marks the backups that the rules do not keep: they are no longer listed. Nothing is deleted. Without a time it only
/// tells. Returns those that were kept, and those that were not.
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
        for backup in &others {
            let id = backup.record.id;
            let text = serde_json::to_vec(&Forgotten {
                form: 1,
                id,
                at,
                by,
            });
            let text = Bytes::from(text.expect("numbers and text can be written"));
            match shelf.put(&id.forgotten_name(), text).await? {
                // Somebody else forgot it too.
                Put::Done | Put::Taken => {}
            }
        }
    }
    Ok((kept, others))
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::RootAddress;

    use super::*;

    /// Records that follow one another.
    fn chain(count: u64) -> Vec<ListedBackup> {
        let (mut all, mut last) = (Vec::new(), None);
        for number in 0..count {
            let at = Timestamp(number * 1000);
            let record = BackupRecord::following(last.as_ref(), at, RootAddress::new([1; 20]));
            let digest = digest(&record.encode());
            last = Some(Last {
                id: record.id,
                root: record.root,
                source: record.source.clone(),
                digest: digest.clone(),
            });
            all.push(ListedBackup {
                record,
                is_forgotten: false,
                digest,
            });
        }
        all
    }

    #[test]
    fn a_chain_without_faults_has_none() {
        assert!(check_chain(&chain(4)).is_empty());
        assert!(check_chain(&[]).is_empty());
    }

    #[test]
    fn a_changed_record_shows_in_the_one_behind_it() {
        let mut records = chain(4);
        records[1].record.source = "elsewhere".to_owned();
        records[1].digest = digest(&records[1].record.encode());
        let faults = check_chain(&records);
        assert_eq!(faults.len(), 1);
        assert_eq!(
            faults[0].to_string(),
            "could not read the record of backup 3"
        );
    }

    #[test]
    fn a_record_that_is_gone_shows() {
        let mut records = chain(4);
        records.remove(0);
        assert_eq!(check_chain(&records).len(), 1, "the first");
        let mut records = chain(4);
        records.remove(2);
        assert_eq!(check_chain(&records).len(), 1, "one between");
    }

    #[test]
    fn what_is_forgotten_is_not_listed_and_still_counts() {
        let names = [
            "0000000001.json",
            "0000000002.json",
            "0000000002.forgotten",
            "notes.txt",
        ];
        let catalog = Catalog::of_names(&names.map(str::to_owned));
        let listed: Vec<_> = catalog.listed().map(|id| id.to_string()).collect();
        assert_eq!(listed, ["1"]);
        let newest = catalog.newest_first().next();
        assert_eq!(newest.map(|id| id.to_string()).as_deref(), Some("2"));
    }
}
