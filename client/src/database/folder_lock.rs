//! A folder that one process works in at a time, from beginning to end.
//!
//! * Truth: the lock that the system keeps on the file `.holdfast-lock` in the folder; it ends with its process. What is
//!   in the file, the id of the process, is only told to others.
//! * Order: a folder that is made for a lock, and the file, are taken by whichever process locks the file first. The file
//!   is removed before the lock ends, so that a lock counts only while its file still has its name: whoever finds that
//!   it does not tries again.
//! * Crash: the file stays, nobody holds its lock, and the next process takes it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use holdfast_chunkstore::ErrorKind;
use holdfast_chunkstore::objects::durable;

use super::kind_of_io;

/// The name of the file.
const NAME: &str = ".holdfast-lock";

/// How often a folder is tried whose holder ends at the same moment.
const ATTEMPTS: usize = 100;

/// Why a folder cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process works there.
    #[error("could not use {}: {} works in it", folder.display(), named(*process))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The id of the process, where it is known.
        process: Option<u32>,
    },
    /// The system refused.
    #[error("could not lock {}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Held { .. } => ErrorKind::Locked,
            Self::Io { source, .. } => kind_of_io(source),
        }
    }
}

fn named(process: Option<u32>) -> String {
    process.map_or_else(
        || "another process".to_owned(),
        |process| format!("process {process}"),
    )
}

/// The lock of a folder; given back when it is dropped, and then its file is gone.
#[derive(Debug)]
pub struct FolderLock {
    folder: PathBuf,
    file: File,
    /// Whether an empty folder goes with the lock.
    is_disposable: bool,
}

impl FolderLock {
    /// Locks a folder, which is made where it is missing. A folder that was made for it goes with the lock if nothing
    /// else lies in it by then. Blocks, but waits for nobody.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(NAME);
        let failed = |source| LockError::Io {
            folder: folder.to_owned(),
            source,
        };
        for _ in 0..ATTEMPTS {
            let is_new = make(folder).map_err(failed)?;
            match try_lock(&path).map_err(failed)? {
                Taken::Gone => {}
                Taken::Held => {
                    return Err(LockError::Held {
                        folder: folder.to_owned(),
                        process: told(&path),
                    });
                }
                Taken::Ours(file) => {
                    return Ok(Self {
                        folder: folder.to_owned(),
                        file,
                        is_disposable: is_new,
                    });
                }
            }
        }
        Err(LockError::Held {
            folder: folder.to_owned(),
            process: None,
        })
    }

    /// Whether there is something to lock in a folder: a process works there, or was killed.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Whether a name in a folder is that of the lock.
    pub fn is_named(name: &std::ffi::OsStr) -> bool {
        name == NAME
    }

    /// The same lock, with which the folder goes if it is empty by then, also where it was there before.
    #[must_use]
    pub fn disposable(mut self) -> Self {
        self.is_disposable = true;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        let path = self.folder.join(NAME);
        // What cannot be removed is taken by the next process.
        if is_file_at(&self.file, &path).unwrap_or(false) {
            drop(std::fs::remove_file(&path));
        }
        if self.is_disposable {
            drop(std::fs::remove_dir(&self.folder));
        }
    }
}

/// Makes a folder where it is missing, and tells whether it was.
fn make(folder: &Path) -> io::Result<bool> {
    let folder = std::path::absolute(folder)?;
    let Some(above) = folder.parent() else {
        return Ok(false);
    };
    durable::create_root(above)?;
    match std::fs::create_dir(&folder) {
        Ok(()) => {
            durable::sync_directory(above)?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// What came of an attempt to take a lock.
enum Taken {
    Ours(File),
    /// Another process holds it.
    Held,
    /// The process that held it removed it.
    Gone,
}

fn try_lock(path: &Path) -> io::Result<Taken> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::Gone),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Taken::Held),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    if !is_file_at(&file, path)? {
        return Ok(Taken::Gone);
    }
    // A lock without a name in it is a lock too.
    drop(file.set_len(0));
    drop(write!(file, "{}", std::process::id()));
    Ok(Taken::Ours(file))
}

/// Whether a name is still that of an opened file.
fn is_file_at(file: &File, path: &Path) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(named) => {
            let opened = file.metadata()?;
            Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The id of the process that holds a lock, as it says itself.
fn told(path: &Path) -> Option<u32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_second_is_told_which_process_holds_it_and_leaves_all_as_it_is() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("a/b");
        let lock = FolderLock::take(&folder).unwrap();
        let own = std::process::id();
        for _ in 0..2 {
            let error = FolderLock::take(&folder).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Locked);
            let text = error.to_string();
            assert!(
                text.ends_with(&format!("b: process {own} works in it")),
                "{text}"
            );
        }
        assert!(FolderLock::is_in(&folder));
        drop(lock);
        assert!(!folder.exists());
        assert!(above.path().join("a").exists());
    }

    #[test]
    fn a_folder_stays_that_was_there_or_holds_something() {
        let above = tempfile::tempdir().unwrap();
        drop(FolderLock::take(above.path()).unwrap());
        assert_eq!(std::fs::read_dir(above.path()).unwrap().count(), 0);

        let folder = above.path().join("new");
        let lock = FolderLock::take(&folder).unwrap();
        std::fs::create_dir(folder.join("something")).unwrap();
        drop(lock);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir(folder.join("something")).unwrap();
        drop(FolderLock::take(&folder).unwrap().disposable());
        assert!(!folder.exists());
    }

    #[test]
    fn what_a_killed_process_left_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        durable::write_over(&path, "new-", 0o644, b"4294967295").unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        assert_eq!(told(&path), Some(std::process::id()));
        drop(lock);
        assert!(!FolderLock::is_in(folder.path()));
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error() {
        let above = tempfile::tempdir().unwrap();
        let path = above.path().join("file");
        durable::write_over(&path, "new-", 0o644, b"of the user").unwrap();
        let error = FolderLock::take(&path).unwrap_err();
        assert!(matches!(error, LockError::Io { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"of the user");
    }

    /// Each makes the folder, locks it and removes it again, at every moment of all others.
    #[test]
    fn one_at_a_time_works_in_a_folder_that_comes_and_goes() {
        const RUNS: u32 = 200;
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("shared");
        let (is_held, taken) = (AtomicBool::new(false), AtomicU32::new(0));
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..RUNS {
                        let lock = match FolderLock::take(&folder) {
                            Ok(lock) => lock.disposable(),
                            Err(LockError::Held { .. }) => continue,
                            Err(error) => panic!("{error:?}"),
                        };
                        assert!(!is_held.swap(true, Ordering::SeqCst), "two at once");
                        assert!(FolderLock::is_in(&folder));
                        taken.fetch_add(1, Ordering::SeqCst);
                        is_held.store(false, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.load(Ordering::SeqCst) > 0);
        assert!(!folder.exists());
    }
}
