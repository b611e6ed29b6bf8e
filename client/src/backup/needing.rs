//! Which backups need a file of their target.

use std::collections::{BTreeSet, HashSet};

use holdfast_chunkstore::TableFileId;

use super::error::BackupError;
use super::listing::Catalog;
use super::record::{BackupId, BackupRecord};
use crate::remote::{RemoteFile, Shelf};

/// Finds the backups that need each of some files, the newest first; the target lists `listed`.
pub(super) async fn needing(
    shelf: &dyn Shelf,
    listed: &[RemoteFile],
    files: BTreeSet<TableFileId>,
) -> Result<Vec<(TableFileId, Vec<BackupId>)>, BackupError> {
    let mut needing: Vec<_> = files.into_iter().map(|id| (id, Vec::new())).collect();
    if needing.is_empty() {
        return Ok(needing);
    }
    let listed: HashSet<_> = listed.iter().map(|file| file.id).collect();
    let catalog = Catalog::read(shelf).await?;
    for id in catalog.newest_first() {
        let record = catalog.load(shelf, id).await?.record;
        for (file, backups) in &mut needing {
            if needs(&record, *file, &listed) {
                backups.push(id);
            }
        }
    }
    Ok(needing)
}

/// Whether a backup needs a file: one of its own, or any where one of its own was joined with others since, as a restore
/// takes all then.
fn needs(record: &BackupRecord, file: TableFileId, listed: &HashSet<TableFileId>) -> bool {
    let mut own = record.files.iter().map(|own| own.id);
    own.clone().any(|own| own == file) || own.any(|own| !listed.contains(&own))
}

#[cfg(test)]
mod tests {
    use holdfast_chunkstore::RootAddress;
    use holdfast_chunkstore::clock::Timestamp;

    use super::*;
    use crate::backup::record::RecordedFile;

    #[test]
    fn a_backup_needs_its_own_files_and_all_where_one_was_joined() {
        let id = |number| TableFileId::new([number; 20]);
        let mut record = BackupRecord::following(None, Timestamp(0), RootAddress::new([1; 20]));
        record.files = [1, 2]
            .map(|number| RecordedFile {
                id: id(number),
                chunks: 1,
            })
            .to_vec();
        let all = HashSet::from([id(1), id(2), id(3)]);
        assert!(needs(&record, id(2), &all));
        assert!(!needs(&record, id(3), &all), "a later one");
        let joined = HashSet::from([id(1), id(3)]);
        assert!(
            needs(&record, id(3), &joined),
            "it may hold what the second held"
        );
        assert!(needs(&record, id(2), &joined), "its own, which is missing");
    }
}
