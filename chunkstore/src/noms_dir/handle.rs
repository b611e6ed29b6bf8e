//! Files that are opened when they are read, so that a store of thousands of files needs few open ones.
//!
//! The system limits the open files of a process, and not those of a store: all stores of a process share
//! [`OPEN_AT_ONCE`]. The file that was read longest ago is closed first; a read that is under way keeps its own open.
//!
//! A file that is opened again must be the one that was opened first. Table files never change under their names, so
//! another one, or none, means that a collection took it away.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// How many files of stores are open at once in a process, besides those that are being read.
pub(super) const OPEN_AT_ONCE: usize = 64;

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

/// The numbers of handles: no two of a process are equal.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that is open or can be opened again.
#[derive(Debug)]
pub(super) struct Handle {
    number: u64,
    path: PathBuf,
    identity: Identity,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum HandleError {
    /// It is not there any more.
    Vanished,
    /// The system refused.
    Io(io::Error),
}

/// What tells a file from another one that took its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    len: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
        }
    }
}

impl Handle {
    /// Keeps a file that was just opened at `path`.
    pub(super) fn new(path: &Path, file: &Arc<File>) -> io::Result<Self> {
        let identity = Identity::of(&file.metadata()?);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        keep(number, file);
        Ok(Self {
            number,
            path: path.to_owned(),
            identity,
        })
    }

    /// Its length when it was opened first.
    pub(super) fn len(&self) -> u64 {
        self.identity.len
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file, opened again if it was closed meanwhile. Blocks.
    pub(super) fn file(&self) -> Result<Arc<File>, HandleError> {
        if let Some(file) = with_open(|open| open.find(self.number)) {
            return Ok(file);
        }
        let file = File::open(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => HandleError::Vanished,
            _ => HandleError::Io(error),
        })?;
        let metadata = file.metadata().map_err(HandleError::Io)?;
        if Identity::of(&metadata) != self.identity {
            return Err(HandleError::Vanished);
        }
        let file = Arc::new(file);
        keep(self.number, &file);
        Ok(file)
    }

    /// Fills `buffer` from `offset` on. Blocks.
    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), HandleError> {
        let file = self.file()?;
        file.read_exact_at(buffer, offset).map_err(HandleError::Io)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Closed after the pool is free again: closing a file that was removed takes time.
        drop(with_open(|open| open.files.remove(&self.number)));
    }
}

/// The files that are open.
#[derive(Debug, Default)]
struct Open {
    files: HashMap<u64, (Arc<File>, u64)>,
    /// Counts uses: the file with the lowest one was used longest ago.
    uses: u64,
}

impl Open {
    fn find(&mut self, number: u64) -> Option<Arc<File>> {
        self.uses += 1;
        let (file, last_use) = self.files.get_mut(&number)?;
        *last_use = self.uses;
        Some(Arc::clone(file))
    }

    /// Takes a file, and returns the one that must be closed for it.
    fn insert(&mut self, number: u64, file: Arc<File>) -> Option<(Arc<File>, u64)> {
        self.uses += 1;
        let replaced = self.files.insert(number, (file, self.uses));
        if replaced.is_some() || self.files.len() <= OPEN_AT_ONCE {
            return replaced;
        }
        let oldest = self.files.iter().min_by_key(|(_, (_, used))| *used);
        let oldest = oldest.map(|(number, _)| *number);
        oldest.and_then(|number| self.files.remove(&number))
    }
}

fn keep(number: u64, file: &Arc<File>) {
    drop(with_open(|open| open.insert(number, Arc::clone(file))));
}

fn with_open<T>(work: impl FnOnce(&mut Open) -> T) -> T {
    work(OPEN.lock().get_or_insert_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(directory: &Path, number: usize) -> Handle {
        let path = directory.join(number.to_string());
        crate::objects::durable::write_over(&path, "new-", 0o600, number.to_string().as_bytes())
            .unwrap();
        Handle::new(&path, &Arc::new(File::open(&path).unwrap())).unwrap()
    }

    fn read(handle: &Handle) -> Result<String, HandleError> {
        let mut text = vec![0; usize::try_from(handle.len()).unwrap()];
        handle.read_exact_at(&mut text, 0)?;
        Ok(String::from_utf8(text).unwrap())
    }

    #[test]
    fn more_files_than_may_be_open_are_all_read() {
        let directory = tempfile::tempdir().unwrap();
        let count = OPEN_AT_ONCE * 3;
        let handles: Vec<_> = (0..count)
            .map(|number| made(directory.path(), number))
            .collect();
        for _ in 0..2 {
            for (number, handle) in handles.iter().enumerate() {
                assert_eq!(read(handle).unwrap(), number.to_string());
                assert!(with_open(|open| open.files.len()) <= OPEN_AT_ONCE);
            }
        }
        let own: Vec<_> = handles.iter().map(|handle| handle.number).collect();
        drop(handles);
        let left = with_open(|open| own.iter().any(|number| open.files.contains_key(number)));
        assert!(!left, "a dropped handle leaves its file open");
    }

    #[test]
    fn a_file_that_was_removed_or_replaced_has_vanished() {
        let directory = tempfile::tempdir().unwrap();
        let [removed, replaced] = [0, 1].map(|number| made(directory.path(), number));
        let close = |handle: &Handle| with_open(|open| open.files.remove(&handle.number));
        crate::objects::durable::remove(removed.path()).unwrap();
        assert_eq!(read(&removed).unwrap(), "0", "what is open stays readable");
        close(&removed);
        assert!(matches!(read(&removed), Err(HandleError::Vanished)));
        let again = made(directory.path(), 1);
        close(&replaced);
        assert!(matches!(read(&replaced), Err(HandleError::Vanished)));
        assert_eq!(read(&again).unwrap(), "1");
    }
}
