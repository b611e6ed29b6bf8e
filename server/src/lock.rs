//! The lock of a data directory, and of the store in it: one server at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Why a directory cannot be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another server has it.
    #[error("could not use {}: another holdfastd has it", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// The system refused.
    #[error("could not lock {}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Locked directories, until dropped. The system lets go of them when the process ends, however it ends.
#[derive(Debug)]
pub struct DirectoryLock {
    files: Vec<File>,
}

impl DirectoryLock {
    /// Makes the directory where it is missing, and locks it by the file `LOCK` in it.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        Ok(Self {
            files: vec![locked(directory)?],
        })
    }

    /// Locks another directory as well. One without a `LOCK`, and no room for it, is left as it is: a server starts all
    /// the same.
    pub fn and(mut self, directory: &Path) -> Result<Self, LockError> {
        match locked(directory) {
            Ok(file) => self.files.push(file),
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull => {
                tracing::info!(directory = %directory.display(), "no room for a lock: it is not locked");
            }
            Err(error) => return Err(error),
        }
        Ok(self)
    }
}

fn locked(directory: &Path) -> Result<File, LockError> {
    let io_error = |source| LockError::Io {
        path: directory.to_owned(),
        source,
    };
    std::fs::create_dir_all(directory).map_err(io_error)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(directory.join("LOCK"))
        .map_err(io_error)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(LockError::Held {
                path: directory.to_owned(),
            });
        }
        Err(errno) => return Err(io_error(errno.into())),
    }
    // For people who look; the lock itself is the system's, and a full disk is no reason not to serve.
    let noted = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, "the lock does not tell its holder");
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_directory_is_locked_beside_the_first() {
        let place = tempfile::tempdir().unwrap();
        let [one, two, store] = ["one", "two", "store"].map(|name| place.path().join(name));
        let held = DirectoryLock::take(&one).unwrap().and(&store).unwrap();
        let other = DirectoryLock::take(&two).unwrap().and(&store);
        assert!(matches!(other, Err(LockError::Held { path }) if path == store));
        drop(held);
        DirectoryLock::take(&two).unwrap().and(&store).unwrap();
    }

    #[test]
    fn a_second_taker_is_refused_until_the_first_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data");
        let first = DirectoryLock::take(&path).unwrap();
        assert!(matches!(
            DirectoryLock::take(&path),
            Err(LockError::Held { .. })
        ));
        drop(first);
        DirectoryLock::take(&path).unwrap();
    }
}
