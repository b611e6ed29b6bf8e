//! Damaged files of a target of backups, mended from what is backed up.
//!
//! What can still be read of a damaged file is copied into a new one. What lies below the root that is backed up, and
//! below those of the earlier backups that need the file, is then walked: what is lost and still in the source is sent
//! again. In the end the damaged files are taken off the list; they stay where they lie.
//!
//! * Crash: before that end the files are listed and damaged as before, and the next backup begins anew; what was sent
//!   counts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_chunkstore::clock::Clock;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{Salvaged, StoreError, StoredFile, salvage};
use holdfast_chunkstore::pool::BlockingPool;
use holdfast_chunkstore::{ChunkAddress, TableFileId};

use super::backup_id::BackupId;
use super::catalog::Catalog;
use super::error::BackupError;
use super::needing::needing;
use super::origin::Opened;
use super::reliance::FileDamage;
use crate::database::io;
use crate::remote::{OutgoingFile, Remote, RemoteFile, Shelf};
use crate::transfer::download::{Downloader, Folders};
use crate::transfer::mend::{Lacking, Mender, Mending, Nearer};
use crate::transfer::send::Origin;
use crate::transfer::{Extent, Observer, TransferError};

/// What was mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// The files that were damaged, and that are no longer listed.
    pub files: Vec<TableFileId>,
    /// How many chunks that were lost were written again.
    pub chunks: u64,
    /// The backups that need one of the files, the newest first.
    pub backups: Vec<BackupId>,
    /// What those backups need and neither the target nor the source has.
    pub lacking: Lacking,
}

impl Mended {
    pub(super) fn add(&mut self, more: Self) {
        self.files.extend(more.files);
        self.chunks += more.chunks;
        let backups = self.backups.drain(..).chain(more.backups);
        let backups: BTreeSet<_> = backups.collect();
        self.backups = backups.into_iter().rev().collect();
        self.lacking.count += more.lacking.count;
        self.lacking.first.extend(more.lacking.first);
    }
}

/// Mends the files of one target.
pub(super) struct VaultMender<'a> {
    pub(super) target: &'a Arc<dyn Remote>,
    pub(super) opened: &'a Opened,
    /// Where files gather.
    pub(super) outgoing: &'a Path,
    pub(super) pool: &'a BlockingPool,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) observer: &'a Arc<dyn Observer>,
}

impl VaultMender<'_> {
    /// Mends damaged files. What cannot be mended and is needed by earlier backups only is told in the result.
    ///
    /// # Errors
    /// [`BackupError::Damaged`] where the source lacks what lies below its own root.
    pub(super) async fn mend(
        &self,
        shelf: &dyn Shelf,
        damaged: &[FileDamage],
    ) -> Result<Mended, BackupError> {
        let ids: BTreeSet<_> = damaged.iter().map(|damage| damage.id).collect();
        for file in damaged.iter().filter_map(|damage| damage.file.as_ref()) {
            self.salvage(file).await?;
        }
        let mut mended = Mended {
            files: ids.iter().copied().collect(),
            ..Mended::default()
        };
        self.target.pass_over(&mended.files);
        let listed = self.target.list_files().await?.files;
        let needing = needing(shelf, &listed, ids).await?;
        let backups = needing.into_iter().flat_map(|(_, backups)| backups);
        let backups: BTreeSet<_> = backups.collect();
        mended.backups = backups.into_iter().rev().collect();

        let mut mender = Mender::new(Mending {
            target: self.target,
            source: &*self.opened.source,
            nearer: match self.opened.origin {
                Origin::Store(_) => Nearer::Source,
                Origin::Remote(_) => Nearer::Target,
            },
            folder: self.outgoing.to_owned(),
            extent: Extent::Whole,
            pool: self.pool,
            observer: &**self.observer,
        });
        let own = mender.walk(self.opened.root.chunk()).await?;
        if own.count > 0 {
            return Err(self.unmended(damaged, mended.backups, &own));
        }
        let roots = self.roots(shelf, &mended.backups).await?;
        mended.lacking = mender.walk(roots).await?;
        mended.chunks = mender.finish().await?.chunks;
        Ok(mended)
    }

    /// The roots of backups.
    async fn roots(
        &self,
        shelf: &dyn Shelf,
        backups: &[BackupId],
    ) -> Result<Vec<ChunkAddress>, BackupError> {
        let catalog = Catalog::read(shelf).await?;
        let mut roots = Vec::with_capacity(backups.len());
        for id in backups {
            roots.extend(catalog.load(shelf, *id).await?.record.root.chunk());
        }
        Ok(roots)
    }

    fn unmended(
        &self,
        damaged: &[FileDamage],
        backups: Vec<BackupId>,
        lacking: &Lacking,
    ) -> BackupError {
        let faults = damaged.iter().flat_map(|damage| damage.faults.clone());
        let lacks = lacking.first.iter().map(|chunk| {
            format!("chunk {chunk} is not in the source either, so it cannot be mended")
        });
        BackupError::Damaged {
            target: self.target.address(),
            faults: faults.chain(lacks).collect(),
            backups,
        }
    }

    /// Copies what can be read of a file whose index is sound into a new one.
    async fn salvage(&self, file: &RemoteFile) -> Result<(), BackupError> {
        let folder = self.outgoing.to_owned();
        let make = move || {
            std::fs::create_dir_all(&folder)
                .and_then(|()| tempfile::tempdir_in(&folder))
                .map_err(io("make a directory in", &folder))
        };
        let place = self.pool.run(make).await?;
        let folder = place.path().to_owned();
        let here = self.target.shelf().and_then(|shelf| shelf.path(file));
        let path = match here {
            Some(path) => path,
            None => self.bring(file, &folder).await?,
        };
        let id = file.id;
        let copy = move || {
            let directory = path.parent().unwrap_or(Path::new(".")).to_owned();
            let stored = StoredFile::open(&directory, id)?;
            let stored = stored.ok_or(StoreError::Missing { id, directory })?;
            let into = folder.join("salvaged");
            std::fs::create_dir_all(&into).map_err(StoreError::io("make", &into))?;
            salvage(&stored, &into)
        };
        let Salvaged { file, .. } = self.pool.run(copy).await?;
        if let Some((path, kind, written)) = file {
            let outgoing = OutgoingFile {
                path,
                id: written.id,
                kind,
                len: written.len,
                data_len: written.data_len,
                chunks: written.count,
            };
            // All of it was sound: it is mended already.
            if written.id != id {
                self.target.upload(&outgoing).await?;
                let listed = ListedFile {
                    id: written.id,
                    chunks: written.count,
                };
                self.target.add_files(&[listed]).await?;
            }
        }
        self.pool.run(move || drop(place)).await;
        Ok(())
    }

    /// Brings a file to a folder as it is.
    async fn bring(&self, file: &RemoteFile, folder: &Path) -> Result<PathBuf, TransferError> {
        let folders = Folders {
            parts: folder.to_owned(),
            store: folder.to_owned(),
        };
        let downloader =
            Downloader::new(self.target, folders, self.pool, self.clock, self.observer);
        downloader.take_unchecked(file).await
    }
}
