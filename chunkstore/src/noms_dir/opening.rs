//! Opening a store that others may be writing.
//!
//! A writer goes from the files over the manifest to the journal, and a collection replaces all of them. A reader that
//! takes the manifest first and then the journal may so see a root whose files it does not know. Therefore the
//! manifests are read before and after the rest: only where both are the same, what lies between them is of one moment.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::error::StoreError;
use super::later::Later;
use super::stored_file::StoredFile;
use super::{Journal, NomsDir, ghosts, layout, read_manifest};
use crate::address::{RootAddress, TableFileId};
use crate::format::manifest::{JOURNAL_ID, ListedFile, Manifest};

/// How often opening is begun anew while others change the store.
const ATTEMPTS: u32 = 64;

/// Where opening has come to; tests change the store there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The manifests were read.
    Listed,
    /// The journal was read.
    Replayed,
    /// The files were opened.
    Opened,
}

/// The manifests of both generations.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Manifests {
    new: Option<Manifest>,
    old: Option<Manifest>,
}

impl Manifests {
    fn read(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            new: read_manifest(directory)?,
            old: read_manifest(&directory.join(layout::OLD_GENERATION))?,
        })
    }
}

/// Opens the store in `directory`; files that are `known` need not be read again, and those of `without` are not looked
/// at. Blocks.
pub(super) fn open(
    directory: &Path,
    known: &[Arc<StoredFile>],
    without: &HashSet<TableFileId>,
    told: &mut dyn FnMut(Step),
) -> Result<NomsDir, StoreError> {
    let mut known = known.to_vec();
    let mut before = Manifests::read(directory)?;
    for _ in 0..ATTEMPTS {
        told(Step::Listed);
        let opened = open_listed(directory, &before, &mut known, without, told);
        told(Step::Opened);
        // Files never change: without a journal and an old generation one manifest says all.
        if opened.as_ref().is_ok_and(|store| store.journal.is_none()) && before.old.is_none() {
            return opened;
        }
        let after = Manifests::read(directory)?;
        if after == before {
            // What is listed and missing even so is no collection: the manifest changes before a file goes.
            return opened;
        }
        before = after;
    }
    Err(StoreError::Changing {
        path: directory.to_owned(),
    })
}

fn open_listed(
    directory: &Path,
    manifests: &Manifests,
    known: &mut Vec<Arc<StoredFile>>,
    without: &HashSet<TableFileId>,
    told: &mut dyn FnMut(Step),
) -> Result<NomsDir, StoreError> {
    let journal = Journal::open(directory)?;
    told(Step::Replayed);
    let manifest = match (&manifests.new, &journal) {
        (Some(manifest), _) => manifest.clone(),
        (None, Some(_)) => Manifest::new(RootAddress::ZERO, Vec::new()),
        (None, None) => {
            return Err(StoreError::NoStore {
                path: directory.to_owned(),
            });
        }
    };
    let is_listed = manifest.files.iter().any(|file| file.id == JOURNAL_ID);
    if is_listed && journal.is_none() {
        return Err(StoreError::Missing {
            id: JOURNAL_ID,
            directory: directory.to_owned(),
        });
    }
    let mut files = Vec::new();
    if let Some(old) = &manifests.old {
        let old_directory = directory.join(layout::OLD_GENERATION);
        open_files(&old_directory, old, known, without, &mut files)?;
    }
    open_files(directory, &manifest, known, without, &mut files)?;
    Ok(NomsDir {
        directory: directory.to_owned(),
        manifest,
        files,
        journal,
        ghosts: ghosts::read(directory)?,
        without: without.clone(),
        later: Later::default(),
    })
}

/// Opens what a manifest lists, but the journal and what is left out.
fn open_files(
    directory: &Path,
    manifest: &Manifest,
    known: &mut Vec<Arc<StoredFile>>,
    without: &HashSet<TableFileId>,
    files: &mut Vec<Arc<StoredFile>>,
) -> Result<(), StoreError> {
    let of_directory = known.iter();
    let of_directory = of_directory.filter(|file| file.path().parent() == Some(directory));
    let of_directory = of_directory.map(|file| (file.id(), Arc::clone(file)));
    let of_directory: HashMap<_, _> = of_directory.collect();
    let is_meant = |file: &&ListedFile| file.id != JOURNAL_ID && !without.contains(&file.id);
    for listed in manifest.files.iter().filter(is_meant) {
        if let Some(file) = of_directory.get(&listed.id) {
            files.push(Arc::clone(file));
            continue;
        }
        let file = Arc::new(StoredFile::open_listed(directory, *listed)?);
        known.push(Arc::clone(&file));
        files.push(file);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
