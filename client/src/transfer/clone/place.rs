//! Where a clone goes: a database in a directory, or a store alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{NewStore, NomsDir, StoreError, StoreWriter, dissolve};
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};

use crate::database::{DatabasePaths, RepoState, io, remove, replace_file};
use crate::transfer::error::TransferError;

/// What a clone makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A database to work in.
    Database,
    /// A store alone, with the refs as the remote has them: it can be cloned from as `file://`.
    Bare,
}

/// A directory that becomes a clone.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) paths: DatabasePaths,
    pub(crate) form: Form,
    /// Of what: the remote's address, and what of it. Another clone does not go on with the parts of this one.
    pub(crate) origin: String,
}

/// What was there before a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Not even the directory.
    Nothing,
    /// The directory, with nothing in it.
    Directory,
    /// An unfinished clone of the same.
    Unfinished,
}

impl Place {
    /// Where the store lies.
    pub(crate) fn store(&self) -> PathBuf {
        match self.form {
            Form::Database => self.paths.store(),
            Form::Bare => self.paths.directory().to_owned(),
        }
    }

    /// What is kept until the clone is whole.
    fn folder(&self) -> PathBuf {
        match self.form {
            Form::Database => self.paths.holdfast(),
            Form::Bare => self.paths.directory().join("holdfast"),
        }
    }

    /// Files that are not whole.
    pub(crate) fn parts(&self) -> PathBuf {
        self.folder().join("parts")
    }

    /// Chunks that came one by one.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.folder().join("incoming")
    }

    fn origin_file(&self) -> PathBuf {
        match self.form {
            Form::Database => self.paths.clone_origin(),
            Form::Bare => self.folder().join("clone-origin"),
        }
    }

    /// Makes the directories, or finds those of an unfinished clone of the same, and tells what was there. Blocks.
    pub(crate) fn prepare(&self) -> Result<Before, TransferError> {
        if self.is_same() && self.is_whole() {
            // Cut off after it was whole. Somebody may work in it already.
            self.clear()?;
        }
        self.check_free()?;
        let directory = self.paths.directory();
        let before = match (directory.exists(), is_empty(directory)?) {
            (false, _) => Before::Nothing,
            (true, true) => Before::Directory,
            (true, false) => Before::Unfinished,
        };
        for needed in [directory.to_owned(), self.parts(), self.store()] {
            durable::create_root(&needed).map_err(io("make", &needed))?;
        }
        if self.form == Form::Database {
            replace_file(&self.paths.unfinished(), b"")?;
        }
        replace_file(&self.origin_file(), self.origin.as_bytes())?;
        Ok(before)
    }

    /// Removes what a clone made that cannot be, and nothing of an earlier one or of somebody else. Blocks.
    pub(crate) fn undo(&self, before: Before) -> Result<(), TransferError> {
        let directory = self.paths.directory();
        if before == Before::Unfinished {
            return Ok(());
        }
        match self.form {
            Form::Database => {
                remove(&self.paths.dolt())?;
                remove(&self.paths.unfinished())?;
            }
            Form::Bare => {
                for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
                    let entry = entry.map_err(io("list", directory))?;
                    if is_of_a_file(&entry.file_name()) {
                        remove(&entry.path())?;
                    }
                }
                remove(&self.folder())?;
            }
        }
        if before == Before::Directory {
            return Ok(());
        }
        match std::fs::remove_dir(directory) {
            // Somebody put something there meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => Ok(removed.map_err(io("remove", directory))?),
        }
    }

    /// Checks that nothing is there but an unfinished clone of the same. Blocks.
    pub(crate) fn check_free(&self) -> Result<(), TransferError> {
        let directory = self.paths.directory();
        let is_unfinished = self.is_same() && !self.is_whole();
        match is_unfinished || is_empty(directory)? {
            true => Ok(()),
            false => Err(TransferError::Occupied {
                path: directory.to_owned(),
            }),
        }
    }

    /// Whether a clone of the same began here and did not come to its very end.
    fn is_same(&self) -> bool {
        std::fs::read(self.origin_file()).is_ok_and(|told| told == self.origin.as_bytes())
    }

    /// Whether there is a database.
    fn is_whole(&self) -> bool {
        self.paths.repo_state().exists()
    }

    /// Takes what an earlier attempt put into the store back to what is kept: it came, and need not come again, but
    /// counts only as far as this attempt walks over it. Blocks.
    pub(crate) fn take_back(&self) -> Result<(), TransferError> {
        // Another clone of the same may have become whole meanwhile.
        self.check_free()?;
        let incoming = self.incoming();
        durable::create_root(&incoming).map_err(io("make", &incoming))?;
        Ok(dissolve(&self.store(), &incoming)?)
    }

    /// Writes the manifest, unless an earlier attempt came further. Blocks.
    pub(crate) fn begin_store(
        &self,
        root: RootAddress,
        files: Vec<ListedFile>,
    ) -> Result<NomsDir, StoreError> {
        let directory = self.store();
        match NewStore::create(&directory) {
            Ok(store) => store.finish(root, files)?,
            Err(StoreError::Exists { .. }) => {
                StoreWriter::open(&directory)?.commit(root, &files, &[], 0)?;
            }
            Err(error) => return Err(error),
        }
        NomsDir::open(&directory)
    }

    /// Notes the commits that are left out; before the manifest. Blocks.
    pub(crate) fn write_ghosts(&self, ghosts: Vec<ChunkAddress>) -> Result<(), StoreError> {
        NewStore::create(&self.store())?.write_ghosts(ghosts)
    }

    /// Makes a database of the store: from here on Dolt sees it; and removes what was kept. Blocks.
    pub(crate) fn finish(&self, repo_state: &RepoState) -> Result<(), TransferError> {
        if self.form == Form::Database {
            replace_file(&self.paths.settings(), b"{}")?;
            replace_file(&self.paths.repo_state(), &repo_state.encode())?;
        }
        self.clear()?;
        let directory = self.paths.directory();
        durable::sync_directory(directory).map_err(io("sync", directory))?;
        Ok(())
    }

    /// Removes the marker and what was kept of a clone that is whole.
    fn clear(&self) -> Result<(), TransferError> {
        // What is whole is told by this from what the same command may go on with.
        remove(&self.origin_file())?;
        if self.form == Form::Database {
            remove(&self.paths.unfinished())?;
        }
        remove(&self.folder())?;
        Ok(())
    }
}

