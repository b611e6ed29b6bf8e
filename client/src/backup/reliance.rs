//! What a backup relies on: the files of its target, looked at before the backup is said to be done.
//!
//! Each backup looks at the name, the footer and the index of every file, and reads a share of the chunks. Which share
//! follows from the number of the backup before, and from the day where nothing changed and no backup was made: backups
//! that follow one another read all chunks in turns.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_chunkstore::{ChunkAddress, ErrorKind, TableFileId};
use holdfast_doltdb::{ChunkSource as _, ReadError};

use super::backup_id::BackupId;
use super::error::BackupError;
use super::files::Files;
use super::listing::Catalog;
use crate::remote::{Lot, Remote, RemoteFile, RemoteSource, Shelf};
use crate::transfer::{Forgiving, Observer, described};

/// How many chunks are read at once.
const BATCH: usize = 256;

/// How many faults are named in an error.
const NAMED: usize = 20;

/// How much of the data a backup reads back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// In how many backups everything is read once; nothing where no data is read.
    turns: Option<u64>,
}

impl Share {
    /// No data: names, footers and indexes only.
    pub const NONE: Self = Self { turns: None };

    /// At least so many of a million chunks.
    pub fn of(per_million: u32) -> Self {
        let turns = 1_000_000_u64.checked_div(u64::from(per_million));
        Self {
            turns: turns.map(|turns| turns.max(1)),
        }
    }

    /// Whether a chunk is read in a turn.
    fn takes(self, address: ChunkAddress, turn: u64) -> bool {
        let Some(turns) = self.turns else {
            return false;
        };
        let front = address.as_bytes().first_chunk().copied();
        u64::from_be_bytes(front.unwrap_or_default()) % turns == turn % turns
    }
}

/// A target, and how much of it is looked at.
pub(super) struct Reliance<'a> {
    pub(super) target: &'a Arc<dyn Remote>,
    pub(super) share: Share,
    pub(super) observer: &'a dyn Observer,
}

impl Reliance<'_> {
    /// Refuses a target with damage, and names the files and the backups that need them. A server is not looked at: it
    /// checks what it holds itself.
    pub(super) async fn check(&self, turn: u64) -> Result<(), BackupError> {
        let Some(shelf) = self.target.shelf() else {
            return Ok(());
        };
        let mut damaged: Vec<(TableFileId, Vec<String>)> = Vec::new();
        for file in self.target.list_files().await?.files {
            let mut faults = Vec::new();
            self.check_file(shelf, &file, turn, &mut faults).await?;
            if !faults.is_empty() {
                damaged.push((file.id, faults));
            }
        }
        if damaged.is_empty() {
            return Ok(());
        }
        // What another backup joined meanwhile is not listed any more: what it held lies in the joined file.
        let listed = self.target.list_files().await?.files;
        damaged.retain(|(id, _)| listed.iter().any(|file| file.id == *id));
        if damaged.is_empty() {
            return Ok(());
        }
        let files: HashSet<_> = damaged.iter().map(|(id, _)| *id).collect();
        let mut faults: Vec<_> = damaged.into_iter().flat_map(|(_, faults)| faults).collect();
        let backups = needed_by(shelf, &files).await?;
        let more = faults.len().saturating_sub(NAMED);
        faults.truncate(NAMED);
        if more > 0 {
            faults.push(format!("{more} more"));
        }
        Err(BackupError::Damaged {
            target: self.target.address(),
            faults,
            backups,
        })
    }

    async fn check_file(
        &self,
        shelf: &dyn Shelf,
        file: &RemoteFile,
        turn: u64,
        faults: &mut Vec<String>,
    ) -> Result<(), BackupError> {
        let all = Lot {
            per_million: 1_000_000,
            seed: 0,
        };
        let mut drawn = match shelf.draw(file, all).await {
            Ok(drawn) => drawn,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound) => {
                faults.push(format!("file {}: {}", file.id, described(error)));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        if file.chunks != 0 && drawn.len() as u64 != u64::from(file.chunks) {
            let (id, found, listed) = (file.id, drawn.len(), file.chunks);
            faults.push(format!(
                "file {id} holds {found} chunks, and {listed} are listed"
            ));
        }
        drawn.retain(|address| self.share.takes(*address, turn));
        let source = RemoteSource::new(Arc::clone(self.target));
        let source = Forgiving::new(&source, self.observer);
        for batch in drawn.chunks(BATCH) {
            let count = batch.len();
            let read = source.get(batch).await;
            let read = read.map_err(|source| ReadError::Source { count, source })?;
            for (address, chunk) in batch.iter().zip(read) {
                if chunk.is_none() {
                    let fault = source.fault(*address);
                    let fault = fault.unwrap_or_else(|| "it is missing".to_owned());
                    faults.push(format!("chunk {address} of file {}: {fault}", file.id));
                }
            }
        }
        Ok(())
    }
}

/// The backups whose records list one of some files, the newest first.
async fn needed_by(
    shelf: &dyn Shelf,
    files: &HashSet<TableFileId>,
) -> Result<Vec<BackupId>, BackupError> {
    let mut needing = Vec::new();
    let need = |id, own: &Files| {
        if own.keys().any(|file| files.contains(file)) {
            needing.push(id);
        }
    };
    Catalog::read(shelf).await?.each_list(shelf, need).await?;
    needing.reverse();
    Ok(needing)
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::hash::hash_chunk;

    use super::*;

    #[test]
    fn backups_that_follow_one_another_read_each_chunk_once() {
        let share = Share::of(50_000);
        for number in 0..1000_u32 {
            let address = hash_chunk(&number.to_be_bytes());
            let turns = (7..27).filter(|turn| share.takes(address, *turn));
            assert_eq!(turns.count(), 1, "{address}");
        }
    }

    #[test]
    fn a_share_is_never_less_than_was_asked_for() {
        let address = hash_chunk(b"any");
        assert!(!Share::NONE.takes(address, 0));
        for per_million in [600_000, 1_000_000] {
            let share = Share::of(per_million);
            assert!((0..3).all(|turn| share.takes(address, turn)));
        }
        assert_eq!(Share::of(0), Share::NONE);
    }
}
