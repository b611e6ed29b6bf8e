//! Where a clone goes: a database in a directory, or a store alone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::format::FileKind;
use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{NewStore, NomsDir, StoreError, StoreWriter, dissolve};
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::{ChunkAddress, RootAddress, TableFileId};

use crate::database::{DatabasePaths, FolderLock, RepoState, check_form, io, remove, replace_file};
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
    /// Whether it is to be known as moved here afterwards.
    pub(crate) is_move: bool,
}

/// What was in the directory before a clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing but the lock.
    Nothing,
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

    /// Locks the directory, which is made where it is missing. It is left as it is where something else is in it than
    /// what a clone of the same began, or what [`Place::is_moved`] tells. Blocks.
    pub(crate) fn lock(&self) -> Result<FolderLock, TransferError> {
        lock_if(self.paths.directory(), || self.check_own())
    }

    fn check_own(&self) -> Result<(), TransferError> {
        // One that was cut off after it was whole is cleared by the same command.
        match self.is_same() || self.is_moved() {
            true => Ok(()),
            false => self.check_free(),
        }
    }

    /// Makes the directories, or finds those of an unfinished clone of the same, and tells what was there. The directory
    /// is locked. Blocks.
    pub(crate) fn prepare(&self) -> Result<Before, TransferError> {
        check_form(&self.folder())?;
        if self.is_same() && self.is_whole() {
            // Cut off after it was whole. Somebody may work in it already.
            self.clear()?;
        }
        self.check_free()?;
        let directory = self.paths.directory();
        let before = match is_empty(directory)? {
            true => Before::Nothing,
            false => Before::Unfinished,
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

    /// Removes what a clone made that cannot be, and nothing of an earlier one or of the user. Blocks.
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
        Ok(())
    }

    /// Checks that nothing is there but an unfinished clone of the same, or its lock. Blocks.
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
            if self.is_move {
                replace_file(&self.paths.moved(), self.origin.as_bytes())?;
            }
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
        if self.is_moved() {
            remove(&self.parts())?;
            return Ok(remove(&self.incoming())?);
        }
        Ok(remove(&self.folder())?)
    }

    /// Whether the same move has made the database, and not been told yet that it came to its end.
    pub(crate) fn is_moved(&self) -> bool {
        let told = || std::fs::read(self.paths.moved());
        self.is_move && told().is_ok_and(|told| told == self.origin.as_bytes())
    }
}

/// Locks the directory of a database that is to be made, where it is not known yet of what: nothing is there, or something
/// unfinished, which [`Place::prepare`] looks at. Blocks.
pub(crate) fn lock_unfinished(paths: &DatabasePaths) -> Result<FolderLock, TransferError> {
    let directory = paths.directory();
    let check = || match paths.clone_origin().exists() || is_empty(directory)? {
        true => Ok(()),
        false => Err(TransferError::Occupied {
            path: directory.to_owned(),
        }),
    };
    lock_if(directory, check)
}

/// Locks a directory that a check lets through, also once it is locked.
fn lock_if(
    directory: &Path,
    check: impl Fn() -> Result<(), TransferError>,
) -> Result<FolderLock, TransferError> {
    // While another process works there nothing can be said of what it is making.
    if !FolderLock::is_in(directory) {
        check()?;
    }
    let lock = FolderLock::take(directory)?;
    check()?;
    Ok(lock)
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
        Ok(entries) => {
            let is_lock = |entry: std::io::Result<std::fs::DirEntry>| {
                entry.is_ok_and(|entry| FolderLock::is_named(&entry.file_name()))
            };
            Ok({ entries }.all(is_lock))
        }
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
            is_move: false,
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
            let lock = place.lock().unwrap();
            let before = place.prepare().unwrap();
            assert_eq!(before, Before::Nothing);
            land(&place);
            place.undo(before).unwrap();
            drop(lock);
            assert!(!directory.exists(), "{form:?}");

            std::fs::create_dir(&directory).unwrap();
            let lock = place.lock().unwrap();
            let before = place.prepare().unwrap();
            assert_eq!(before, Before::Nothing);
            land(&place);
            // The user writes there meanwhile.
            durable::write_over(&directory.join("notes"), "begun", 0o600, b"notes").unwrap();
            place.undo(before).unwrap();
            drop(lock);
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
        let _lock = place.lock().unwrap();
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

    #[test]
    fn a_directory_in_which_another_works_is_left_as_it_is() {
        let above = tempfile::tempdir().unwrap();
        let directory = above.path().join("clone");
        let first = place(&directory, Form::Bare);
        let lock = first.lock().unwrap();
        let listed = || {
            let entries = std::fs::read_dir(&directory).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let mut other = place(&directory, Form::Database);
        // Before anything was made, when something was, and whatever the other is to make.
        for _ in 0..2 {
            let before = listed();
            for origin in [&first.origin, "http://host.test/acme/other"] {
                other.origin = origin.to_owned();
                let error = other.lock().unwrap_err();
                assert!(matches!(error, TransferError::Lock { .. }), "{error}");
                assert_eq!(listed(), before);
            }
            first.prepare().unwrap();
        }
        drop(lock);
        let error = other.lock().unwrap_err();
        assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
        drop(first.lock().unwrap());
    }

    #[test]
    fn the_lock_of_a_killed_clone_is_not_in_the_way() {
        let directory = tempfile::tempdir().unwrap();
        let left = directory.path().join(".holdfast-lock");
        durable::write_over(&left, "begun", 0o600, b"4711").unwrap();
        let place = place(directory.path(), Form::Bare);
        place.check_free().unwrap();
        let _lock = place.lock().unwrap();
        assert_eq!(place.prepare().unwrap(), Before::Nothing);
    }

    #[test]
    fn what_was_cut_off_after_it_was_whole_is_cleared() {
        let above = tempfile::tempdir().unwrap();
        let place = place(&above.path().join("clone"), Form::Database);
        let lock = place.lock().unwrap();
        place.prepare().unwrap();
        replace_file(&place.paths.repo_state(), b"{}").unwrap();
        drop(lock);
        let _lock = place.lock().unwrap();
        let error = place.prepare().unwrap_err();
        assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
        assert!(!place.paths.unfinished().exists());
        assert!(!place.paths.holdfast().exists());
    }

    #[test]
    fn a_move_is_known_by_its_own_mark_alone() {
        let above = tempfile::tempdir().unwrap();
        let mut moved = place(&above.path().join("moved"), Form::Database);
        moved.is_move = true;
        let _lock = moved.lock().unwrap();
        moved.prepare().unwrap();
        assert!(!moved.is_moved());
        moved.finish(&RepoState::alone("main")).unwrap();
        assert!(moved.is_moved());
        assert!(!moved.incoming().exists());
        let error = moved.check_free().unwrap_err();
        assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
        let mut other = moved.clone();
        other.origin = "http://host.test/acme/other".to_owned();
        assert!(!other.is_moved());

        let cloned = place(&above.path().join("cloned"), Form::Database);
        let lock = cloned.lock().unwrap();
        cloned.prepare().unwrap();
        cloned.finish(&RepoState::alone("main")).unwrap();
        drop(lock);
        assert!(!cloned.paths.holdfast().exists());
        let mut same = cloned.clone();
        same.is_move = true;
        let error = same.lock().unwrap_err();
        assert!(matches!(error, TransferError::Occupied { .. }), "{error}");
    }
}
