//! The files of a store that do not hold what its manifests list.

use std::path::Path;

use super::error::StoreError;
use super::stored_file::StoredFile;
use super::{layout, read_manifest};
use crate::address::TableFileId;
use crate::error::ErrorKind;
use crate::format::manifest::JOURNAL_ID;

/// A file that is listed and cannot be used.
#[derive(Debug)]
pub struct DamagedFile {
    /// Its id.
    pub id: TableFileId,
    /// What is wrong with it.
    pub error: StoreError,
}

/// Looks at the names, the lengths and the indexes of all files that the store in `directory` lists, but the journal,
/// and returns those that are missing or damaged. Blocks.
pub fn damaged_files(directory: &Path) -> Result<Vec<DamagedFile>, StoreError> {
    let mut damaged = Vec::new();
    for directory in [&directory.join(layout::OLD_GENERATION), directory] {
        let Some(manifest) = read_manifest(directory)? else {
            continue;
        };
        let mut listed = manifest.files;
        listed.retain(|file| file.id != JOURNAL_ID);
        for file in listed {
            match StoredFile::open_listed(directory, file) {
                Err(error) if error.kind() == ErrorKind::Corrupt || is_unreadable(&error) => {
                    damaged.push(DamagedFile { id: file.id, error });
                }
                opened => drop(opened?),
            }
        }
    }
    Ok(damaged)
}

/// Whether the bytes of a file could not be read, as of one that is too short.
fn is_unreadable(error: &StoreError) -> bool {
    use std::io::ErrorKind::{InvalidInput, UnexpectedEof};
    match error {
        StoreError::Io { source, .. } => matches!(source.kind(), UnexpectedEof | InvalidInput),
        _ => false,
    }
}
