//! New files, and stores that are made of them.

use std::fs::File;
use std::io::{self as std_io, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::{StoreError, io};
use super::layout::{self, file_name};
use super::{ghosts, writer};
use crate::address::{ChunkAddress, RootAddress, TableFileId};
use crate::format::FileKind;
use crate::format::manifest::{ListedFile, Manifest};
use crate::objects::durable;

/// The permissions that Dolt gives to table files.
const FILE_MODE: u32 = 0o600;

/// A table file or an archive that is being written; removed when it is dropped before it has its name.
#[derive(Debug)]
pub struct NewFile {
    file: NamedTempFile,
    directory: PathBuf,
}

impl NewFile {
    /// Begins a file in the store in `directory`.
    pub fn begin(directory: &Path) -> Result<Self, StoreError> {
        let begin = || -> std_io::Result<NamedTempFile> {
            loop {
                let file = tempfile::Builder::new()
                    .prefix(layout::OWN_TEMPORARY_TABLE)
                    .tempfile_in(directory)?;
                // As long as it is locked, `sweep` knows that it is being written; where there are no locks, it finds
                // none that it may remove.
                drop(file.as_file().lock());
                if file.path().try_exists()? {
                    return Ok(file);
                }
            }
        };
        Ok(Self {
            file: begin().map_err(io("begin a table file in", directory))?,
            directory: directory.to_owned(),
        })
    }

    /// Removes from `directory` what processes left that were killed while they wrote such a file.
    pub fn sweep(directory: &Path) -> Result<(), StoreError> {
        let sweep = || -> std_io::Result<()> {
            for entry in std::fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.as_encoded_bytes();
                if !name.starts_with(layout::OWN_TEMPORARY_TABLE.as_bytes()) {
                    continue;
                }
                let is_left = match File::open(entry.path()) {
                    // The lock is held until it is removed: a process that began it just now looks whether it is there.
                    Ok(file) => file.try_lock().is_ok().then_some(file),
                    Err(error) if error.kind() == std_io::ErrorKind::NotFound => None,
                    Err(error) => return Err(error),
                };
                if is_left.is_some() {
                    std::fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        sweep().map_err(io("remove what was left in", directory))
    }

    /// Makes it durable and gives it its name. Nothing reads it before a manifest lists it.
    pub fn land(self, id: TableFileId, kind: FileKind) -> Result<(), StoreError> {
        let path = self.directory.join(file_name(id, kind));
        self.file.as_file().sync_all().map_err(io("write", &path))?;
        let named = self.file.persist(&path).map_err(|error| error.error);
        named.map_err(io("name", &path))?;
        Ok(())
    }
}

/// Takes a whole file, written elsewhere on the same file system, into the store in `directory`. Nothing reads it
/// before a manifest lists it.
pub fn land(
    file: &Path,
    directory: &Path,
    id: TableFileId,
    kind: FileKind,
) -> Result<(), StoreError> {
    let path = directory.join(file_name(id, kind));
    durable::rename(file, &path, FILE_MODE).map_err(io("name", &path))
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> std_io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> std_io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// A store that nobody reads yet: files first, its manifest last.
#[derive(Debug)]
pub struct NewStore {
    directory: PathBuf,
}

impl NewStore {
    /// Makes the directory, which must be missing or empty of a store.
    pub fn create(directory: &Path) -> Result<Self, StoreError> {
        durable::create_root(directory).map_err(io("make", directory))?;
        let manifest = directory.join(layout::MANIFEST);
        match manifest.try_exists() {
            Ok(false) => Ok(Self {
                directory: directory.to_owned(),
            }),
            Ok(true) => Err(StoreError::Exists {
                path: directory.to_owned(),
            }),
            Err(error) => Err(io("look for", &manifest)(error)),
        }
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins one of its files.
    pub fn begin_file(&self) -> Result<NewFile, StoreError> {
        NewFile::begin(&self.directory)
    }

    /// Notes commits that are left out. Before the manifest, so that nobody sees them missing.
    pub fn write_ghosts(
        &self,
        commits: impl IntoIterator<Item = ChunkAddress>,
    ) -> Result<(), StoreError> {
        ghosts::write(&self.directory, commits)
    }

    /// Writes the manifest: from here on it is a store.
    pub fn finish(self, root: RootAddress, files: Vec<ListedFile>) -> Result<(), StoreError> {
        durable::sync_directory(&self.directory).map_err(io("sync", &self.directory))?;
        writer::replace_manifest(&self.directory, &Manifest::new(root, files))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_being_written_is_not() {
        let place = tempfile::tempdir().unwrap();
        let mut live = NewFile::begin(place.path()).unwrap();
        live.write_all(b"being written").unwrap();
        let left = place
            .path()
            .join(format!("{}left", layout::OWN_TEMPORARY_TABLE));
        let other = place.path().join("nbs_table_1234567");
        for path in [&left, &other] {
            durable::write_over(path, "begun", FILE_MODE, b"left").unwrap();
        }
        NewFile::sweep(place.path()).unwrap();
        assert!(!left.exists());
        assert!(other.exists(), "dolt may be writing it");
        let id = TableFileId::new([7; 20]);
        live.land(id, FileKind::Table).unwrap();
        let landed = std::fs::read(place.path().join(id.to_string())).unwrap();
        assert_eq!(landed, b"being written");
    }
}
