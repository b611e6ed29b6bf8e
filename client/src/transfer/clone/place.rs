//! Where a clone goes: a database in a directory, or a store alone.

use std::path::{Path, PathBuf};

use holdfast_chunkstore::format::manifest::ListedFile;
use holdfast_chunkstore::noms_dir::{NewStore, NomsDir, StoreError, StoreWriter, dissolve};
use holdfast_chunkstore::objects::durable;
use holdfast_chunkstore::{ChunkAddress, RootAddress};

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

    /// Removes what a clone made that cannot be. What an earlier one left stays. Blocks.
    pub(crate) fn undo(&self, before: Before) -> Result<(), TransferError> {
        let directory = self.paths.directory();
        match before {
            Before::Unfinished => {}
            Before::Nothing => remove(directory)?,
            Before::Directory => {
                for entry in std::fs::read_dir(directory).map_err(io("list", directory))? {
                    remove(&entry.map_err(io("list", directory))?.path())?;
                }
            }
        }
        Ok(())
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
        match NewStore::create(&self.store()) {
            Ok(store) => store.write_ghosts(ghosts),
            // An earlier attempt came further; the remote may have moved since.
            Err(StoreError::Exists { .. }) => StoreWriter::open(&self.store())?.add_ghosts(ghosts),
            Err(error) => Err(error),
        }
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
        if self.form == Form::Database {
            remove(&self.paths.unfinished())?;
        }
        remove(&self.folder())?;
        Ok(())
    }
}

fn is_empty(directory: &Path) -> Result<bool, TransferError> {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io("list", directory)(error).into()),
    }
}
