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
        let before = match is_unused(&self.paths)? {
            true => Before::Nothing,
            false => Before::Unfinished,
        };
        for folder in [directory.to_owned(), self.paths.dolt(), self.folder()] {
            remove_temporary(&folder)?;
        }
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
        let is_unfinished = self.is_same() && !self.is_whole();
        match is_unfinished || is_unused(&self.paths)? {
            true => Ok(()),
            false => Err(self.occupied()),
        }
    }

    /// What stands in the way here.
    fn occupied(&self) -> TransferError {
        let path = self.paths.directory().to_owned();
        let forms = [Form::Database, Form::Bare].map(|form| Self {
            form,
            ..self.clone()
        });
        let mut origins = forms.iter().map(Self::origin_file);
        match origins.any(|origin| origin.exists()) && !self.is_whole() {
            true => TransferError::Begun { path },
            false => TransferError::Occupied { path },
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
        // Dolt passes over a directory with the marker, and the same command clears one with the origin: in this order
        // a whole database is never one that Dolt does not see and we refuse.
        if self.form == Form::Database {
            remove(&self.paths.unfinished())?;
        }
        // What is whole is told by this from what the same command may go on with.
        remove(&self.origin_file())?;
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
    let check = || match paths.clone_origin().exists() || is_unused(paths)? {
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

/// Whether a directory holds nothing, or only what a clone makes before it says of what: empty directories of ours, the
/// marker, the lock and temporary files. Whatever cut it off there, the next clone begins in it.
fn is_unused(paths: &DatabasePaths) -> Result<bool, TransferError> {
    let bare = paths.directory().join("holdfast");
    let (store, folder) = (paths.store(), paths.holdfast());
    let of_ours = [
        paths.dolt(),
        folder.join("parts"),
        folder.join("incoming"),
        folder,
        store,
        bare.join("parts"),
        bare.join("incoming"),
        bare,
    ];
    let mut open = vec![paths.directory().to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(false),
            Err(error) => return Err(io("list", &directory)(error).into()),
        };
        for entry in entries {
            let entry = entry.map_err(io("list", &directory))?;
            let (path, name) = (entry.path(), entry.file_name());
            if of_ours.contains(&path) && path.is_dir() {
                open.push(path);
            } else if !(FolderLock::is_named(&name)
                || is_temporary(&name)
                || path == paths.unfinished())
            {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether [`replace_file`] gives such a name to what is not whole yet.
fn is_temporary(name: &OsStr) -> bool {
    let suffix = name
        .to_str()
        .and_then(|name| name.strip_prefix("holdfast-"));
    suffix.is_some_and(|suffix| {
        suffix.len() == 6 && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Removes the files that a clone which was cut off had not written whole.
fn remove_temporary(directory: &Path) -> Result<(), TransferError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("list", directory)(error).into()),
    };
    for entry in entries {
        let entry = entry.map_err(io("list", directory))?;
        if is_temporary(&entry.file_name()) && !entry.path().is_dir() {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
