//! What tells without reading whether a store has changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use super::error::{StoreError, io};
use super::layout;

/// The state of the files in which a store's changes are seen: its two manifests and its journal. Taken before a store
/// is opened, an equal one later means that the store is as it was opened, or changed within the file system's clock
/// tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreStamp {
    manifest: Option<FileStamp>,
    old_manifest: Option<FileStamp>,
    journal: Option<FileStamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl StoreStamp {
    /// Looks at the store in `directory`; there may be none. Blocks.
    pub fn of(directory: &Path) -> Result<Self, StoreError> {
        let old_generation = directory.join(layout::OLD_GENERATION);
        Ok(Self {
            manifest: stamp(&directory.join(layout::MANIFEST))?,
            old_manifest: stamp(&old_generation.join(layout::MANIFEST))?,
            journal: stamp(&directory.join(layout::JOURNAL))?,
        })
    }

    /// Whether there is a store: it has a manifest or a journal.
    pub fn has_store(&self) -> bool {
        self.manifest.is_some() || self.journal.is_some()
    }

    /// Whether it has a journal, as that of a live database.
    pub fn has_journal(&self) -> bool {
        self.journal.is_some()
    }
}

fn stamp(path: &Path) -> Result<Option<FileStamp>, StoreError> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(FileStamp {
            inode: metadata.ino(),
            len: metadata.len(),
            modified: metadata.modified().ok(),
        })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io("look for", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::RootAddress;
    use crate::noms_dir::ManifestUpdate;

    #[test]
    fn a_new_manifest_is_another_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let before = StoreStamp::of(directory.path()).unwrap();
        assert!(!before.has_store());
        for salt in 1..4 {
            let seen = StoreStamp::of(directory.path()).unwrap();
            assert_eq!(seen, StoreStamp::of(directory.path()).unwrap());
            let update = ManifestUpdate::begin(directory.path()).unwrap();
            update.finish(RootAddress::new([salt; 20]), &[]).unwrap();
            let after = StoreStamp::of(directory.path()).unwrap();
            assert_ne!(seen, after);
            assert!(after.has_store() && !after.has_journal());
        }
    }
}
