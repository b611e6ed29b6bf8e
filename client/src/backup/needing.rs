//! Which backups need a file of their target.

use std::collections::{BTreeSet, HashSet};

use holdfast_chunkstore::TableFileId;

use super::backup_id::BackupId;
use super::catalog::Catalog;
use super::error::BackupError;
use super::files::Files;
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
    let visit = |id, own: &Files| {
        for (file, backups) in &mut needing {
            if needs(own, *file, &listed) {
                backups.push(id);
            }
        }
    };
    Catalog::read(shelf).await?.each_list(shelf, visit).await?;
    for (_, backups) in &mut needing {
        backups.reverse();
    }
    Ok(needing)
}

/// Whether a backup needs a file: one of its own, or any where one of its own was joined with others since, as it may
/// hold what that held.
fn needs(own: &Files, file: TableFileId, listed: &HashSet<TableFileId>) -> bool {
    own.contains_key(&file) || own.keys().any(|own| !listed.contains(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_needs_its_own_files_and_all_where_one_was_joined() {
        let id = |number| TableFileId::new([number; 20]);
        let own: Files = [1, 2].map(|number| (id(number), 1)).into();
        let all = HashSet::from([id(1), id(2), id(3)]);
        assert!(needs(&own, id(2), &all));
        assert!(!needs(&own, id(3), &all), "a later one");
        let joined = HashSet::from([id(1), id(3)]);
        assert!(
            needs(&own, id(3), &joined),
            "it may hold what the second held"
        );
        assert!(needs(&own, id(2), &joined), "its own, which is missing");
    }
}
