//! A change of the manifest of a plain store: one without a journal, which many may push to.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::error::{StoreError, io};
use super::joining::Joined;
use super::layout::file_name;
use super::lock::StoreLock;
use super::stamp::StoreStamp;
use super::{read_manifest, writer};
use crate::address::{RootAddress, TableFileId};
use crate::format::FileKind;
use crate::format::manifest::{ListedFile, Manifest};
use crate::objects::durable;

/// The manifest of a plain store, which nobody else changes as long as this lives. Others wait no longer than a tenth
/// of a second for that, so whatever takes time is done before.
#[derive(Debug)]
pub struct ManifestUpdate {
    directory: PathBuf,
    manifest: Manifest,
    _lock: StoreLock,
}

impl ManifestUpdate {
    /// Takes the lock of the store in `directory`, which must be there, and reads its manifest; that of an empty store
    /// where there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Held`] when another process holds the lock, and [`StoreError::Journaled`] for a store whose root
    /// is in a journal.
    pub fn begin(directory: &Path) -> Result<Self, StoreError> {
        let lock = StoreLock::take(directory)?;
        if StoreStamp::of(directory)?.has_journal() {
            return Err(StoreError::Journaled {
                path: directory.to_owned(),
            });
        }
        let manifest = read_manifest(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest: manifest.unwrap_or_else(|| Manifest::new(RootAddress::ZERO, Vec::new())),
            _lock: lock,
        })
    }

    /// The manifest as it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Writes the manifest with this root, and with files that landed before. What is in the files must, together with
    /// what is there, hold everything below the root. The lock is given back.
    ///
    /// # Errors
    /// [`StoreError::Missing`] for a file that did not land.
    pub fn finish(self, root: RootAddress, added: &[ListedFile]) -> Result<(), StoreError> {
        self.finish_without(root, added, &HashSet::new())
    }

    /// Does the same, and takes files off the list that are damaged.
    pub fn finish_without(
        self,
        root: RootAddress,
        added: &[ListedFile],
        damaged: &HashSet<TableFileId>,
    ) -> Result<(), StoreError> {
        let mut files = self.manifest.files.clone();
        files.retain(|file| !damaged.contains(&file.id));
        for file in added {
            if files.iter().any(|known| known.id == file.id) {
                continue;
            }
            if !is_there(&self.directory, file.id) {
                return Err(StoreError::Missing {
                    id: file.id,
                    directory: self.directory,
                });
            }
            files.push(*file);
        }
        self.replace(root, files)
    }

    /// Writes the manifest with a joined file in the place of its parts, and removes those. Nothing changes if one of
    /// them is not listed any more. The lock is given back.
    pub fn join(self, joined: Joined) -> Result<(), StoreError> {
        let mut files = self.manifest.files.clone();
        if !joined.replace_in(&mut files) {
            return Ok(());
        }
        let root = self.manifest.root;
        self.replace(root, files)?;
        joined.remove_parts();
        Ok(())
    }

    fn replace(&self, root: RootAddress, files: Vec<ListedFile>) -> Result<(), StoreError> {
        // The names of the files, before they are listed.
        durable::sync_directory(&self.directory).map_err(io("sync", &self.directory))?;
        writer::replace_manifest(&self.directory, &self.manifest.replaced(root, files))
    }
}

fn is_there(directory: &Path, id: TableFileId) -> bool {
    [FileKind::Table, FileKind::Archive]
        .iter()
        .any(|kind| directory.join(file_name(id, *kind)).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noms_dir::{NewStore, NomsDir};

    #[test]
    fn files_that_did_not_land_are_not_listed() {
        let directory = tempfile::tempdir().unwrap();
        let store = NewStore::create(directory.path()).unwrap();
        store.finish(RootAddress::new([1; 20]), Vec::new()).unwrap();
        let file = ListedFile {
            id: TableFileId::new([7; 20]),
            chunks: 1,
        };
        let update = ManifestUpdate::begin(directory.path()).unwrap();
        let refused = update.finish(RootAddress::new([2; 20]), &[file]);
        assert!(matches!(refused, Err(StoreError::Missing { id, .. }) if id == file.id));
        let store = NomsDir::open(directory.path()).unwrap();
        assert_eq!(store.root(), RootAddress::new([1; 20]));
    }

    #[test]
    fn a_second_writer_waits_and_is_told_who_holds_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let first = ManifestUpdate::begin(directory.path()).unwrap();
        let second = ManifestUpdate::begin(directory.path());
        assert!(matches!(second, Err(StoreError::Held { .. })));
        drop(first);
        assert!(ManifestUpdate::begin(directory.path()).is_ok());
    }
}
