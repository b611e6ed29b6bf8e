//! Which backup is meant, and what holds it.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_chunkstore::clock::Timestamp;
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};
use holdfast_doltdb::RefName;
use holdfast_doltdb::history::History;

use super::backup_id::BackupId;
use super::catalog::Catalog;
use super::error::BackupError;
use crate::remote::{ListedFiles, Remote, RemoteSource, Shelf};
use crate::transfer::datasets::Datasets;
use crate::transfer::described;
use crate::transfer::refs::RemoteRefs;
use crate::transfer::usable::Usable;

/// Which backup is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The latest one.
    Latest,
    /// The one of that number, forgotten or not.
    Id(BackupId),
    /// The newest one that is not later.
    At(Timestamp),
    /// The oldest one with a branch that has the commit.
    Having(ChunkAddress),
}

/// What a backup holds.
pub(super) struct Chosen {
    pub(super) id: Option<BackupId>,
    pub(super) root: RootAddress,
    /// The files that hold it; nothing where that is not written down.
    pub(super) files: Option<HashSet<TableFileId>>,
    /// The records that list those files.
    pub(super) records: Vec<BackupId>,
    /// Why it is not known which files hold it, though a record says so.
    pub(super) fault: Option<String>,
}

impl Chosen {
    async fn read(shelf: &dyn Shelf, catalog: &Catalog, id: BackupId) -> Result<Self, BackupError> {
        let root = catalog.load(shelf, id).await?.record.root;
        let (records, files, fault) = match catalog.files_of(shelf, id).await {
            Ok((records, files)) => (records, Some(files.into_keys().collect()), None),
            // The root is known, and what it reaches.
            Err(error @ BackupError::Record { .. }) => (vec![id], None, Some(described(error))),
            Err(error) => return Err(error),
        };
        Ok(Self {
            id: Some(id),
            root,
            files,
            records,
            fault,
        })
    }

    /// What is left of a list of files; all of it where one of the backup's own is missing.
    pub(super) fn files_of(&self, mut listed: ListedFiles) -> ListedFiles {
        if let Some(own) = &self.files
            && self.has_own(&listed)
        {
            listed.files.retain(|file| own.contains(&file.id));
        }
        listed
    }

    /// Whether all files of the backup are listed as they were.
    pub(super) fn has_own(&self, listed: &ListedFiles) -> bool {
        let there: HashSet<_> = listed.files.iter().map(|file| file.id).collect();
        let own = self.files.as_ref();
        own.is_some_and(|own| own.is_subset(&there))
    }
}

/// Finds a backup.
pub(super) async fn choose(target: &Arc<dyn Remote>, which: Which) -> Result<Chosen, BackupError> {
    let Some(shelf) = target.shelf() else {
        return match which {
            Which::Latest => unrecorded(target).await,
            _ => Err(BackupError::NoRecords {
                target: target.address(),
            }),
        };
    };
    let catalog = Catalog::read(shelf).await?;
    let found = match which {
        // What Dolt sees may be older than the last record, or made by Dolt itself.
        Which::Latest if catalog.newest().is_none() => {
            return unrecorded(target).await;
        }
        Which::Latest => catalog.listed().next(),
        Which::Id(id) => Some(id).filter(|id| catalog.contains(*id)),
        Which::At(time) => not_later(shelf, &catalog, time).await?,
        Which::Having(commit) => having(target, shelf, &catalog, commit).await?,
    };
    match (found, which) {
        (Some(id), _) => Chosen::read(shelf, &catalog, id).await,
        (None, Which::Id(id)) => Err(BackupError::NoBackup {
            id,
            target: target.address(),
        }),
        (None, _) => Err(BackupError::NoneFits {
            target: target.address(),
        }),
    }
}

async fn unrecorded(target: &Arc<dyn Remote>) -> Result<Chosen, BackupError> {
    let root = target.root().await?;
    match root.is_zero() {
        true => Err(BackupError::Empty {
            target: target.address(),
        }),
        false => Ok(Chosen {
            id: None,
            root,
            files: None,
            records: Vec::new(),
            fault: None,
        }),
    }
}

async fn not_later(
    shelf: &dyn Shelf,
    catalog: &Catalog,
    time: Timestamp,
) -> Result<Option<BackupId>, BackupError> {
    let all = catalog.list(shelf).await?;
    let found = all.iter().find(|backup| backup.at <= time);
    Ok(found.map(|backup| backup.id))
}

async fn having(
    target: &Arc<dyn Remote>,
    shelf: &dyn Shelf,
    catalog: &Catalog,
    commit: ChunkAddress,
) -> Result<Option<BackupId>, BackupError> {
    if !target.absent(&[commit]).await?.is_empty() {
        return Ok(None);
    }
    let (source, ghosts) = (RemoteSource::new(Arc::clone(target)), HashSet::new());
    let history = History::new(&source, &ghosts);
    let mut known: HashSet<ChunkAddress> = HashSet::new();
    for backup in catalog.list(shelf).await?.into_iter().rev() {
        let datasets = Datasets::read(&source, backup.root).await?;
        let is_branch = |name: &RefName, _| matches!(name, RefName::Branch(_));
        let usable = Usable::by_kind(&source, datasets, is_branch).await?;
        let refs = RemoteRefs::among(&usable.datasets);
        for head in refs.branches.into_values() {
            if known.insert(head) && (head == commit || history.is_ancestor(commit, head).await?) {
                return Ok(Some(backup.id));
            }
        }
    }
    Ok(None)
}
