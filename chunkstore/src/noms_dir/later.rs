//! What became of files that a collection took away while a store is read.
//!
//! The store stays as it was at one moment: what its root reaches lies in the files that the manifests list now as
//! well, unless a branch was removed since. Those files are added behind the ones that were listed first, so that the
//! number of a file never means another one.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::NomsDir;
use super::error::StoreError;
use super::opening;
use super::stored_file::StoredFile;

/// How often a read is tried again because the next collection came before it.
pub(super) const ATTEMPTS: u32 = 64;

/// The files that came later.
#[derive(Debug, Default)]
pub(super) struct Later {
    files: RwLock<Arc<LaterFiles>>,
    /// Held while the manifests are read again: once for all threads.
    renewing: Mutex<()>,
}

/// The files that came later, at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct LaterFiles {
    /// Numbered on from those that were listed when the store was opened.
    pub(super) added: Vec<Arc<StoredFile>>,
    /// The numbers of those that went; what they held is in others.
    gone: HashSet<usize>,
}

impl Later {
    pub(super) fn files(&self) -> Arc<LaterFiles> {
        Arc::clone(&self.files.read())
    }
}

impl NomsDir {
    /// Asks each file, with its number, until one has an answer. Begins anew with the files that are listed now if one
    /// vanished. Blocks.
    pub(super) fn in_files<T>(
        &self,
        mut ask: impl FnMut(usize, &StoredFile) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        'again: for _ in 0..ATTEMPTS {
            let later = self.later.files();
            let all = self.files.iter().chain(&later.added).enumerate();
            for (number, file) in all.filter(|(number, _)| !later.gone.contains(number)) {
                match ask(number, file) {
                    Err(StoreError::Vanished { .. }) => {
                        self.renew(number)?;
                        continue 'again;
                    }
                    Ok(None) => {}
                    answered => return answered,
                }
            }
            return Ok(None);
        }
        Err(self.changing())
    }

    /// Reads the manifests again because a file vanished. Blocks.
    pub(super) fn renew(&self, vanished: usize) -> Result<(), StoreError> {
        let _turn = self.later.renewing.lock();
        let mut later = LaterFiles::clone(&self.later.files());
        if later.gone.contains(&vanished) {
            return Ok(());
        }
        let all = self.files.iter().chain(&later.added).enumerate();
        let (mut known, mut gone) = (Vec::new(), HashSet::new());
        for (number, file) in all.filter(|(number, _)| !later.gone.contains(number)) {
            if number == vanished || file.has_vanished() {
                gone.insert(number);
            } else {
                known.push(Arc::clone(file));
            }
        }
        let now = opening::open(&self.directory, &known, &self.without, &mut |_| ())?;
        let is_new = |file: &Arc<StoredFile>| !known.iter().any(|known| Arc::ptr_eq(known, file));
        later.added.extend(now.files.into_iter().filter(is_new));
        later.gone.extend(gone);
        *self.later.files.write() = Arc::new(later);
        Ok(())
    }

    /// That others take files away faster than they are read.
    pub(super) fn changing(&self) -> StoreError {
        StoreError::Changing {
            path: self.directory.clone(),
        }
    }
}