/// Whether a table file or an archive has such a name.
fn is_of_a_file(name: &OsStr) -> bool {
    let name = name.to_str().unwrap_or_default();
    let id = name
        .strip_suffix(FileKind::Archive.suffix())
        .unwrap_or(name);
    id.parse::<TableFileId>().is_ok()
}

fn is_empty(directory: &Path) -> Result<bool, TransferError> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io("list", directory)(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path, form: Form) -> Place {
        Place {
            paths: DatabasePaths::new(directory),
            form,
            origin: "http://host.test/acme/prod".to_owned(),
        }
    }

    fn land(place: &Place) {
        let landed = place.store().join(TableFileId::new([7; 20]).to_string());
        durable::write_over(&landed, "begun", 0o600, b"a table file").unwrap();
    }

    #[test]
    fn what_a_clone_made_is_removed_and_nothing_else() {
        for form in [Form::Database, Form::Bare] {
            let above = tempfile::tempdir().unwrap();
            let directory = above.path().join("clone");
            let place = place(&directory, form);
            let before = place.prepare().unwrap();
            assert_eq!(before, Before::Nothing);
            land(&place);
            place.undo(before).unwrap();
            assert!(!directory.exists(), "{form:?}");

            std::fs::create_dir(&directory).unwrap();
            let before = place.prepare().unwrap();
            assert_eq!(before, Before::Directory);
            land(&place);
            // Somebody else writes there meanwhile.
            durable::write_over(&directory.join("notes"), "begun", 0o600, b"notes").unwrap();
            place.undo(before).unwrap();
            let left: Vec<_> = std::fs::read_dir(&directory)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(left, ["notes"], "{form:?}");
        }
    }

    #[test]
    fn what_an_earlier_clone_left_stays() {
        let above = tempfile::tempdir().unwrap();
        let place = place(&above.path().join("clone"), Form::Database);
        place.prepare().unwrap();
        land(&place);
        let before = place.prepare().unwrap();
        assert_eq!(before, Before::Unfinished);
        place.undo(before).unwrap();
        assert!(is_of_a_file(
            &std::fs::read_dir(place.store())
                .unwrap()
                .next()
                .unwrap()
                .unwrap()
                .file_name()
        ));
        assert_eq!(place.prepare().unwrap(), Before::Unfinished);
    }
}
