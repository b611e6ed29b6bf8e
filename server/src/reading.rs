//! The directory that a reader works in, beside the data or among the temporary files.
//!
//! * Truth: none. It goes when its reader does.
//! * Crash: what a killed reader left is removed by the next server or reader. Whoever works in a directory
//!   holds the system's lock of it, which ends with the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tempfile::TempDir;

/// How the name of such a directory begins beside the data.
const BESIDE: &str = "reading-";
/// How it begins where everybody puts temporary files.
const AMONG_OTHERS: &str = "holdfast-reading-";
/// How often another directory is made in place of one that was taken for a left one before it was locked.
const ATTEMPTS: usize = 10;

/// A directory to work in, removed when dropped.
#[derive(Debug)]
pub struct ReadingDirectory {
    /// Dropped before the lock.
    directory: TempDir,
    /// Nothing on a file system that has no such locks: nothing left is removed there.
    _lock: Option<File>,
}

impl ReadingDirectory {
    /// Makes one beside the data, where a table file has room; where there is no data directory, or one that
    /// cannot be written, among the temporary files.
    pub fn make(data: &Path) -> io::Result<Self> {
        let beside = match data.as_os_str().is_empty() {
            true => Err(io::Error::from(io::ErrorKind::NotFound)),
            false => Self::make_in(data, BESIDE),
        };
        beside.or_else(|_| Self::make_in(&std::env::temp_dir(), AMONG_OTHERS))
    }

    fn make_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        remove_left_in(parent, prefix);
        for _ in 0..ATTEMPTS {
            let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
            let _lock = match try_lock(directory.path()) {
                Ok(None) => continue,
                Ok(lock) => lock,
                Err(_) => None,
            };
            return Ok(Self { directory, _lock });
        }
        Err(io::Error::from(io::ErrorKind::ResourceBusy))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories beside the data whose readers were killed.
pub fn remove_left(data: &Path) {
    remove_left_in(data, BESIDE);
}

/// What cannot be removed stays: it is in nobody's way.
fn remove_left_in(parent: &Path, prefix: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    let ours = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_of_a_reader = entry.file_name().to_string_lossy().starts_with(prefix)
            && entry
                .metadata()
                .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == ours);
        if !is_of_a_reader {
            continue;
        }
        let path = entry.path();
        if let Ok(Some(_lock)) = try_lock(&path) {
            match std::fs::remove_dir_all(&path) {
                Ok(()) => {
                    tracing::debug!(path = %path.display(), "left by a killed reader, removed")
                }
                Err(error) => {
                    tracing::debug!(path = %path.display(), %error, "left by a killed reader, and stays");
                }
            }
        }
    }
}

/// Locks a directory; nothing where somebody else has, or has removed it.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // Whoever takes it for a left one locks it before he removes it: from here on it stays.
    Ok(path.try_exists()?.then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_reader_left_is_removed_and_what_one_works_in_stays() {
        let data = tempfile::tempdir().unwrap();
        let left = data.path().join("reading-left");
        std::fs::create_dir(&left).unwrap();
        std::fs::create_dir(left.join("spool")).unwrap();
        let other = data.path().join("store");
        std::fs::create_dir(&other).unwrap();
        let first = ReadingDirectory::make(data.path()).unwrap();
        assert!(!left.exists());
        let second = ReadingDirectory::make(data.path()).unwrap();
        remove_left(data.path());
        for reader in [&first, &second] {
            assert_eq!(reader.path().parent(), Some(data.path()));
            assert!(reader.path().exists());
        }
        drop((first, second));
        let stay: Vec<_> = std::fs::read_dir(data.path()).unwrap().collect();
        assert_eq!(stay.len(), 1, "{stay:?}");
    }

    #[test]
    fn where_nothing_can_be_made_beside_the_data_it_is_among_the_temporary_files() {
        for data in ["", "/no/such/directory"] {
            let reader = ReadingDirectory::make(Path::new(data)).unwrap();
            assert_eq!(reader.path().parent(), Some(&*std::env::temp_dir()));
        }
    }
}
